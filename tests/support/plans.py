"""Short ways to write plan values: routes, rules, listeners, requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gatewayproxy.compiler.lower import lower
from gatewayproxy.model.names import ListenerKey, ResourceKey
from gatewayproxy.model.plan import (
    Attachment,
    Backend,
    Certificate,
    Cluster,
    Endpoint,
    FilterChain,
    HeaderTest,
    Listener,
    Match,
    PathKind,
    Plan,
    QueryTest,
    Refusal,
    Route,
    Rule,
)
from gatewayproxy.model.protocols import Protocol, TlsMode
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.routing.match import find_entry, find_host, host_key
from gatewayproxy.routing.table import Port, RouteEntry, RoutingTable, RuleLabel

EXACT, REGEX, PREFIX = PathKind.EXACT, PathKind.REGEX, PathKind.PREFIX


def match(
    path: bytes = b"/",
    kind: PathKind = PREFIX,
    *,
    method: bytes | None = None,
    headers: Sequence[tuple[bytes, bytes] | HeaderTest] = (),
    query: Sequence[tuple[bytes, bytes] | QueryTest] = (),
) -> Match:
    """Return a Match; headers and query parameters as pairs are exact."""
    return Match(
        path_kind=kind,
        path=path,
        method=method,
        headers=tuple(HeaderTest(*each) for each in headers),
        query=tuple(QueryTest(*each) for each in query),
    )


def cluster(name: str = "default/web:80", *ports: int) -> Cluster:
    """Return a cluster of endpoints on loopback."""
    return Cluster(name=name, endpoints=tuple(Endpoint("127.0.0.1", port) for port in ports or (8080,)))


def backend(
    name: str = "default/web:80",
    weight: int = 1,
    *,
    filters: FilterChain | None = None,
    refusal: Refusal | None = None,
) -> Backend:
    """Return a backendRef with a cluster of its own name, or with *refusal*."""
    to = None if refusal is not None else cluster(name)
    return Backend(name=name, weight=weight, cluster=to, refusal=refusal, filters=filters or FilterChain())


def rule(
    *matches: Match,
    index: int = 0,
    backends: Sequence[Backend] | None = None,
    filters: FilterChain | None = None,
    refusal: Refusal | None = None,
) -> Rule:
    """Return a rule; without matches it takes every path, without *backends* it has one."""
    return Rule(
        index=index,
        matches=matches or (match(),),
        backends=(backend(),) if backends is None else tuple(backends),
        filters=filters or FilterChain(),
        refusal=refusal,
    )


def route(name: str, *rules: Rule, created: float = 0.0, kind: str = "HTTPRoute") -> Route:
    """Return route "default/*name*", or *name* where it has a namespace; rules are numbered as they stand."""
    namespace, _, short = name.rpartition("/")
    numbered = tuple(_numbered(index, each) for index, each in enumerate(rules or (rule(),)))
    return Route(key=ResourceKey(kind, namespace or "default", short), created=created, rules=numbered)


def listener(
    name: str = "http",
    *attached: Route | tuple[Route, Sequence[str]],
    hostname: str = "",
    protocol: Protocol = Protocol.HTTP,
    port: int = 80,
    addresses: tuple[str, ...] = ("",),
    certificates: tuple[Certificate, ...] = (),
    tls_mode: TlsMode | None = None,
) -> Listener:
    """Return a listener of Gateway default/gw with routes attached, each alone or as (route, own hostnames)."""
    return Listener(
        key=ListenerKey("default", "gw", name),
        protocol=protocol,
        port=port,
        bind_port=port,
        addresses=addresses,
        hostname=hostname,
        certificates=certificates,
        tls_mode=tls_mode,
        attachments=tuple(_attachment(each, hostname) for each in attached),
    )


def table_of(*listeners: Listener, withheld: tuple[Listener, ...] = ()) -> RoutingTable:
    """Return the table of a plan with *listeners*, and with *withheld* ones beside them."""
    return lower(Plan(listeners=listeners, withheld=withheld), CompileOptions())


def covers(wide: str, narrow: str) -> bool:
    """Return whether hostname *wide* covers *narrow* ("" is any host)."""
    if wide in ("", narrow):
        return True
    return wide.startswith("*.") and narrow.removeprefix("*").endswith(wide[1:]) and narrow != wide[2:]


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A request as matching sees it."""

    host: bytes = b"a.example"
    path: bytes = b"/"
    method: bytes = b"GET"
    query: bytes = b""
    headers: Mapping[bytes, bytes] = field(default_factory=dict)

    def field(self, name: bytes) -> bytes | None:
        return self.headers.get(name)


def found(port: Port, ask: Ask) -> RouteEntry | None:
    """Return the entry of *port* that takes *ask*, or None."""
    assert port.http is not None
    vhost = find_host(port.http, host_key(ask.host))
    return None if vhost is None else find_entry(vhost, ask)


def _numbered(index: int, each: Rule) -> Rule:
    return Rule(**{name: getattr(each, name) for name in each.__slots__ if name != "index"}, index=index)


def _attachment(attached: Route | tuple[Route, Sequence[str]], hostname: str) -> Attachment:
    if isinstance(attached, Route):
        return Attachment(attached, ((hostname, ""),))
    to, hostnames = attached
    pairs = [(narrower(own, hostname), own) for own in hostnames]
    return Attachment(to, tuple((effective, own) for effective, own in pairs if effective is not None))


def narrower(a: str, b: str) -> str | None:
    """Return the intersection of two hostnames, None where they share no name."""
    if covers(a, b):
        return b
    return a if covers(b, a) else None


def without(plan: Plan, label: RuleLabel) -> Plan:
    """Return *plan* without a rule, the others with the indices that they had."""
    listeners = []
    for listener in plan.listeners:
        attachments = []
        for each in listener.attachments:
            if each.route.key.kind == label.kind and each.route.key.full_name == label.route:
                left = tuple(rule for rule in each.route.rules if rule.index != label.rule)
                each = each._replace(route=replace(each.route, rules=left))
            attachments.append(each)
        listeners.append(replace(listener, attachments=tuple(attachments)))
    return Plan(listeners=tuple(listeners))
