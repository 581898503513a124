"""System 2, NovaEdge's guide: roles, canary, filters, databases by port and by server name."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.certs import authority, certificate, client_context
from tests.support.grpc_peers import CLIENTS, ENDED_IN_TIME, MESSAGE, SERVICE
from tests.support.grpc_peers import serving as grpc_serving
from tests.support.h2client import h2_session
from tests.support.peers import postgresql, redis_tls, require, run
from tests.support.seeds import CERT_FILE, ENDPOINTS, KEY_FILE, ROOT, Seed, Served, Tree, cli, http_port, serving

GATEWAY = "gateway-system/api-gateway"
STORE = "store.example.com"
REDIS = "redis.internal.example.com"
API = "gateway.networking.k8s.io"
CANARY = 1_000  # requests; the share of v2 is 10 %, one standard deviation 9.5


@pytest.fixture(scope="module")
def novaedge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seed]:
    with serving("novaedge", tmp_path_factory.mktemp("novaedge"), workers=2) as seed:
        yield seed


def store(seed: Seed, target: str, *options: str) -> Served:
    """Return what curl gets from the store over HTTPS."""
    return seed.curl(f"https://{STORE}:{http_port(443)}{target}", *options)


def store_connection(seed: Seed) -> http.client.HTTPSConnection:
    """Return a connection to the HTTPS listener that says the store's name, by SNI and by Host."""
    connection = http.client.HTTPSConnection(STORE, context=client_context(), timeout=60)
    raw = socket.create_connection((seed.host, http_port(443)), timeout=60)
    connection.sock = client_context().wrap_socket(raw, server_hostname=STORE)
    return connection


def http_route(name: str, *, namespace: str = "store", parent: Tree | None = None, **spec: Any) -> Tree:
    """An HTTPRoute below the guide's HTTPS listener, or another *parent*."""
    reference = {"name": "api-gateway", "namespace": "gateway-system", **(parent or {"sectionName": "https"})}
    metadata = {"name": name, "namespace": namespace}
    whole = {"parentRefs": [reference], **spec}
    return {"apiVersion": f"{API}/v1", "kind": "HTTPRoute", "metadata": metadata, "spec": whole}


# --- HTTP


def test_E1_the_canary_gets_its_share_and_the_beta_header_always_v2(novaedge: Seed) -> None:
    share: Counter[str] = Counter()
    connection = store_connection(novaedge)
    for _ in range(CANARY):
        connection.request("GET", "/api/version")
        share[json.loads(connection.getresponse().read())["backend"]] += 1
    assert share.keys() == {"store/store-api-v1", "store/store-api-v2"}
    assert share["store/store-api-v2"] == pytest.approx(CANARY / 10, abs=CANARY / 25)
    for _ in range(50):
        connection.request("GET", "/api/version", headers={"X-Beta-User": "true"})
        assert json.loads(connection.getresponse().read())["backend"] == "store/store-api-v2"
    connection.close()


def test_E1_the_order_of_rules_does_not_matter(novaedge: Seed) -> None:
    with novaedge.changed():
        novaedge.tree("HTTPRoute", "store/store-api")["spec"]["rules"].reverse()
        novaedge.reload()
        answers = {store(novaedge, "/api", "-H", "X-Beta-User: true").backend for _ in range(10)}
        assert answers == {"store/store-api-v2"}
        assert store(novaedge, "/api", "-H", "X-Beta-User: false").backend.startswith("store/store-api-v")


@pytest.mark.parametrize(
    ("target", "backend"),
    [
        ("/api", "store/store-api-v"),
        ("/api/", "store/store-api-v"),
        ("/api?x=/", "store/store-api-v"),
        ("/api/version", "store/store-api-v"),
        ("/apiary", "store/store-frontend-svc"),
        ("/API", "store/store-frontend-svc"),
        ("/", "store/store-frontend-svc"),
    ],
)
def test_E2_prefixes_go_by_segment(novaedge: Seed, target: str, backend: str) -> None:
    answer = store(novaedge, target)
    assert answer.backend.startswith(backend)
    assert answer.seen["path"] == target


