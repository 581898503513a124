"""The compiler as its callers use it: texts and options in, plan, table, status and problems out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayproxy.compiler.pipeline import Compiled, Compiler
from gatewayproxy.insight.objects import objects_of
from gatewayproxy.model.names import BindKey
from gatewayproxy.model.plan import Listener
from gatewayproxy.model.source import CompileOptions, Source
from gatewayproxy.model.status import Severity
from tests.support.calls import leaves_nothing
from tests.support.certs import certificate

GOLDEN = Path(__file__).parents[1] / "golden"
GATEWAY = b"""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, generation: 5}
spec:
  gatewayClassName: any
  addresses: [{value: 127.0.0.1}, {value: 127.0.0.2}]
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: alt, port: 8080, protocol: HTTP}
"""
HTTPS = b"""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: any
  listeners:
  - name: good
    port: 443
    protocol: HTTPS
    hostname: a.example.com
    tls: {certificateRefs: [{name: good}, {name: other}]}
  - {name: bad, port: 443, protocol: HTTPS, hostname: b.example.com, tls: {certificateRefs: [{name: bad}]}}
---
apiVersion: v1
kind: Secret
metadata:
  name: good
  annotations: {gatewayproxy.io/cert-file: certs/a.crt, gatewayproxy.io/key-file: ../keys/a.key}
---
apiVersion: v1
kind: Secret
metadata:
  name: other
  annotations: {gatewayproxy.io/cert-file: /etc/tls/b.crt, gatewayproxy.io/key-file: /etc/tls/b.key}
---
apiVersion: v1
kind: Secret
metadata: {name: bad}
stringData: {tls.crt: "no", tls.key: "no"}
"""
ROUTE = b"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: route}
spec:
  parentRefs: [{name: gw}]
  rules: [{backendRefs: [{name: app, port: 80}]}]
---
{apiVersion: v1, kind: Service, metadata: {name: app}, spec: {ports: [{port: 80}]}}
"""


def compiled(*texts: bytes, options: CompileOptions | None = None, compiler: Compiler | None = None) -> Compiled:
    sources = [Source(f"{index}.yaml", text) for index, text in enumerate(texts)]
    return (compiler or Compiler()).compile(sources, options or CompileOptions(), {})


def listeners(found: Compiled) -> dict[str, Listener]:
    return {listener.key.name: listener for listener in found.plan.listeners}


def status(found: Compiled, kind: str, name: str) -> Mapping[str, Any]:
    return next(o.status for o in found.status.objects if (o.key.kind, o.key.name) == (kind, name))


def conditions(tree: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in tree["conditions"]}


def listener_conditions(found: Compiled, gateway: str, name: str) -> dict[str, tuple[str, str]]:
    return conditions(next(li for li in status(found, "Gateway", gateway)["listeners"] if li["name"] == name))


def test_no_text_compiles_to_an_empty_table() -> None:
    found = compiled()
    assert (found.plan.listeners, found.table.ports, found.status.objects, found.status.problems) == ((), (), (), ())


def test_a_condition_has_all_that_kubernetes_asks() -> None:
    found = compiled(GATEWAY, options=CompileOptions(now=1_769_860_800.0))
    assert status(found, "Gateway", "gw")["conditions"][0] == {
        "type": "Accepted",
        "status": "True",
        "reason": "Accepted",
        "message": "",
        "lastTransitionTime": "2026-01-31T12:00:00Z",
        "observedGeneration": 5,
    }


def test_without_a_clock_status_is_the_same_every_time() -> None:
    assert compiled(GATEWAY, ROUTE).status == compiled(GATEWAY, ROUTE).status
    assert status(compiled(GATEWAY), "Gateway", "gw")["conditions"][0]["lastTransitionTime"] == "1970-01-01T00:00:00Z"


def test_listeners_are_bound_where_the_port_map_says() -> None:
    found = compiled(GATEWAY, options=CompileOptions(port_map={80: 10_080}))
    assert {name: (li.port, li.bind_port) for name, li in listeners(found).items()} == {
        "http": (80, 10_080),
        "alt": (8080, 8080),
    }


