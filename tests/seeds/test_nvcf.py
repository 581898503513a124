"""System 1, NVIDIA's NVCF: HTTP by host name and raw TCP by port on one Gateway, first by Host header, then by DNS."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support.manifests import Tree
from tests.support.process import Gateway
from tests.support.seeds import Seed, cli, curl, http_port, serving
from tests.support.threaded_backend import backend
from tests.support.threaded_peer import peer, read_until, relay

D = "nvcf.localhost"
GATEWAY = "envoy-gateway/nvcf-gateway"
PEERS = ("nvcf/grpc", "nvcf/worker", "nats-system/nats")
OPENED = {"http": 7, "https": 6, "tcp": 1, "worker": 1, "nats": 1}


@pytest.fixture(scope="module")
def nvcf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seed]:
    with serving("nvcf", tmp_path_factory.mktemp("nvcf"), peers=PEERS) as seed:
        yield seed


def route(name: str, *hostnames: str, backend: str, path: str = "/", namespace: str = "nvcf", **rule: object) -> Tree:
    """An HTTPRoute on listener http with one prefix rule to port 8080 of Service *backend*."""
    rules = [{"matches": [{"path": {"value": path}}], "backendRefs": [{"name": backend, "port": 8080}], **rule}]
    parent = {"name": "nvcf-gateway", "namespace": "envoy-gateway", "sectionName": "http"}
    spec = {"parentRefs": [parent], "hostnames": list(hostnames), "rules": rules}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": metadata, "spec": spec}


# --- N1-N5: host names


def test_N1_the_host_header_chooses_the_backend_in_its_namespace(nvcf: Seed) -> None:
    address = f"http://{nvcf.host}:{http_port(80)}/health"
    answer = curl("-H", f"Host: api-keys.{D}", address)
    assert (answer.status, answer.backend, answer.seen["path"]) == (200, "api-keys/api-keys", "/health")
    assert curl("-H", f"Host: api.{D}", address).backend == "nvcf/api"


@pytest.mark.parametrize("host", [f"API.{D}", f"Api.NVCF.LocalHost:{http_port(80)}", f"api.{D}:80", f"api.{D}:10081"])
def test_N1_case_and_port_of_the_host_do_not_matter_and_reach_the_backend_as_they_came(nvcf: Seed, host: str) -> None:
    answer = nvcf.ask(host, "/health")
    assert (answer.status, answer.backend) == (200, "nvcf/api")
    assert answer.seen["headers"]["host"] == host


@pytest.mark.parametrize("host", ["unknown.example.com", D, f"other.{D}", f"api.{D}.example.com", f"x.api.{D}", None])
def test_N2_an_unknown_host_or_the_bare_address_is_404(nvcf: Seed, host: str | None) -> None:
    n_before = n_requests(nvcf)
    answer = nvcf.ask(nvcf.host if host is None else host, "/health")
    assert (answer.status, answer.backend) == (404, "")
    assert n_requests(nvcf) == n_before
    nvcf.logged(status=404, reason="no_route", route="", host=nvcf.host if host is None else host)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (f"fn1.invocation.{D}", 200),
        (f"a.b.invocation.{D}", 200),
        (f"a.b.c.d.e.invocation.{D}", 200),
        (f"FN1.Invocation.{D}", 200),
        (f"invocation.{D}", 200),  # by the second entry
        (f"evilinvocation.{D}", 404),
        (f"invocation.{D}.evil.example", 404),
        (f"xinvocation.{D}", 404),
        (f".invocation.{D}", 404),  # none before the dot
        ("", 400),  # an http URI has a host
    ],
)
def test_N3_a_wildcard_stands_for_one_or_more_labels(nvcf: Seed, host: str, status: int) -> None:
    answer = nvcf.ask(host)
    assert answer.status == status
    assert answer.backend == ("nvcf/invocation" if status == 200 else "")


def test_N3_a_wildcard_does_not_match_its_own_suffix(nvcf: Seed) -> None:
    with nvcf.changed():
        nvcf.tree("HTTPRoute", "envoy-gateway/invocation-service")["spec"]["hostnames"].remove(f"invocation.{D}")
        nvcf.reload()
        assert nvcf.ask(f"invocation.{D}").status == 404
        assert nvcf.ask(f"fn1.invocation.{D}").backend == "nvcf/invocation"


@pytest.mark.parametrize("file", ["aa-first.yaml", "zz-last.yaml"])
def test_N4_an_exact_host_beats_a_wildcard_whatever_the_file_order(nvcf: Seed, file: str) -> None:
    exact = nvcf.tree("HTTPRoute", "envoy-gateway/llm-service")
    with nvcf.changed():
        nvcf.drop("HTTPRoute", "envoy-gateway/llm-service")
        nvcf.reload()
        assert nvcf.ask(f"llm.invocation.{D}").backend == "nvcf/invocation"
        nvcf.add(exact, file=file)
        nvcf.reload()
        assert nvcf.ask(f"llm.invocation.{D}").backend == "nvcf/llm"
        assert nvcf.ask(f"x.llm.invocation.{D}").backend == "nvcf/invocation"
        assert nvcf.ask(f"llm2.invocation.{D}").backend == "nvcf/invocation"


def test_N4_the_host_is_compared_before_the_path(nvcf: Seed) -> None:
    with nvcf.changed():
        deep = route("deep", f"*.invocation.{D}", backend="api", path="/v1/chat")
        exact = route("exact", f"deep.invocation.{D}", backend="console", path="/v1")
        nvcf.add(deep, exact)
        nvcf.reload()
        assert nvcf.ask(f"fn1.invocation.{D}", "/v1/chat").backend == "nvcf/api"
        assert nvcf.ask(f"deep.invocation.{D}", "/v1/chat").backend == "nvcf/console"
        # Precedence is among rules that match: what the exact host has no rule for is the wildcard's.
        assert nvcf.ask(f"deep.invocation.{D}", "/v2").backend == "nvcf/invocation"


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/v1/admin/keys", "api-keys/admin-issuer-proxy"),
        ("/v1/admin/keys/7?full=1", "api-keys/admin-issuer-proxy"),
        ("/v1/keys", "api-keys/api-keys"),
        ("/v1/admin", "api-keys/api-keys"),
        ("/v1/admin/keysmith", "api-keys/api-keys"),
    ],
)
def test_N5_rules_of_two_routes_on_one_host_are_ranked_together(nvcf: Seed, path: str, service: str) -> None:
    answer = nvcf.ask(f"api-keys.{D}", path, method="POST")
    assert (answer.status, answer.backend) == (200, service)
    assert (answer.seen["method"], answer.seen["path"]) == ("POST", path)


# --- N6, N7: who may attach, who may be referred to


def test_N6_only_labelled_namespaces_attach_and_the_gateways_own_is_no_exception(nvcf: Seed) -> None:
    assert nvcf.attached(GATEWAY) == OPENED
    assert nvcf.ask(f"sandbox.{D}").status == 404
    with nvcf.changed():
        del nvcf.tree("Namespace", "envoy-gateway")["metadata"]["labels"]
        nvcf.reload()
        # What is left is the admin proxy's route, of namespace api-keys.
        assert nvcf.attached(GATEWAY) == {"http": 1, "https": 1, "tcp": 0, "worker": 0, "nats": 0}
        assert nvcf.ask(f"api.{D}").status == 404
        assert nvcf.ask(f"api-keys.{D}", "/v1/admin/keys").status == 200
        assert nvcf.conditions("httproute", "envoy-gateway/nvcf-api")["Accepted"] == ("False", "NotAllowedByListeners")
        assert nvcf.conditions("tcproute", "envoy-gateway/grpc")["Accepted"] == ("False", "NotAllowedByListeners")
        del nvcf.tree("Namespace", "api-keys")["metadata"]["labels"]
        nvcf.reload()
        assert set(nvcf.attached(GATEWAY).values()) == {0}
        assert nvcf.ask(f"api-keys.{D}", "/v1/admin/keys").status == 404
    assert nvcf.attached(GATEWAY) == OPENED


@pytest.mark.parametrize("version", ["v1beta1", "v1"])
def test_N7_without_a_grant_a_rule_is_500_and_with_one_200(nvcf: Seed, version: str) -> None:
    mixed = route("mixed", f"mixed.{D}", backend="console", path="/open")
    closed = {"matches": [{"path": {"value": "/closed"}}]}
    closed["backendRefs"] = [{"name": "api-keys", "namespace": "api-keys", "port": 8080}]
    mixed["spec"]["rules"].append(closed)
    with nvcf.changed():
        nvcf.add(mixed)
        nvcf.reload()
        assert nvcf.conditions("httproute", "nvcf/mixed")["ResolvedRefs"] == ("False", "RefNotPermitted")
        assert nvcf.conditions("httproute", "nvcf/mixed")["Accepted"] == ("True", "Accepted")
        answer = nvcf.ask(f"mixed.{D}", "/closed")
        assert (answer.status, answer.backend) == (500, "")
        nvcf.logged(status=500, reason="ref_not_permitted", route="HTTPRoute nvcf/mixed", rule="1")
        assert nvcf.ask(f"mixed.{D}", "/open").backend == "nvcf/console"
        nvcf.add(grant("from-nvcf", "api-keys", "nvcf", "HTTPRoute", version))
        nvcf.reload()
        assert nvcf.conditions("httproute", "nvcf/mixed")["ResolvedRefs"] == ("True", "ResolvedRefs")
        assert nvcf.ask(f"mixed.{D}", "/closed").backend == "api-keys/api-keys"


def test_N7_a_grant_is_for_one_kind_of_route(nvcf: Seed) -> None:
    with nvcf.changed(), peer(nvcf.endpoint("nvcf/worker"), greet):
        sources = nvcf.tree("ReferenceGrant", "nvcf/from-envoy-gateway")["spec"]["from"]
        sources[:] = [each for each in sources if each["kind"] == "HTTPRoute"]
        nvcf.reload()
        assert nvcf.ask(f"api.{D}").status == 200
        assert nvcf.conditions("tcproute", "envoy-gateway/worker")["ResolvedRefs"] == ("False", "RefNotPermitted")
        with socket.create_connection((nvcf.host, 10086), timeout=10) as client:
            assert client.recv(1) == b""
        nvcf.logged(protocol="tcp", reason="ref_not_permitted", route="TCPRoute envoy-gateway/worker")
        sources[0]["kind"] = "TCPRoute"
        nvcf.reload()
        assert nvcf.ask(f"api.{D}").status == 500
        with socket.create_connection((nvcf.host, 10086), timeout=10) as client:
            assert read_until(client, b"\n") == b"hello\n"


def grant(name: str, namespace: str, source: str, kind: str, version: str) -> Tree:
    group = "gateway.networking.k8s.io"
    spec = {"from": [{"group": group, "kind": kind, "namespace": source}], "to": [{"group": "", "kind": "Service"}]}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": f"{group}/{version}", "kind": "ReferenceGrant", "metadata": metadata, "spec": spec}


def greet(sock: socket.socket) -> None:
    sock.sendall(b"hello\n")
    sock.recv(1)


def n_requests(nvcf: Seed) -> int:
    return sum(each.n_requests for backends in nvcf.backends.values() for each in backends)