@pytest.mark.parametrize(
    ("target", "seen"),
    [
        ("/shop/a?b=1", "/store/a?b=1"),
        ("/shop", "/store"),
        ("/shop/", "/store/"),
        ("/shop?b=1", "/store?b=1"),
        ("/shopping", "/shopping"),
    ],
)
def test_E3_the_prefix_is_replaced_and_the_host_kept(novaedge: Seed, target: str, seen: str) -> None:
    answer = store(novaedge, target)
    assert (answer.backend, answer.seen["path"]) == ("store/store-frontend-svc", seen)
    assert answer.seen["headers"]["host"] == f"{STORE}:{http_port(443)}"


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/old-path/x?q", f"https://{STORE}/new-path/x?q"),
        ("/old-path", f"https://{STORE}/new-path"),
        ("/old-path/?a=b&c", f"https://{STORE}/new-path/?a=b&c"),
    ],
)
def test_E4_the_redirect_names_the_new_place_without_the_default_port(
    novaedge: Seed, target: str, location: str
) -> None:
    before = {name: [each.n_requests for each in those] for name, those in novaedge.backends.items()}
    answer = store(novaedge, target)
    assert (answer.status, answer.headers["location"], answer.body) == (301, location, b"")
    assert {name: [each.n_requests for each in those] for name, those in novaedge.backends.items()} == before


def test_E5_fields_are_added_set_and_removed(novaedge: Seed) -> None:
    answer = store(
        novaedge, "/catalog/7", "-H", "X-Debug-Header: 1", "-H", "x-debug-HEADER: 2", "-H", "X-Channel: forged",
        "-H", "X-Gateway: of-the-client",
    )  # fmt: skip
    seen = answer.seen["headers"]
    assert answer.backend == "store/store-api-v1"
    assert seen["x-gateway"] == "novaedge"  # the last of two lines: `add` leaves what the client sent
    assert seen["x-channel"] == "web"
    assert "x-debug-header" not in seen
    assert answer.headers["x-served-by"] == "novaedge"


def test_E5_an_answer_of_the_gateway_itself_is_not_marked_as_served(novaedge: Seed) -> None:
    with novaedge.changed(), socket.create_server((novaedge.host, 0)) as nobody:
        annotations = novaedge.tree("Service", "store/store-api-v1")["metadata"]["annotations"]
        annotations[ENDPOINTS] = "{}:{}".format(*nobody.getsockname())
        nobody.close()
        novaedge.reload()
        answer = store(novaedge, "/catalog")
        assert answer.status == 503
        assert "x-served-by" not in answer.headers
        novaedge.logged(target="/catalog", status=503, reason="connect_failed")


# --- versions


def _unsilenced(text: str) -> str:
    """Return a manifest without its annotations, which silence what the linter says of its version."""
    return re.sub(r"  annotations:\n    gatewayproxy.io/lint-ignore:.*\n", "", text)


@pytest.mark.parametrize("version", ["v1", "v1alpha2", "v1alpha3"])
def test_E7_older_versions_are_served_and_deprecation_is_told(version: str, tmp_path: Path) -> None:
    kinds = ["TLSRoute"] if version == "v1alpha3" else ["TLSRoute", "TCPRoute"]
    text = (ROOT / "config/novaedge/routes-l4.yaml").read_text()
    documents = text.replace(f"{API}/v1alpha2", f"{API}/{version}").split("---")
    kept = [_unsilenced(each) for each in documents if any(f"kind: {kind}\n" in each for kind in kinds)]
    (tmp_path / "routes.yaml").write_text("---".join(kept))
    others = [str(ROOT / "config/novaedge" / name) for name in ("gateway.yaml", "services.yaml")]
    checked = subprocess.run(
        [sys.executable, "-m", "gatewayproxy", "check", "-o", "json", str(tmp_path), *others],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 0 or "certs/wildcard" in checked.stdout
    told = {
        problem["object"]["kind"]: problem["message"]
        for problem in json.loads(checked.stdout)
        if problem["field"] == "apiVersion"
    }
    assert told.keys() == (set() if version == "v1" else set(kinds))
    assert all(version in message and "deprecated" in message for message in told.values())
    routes = json.loads(cli("get", ",".join(kinds), "-A", "-o", "json", str(tmp_path), *others))["items"]
    assert [route["status"]["parents"][0]["conditions"][0]["status"] for route in routes] == ["True"] * len(kinds)


# --- gRPC

CALLS = "grpc.example.com"


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    """The endpoint of a gRPC server."""
    with grpc_serving("grpcio") as port:
        yield f"127.0.0.1:{port}"


def echo_service(endpoint: str) -> Tree:
    metadata = {"name": "calls", "namespace": "store", "annotations": {ENDPOINTS: endpoint}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 50051}]}}


