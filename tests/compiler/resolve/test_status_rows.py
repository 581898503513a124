"""Conditions of Gateways, listeners, ListenerSets and routes: a row for each reason that the Gateway API names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from gatewayproxy.compiler.pipeline import Compiler
from gatewayproxy.model.names import BindKey
from gatewayproxy.model.source import CompileOptions, Source
from tests.support.certs import certificate
from tests.support.manifests import tls_secret

Tree = dict[str, Any]
API = "gateway.networking.k8s.io/v1"
GROUP = "gateway.networking.k8s.io"
HTTP: Tree = {"name": "l", "port": 80, "protocol": "HTTP"}
SCTP: Tree = {"name": "odd", "port": 132, "protocol": "SCTP"}
ADDED: Tree = {"name": "added", "port": 81, "protocol": "HTTP"}
RULES: list[Tree] = [{"backendRefs": [{"name": "app", "port": 80}]}]
APP: Tree = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "app"}, "spec": {"ports": [{"port": 80}]}}
BROKEN = r"/(unclosed"
REDIRECT: Tree = {"type": "RequestRedirect", "requestRedirect": {"scheme": "https"}}
REWRITE: Tree = {"type": "URLRewrite", "urlRewrite": {"hostname": "a.test"}}


def gw(*listeners: Tree, **spec: object) -> Tree:
    return _object("Gateway", "gw", {"gatewayClassName": "any", "listeners": [*listeners] or [HTTP], **spec})


def lset(*listeners: Tree, namespace: str = "default") -> Tree:
    spec = {"parentRef": {"name": "gw", "namespace": "default"}, "listeners": [*listeners] or [ADDED]}
    return _object("ListenerSet", "set", spec, namespace)


def route(kind: str = "HTTPRoute", namespace: str = "default", ref: Tree | None = None, **spec: object) -> Tree:
    parent = {"name": "gw", "namespace": "default", **(ref or {})}
    return _object(kind, "r", {"parentRefs": [parent], "rules": RULES, **spec}, namespace)


def https(name: str, *refs: Tree, **rest: object) -> Tree:
    return {"name": name, "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": list(refs)}, **rest}


def validated(*refs: Tree, mode: str = "AllowValidOnly") -> Tree:
    return {"frontend": {"default": {"validation": {"caCertificateRefs": list(refs), "mode": mode}}}}


def kinds(*names: str) -> Tree:
    return {"allowedRoutes": {"kinds": [{"kind": name} for name in names]}}


def ca(name: str, text: str) -> Tree:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"ca.crt": text}}


def _object(kind: str, name: str, spec: Tree, namespace: str = "default") -> Tree:
    metadata = {"name": name, "namespace": namespace, "generation": 3}
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}


ALLOWED: Tree = {"allowedListeners": {"namespaces": {"from": "Same"}}}
SITE = tls_secret("site", certificate("a.test"))
CA_TEXT = certificate("ca.test").chain_pem.decode()
BAD_CA: Tree = {"group": "", "kind": "ConfigMap", "name": "missing"}
GOOD_CA: Tree = {"group": "", "kind": "ConfigMap", "name": "good"}
GOOD = ca("good", CA_TEXT)
TEXT: Tree = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "text"},
    "stringData": {"tls.crt": "x", "tls.key": "y"},
}
UNBINDABLE = {BindKey("10.0.0.9", 80): "Cannot assign requested address"}
PASSTHROUGH: Tree = {"name": "p", "port": 443, "protocol": "TLS", "hostname": "p.test", "tls": {"mode": "Passthrough"}}
FOREIGN: Tree = {"name": "site", "namespace": "other"}

# (objects, whose condition, its type, what it must be); whose: "Gateway", "Gateway/l", "ListenerSet/added", "HTTPRoute"
ROWS = [
    ("Gateway", "Accepted", "True Accepted", [gw()]),
    ("Gateway", "Accepted", "True ListenersNotValid", [gw(HTTP, SCTP)]),
    ("Gateway", "Accepted", "False ListenersNotValid", [gw(SCTP)]),
    ("Gateway", "Accepted", "False InvalidParameters",
     [gw(infrastructure={"parametersRef": {"group": "", "kind": "ConfigMap", "name": "x"}})]),
    ("Gateway", "Accepted", "False UnsupportedAddress", [gw(addresses=[{"type": "example.com/a", "value": "b"}])]),
    ("Gateway", "Programmed", "True Programmed", [gw()]),
    ("Gateway", "Programmed", "False AddressNotUsable", [gw(addresses=[{"value": "10.0.0.9"}])]),
    ("Gateway", "Programmed", "False AddressNotAssigned", [gw(addresses=[{"type": "IPAddress"}])]),
    ("Gateway", "Programmed", "False Invalid", [gw(SCTP)]),
    ("Gateway", "ResolvedRefs", "False ListenersNotResolved", [gw(HTTP, https("s", {"name": "missing"}))]),
    ("Gateway", "InsecureFrontendValidationMode", "True ConfigurationChanged",
     [gw(HTTP, tls=validated(GOOD_CA, mode="AllowInsecureFallback")), GOOD]),
    ("Gateway", "InsecureFrontendValidationMode", "", [gw(HTTP, tls=validated(GOOD_CA)), GOOD]),
    ("Gateway/l", "Accepted", "True Accepted", [gw()]),
    ("Gateway/odd", "Accepted", "False UnsupportedProtocol", [gw(SCTP)]),
    ("Gateway/b", "Accepted", "False PortUnavailable",
     [_object("Gateway", "a", {"gatewayClassName": "any", "listeners": [HTTP]}), gw({**HTTP, "name": "b"})]),
    ("Gateway/s", "Accepted", "False NoValidCACertificate",
     [gw(https("s", {"name": "site"}), tls=validated(BAD_CA)), SITE]),
    ("Gateway/l", "Accepted", "False ProtocolConflict", [gw(HTTP, {"name": "t", "port": 80, "protocol": "TCP"})]),
    ("Gateway/p", "Accepted", "False HostnameConflict",
     [gw(PASSTHROUGH, https("s", {"name": "site"}, hostname="p.test")), SITE]),
    ("Gateway/s", "ResolvedRefs", "True ResolvedRefs", [gw(https("s", {"name": "site"})), SITE]),
    ("Gateway/s", "ResolvedRefs", "False InvalidCertificateRef", [gw(https("s", {"name": "missing"}))]),
    ("Gateway/s", "ResolvedRefs", "False InvalidCertificateRef", [gw(https("s", {"name": "text"})), TEXT]),
    ("Gateway/s", "ResolvedRefs", "False InvalidCertificateRef",
     [gw(https("s", {"name": "site", "kind": "ConfigMap"})), SITE]),
    ("Gateway/s", "ResolvedRefs", "False RefNotPermitted", [gw(https("s", FOREIGN))]),
    ("Gateway/s", "ResolvedRefs", "False RefNotPermitted", [gw(https("s", {"name": "missing"}, FOREIGN))]),
    ("Gateway/l", "ResolvedRefs", "False InvalidRouteKinds", [gw({**HTTP, **kinds("HTTPRoute", "TCPRoute")})]),
    ("Gateway/s", "ResolvedRefs", "False InvalidCACertificateRef",
     [gw(https("s", {"name": "site"}), tls=validated(GOOD_CA, BAD_CA)), SITE, GOOD]),
    ("Gateway/s", "ResolvedRefs", "False InvalidCACertificateKind",
     [gw(https("s", {"name": "site"}), tls=validated(GOOD_CA, {**BAD_CA, "kind": "Secret"})), SITE, GOOD]),
    ("Gateway/s", "Accepted", "True Accepted",
     [gw(https("s", {"name": "site"}), tls=validated(GOOD_CA, BAD_CA)), SITE, GOOD]),
    ("Gateway/l", "Programmed", "True Programmed", [gw()]),
    ("Gateway/odd", "Programmed", "False Invalid", [gw(SCTP)]),
    ("Gateway/l", "Programmed", "False ProtocolConflict", [gw(HTTP, {"name": "t", "port": 80, "protocol": "TCP"})]),
    ("Gateway/l", "Conflicted", "False NoConflicts", [gw()]),
    ("Gateway/l", "Conflicted", "True ProtocolConflict", [gw(HTTP, {"name": "t", "port": 80, "protocol": "TCP"})]),
    ("Gateway/s", "OverlappingTLSConfig", "True OverlappingCertificates",
     [gw(https("s", {"name": "site"}, hostname="a.test"), https("t", {"name": "site"}, hostname="b.test")), SITE]),
    ("Gateway/s", "OverlappingTLSConfig", "", [gw(https("s", {"name": "site"})), SITE]),
    ("ListenerSet", "Accepted", "True Accepted", [gw(**ALLOWED), lset()]),
    ("ListenerSet", "Accepted", "True ListenersNotValid", [gw(**ALLOWED), lset(ADDED, SCTP)]),
    ("ListenerSet", "Accepted", "False NotAllowed", [gw(), lset()]),
    ("ListenerSet", "Accepted", "False NotAllowed", [gw(**ALLOWED), lset(namespace="other")]),
    ("ListenerSet", "Accepted", "False ParentNotAccepted",
     [gw(addresses=[{"type": "example.com/a", "value": "b"}], **ALLOWED), lset()]),
    ("ListenerSet", "Accepted", "False ListenersNotValid", [gw(**ALLOWED), lset(SCTP)]),
    ("ListenerSet", "Accepted", "False ListenersNotValid", [gw(**ALLOWED), lset(https("s", {"name": "missing"}))]),
    ("ListenerSet", "Programmed", "True Programmed", [gw(**ALLOWED), lset(ADDED, SCTP)]),
    ("ListenerSet", "Programmed", "False NotAllowed", [gw(), lset()]),
    ("ListenerSet", "Programmed", "False ListenersNotValid", [gw(**ALLOWED), lset(SCTP)]),
    ("ListenerSet", "Programmed", "False ParentNotAccepted", [gw(SCTP, **ALLOWED), lset()]),
    ("ListenerSet", "Programmed", "False ParentNotProgrammed",
     [gw(addresses=[{"type": "IPAddress"}], **ALLOWED), lset()]),
    ("ListenerSet/added", "Conflicted", "True HostnameConflict", [gw(**ALLOWED), lset({**ADDED, "port": 80})]),
    ("ListenerSet/added", "Accepted", "False HostnameConflict", [gw(**ALLOWED), lset({**ADDED, "port": 80})]),
    ("ListenerSet/added", "Programmed", "False HostnameConflict", [gw(**ALLOWED), lset({**ADDED, "port": 80})]),
    ("Gateway/l", "Conflicted", "False NoConflicts", [gw(**ALLOWED), lset({**ADDED, "port": 80})]),
    ("ListenerSet/added", "Conflicted", "True ProtocolConflict",
     [gw(**ALLOWED), lset({"name": "added", "port": 80, "protocol": "TCP"})]),
    ("ListenerSet/p", "Conflicted", "True ListenerConflict",
     [gw({**HTTP, "hostname": "p.test"}, **ALLOWED), lset({**PASSTHROUGH, "port": 80})]),
    ("HTTPRoute", "Accepted", "True Accepted", [gw(), route(), APP]),
    ("HTTPRoute", "Accepted", "True Accepted",
     [gw(HTTP, {**HTTP, **kinds("GRPCRoute"), "name": "x", "port": 81}), route(), APP]),
    ("HTTPRoute", "Accepted", "False NoMatchingParent", [gw(), route(ref={"sectionName": "x"}), APP]),
    ("HTTPRoute", "Accepted", "False NoMatchingParent", [gw(), route(ref={"port": 81}), APP]),
    ("HTTPRoute", "Accepted", "False NoMatchingParent",
     [gw(HTTP, {**HTTP, "name": "m", "port": 81}), route(ref={"sectionName": "l", "port": 81}), APP]),
    ("HTTPRoute", "Accepted", "False NoMatchingParent",
     [gw(**ALLOWED), lset(), route(ref={"sectionName": "added"}), APP]),
    ("HTTPRoute", "Accepted", "False NotAllowedByListeners", [gw(), route(namespace="other"), APP]),
    ("HTTPRoute", "Accepted", "False NotAllowedByListeners", [gw({**HTTP, **kinds("GRPCRoute")}), route(), APP]),
    ("TLSRoute", "Accepted", "False NotAllowedByListeners", [gw(), route("TLSRoute", hostnames=["a.test"]), APP]),
    ("TLSRoute", "Accepted", "False NotAllowedByListeners",
     [gw(https("s", {"name": "site"})), route("TLSRoute", hostnames=["a.test"]), APP, SITE]),
    ("TCPRoute", "Accepted", "False NotAllowedByListeners", [gw(), route("TCPRoute"), APP]),
    ("UDPRoute", "Accepted", "False NotAllowedByListeners", [gw(), route("UDPRoute"), APP]),
    ("HTTPRoute", "Accepted", "False NoMatchingListenerHostname",
     [gw({**HTTP, "hostname": "a.test"}), route(hostnames=["b.test"]), APP]),
    # The order of the questions: what is selected, then kinds and namespaces, then hostnames.
    ("HTTPRoute", "Accepted", "False NoMatchingParent",
     [gw({**HTTP, "hostname": "a.test"}), route("HTTPRoute", "other", {"sectionName": "x"}, hostnames=["b.test"])]),
    ("HTTPRoute", "Accepted", "False NotAllowedByListeners",
     [gw({**HTTP, "hostname": "a.test"}), route(namespace="other", hostnames=["b.test"]), APP]),
    ("HTTPRoute", "Accepted", "False UnsupportedValue",
     [gw(), route(rules=[{"matches": [{"path": {"type": "RegularExpression", "value": BROKEN}}]}])]),
    ("HTTPRoute", "Accepted", "False UnsupportedValue",
     [gw(), route(rules=[{"matches": [{"path": {"type": "Glob", "value": "/"}}, {"method": "BREW"}]}])]),
    ("HTTPRoute", "Accepted", "False UnsupportedValue",
     [gw(), route(rules=[{"filters": [{"type": "RequestRedirect", "requestRedirect": {"statusCode": 305}}]}])]),
    ("GRPCRoute", "Accepted", "False UnsupportedValue",
     [gw(), route("GRPCRoute", rules=[{"matches": [{"method": {"type": "Glob", "service": "a"}}]}])]),
    ("HTTPRoute", "Accepted", "False IncompatibleFilters",
     [gw(), route(rules=[{"filters": [REDIRECT, REWRITE]}])]),
    ("HTTPRoute", "Accepted", "False IncompatibleFilters",
     [gw(), route(rules=[{"backendRefs": [{"name": "app", "port": 80, "filters": [REDIRECT, REWRITE]}]}]), APP]),
    ("HTTPRoute", "Accepted", "False Invalid",
     [gw(), route(rules=[{"filters": [REDIRECT, REWRITE], "matches": [{"path": {"value": "a"}}]}])]),
    ("Gateway", "Accepted", "False Invalid", [gw({**HTTP, "tls": {"mode": "Odd"}})]),
    ("Gateway", "Programmed", "False Invalid", [gw({**HTTP, "port": 0})]),
    ("HTTPRoute", "PartiallyInvalid", "True UnsupportedValue",
     [gw(), route(rules=[{"matches": [{"path": {"type": "RegularExpression", "value": BROKEN}}]}, *RULES]), APP]),
    ("HTTPRoute", "PartiallyInvalid", "", [gw(), route(), APP]),
    ("HTTPRoute", "ResolvedRefs", "True ResolvedRefs", [gw(), route(), APP]),
    ("HTTPRoute", "ResolvedRefs", "False BackendNotFound", [gw(), route()]),
    ("HTTPRoute", "Accepted", "True Accepted", [gw(), route()]),
    ("HTTPRoute", "ResolvedRefs", "False BackendNotFound", [gw(), route(ref={"sectionName": "x"})]),
    ("HTTPRoute", "ResolvedRefs", "False InvalidKind",
     [gw(), route(rules=[{"backendRefs": [{"name": "x", "kind": "Odd"}]}])]),
    ("HTTPRoute", "ResolvedRefs", "False RefNotPermitted",
     [gw(), route(rules=[{"backendRefs": [{"name": "app", "namespace": "other", "port": 80}]}])]),
    ("GRPCRoute", "ResolvedRefs", "False UnsupportedProtocol",
     [gw(), route("GRPCRoute"), {**APP, "spec": {"ports": [{"port": 80, "appProtocol": "kubernetes.io/ws"}]}}]),
]  # fmt: skip


def _ids() -> Iterator[str]:
    for whose, type_, expected, _ in ROWS:
        yield f"{whose} {type_}: {expected.replace(' ', '/') or 'absent'}"


def _status(objects: list[Tree]) -> dict[str, Tree]:
    options = CompileOptions(unbindable=UNBINDABLE)
    text = yaml.safe_dump_all(objects).encode()
    found = Compiler().compile([Source("all.yaml", text)], options, {}).status
    assert [str(each) for each in found.problems if "unknown field" in each.message] == []
    return {each.key.kind: dict(each.status) for each in found.objects if each.key.name in ("gw", "set", "r")}


def _conditions(tree: Tree, section: str) -> list[Tree]:
    if section:
        [tree] = [listener for listener in tree["listeners"] if listener["name"] == section]
    if "parents" in tree:
        [tree] = tree["parents"]
    return list(tree["conditions"])


@pytest.mark.parametrize(("whose", "type_", "expected", "objects"), ROWS, ids=_ids())
def test_a_condition_is_what_the_specification_says(whose: str, type_: str, expected: str, objects: list[Tree]) -> None:
    kind, _, section = whose.partition("/")
    conditions = _conditions(_status(objects)[kind], section)
    said = [f"{each['status']} {each['reason']}" for each in conditions if each["type"] == type_]
    assert said == ([expected] if expected else [])
    assert {each["observedGeneration"] for each in conditions} == {3}
    assert len({each["type"] for each in conditions}) == len(conditions)
    assert all(each["message"] for each in conditions if each["status"] == "False" and each["type"] != "Conflicted")


def test_the_message_of_a_route_that_lost_a_rule_begins_with_it() -> None:
    rules = [*RULES, {"matches": [{"path": {"type": "RegularExpression", "value": BROKEN}}]}]
    conditions = _conditions(_status([gw(), route(rules=rules), APP])["HTTPRoute"], "")
    [partial] = [each for each in conditions if each["type"] == "PartiallyInvalid"]
    assert partial["message"].startswith("Dropped Rule 1")


def test_the_message_of_an_object_with_errors_says_the_first_and_what_to_do() -> None:
    rules = [{"matches": [{"path": {"value": "a"}}, {"method": "BREW"}]}]
    accepted, *rest = _conditions(_status([gw(), route(rules=rules)])["HTTPRoute"], "")
    assert accepted["message"] == (
        'spec.rules[0].matches[0].path.value: must start with "/"; write an absolute path such as /api/v1, '
        "percent-encoded where needed, and 1 more (`gatewayproxy check` lists them)"
    )
    assert rest == []


def test_what_cannot_serve_says_why_but_tells_other_teams_no_more_than_the_reason() -> None:
    wrong = gw(HTTP, addresses=[{"type": "example.com/a", "value": "b"}], **ALLOWED)
    status = _status([wrong, lset()])
    said = {
        kind: next(c["message"] for c in _conditions(status[kind], section) if c["type"] == "Programmed")
        for kind, section in (("Gateway", "l"), ("ListenerSet", "added"))
    }
    assert said == {
        "Gateway": "Gateway default/gw cannot serve: addresses[0] has type example.com/a; write one of type IPAddress",
        "ListenerSet": "Gateway default/gw cannot serve: UnsupportedAddress",
    }
    [programmed] = [c for c in _conditions(_status([gw(SCTP)])["Gateway"], "") if c["type"] == "Programmed"]
    assert programmed["message"].startswith("no listener can serve: odd: protocol SCTP is not supported; use one of")


@pytest.mark.parametrize("controller", ["gatewayproxy.io/controller", "example.com/other"])
def test_a_gateway_with_errors_has_a_status_from_us_only_if_its_class_is_ours(controller: str) -> None:
    of_class = {"apiVersion": API, "kind": "GatewayClass", "metadata": {"name": "any"}}
    objects = [{**of_class, "spec": {"controllerName": controller}}, gw({**HTTP, "port": 0}), route(), APP]
    status = _status(objects)
    assert bool(status["Gateway"]) is (controller == "gatewayproxy.io/controller")
    assert status["HTTPRoute"] == {}


@pytest.mark.parametrize(
    ("listener", "supported"),
    [
        pytest.param(HTTP, ["HTTPRoute", "GRPCRoute"], id="HTTP"),
        pytest.param(https("l", {"name": "site"}), ["HTTPRoute", "GRPCRoute"], id="HTTPS"),
        pytest.param({**PASSTHROUGH, "name": "l"}, ["TLSRoute"], id="TLS"),
        pytest.param({"name": "l", "port": 80, "protocol": "TCP"}, ["TCPRoute"], id="TCP"),
        pytest.param({"name": "l", "port": 80, "protocol": "UDP"}, ["UDPRoute"], id="UDP"),
        pytest.param({**SCTP, "name": "l"}, [], id="an unsupported protocol"),
        pytest.param({**HTTP, **kinds("TCPRoute", "HTTPRoute")}, ["HTTPRoute"], id="what is allowed and supported"),
        pytest.param({**HTTP, **kinds("TCPRoute")}, [], id="nothing of what is allowed"),
    ],
)
@pytest.mark.parametrize("kind", ["Gateway", "ListenerSet"])
def test_supported_kinds_are_those_of_the_protocol_that_are_allowed(
    kind: str, listener: Tree, supported: list[str]
) -> None:
    own = [gw(listener)] if kind == "Gateway" else [gw({**HTTP, "port": 9999}, **ALLOWED), lset(listener)]
    [found] = _status([*own, SITE])[kind]["listeners"]
    assert found["supportedKinds"] == [{"group": GROUP, "kind": each} for each in supported]