def test_two_ports_mapped_to_one_are_no_listener_of_both() -> None:
    found = compiled(GATEWAY, options=CompileOptions(port_map={80: 8080}))
    assert list(listeners(found)) == ["http"]
    assert listener_conditions(found, "gw", "alt")["Accepted"] == ("False", "PortUnavailable")


def test_an_address_that_no_port_can_be_bound_on_is_not_usable() -> None:
    refused = {BindKey("127.0.0.2", 80): "no such address", BindKey("127.0.0.2", 8080): "no such address"}
    found = compiled(GATEWAY, options=CompileOptions(unbindable=refused))
    gateway = status(found, "Gateway", "gw")
    assert conditions(gateway) == {"Accepted": ("True", "Accepted"), "Programmed": ("False", "AddressNotUsable")}
    assert [address["value"] for address in gateway["addresses"]] == ["127.0.0.1"]
    assert {li.addresses for li in found.plan.listeners} == {("127.0.0.1",)}


def test_a_port_that_cannot_be_bound_costs_its_listener_only() -> None:
    refused = {BindKey("127.0.0.1", 80): "permission denied", BindKey("127.0.0.2", 80): "permission denied"}
    found = compiled(GATEWAY, options=CompileOptions(unbindable=refused))
    assert list(listeners(found)) == ["alt"]
    assert listener_conditions(found, "gw", "http")["Accepted"] == ("False", "PortUnavailable")
    assert conditions(status(found, "Gateway", "gw"))["Programmed"] == ("True", "Programmed")


def test_when_nothing_can_be_bound_nothing_serves() -> None:
    refused = {BindKey(f"127.0.0.{host}", port): "no" for host in (1, 2) for port in (80, 8080)}
    found = compiled(GATEWAY, options=CompileOptions(unbindable=refused))
    assert found.plan.listeners == ()
    assert conditions(status(found, "Gateway", "gw"))["Programmed"] == ("False", "AddressNotUsable")


def test_the_controller_name_says_whose_a_class_is() -> None:
    text = b"""
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: any}
spec: {controllerName: example.com/mine}
"""
    assert compiled(text, GATEWAY).plan.listeners == ()
    found = compiled(text, GATEWAY, ROUTE, options=CompileOptions(controller_name="example.com/mine"))
    assert list(listeners(found)) == ["http", "alt"]
    assert conditions(status(found, "GatewayClass", "any"))["Accepted"] == ("True", "Accepted")
    assert status(found, "HTTPRoute", "route")["parents"][0]["controllerName"] == "example.com/mine"


def test_certificate_files_are_named_relative_to_their_manifest() -> None:
    wanted = Compiler().wanted_files([Source("site/manifests/tls.yaml", HTTPS)])
    assert wanted == {"site/manifests/certs/a.crt", "site/keys/a.key", "/etc/tls/b.crt", "/etc/tls/b.key"}


def test_certificates_from_files_serve_and_a_bad_secret_fences_its_listener_only() -> None:
    first, second = certificate("a.example.com"), certificate("a.example.com", rsa=True)
    files = {
        "certs/a.crt": first.chain_pem, "../keys/a.key": first.key_pem,
        "/etc/tls/b.crt": second.chain_pem, "/etc/tls/b.key": second.key_pem,
    }  # fmt: skip
    found = Compiler().compile([Source("tls.yaml", HTTPS)], CompileOptions(), files)
    assert [c.chain_pem for c in listeners(found)["good"].certificates] == [first.chain_pem, second.chain_pem]
    assert "bad" not in listeners(found)
    assert listener_conditions(found, "gw", "good")["Programmed"] == ("True", "Programmed")
    assert listener_conditions(found, "gw", "bad")["ResolvedRefs"] == ("False", "InvalidCertificateRef")