def call_rule(name: str, method: Tree | None = None, backend: str = "calls") -> Tree:
    """A rule of a GRPCRoute; answers carry its *name*."""
    mark = {"set": [{"name": "X-Rule", "value": name}]}
    rule: Tree = {
        "filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": mark}],
        "backendRefs": [{"name": backend, "port": 50051}],
    }
    return rule | ({"matches": [{"method": method}]} if method else {})


def call_route(name: str, *rules: Tree, version: str = "v1", **options: Any) -> Tree:
    made = http_route(name, **{"hostnames": [CALLS], **options}, rules=list(rules))
    return {**made, "kind": "GRPCRoute", "apiVersion": f"{API}/{version}"}


@pytest.mark.parametrize("name", CLIENTS)
async def test_E6_the_rule_of_a_method_beats_that_of_its_service_listed_before(
    novaedge: Seed, echo: str, name: str
) -> None:
    with novaedge.changed():
        novaedge.add(
            echo_service(echo),
            call_route(
                "grpc-services",
                call_rule("service", {"service": SERVICE}),
                call_rule("broken", {"service": "peers.Broken"}, backend="missing"),
                call_rule("method", {"service": SERVICE, "method": "Unary"}),
            ),
        )
        novaedge.reload()
        async with CLIENTS[name]((novaedge.host, http_port(443)), CALLS, CALLS) as client:
            outcome = await client.call("Unary", b"x")
            assert (outcome.status, outcome.messages, outcome.initial["x-rule"]) == (0, [b"x"], "method")
            outcome = await client.call("Count", b"3")
            assert (outcome.status, outcome.messages, outcome.initial["x-rule"]) == (0, [b"1", b"2", b"3"], "service")
            outcome = await client.call("Fail", b"x")
            assert (outcome.status, outcome.message, outcome.trailing["x-why"]) == (10, MESSAGE, "told")
            async with client.talk("Chat") as talk:
                for n in range(3):
                    await talk.send(b"%d" % n)
                    assert await talk.receive() == b"%d" % n
            assert (await client.call("/peers.Other/Any", b"")).status == 12  # UNIMPLEMENTED
            assert (await client.call("/peers.Broken/Any", b"")).status == 14  # UNAVAILABLE
            outcome = await client.call("Hang", b"E6 " + name.encode(), timeout=3.0)
            assert outcome.status in ENDED_IN_TIME
            assert outcome.messages != [b""]  # the server knew of the deadline
            assert (await client.call("Gone", b"E6 " + name.encode())).messages == [b"yes"]


async def test_E6_the_gateways_own_answers_are_trailers_only_and_no_page(novaedge: Seed, echo: str) -> None:
    with novaedge.changed():
        novaedge.add(echo_service(echo), call_route("grpc-services", call_rule("one", {"service": SERVICE})))
        novaedge.reload()
        tls = client_context(alpn=("h2",))
        async with h2_session(http_port(443), at=novaedge.host, tls=tls, name=CALLS) as session:
            fields = [("content-type", "application/grpc"), ("te", "trailers")]
            answer = await session.ask("/peers.Other/Any", method="POST", host=CALLS, scheme="https", fields=fields)
            said = dict(answer.fields)
            assert (answer.status, said[b"grpc-status"], answer.body, answer.trailers) == (200, b"12", b"", [])
            assert said[b"content-type"] == b"application/grpc"


async def test_E7_a_grpc_route_of_the_guides_version_is_served_and_deprecation_is_told(
    novaedge: Seed, echo: str
) -> None:
    with novaedge.changed():
        novaedge.add(echo_service(echo), call_route("grpc-services", call_rule("all"), version="v1alpha2"))
        report = novaedge.reload()
        (problem,) = (each for each in report["problems"] if each["object"].startswith("GRPCRoute"))
        assert problem["severity"] == "warning"
        assert "v1alpha2" in problem["message"]
        async with CLIENTS["grpcio"]((novaedge.host, http_port(443)), CALLS) as client:
            assert (await client.call("Unary", b"x")).messages == [b"x"]


