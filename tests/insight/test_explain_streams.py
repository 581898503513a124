"""`explain` of connections, of requests that come to no port, and of routes that no listener has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gatewayproxy.cli import main

MANIFESTS = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: gatewayproxy
  addresses: [{type: IPAddress, value: 127.0.0.1}]
  listeners:
    - {name: web, protocol: HTTP, port: 80}
    - {name: tls, protocol: TLS, port: 443, hostname: "*.a.example", tls: {mode: Passthrough}}
    - {name: narrow, protocol: TLS, port: 443, hostname: "*.in.a.example", tls: {mode: Passthrough}}
    - {name: db, protocol: TCP, port: 5432}
    - {name: other, protocol: TCP, port: 5433}
    - {name: dns, protocol: UDP, port: 53}
    - {name: dark, protocol: HTTPS, port: 8443, hostname: shop.example, tls: {certificateRefs: [{name: none}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: exact}
spec:
  parentRefs: [{name: edge, sectionName: tls}]
  hostnames: [db.a.example]
  rules: [{backendRefs: [{name: one, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: wide}
spec:
  parentRefs: [{name: edge, sectionName: tls}]
  hostnames: ["*.a.example"]
  rules: [{backendRefs: [{name: one, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: within}
spec:
  parentRefs: [{name: edge, sectionName: narrow}]
  hostnames: ["x.in.a.example"]
  rules: [{backendRefs: [{name: one, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: new, creationTimestamp: "2026-02-01T00:00:00Z"}
spec:
  parentRefs: [{name: edge, sectionName: db}]
  rules: [{backendRefs: [{name: one, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: old, creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  parentRefs: [{name: edge, sectionName: db}, {name: edge, sectionName: nowhere}]
  rules: [{backendRefs: [{name: one, port: 80}]}, {backendRefs: [{name: one, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: UDPRoute
metadata: {name: names}
spec:
  parentRefs: [{name: edge, sectionName: dns}]
  rules: [{backendRefs: [{name: one, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge, sectionName: web}]
  hostnames: [shop.example]
  rules: [{backendRefs: [{name: one, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: stranger, namespace: far}
spec:
  parentRefs: [{name: edge, namespace: default}]
  hostnames: [shop.example]
  rules: [{backendRefs: [{name: one, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: one, annotations: {gatewayproxy.io/endpoints: "127.0.0.1:8001"}}
spec: {ports: [{port: 80}]}
"""


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    file = tmp_path / "edge.yaml"
    file.write_text(MANIFESTS)

    def explain(*request: str, output: str = "json") -> Any:
        main(["explain", str(file), "-o", output, "--", *request])
        out = capsys.readouterr().out
        return json.loads(out) if output == "json" else out

    return explain


def reasons(told: Any) -> list[tuple[str, int, str]]:
    return [(each["route"].partition("/")[2], each["rule"], each["failed"]) for each in told["missed"]]


def test_of_two_server_names_that_fit_the_narrower_one_takes_the_connection(ask: Any) -> None:
    told = ask("tls://db.a.example:443")
    assert (told["route"], told["match"]["text"]) == ("default/exact", "server name db.a.example")
    assert reasons(told) == [("wide", 0, "precedence"), ("within", 0, "host")]
    assert told["missed"][0]["detail"] == (
        "it fits, but TLSRoute default/exact goes before it: the narrower hostname goes first"
    )


def test_a_listener_with_a_narrower_hostname_keeps_the_name_from_others(ask: Any) -> None:
    told = ask("tls://y.in.a.example:443")
    assert (told["listener"], told["route"]) == ("default/edge/narrow", None)
    assert ("wide", 0, "listener") in reasons(told)
    missed = {each["route"]: each["detail"] for each in told["missed"]}
    assert missed["default/wide"] == "default/edge/narrow has a narrower hostname"
    assert missed["default/within"] == "its hostnames are x.in.a.example"


def test_a_client_without_a_server_name_is_told_so(ask: Any) -> None:
    told = ask("tls://:443")
    assert told["answer"]["reason"] == "no_sni"
    assert all(each["detail"].endswith("and the client asks for no server name") for each in told["missed"])


def test_of_two_routes_of_one_port_the_older_has_all_connections(ask: Any) -> None:
    told = ask("tcp://:5432")
    assert (told["route"], told["match"]["text"]) == ("default/old", "any connection")
    assert reasons(told) == [("new", 0, "precedence"), ("old", 1, "precedence")]
    newer, second = (each["detail"] for each in told["missed"])
    assert newer == "it fits, but TCPRoute default/old goes before it: the older route goes first"
    assert second.startswith("only the first rule of such a route is used")


def test_a_stream_without_its_backend_is_told_to_end(ask: Any, tmp_path: Path) -> None:
    (tmp_path / "edge.yaml").write_text(
        MANIFESTS.replace("kind: Service\nmetadata: {name: one,", "kind: Service\nmetadata: {name: two,")
    )
    assert "default/one:80: the connection ends  backend_not_found: " in ask("tcp://:5432", output="text")


