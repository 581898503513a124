"""System 1, NVIDIA's NVCF: HTTP by host name and raw TCP by port on one Gateway, first by Host header, then by DNS."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from tests.support.seed_peers import SERVICES, connect_proxy, grpc_check, grpc_list, grpc_server, nats, streaming
from tests.support.seeds import Seed, Tree, cli, curl, hasty, http_port, serving
from tests.support.threaded_backend import backend
from tests.support.threaded_peer import peer, read_until

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
        with socket.create_connection((nvcf.host, 10086), timeout=60) as client:
            assert client.recv(1) == b""
        nvcf.logged(protocol="tcp", reason="ref_not_permitted", route="TCPRoute envoy-gateway/worker")
        sources[0]["kind"] = "TCPRoute"
        nvcf.reload()
        assert nvcf.ask(f"api.{D}").status == 500
        with socket.create_connection((nvcf.host, 10086), timeout=60) as client:
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


# --- N8-N10: raw TCP


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seed]:
    """The same with every timeout so short that a test can outlive it."""
    folder = tmp_path_factory.mktemp("hurried")
    with serving("nvcf", folder, peers=(*PEERS, "nvcf/llm"), arguments=hasty()) as seed:
        seed.add(route("plain", f"plain.{D}", backend="llm"))
        seed.add(route("limited", f"limited.{D}", backend="llm", timeouts={"request": "2s"}))
        seed.reload()
        yield seed


async def test_N8_grpc_health_check_and_list_work_through_tcp(nvcf: Seed) -> None:
    async with grpc_server(nvcf.endpoint("nvcf/grpc")):
        assert await grpc_check(nvcf.host, 10081)
        listed = await grpc_list(nvcf.host, 10081)
        assert all(service.encode() in listed for service in SERVICES)
    line = nvcf.logged(protocol="tcp", route="TCPRoute envoy-gateway/grpc", listener=f"{GATEWAY}/tcp")
    assert "reason" not in line


def call_route(name: str, host: str) -> Tree:
    """A GRPCRoute on listener http for every call to *host*, to the server behind port 10081."""
    tree = route(name, host, backend="grpc", namespace="nvcf")
    tree["spec"]["rules"] = [{"backendRefs": [{"name": "grpc", "port": 10081}]}]
    return {**tree, "kind": "GRPCRoute"}


async def test_N8_grpc_health_check_and_list_work_through_a_grpc_route(nvcf: Seed) -> None:
    host, port = f"grpc.{D}", http_port(80)
    async with grpc_server(nvcf.endpoint("nvcf/grpc")):
        with nvcf.changed():
            nvcf.add(call_route("calls", host))
            nvcf.reload()
            assert nvcf.conditions("grpcroute", "nvcf/calls")["ResolvedRefs"] == ("True", "ResolvedRefs")
            assert await grpc_check(nvcf.host, port, host)
            listed = await grpc_list(nvcf.host, port, f"{host}:{port}")
            assert all(service.encode() in listed for service in SERVICES)
            line = nvcf.logged(route="GRPCRoute nvcf/calls", target="/grpc.health.v1.Health/Check")
            assert (line["protocol"], line["backend"]) == ("http/2", "nvcf/grpc:10081")
            with pytest.raises(GRPCError) as raised:
                await grpc_check(nvcf.host, port, f"other.{D}")
            assert raised.value.status is Status.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("name", "created", "wins"),
    [
        pytest.param("aaa", {}, True, id="first by name"),
        pytest.param("zzz", {}, False, id="last by name"),
        pytest.param("zzz", {"creationTimestamp": "2020-01-01T00:00:00Z"}, True, id="older"),
    ],
)
async def test_N12_of_an_http_and_a_grpc_route_on_one_host_exactly_one_is_accepted(
    nvcf: Seed, name: str, created: Tree, wins: bool
) -> None:
    host = f"shared.{D}"
    calls = call_route(name, host)
    calls["metadata"] |= created
    refused, accepted = ("False", "HostnameConflict"), ("True", "Accepted")
    async with grpc_server(nvcf.endpoint("nvcf/grpc")):
        with nvcf.changed():
            nvcf.add(calls, route("mmm", host, backend="api"))
            nvcf.reload()
            assert nvcf.conditions("grpcroute", f"nvcf/{name}")["Accepted"] == (accepted if wins else refused)
            assert nvcf.conditions("httproute", "nvcf/mmm")["Accepted"] == (refused if wins else accepted)
            page = await asyncio.to_thread(nvcf.ask, host)
            if wins:
                assert page.backend == ""
                assert await grpc_check(nvcf.host, http_port(80), host)
            else:
                assert page.backend == "nvcf/api"
                with pytest.raises(GRPCError):
                    await grpc_check(nvcf.host, http_port(80), host)
            assert (await asyncio.to_thread(nvcf.ask, f"api.{D}")).backend == "nvcf/api"  # nobody else's


def test_N8_bytes_are_relayed_untouched(nvcf: Seed) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")  # and empty SETTINGS
    sent = preface + random.Random(8).randbytes(300_000) + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\x16\x03\x01"
    seen = bytearray()

    def mirror(sock: socket.socket) -> None:
        while data := sock.recv(65_536):
            seen.extend(data)
        sock.sendall(bytes(reversed(seen)))

    with peer(nvcf.endpoint("nvcf/grpc"), mirror), socket.create_connection((nvcf.host, 10081), timeout=60) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        back = b"".join(iter(lambda: client.recv(65_536), b""))
    assert bytes(seen) == sent
    assert back == sent[::-1]


def test_N8_a_quiet_stream_outlives_every_timeout(hurried: Seed) -> None:
    with (
        peer(hurried.endpoint("nvcf/grpc"), echo),
        socket.create_connection((hurried.host, 10081), timeout=60) as client,
    ):
        assert exchange(client, b"before") == b"before"
        hurried.outlive_timeouts()
        assert exchange(client, b"after") == b"after"


def test_N9_a_server_that_speaks_first_is_dialled_at_accept(nvcf: Seed) -> None:
    with (
        peer(nvcf.endpoint("nats-system/nats"), nats),
        socket.create_connection((nvcf.host, 4222), timeout=60) as client,
    ):
        info = read_until(client, b"\r\n")  # and we have not said a word
        assert json.loads(info.removeprefix(b"INFO "))["max_payload"] == 1_048_576
        client.sendall(b'CONNECT {"verbose":false}\r\nSUB work 1\r\nPING\r\n')
        assert read_until(client, b"\r\n") == b"PONG\r\n"
        client.sendall(b"PUB work 5\r\nhello\r\n")
        assert read_until(client, b"hello\r\n") == b"MSG work 1 5\r\nhello\r\n"


def test_N9_http_connect_of_workers_is_opaque(nvcf: Seed) -> None:
    asked: list[bytes] = []
    with backend("origin") as origin:
        proxy = connect_proxy(asked, ("127.0.0.1", origin.port))
        with peer(nvcf.endpoint("nvcf/worker"), proxy):
            through = ["--proxytunnel", "--proxy", f"http://{nvcf.host}:10086", "--suppress-connect-headers"]
            answer = curl(*through, "http://fn1.worker.internal:8443/run")
    assert asked == [b"CONNECT fn1.worker.internal:8443 HTTP/1.1"]
    assert (answer.backend, answer.seen["path"]) == ("origin", "/run")
    assert answer.seen["headers"]["host"] == "fn1.worker.internal:8443"
    assert "x-forwarded-for" not in answer.seen["headers"]  # no proxy was here but that of the worker


def test_N10_section_name_binds_a_route_to_one_port(nvcf: Seed) -> None:
    with ExitStack() as stack:
        for service in PEERS:
            stack.enter_context(peer(nvcf.endpoint(service), partial(say, service)))
        assert [said(nvcf, port) for port in (10081, 10086, 4222)] == ["nvcf/grpc", "nvcf/worker", "nats-system/nats"]
        with nvcf.changed():
            nvcf.drop("TCPRoute", "envoy-gateway/worker")
            nvcf.reload()
            assert [said(nvcf, port) for port in (10081, 10086, 4222)] == ["nvcf/grpc", "", "nats-system/nats"]
            assert nvcf.attached(GATEWAY) == {**OPENED, "worker": 0}


def test_N10_without_a_section_name_a_route_attaches_to_all_tcp_listeners_and_no_other(nvcf: Seed) -> None:
    with nvcf.changed(), peer(nvcf.endpoint("nvcf/grpc"), partial(say, "nvcf/grpc")):
        for name in ("worker", "nats"):
            nvcf.drop("TCPRoute", f"envoy-gateway/{name}")
        del nvcf.tree("TCPRoute", "envoy-gateway/grpc")["spec"]["parentRefs"][0]["sectionName"]
        nvcf.reload()
        assert [said(nvcf, port) for port in (10081, 10086, 4222)] == ["nvcf/grpc"] * 3
        assert nvcf.attached(GATEWAY) == OPENED
        assert nvcf.conditions("tcproute", "envoy-gateway/grpc")["Accepted"] == ("True", "Accepted")
        assert nvcf.ask(f"api.{D}").backend == "nvcf/api"


# --- N11: streams have no hidden deadline


@pytest.mark.parametrize(
    "host", [pytest.param(f"llm.invocation.{D}", id="request: 0s"), pytest.param(f"plain.{D}", id="no timeouts")]
)
def test_N11_a_token_stream_completes_however_long_it_takes(hurried: Seed, host: str) -> None:
    with hurried.http() as connection, streaming(hurried.endpoint("nvcf/llm"), connection, host) as (answer, go_on):
        hurried.outlive_timeouts()  # the model thinks
        go_on()
        response = answer()
        assert response.status == 200
        go_on()
        assert response.readline() == b"data: one\n"
        hurried.outlive_timeouts()  # the model thinks again
        go_on()
        assert response.read() == b"\ndata: [DONE]\n\n"


def test_N11_a_deadline_that_is_set_holds(hurried: Seed) -> None:
    llm = hurried.endpoint("nvcf/llm")
    with hurried.http() as connection, streaming(llm, connection, f"limited.{D}") as (answer, go_on):
        assert answer().status == 504
        hurried.logged(host=f"limited.{D}", status=504, reason="request_timeout")
    with hurried.http() as connection, streaming(llm, connection, f"limited.{D}") as (answer, go_on):
        go_on()
        go_on()
        response = answer()
        assert response.readline() == b"data: one\n"
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            response.read()


# --- N13, N15, N16: what the guide asks and does


def test_N13_the_gateways_address_is_read_from_its_status(nvcf: Seed) -> None:
    online = nvcf.get("gateway", "nvcf-gateway", "-n", "envoy-gateway", "-o", "jsonpath={.status.addresses[0].value}")
    assert online == nvcf.host
    where = ("-n", "envoy-gateway", "-f", str(nvcf.folder), "-o", "jsonpath={.status.addresses[0].value}")
    assert cli("get", "gateway", "nvcf-gateway", *where) == nvcf.host
    assert nvcf.gateway.objects()["Gateway", "nvcf-gateway"]["status"]["addresses"] == [
        {"type": "IPAddress", "value": nvcf.host}
    ]
    assert curl("-H", f"Host: api.{D}", f"http://{online}:{http_port(80)}/health").status == 200


def test_N15_https_comes_up_when_the_secret_is_written_and_follows_its_renewal(nvcf: Seed) -> None:
    url = f"https://api.{D}:{http_port(443)}/health"
    secret = nvcf.tree("Secret", "envoy-gateway/nvcf-tls")
    with nvcf.changed():
        nvcf.drop("Secret", "envoy-gateway/nvcf-tls")  # cert-manager has not issued yet
        nvcf.reload()
        assert nvcf.ask(f"api.{D}", "/health").status == 200
        with pytest.raises(AssertionError, match="curl: exit"):
            nvcf.curl(url)
        assert https_condition(nvcf, "ResolvedRefs") == ("False", "InvalidCertificateRef")
        assert https_condition(nvcf, "Programmed")[0] == "False"
        nvcf.add(secret)
        nvcf.reload()
        assert https_condition(nvcf, "Programmed") == ("True", "Programmed")
        answer = nvcf.curl(url)
        assert (answer.status, answer.backend) == (200, "nvcf/api")
        assert answer.seen["headers"]["x-forwarded-proto"] == "https"
        first = nvcf.certificate(f"fn1.invocation.{D}")
        nvcf.issue(secret, f"*.{D}", f"*.invocation.{D}", serial=1)
        assert nvcf.reload()["result"] == "applied"
        assert nvcf.certificate(f"fn1.invocation.{D}") != first


def test_N15_the_acme_solver_wins_over_every_redirect_and_vanishes_cleanly(nvcf: Seed) -> None:
    challenge = f"http://console.{D}:{http_port(80)}/.well-known/acme-challenge/demo-token"
    answer = nvcf.curl(challenge)
    assert (answer.status, answer.backend) == (200, "envoy-gateway/acme-solver")
    with nvcf.changed():
        everything = route("aaa-redirect", backend="")  # every host, as a redirect of a whole port is written
        del everything["spec"]["rules"][0]["backendRefs"]
        scheme = {"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}
        everything["spec"]["rules"][0]["filters"] = [scheme]
        nvcf.add(everything, file="aaa.yaml")
        nvcf.reload()
        assert nvcf.ask(f"new.{D}", "/x").status == 301
        assert nvcf.curl(challenge).backend == "envoy-gateway/acme-solver"
        for other in (challenge + "2", challenge + "/", challenge[:-1]):
            assert nvcf.curl(other).status == 301
        assert nvcf.curl(f"{challenge}?x=1").backend == "envoy-gateway/acme-solver"
        nvcf.drop("HTTPRoute", "envoy-gateway/acme-solver")
        nvcf.drop("Service", "envoy-gateway/acme-solver")
        report = nvcf.reload()
        assert report["changes"]["rules_removed"] == [f"HTTPRoute envoy-gateway/acme-solver rule 0 on {GATEWAY}/http"]
        answer = nvcf.curl(challenge)
        assert (answer.status, answer.headers["location"]) == (
            301, f"https://console.{D}/.well-known/acme-challenge/demo-token",
        )  # fmt: skip
    assert nvcf.curl(challenge).backend == "envoy-gateway/acme-solver"


def test_N16_hosts_per_route(nvcf: Seed) -> None:
    template = r'jsonpath={range .items[*]}{.metadata.name}: {.spec.hostnames[*]}{"\n"}{end}'
    lines = nvcf.get("httproute", "-A", "-o", template).splitlines()
    assert f"invocation-service: *.invocation.{D} invocation.{D}" in lines
    assert len(lines) == len(nvcf.trees("HTTPRoute"))
    hostnames = nvcf.get("httproute", "api-keys", "-n", "envoy-gateway", "-o", "jsonpath={.spec.hostnames}")
    assert json.loads(hostnames) == [f"api-keys.{D}"]


def test_N16_conditions_and_attached_counts(nvcf: Seed) -> None:
    conditions = nvcf.get("gateway", "nvcf-gateway", "-n", "envoy-gateway", "-o", "jsonpath={.status.conditions}")
    assert {each["type"]: each["status"] for each in json.loads(conditions)} == {
        "Accepted": "True",
        "Programmed": "True",
    }
    by_type = r'jsonpath={.status.parents[0].conditions[?(@.type=="Accepted")].reason}'
    assert nvcf.get("httproute", "sandbox", "-n", "sandbox", "-o", by_type) == "NotAllowedByListeners"
    counts = r'jsonpath={range .status.listeners[*]}{.name}={.attachedRoutes}{"\n"}{end}'
    lines = nvcf.get("gateway", "nvcf-gateway", "-n", "envoy-gateway", "-o", counts).splitlines()
    assert lines == [f"{name}={count}" for name, count in OPENED.items()]


def test_N16_grants_labels_and_ports_exposed(nvcf: Seed) -> None:
    grants = {tuple(line.split()[:2]) for line in nvcf.get("referencegrants", "-A").splitlines()[1:]}
    assert grants == {(namespace, "from-envoy-gateway") for namespace in ("api-keys", "nvcf", "nats-system")}
    tcp = [line.split()[:2] for line in nvcf.get("tcproute", "-A").splitlines()[1:]]
    assert sorted(tcp) == [["envoy-gateway", name] for name in ("grpc", "nats", "worker")]
    labels = {each["metadata"]["name"]: each["metadata"].get("labels", {}) for each in nvcf.get_json("ns")["items"]}
    assert sorted(name for name, each in labels.items() if each.get("nvcf/platform") != "true") == ["sandbox"]
    ports = nvcf.get("gateway", "nvcf-gateway", "-n", "envoy-gateway", "-o", "jsonpath={.spec.listeners[*].port}")
    assert ports == "80 443 10081 10086 4222"


def https_condition(nvcf: Seed, kind: str) -> tuple[str, str]:
    """Return (status, reason) of a condition of listener https."""
    status = nvcf.get_json("gateway", "nvcf-gateway", "-n", "envoy-gateway")["status"]
    (listener,) = (each for each in status["listeners"] if each["name"] == "https")
    (found,) = (each for each in listener["conditions"] if each["type"] == kind)
    return found["status"], found["reason"]


def echo(sock: socket.socket) -> None:
    while data := sock.recv(65_536):
        sock.sendall(data)


def exchange(sock: socket.socket, data: bytes) -> bytes:
    """Send *data* and read as much."""
    sock.sendall(data)
    return read_until(sock, data)


def say(word: str, sock: socket.socket) -> None:
    sock.sendall(word.encode())


def said(nvcf: Seed, port: int) -> str:
    """Return all that a TCP port says."""
    with socket.create_connection((nvcf.host, port), timeout=60) as client:
        return b"".join(iter(lambda: client.recv(65_536), b"")).decode()