async def test_E10_sni_chooses_the_listener_and_authority_the_route_of_a_call(novaedge: Seed, echo: str) -> None:
    address = (novaedge.host, http_port(443))

    async def rule(name: str, authority: str) -> object:
        async with CLIENTS["grpcio"](address, name, authority) as client:
            outcome = await client.call("Unary", b"x")
            return outcome.initial.get("x-rule", outcome.status)

    with novaedge.changed():
        own_listener(novaedge, "own", CALLS, "own-tls")
        other = "other-calls.example.com"
        novaedge.add(
            echo_service(echo),
            call_route("own", call_rule("own"), parent={"sectionName": "own"}),
            call_route("other", call_rule("other"), hostnames=[other]),
        )
        novaedge.reload()
        assert names_of(peer_certificate(novaedge, CALLS)) == {CALLS}
        assert await rule(CALLS, CALLS) == "own"
        assert await rule(other, other) == "other"
        assert await rule(STORE, other) == "other"  # grpcurl -authority, on the wildcard's connection
        assert await rule(STORE, "unknown.example.com") == 12
        assert await rule(STORE, CALLS) not in ("own", "other")  # 421: the name is another listener's


# --- databases


async def test_E8_psql_speaks_tls_with_postgresql_through_the_tcp_listener(novaedge: Seed, tmp_path: Path) -> None:
    psql = require("psql")
    async with postgresql(certificate("postgres.example.com")) as address:
        with novaedge.changed():
            annotations = novaedge.tree("Service", "gateway-system/postgresql")["metadata"]["annotations"]
            annotations[ENDPOINTS] = "{}:{}".format(*address)
            novaedge.reload()
            target = (
                f"host=postgres.example.com hostaddr={novaedge.host} port=5432 user=postgres "
                f"sslmode=verify-full sslrootcert={novaedge.authority}"
            )
            code, out = await run(
                psql, target, "-At", "-c", "select ssl, 6*7 from pg_stat_ssl where pid = pg_backend_pid()"
            )
            assert (code, out.strip()) == (0, "t|42")
            code, out = await run(psql, target.replace("verify-full", "disable"), "-At", "-c", "select 1")
            assert (code, out.strip()) == (0, "1")
            novaedge.logged(
                protocol="tcp", listener=f"{GATEWAY}/tcp-postgres", backend="gateway-system/postgresql:5432"
            )


async def test_E8_redis_is_reached_by_its_server_name_and_no_other(novaedge: Seed, tmp_path: Path) -> None:
    client = require("redis-cli")
    async with redis_tls(certificate(REDIS), tmp_path) as address:
        with novaedge.changed():
            annotations = novaedge.tree("Service", "gateway-system/redis-cluster")["metadata"]["annotations"]
            annotations[ENDPOINTS] = "{}:{}".format(*address)
            novaedge.reload()
            plain = [client, "-h", novaedge.host, "-p", "6379"]
            tls = [*plain, "--tls", "--cacert", str(novaedge.authority)]
            assert await run(*tls, "--sni", REDIS, "set", "k", "v") == (0, "OK\n")
            assert await run(*tls, "--sni", REDIS.upper(), "get", "k") == (0, "v\n")
            for reason, host, command in (
                ("no_route", "other.example.com", [*tls, "--sni", "other.example.com", "ping"]),
                ("no_route", None, [*tls, "ping"]),
                ("not_tls", None, [*plain, "ping"]),
            ):
                counted = refusals(novaedge)
                code, out = await run(*command)
                assert code != 0, out
                assert "PONG" not in out
                line = novaedge.logged(protocol="tls", reason=reason, host=host)
                assert (line["backend"], line["bytes_out"]) == ("", 0)
                assert refusals(novaedge)[reason] > counted[reason]


def refusals(seed: Seed) -> Counter[str]:
    """Return gatewayproxy_local_answers_total by reason."""
    counted: Counter[str] = Counter()
    for line in seed.gateway.get("/metrics").body.decode().splitlines():
        if line.startswith("gatewayproxy_local_answers_total{"):
            labels, _, value = line.rpartition(" ")
            counted[labels.partition('reason="')[2].partition('"')[0]] += int(float(value))
    return counted


# --- who may attach, and what the status says


def test_E9_the_database_listener_takes_no_http_route_and_no_foreign_route(novaedge: Seed) -> None:
    tcp: Tree = {"name": "api-gateway", "namespace": "gateway-system", "sectionName": "tcp-postgres"}
    backend = [{"name": "store-api-v1", "port": 8080}]
    with novaedge.changed():
        novaedge.add(
            http_route("http-here", namespace="gateway-system", parent=tcp, rules=[{"backendRefs": backend}]),
            {**http_route("foreign", parent=tcp, rules=[{"backendRefs": backend}]), "kind": "TCPRoute"},
            http_route("any-listener", namespace="gateway-system", parent={"port": 5432}),
        )
        novaedge.reload()
        refused = ("False", "NotAllowedByListeners")
        assert novaedge.conditions("httproute", "gateway-system/http-here")["Accepted"] == refused
        assert novaedge.conditions("tcproute", "store/foreign")["Accepted"] == refused
        assert novaedge.conditions("httproute", "gateway-system/any-listener")["Accepted"] == refused
        assert novaedge.attached(GATEWAY) == {"http": 0, "https": 4, "tcp-postgres": 1, "tls-redis": 1}
        with socket.create_connection((novaedge.host, 5432), timeout=60) as stream:
            stream.sendall(b"1 still the database\n")  # the backend echoes what begins with no letter
            assert stream.makefile("rb").readline() == b"1 still the database\n"


