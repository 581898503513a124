"""RouteTest: requests, and what is to become of them. It changes no traffic; `insight.routetests` asks. Pure.

apiVersion: gatewayproxy.io/v1alpha1
kind: RouteTest
metadata: {name: shop}
spec:
  tests:
    - name: the cart wants a login
      request: {url: "https://shop.example/cart", headers: [{name: cookie, value: id=7}]}
      expect: {route: cart, rule: members, backends: [{name: cart, weight: 90}, {name: cart-next, weight: 10}]}
    - name: nobody else has a cart
      request: {url: "https://www.example/cart"}
      expect: {status: 404, reason: no_rule}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.fields import Fields, Text
from gatewayproxy.fields.shapes import (
    HEADER_NAME,
    HEADER_VALUE,
    NAMESPACE,
    OBJECT_NAME,
    PORT,
    SECTION_NAME,
    SUBDOMAIN_PATTERN,
)
from gatewayproxy.model.names import Origin

__all__ = [
    "MAX_TESTS", "VERSIONS", "Case", "CaseRequest", "Expectation", "Expected", "HeaderValue", "Message", "RouteTest",
    "read",
]  # fmt: skip

MAX_TESTS: Final = 10_000
_MOST: Final = 64  # header fields of a request or a message, backends
_MOST_WEIGHT: Final = 1_000_000
_MOST_RULES: Final = 65_536
VERSIONS: Final = {"HTTP/1.0": "1.0", "HTTP/1.1": "1.1", "HTTP/2": "2"}
_STATUS: Final = (100, 599)
_NAME: Final = Text("what is tested, in a line", r"[^\x00-\x1f\x7f]+", shortest=1, longest=253)
_URL: Final = Text(
    "a URL such as https://shop.example/cart, grpc://HOST:PORT/SERVICE/METHOD, tls://NAME:PORT, tcp://:PORT, udp://:PORT",
    r"(https?|wss?|grpcs?|tls|tcp|udp)://[!-~]+",
    shortest=1,
    longest=8_192,
)
_METHOD: Final = Text("a method such as POST", r"[!#$%&'*+\-.^_\x60|~0-9A-Za-z]+", longest=64)
_ADDRESS: Final = Text("an IP address", r"[0-9.]+|[0-9A-Fa-f:.]+", shortest=1, longest=45)
_LISTENER: Final = Text(
    "a listener such as https, web/https or infra/web/https",
    rf"(ListenerSet/)?({SUBDOMAIN_PATTERN}/){{0,2}}{SUBDOMAIN_PATTERN}",
    longest=600,
)
_ROUTE: Final = Text(
    "a route such as cart, shop/cart or HTTPRoute shop/cart",
    rf"((HTTP|GRPC|TLS|TCP|UDP)Route )?({SUBDOMAIN_PATTERN}/)?{SUBDOMAIN_PATTERN}",
    longest=600,
)
_CERTIFICATE: Final = Text("a DNS name that is in the certificate", rf"(\*\.)?{SUBDOMAIN_PATTERN}", longest=253)
_REASON: Final = Text("a reason code such as no_rule", r"[a-z0-9_]+", longest=64)
_TARGET: Final = Text("a path such as /cart, with its query if that counts", r"[/*][!-~]*", shortest=1, longest=8_192)
_HOST: Final = Text("a host as in Host: shop.example:8080", r"[!-~]+", shortest=1, longest=262)
_LOCATION: Final = Text("a Location such as https://www.example/new", r"[!-~]+", shortest=1, longest=8_192)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderValue:
    """A header field; *value* None: any."""

    name: str
    value: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRequest:
    """What a client asks, as `gatewayproxy explain` takes it; "" where the URL decides."""

    url: str
    method: str = ""
    version: str = ""  # "1.0", "1.1", "2"
    address: str = ""  # an IP literal: where the client connects to
    headers: tuple[HeaderValue, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A backend: its part of the weights of all (None: not looked at), its answer if the gateway answers for it."""

    name: str
    namespace: str | None
    port: int | None
    weight: int | None
    status: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A head as its receiver sees it. None: not looked at."""

    method: str | None = None
    host: str | None = None
    path: str | None = None  # with a query where that counts, too
    headers: tuple[HeaderValue, ...] = ()
    absent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What is to become of a request. None: not looked at."""

    listener: str | None = None  # the end of "namespace/gateway/listener"
    certificate: str | None = None
    route: str | None = None
    rule: int | str | None = None  # index or name
    backends: tuple[Expected, ...] | None = None
    backend_sees: Message | None = None
    client_sees: Message | None = None
    status: int | None = None
    reason: str | None = None
    redirect: str | None = None
    refused: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test."""

    name: str
    at: Origin
    request: CaseRequest
    expect: Expectation


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTest:
    """RouteTest: tests of what serves."""

    meta: Meta
    cases: tuple[Case, ...]


def read(meta: Meta, root: Fields, version: str) -> RouteTest:
    """Read a RouteTest."""
    spec = root.required_child("spec")
    seen: set[str] = set()
    cases = tuple(_case(item, seen) for item in spec.items("tests", least=1, most=MAX_TESTS))
    return RouteTest(meta=meta, cases=cases)


def _case(fields: Fields, seen: set[str]) -> Case:
    name = fields.text("name", _NAME)
    if name in seen:
        fields.error("name", "is the name of an earlier test", "give each test a name of its own")
    seen.add(name)
    request = _request(fields.required_child("request"))
    return Case(name=name, at=fields.at, request=request, expect=_expectation(fields.required_child("expect")))


def _request(fields: Fields) -> CaseRequest:
    return CaseRequest(
        url=fields.text("url", _URL),
        method=fields.text("method", _METHOD, ""),
        version=fields.choice("version", VERSIONS, ""),
        address=fields.text("address", _ADDRESS, ""),
        headers=tuple(
            HeaderValue(name=item.text("name", HEADER_NAME), value=item.text("value", HEADER_VALUE))
            for item in fields.items("headers", most=_MOST)
        ),
    )


def _expectation(fields: Fields) -> Expectation:
    if not fields.tree:
        fields.error("", "expects nothing", "say what is to become of the request: route, backends, status, redirect")
    expect = Expectation(
        listener=fields.text("listener", _LISTENER, None),
        certificate=fields.text("certificate", _CERTIFICATE, None),
        route=fields.text("route", _ROUTE, None),
        rule=_rule(fields),
        backends=_backends(fields) if fields.has("backends") else None,
        backend_sees=_message(fields.child("backendSees"), of_request=True),
        client_sees=_message(fields.child("clientSees"), of_request=False),
        status=fields.integer("status", *_STATUS, None),
        reason=fields.text("reason", _REASON, None),
        redirect=fields.text("redirect", _LOCATION, None),
        refused=fields.boolean("refused", None),
    )
    fields.ignore("backends")
    _check(fields, expect)
    return expect


def _check(fields: Fields, expect: Expectation) -> None:
    """Note what cannot hold together: a request goes to backends, or the gateway answers it."""
    if expect.backends is None and expect.backend_sees is None:
        if expect.refused and expect.redirect is not None:
            fields.error("refused", "does not go with redirect", "a redirect is no refusal: keep one of the two")
        return
    for name in ("status", "reason", "redirect"):
        if fields.has(name):
            hint = (
                "status, reason and redirect are of the gateway's own answers: remove it, or what is said of backends"
            )
            fields.error(name, "does not go with backends or backendSees", hint)
    if expect.refused:
        fields.error("refused", "does not go with backends or backendSees", "what is refused reaches no backend")


def _rule(fields: Fields) -> int | str | None:
    if type(fields.tree.get("rule")) is str:
        return fields.text("rule", SECTION_NAME)
    return fields.integer("rule", 0, _MOST_RULES, None)


def _backends(fields: Fields) -> tuple[Expected, ...]:
    items = fields.items("backends", least=1, most=_MOST)
    weighted = [item for item in items if item.has("weight")]
    if weighted and len(weighted) < len(items):
        fields.error("backends", "have weights, and have none", "give every backend a weight, or none")
    backends = tuple(
        Expected(
            name=item.text("name", OBJECT_NAME),
            namespace=item.text("namespace", NAMESPACE, None),
            port=item.integer("port", *PORT, None),
            weight=item.integer("weight", 0, _MOST_WEIGHT, None),
            status=item.integer("status", *_STATUS, None),
        )
        for item in items
    )
    if backends and all(each.weight == 0 for each in backends):
        fields.error("backends", "have no weight at all", "give one that gets requests a weight, or none to any")
    return backends


def _message(fields: Fields | None, *, of_request: bool) -> Message | None:
    if fields is None:
        return None
    headers = tuple(
        HeaderValue(name=item.text("name", HEADER_NAME), value=item.text("value", HEADER_VALUE, None))
        for item in fields.items("headers", most=_MOST)
    )
    absent = fields.texts("absent", HEADER_NAME, most=_MOST, unique=True)
    if not of_request:
        return Message(headers=headers, absent=absent)
    return Message(
        method=fields.text("method", _METHOD, None),
        host=fields.text("host", _HOST, None),
        path=fields.text("path", _TARGET, None),
        headers=headers,
        absent=absent,
    )