def test_a_port_without_a_route_names_the_ports_that_have_one(ask: Any) -> None:
    told = ask("tcp://:5433")
    assert told["answer"]["reason"] == "no_route"
    assert {(each["route"], each["failed"], each["detail"]) for each in told["missed"]} == {
        ("default/old", "port", "default/edge/db is on port 5432"),
        ("default/new", "port", "default/edge/db is on port 5432"),
    }
    (nowhere,) = told["unaccepted"]
    assert (nowhere["route"], nowhere["parent"]) == ("default/old", "Gateway default/edge section nowhere")
    assert nowhere["reason"] == "NoMatchingParent"


def test_datagrams_are_for_routes_of_datagrams(ask: Any) -> None:
    told = ask("udp://:53")
    assert (told["kind"], told["match"]["text"], told["missed"]) == ("UDPRoute", "any datagram", [])


def test_a_request_to_a_port_that_is_not_there_is_told_where_its_host_is(ask: Any) -> None:
    told = ask("http://shop.example:8080/")
    assert told["answer"]["reason"] == "no_port"
    assert (told["missed"][0]["route"], told["missed"][0]["detail"]) == (
        "default/shop", "default/edge/web is on port 80",
    )  # fmt: skip


def test_a_route_that_no_listener_has_says_why_where_its_host_is_asked_for(ask: Any) -> None:
    (nowhere,) = ask("http://shop.example/")["unaccepted"]
    assert (nowhere["kind"], nowhere["route"], nowhere["reason"]) == (
        "HTTPRoute", "far/stranger", "NotAllowedByListeners",
    )  # fmt: skip
    assert ask("http://elsewhere.example/")["unaccepted"] == []
    text = ask("http://shop.example/", output="text")
    assert "ROUTES THAT NO LISTENER HAS\n  HTTPRoute far/stranger  NotAllowedByListeners\n      by Gateway" in text


CONFLICT = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: mixed}
spec:
  gatewayClassName: any
  addresses: [{type: IPAddress, value: 127.0.0.7}]
  listeners:
    - {name: all, protocol: HTTP, port: 80}
    - {name: some, protocol: HTTP, port: 80, hostname: "*.mixed.example"}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: calls}
spec:
  parentRefs: [{name: mixed, sectionName: some}]
  hostnames: [api.mixed.example]
  rules: [{backendRefs: [{name: one, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: pages}
spec:
  parentRefs: [{name: mixed}]
  rules: [{backendRefs: [{name: one, port: 80}]}]
"""


def test_a_route_that_only_some_listeners_have_says_who_has_its_host_on_the_others(ask: Any, tmp_path: Path) -> None:
    (tmp_path / "edge.yaml").write_text(MANIFESTS + CONFLICT)
    request = "http://www.mixed.example/ --resolve www.mixed.example:80:127.0.0.7"
    told = ask(*request.split())
    assert (told["listener"], told["answer"]["reason"]) == ("default/mixed/some", "no_route")
    (lacking,) = (each for each in told["unaccepted"] if each["route"] == "default/pages")
    assert (lacking["partly"], lacking["reason"], lacking["parent"]) == (
        True, "HostnameConflict", "Gateway default/mixed",
    )  # fmt: skip
    assert lacking["message"].startswith("api.mixed.example of listener some belongs to GRPCRoute default/calls")
    text = ask(*request.split(), output="text")
    assert "ROUTES THAT NOT ALL LISTENERS HAVE\n  HTTPRoute default/pages  HostnameConflict\n" in text
    served = ask("http://other.example/", "--resolve", "other.example:80:127.0.0.7")
    assert (served["route"], [each for each in served["unaccepted"] if each["partly"]]) == ("default/pages", [])


def test_a_listener_that_does_not_serve_says_why_where_it_is_asked_for(ask: Any) -> None:
    told = ask("https://shop.example:8443/")
    assert told["answer"]["reason"] == "no_port"
    (dark,) = told["unserving"]
    assert (dark["name"], dark["reason"]) == ("default/edge/dark", "InvalidCertificateRef")
    assert ask("https://else.example:8443/")["unserving"] == []
    assert ask("http://shop.example/")["unserving"] == []
    assert "LISTENERS THAT DO NOT SERVE\n  default/edge/dark  HTTPS 8443  shop.example\n" in ask(
        "https://shop.example:8443/", output="text"
    )


ODD = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: gatewayproxy
  listeners: [7, {name: [x]}, {name: web, protocol: HTTP, port: "80", hostname: 5}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec: {parentRefs: [{name: edge}], hostnames: {a: b}, rules: 4}
"""


def test_manifests_that_are_no_such_thing_are_no_reason_to_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "odd.yaml").write_text(ODD)
    assert main(["explain", str(tmp_path), "--", "http://shop.example/"]) == 1
    assert "no_port" in capsys.readouterr().out