def test_E10_sni_chooses_the_listener_and_host_chooses_the_route(novaedge: Seed) -> None:
    openssl = require("openssl")
    with novaedge.changed():
        own_listener(novaedge, "admin-https", "admin.example.com", "admin-tls")
        backend = [{"name": "store-api-v2", "port": 8080}]
        admin = {"sectionName": "admin-https"}
        novaedge.add(
            http_route("admin", parent=admin, hostnames=["admin.example.com"], rules=[{"backendRefs": backend}]),
            http_route("other", hostnames=["other.example.com"], rules=[{"backendRefs": backend}]),
        )
        novaedge.reload()
        port = http_port(443)
        for name, serial in (("admin.example.com", "admin.example.com"), (STORE, "*.example.com")):
            assert names_of(peer_certificate(novaedge, name)) == {serial}
        command = [openssl, "s_client", "-connect", f"{novaedge.host}:{port}", "-servername", "admin.example.com"]
        shown = subprocess.run(command, input=b"", capture_output=True, timeout=60, check=False).stdout
        assert b"CN = admin.example.com" in shown or b"CN=admin.example.com" in shown
        assert novaedge.curl(f"https://admin.example.com:{port}/").backend == "store/store-api-v2"
        assert store(novaedge, "/").backend == "store/store-frontend-svc"
        assert store(novaedge, "/", "-H", "Host: other.example.com").backend == "store/store-api-v2"
        assert store(novaedge, "/", "-H", "Host: unknown.example.com").status == 404
        # A connection for one listener is no way to another one's routes (RFC 9110 §15.5.20).
        assert store(novaedge, "/", "-H", "Host: admin.example.com").status == 421
        assert novaedge.curl(f"https://admin.example.com:{port}/", "-H", f"Host: {STORE}").status == 421


def own_listener(seed: Seed, name: str, hostname: str, secret: str) -> None:
    """Add an HTTPS listener with a Secret of its own, for a certificate of just this name."""
    listener = {
        "name": name, "protocol": "HTTPS", "port": 443, "hostname": hostname,
        "tls": {"certificateRefs": [{"name": secret}]}, "allowedRoutes": {"namespaces": {"from": "All"}},
    }  # fmt: skip
    seed.tree("Gateway", GATEWAY)["spec"]["listeners"].append(listener)
    annotations = {CERT_FILE: f"certs/{secret}.crt", KEY_FILE: f"certs/{secret}.key"}
    metadata = {"name": secret, "namespace": "gateway-system", "annotations": annotations}
    made: Tree = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/tls"}
    seed.issue(made, hostname)
    seed.add(made)