def test_a_listener_serves_with_the_certificates_that_are_good() -> None:
    first = certificate("a.example.com")
    files = {"certs/a.crt": first.chain_pem, "../keys/a.key": first.key_pem, "/etc/tls/b.crt": None}
    found = Compiler().compile([Source("tls.yaml", HTTPS)], CompileOptions(), files)
    assert [c.names for c in listeners(found)["good"].certificates] == [("a.example.com",)]
    assert listener_conditions(found, "gw", "good")["ResolvedRefs"] == ("False", "InvalidCertificateRef")


def test_an_expired_certificate_serves_and_is_told_of() -> None:
    first = certificate("a.example.com")
    files = {"certs/a.crt": first.chain_pem, "../keys/a.key": first.key_pem}
    later = CompileOptions(now=33_000_000_000.0)
    found = Compiler().compile([Source("tls.yaml", HTTPS)], later, files)
    assert "good" in listeners(found)
    assert any("expired" in problem.message for problem in found.status.problems)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        pytest.param("data: {tls.key: c2VjcmV0}, stringData: {a: plain}", {"tls.key", "a"}, id="sound"),
        pytest.param("stringdata: {a: plain}", set(), id="misspelt"),
        pytest.param("data: plain", set(), id="not a mapping"),
        pytest.param("spec: {data: {a: c2VjcmV0}}", set(), id="in the wrong place"),
        pytest.param("stringData: {a: [plain]}", {"a"}, id="not a string"),
    ],
)
def test_of_a_secret_only_the_names_of_its_entries_are_told(fields: str, names: set[str]) -> None:
    text = f"{{apiVersion: v1, kind: Secret, metadata: {{name: s}}, {fields}}}"
    found = compiled(text.encode())
    (shown,) = objects_of(found.status)
    assert shown["data"].keys() == names
    told = repr(shown) + repr(found.status.problems)
    assert "c2VjcmV0" not in told
    assert "plain" not in told


def test_an_unchanged_text_is_not_read_again() -> None:
    compiler = Compiler()
    first = compiled(GATEWAY, ROUTE, compiler=compiler)
    second = compiled(GATEWAY, ROUTE.replace(b"name: route", b"name: other"), compiler=compiler)
    assert first.status.objects[0].manifest is second.status.objects[0].manifest
    assert [each.key.name for each in second.status.objects] == ["gw", "other", "app"]


def test_problems_come_in_the_order_of_the_text() -> None:
    bad = b"{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {ports: [{port: 0}]}}"
    found = compiled(ROUTE, bad)
    assert [(p.origin.file, p.severity) for p in found.status.problems] == [
        ("0.yaml", Severity.WARNING),
        ("1.yaml", Severity.ERROR),
    ]


WORDS = st.sampled_from(
    [
        b"name: gw",
        b"protocol: HTTP",
        b"port: 80",
        b"kind: Gateway",
        b"name: app",
        b"[",
        b"{",
        b"default",
        b"rules",
        b"\n",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_text_makes_the_compiler_raise(data: st.DataObject) -> None:
    text = GATEWAY + b"---" + ROUTE
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 12)))
        text = text[:start] + data.draw(st.one_of(WORDS, st.binary(max_size=3))) + text[end:]
    found = compiled(text, GATEWAY.replace(b"name: gw", b"name: fine"))
    assert "fine" in {listener.key.parent for listener in found.plan.listeners} or found.status.problems


@pytest.mark.parametrize("lost", [b"127.0.0.1", b"80", b"HTTP", b"any"])
def test_a_field_that_is_emptied_fences_or_serves_but_never_raises(lost: bytes) -> None:
    found = compiled(GATEWAY.replace(lost, b"''"), ROUTE)
    assert found.status.problems


@pytest.mark.parametrize("case", sorted(path.parent.name for path in GOLDEN.glob("*/in.yaml")))
def test_a_compilation_leaves_nothing_to_the_collector(case: str) -> None:
    sources = [Source("in.yaml", (GOLDEN / case / "in.yaml").read_bytes())]
    Compiler().compile(sources, CompileOptions(), {})  # what is made once per process is there now
    assert leaves_nothing(lambda: Compiler().compile(sources, CompileOptions(), {}))