def peer_certificate(seed: Seed, name: str) -> dict[str, Any]:
    """Return the certificate that a client with this server name is shown."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    with socket.create_connection((seed.host, http_port(443)), timeout=60) as raw:
        with context.wrap_socket(raw, server_hostname=name) as tls:
            return tls.getpeercert() or {}


def names_of(shown: dict[str, Any]) -> set[str]:
    """Return the DNS names of a certificate as Python shows it."""
    return {value for kind, value in shown["subjectAltName"] if kind == "DNS"}


def condition(conditions: Sequence[dict[str, str]], kind: str) -> tuple[str, str]:
    """Return (status, reason) of one condition."""
    (found,) = (each for each in conditions if each["type"] == kind)
    return found["status"], found["reason"]


def test_E18_class_gateway_and_listeners_say_how_they_are(novaedge: Seed) -> None:
    gateway_class = novaedge.get_json("gatewayclass", "novaedge")
    assert condition(gateway_class["status"]["conditions"], "Accepted") == ("True", "Accepted")
    status = novaedge.get_json("gateway", "api-gateway", "-n", "gateway-system")["status"]
    assert status["addresses"] == [{"type": "IPAddress", "value": novaedge.host}]
    assert condition(status["conditions"], "Accepted") == ("True", "Accepted")
    assert condition(status["conditions"], "Programmed") == ("True", "Programmed")
    kinds = {each["name"]: [kind["kind"] for kind in each["supportedKinds"]] for each in status["listeners"]}
    assert kinds["tcp-postgres"] == ["TCPRoute"]
    assert kinds["tls-redis"] == ["TLSRoute"]
    assert "HTTPRoute" in kinds["http"]
    assert "HTTPRoute" in kinds["https"]
    assert {each["name"]: each["attachedRoutes"] for each in status["listeners"]} == {
        "http": 0, "https": 4, "tcp-postgres": 1, "tls-redis": 1,
    }  # fmt: skip
    for listener in status["listeners"]:
        for kind in ("Accepted", "Programmed", "ResolvedRefs"):
            assert condition(listener["conditions"], kind) == ("True", kind)


def backend_ref(name: str, **rest: Any) -> list[Tree]:
    return [{"backendRefs": [{"name": name, "port": 8080, **rest}]}]


@pytest.mark.parametrize(
    ("route", "kind", "reason", "status"),
    [
        pytest.param(
            http_route("r", parent={"sectionName": "nowhere"}), "Accepted", "NoMatchingParent", 0, id="NoMatchingParent"
        ),
        pytest.param(http_route("r", parent={"port": 81}), "Accepted", "NoMatchingParent", 0, id="no such port"),
        pytest.param(
            http_route("r", parent={"sectionName": "tls-redis"}), "Accepted", "NotAllowedByListeners", 0,
            id="NotAllowedByListeners",
        ),
        pytest.param(
            http_route("r", parent={"sectionName": "narrow"}, hostnames=["elsewhere.example.net"]), "Accepted",
            "NoMatchingListenerHostname", 0, id="NoMatchingListenerHostname",
        ),
        pytest.param(
            http_route("r", hostnames=["e18.example.com"], rules=backend_ref("missing")), "ResolvedRefs",
            "BackendNotFound", 500, id="BackendNotFound",
        ),
        pytest.param(
            http_route("r", hostnames=["e18.example.com"], rules=backend_ref("postgresql", namespace="gateway-system")),
            "ResolvedRefs", "RefNotPermitted", 500, id="RefNotPermitted",
        ),
        pytest.param(
            http_route("r", hostnames=["e18.example.com"], rules=backend_ref("x", group="example.com", kind="Bucket")),
            "ResolvedRefs", "InvalidKind", 500, id="InvalidKind",
        ),
    ],
)  # fmt: skip
def test_E18_a_route_says_for_each_parent_why_it_does_not_work(
    novaedge: Seed, route: Tree, kind: str, reason: str, status: int
) -> None:
    with novaedge.changed():
        own_listener(novaedge, "narrow", "*.narrow.example.com", "narrow-tls")
        novaedge.add(route)
        novaedge.reload()
        assert novaedge.conditions("httproute", "store/r")[kind] == ("False", reason)
        if status:
            assert novaedge.conditions("httproute", "store/r")["Accepted"] == ("True", "Accepted")
            answer = novaedge.curl(f"https://e18.example.com:{http_port(443)}/")
            assert answer.status == status
        assert store(novaedge, "/").status == 200


def test_E18_a_listener_of_an_unknown_protocol_is_fenced_and_the_rest_serves(novaedge: Seed) -> None:
    with novaedge.changed():
        listeners = novaedge.tree("Gateway", GATEWAY)["spec"]["listeners"]
        listeners.append({"name": "odd", "protocol": "example.com/quic", "port": 9443})
        listeners.append(
            {"name": "kinds", "protocol": "HTTP", "port": 9080, "allowedRoutes": {"kinds": [{"kind": "TCPRoute"}]}}
        )
        novaedge.reload()
        status = novaedge.get_json("gateway", "api-gateway", "-n", "gateway-system")["status"]
        by_name = {each["name"]: each["conditions"] for each in status["listeners"]}
        assert condition(by_name["odd"], "Accepted") == ("False", "UnsupportedProtocol")
        assert condition(by_name["kinds"], "ResolvedRefs") == ("False", "InvalidRouteKinds")
        assert condition(by_name["https"], "Programmed") == ("True", "Programmed")
        assert condition(status["conditions"], "Accepted") == ("True", "ListenersNotValid")
        assert store(novaedge, "/").status == 200
