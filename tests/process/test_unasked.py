"""What no test of the official suite asks of a gateway, from manifests to bytes: one gateway with unasked.yaml."""

from __future__ import annotations

import http.client
import json
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.grpc_peers import CLIENTS
from tests.support.grpc_peers import serving as grpc_serving
from tests.support.manifests import service, write
from tests.support.ports import free_port
from tests.support.process import Gateway, loopback_address, running, wait_until
from tests.support.recorder import Recorder, recorder
from tests.support.threaded_peer import peer, read_until

UNAVAILABLE = 14


class Edge(NamedTuple):
    """The gateway, where it listens, and its backends by the name of their Service."""

    gateway: Gateway
    host: str
    port: int
    backends: Mapping[str, Recorder]

    def connect(self, host: str = "") -> http.client.HTTPConnection:
        return http.client.HTTPConnection(host or self.host, self.port, timeout=60)

    def ask(
        self, name: str, path: str = "/", *, method: str = "GET", body: Any = None,
        headers: Mapping[str, str] | None = None, at: str = "",
    ) -> tuple[http.client.HTTPResponse, bytes]:  # fmt: skip
        """Return the answer to one request for host *name*, and its body."""
        connection = self.connect(at)
        try:
            connection.request(method, path, body, {"Host": name, **(headers or {})})
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def backend_of(self, name: str, path: str = "/", headers: Mapping[str, str] | None = None) -> str:
        """Return which backend answered, or the status if the gateway did."""
        answer, body = self.ask(name, path, headers=headers)
        return str(json.loads(body)["backend"]) if answer.status == 200 else str(answer.status)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    folder = tmp_path_factory.mktemp("unasked")
    host, port = loopback_address(), free_port()
    with ExitStack() as stack:
        backends = {name: stack.enter_context(recorder(name)) for name in ("one", "two", "shadow", "failing")}
        backends["six"] = stack.enter_context(recorder("six", "::1"))
        pair = [stack.enter_context(recorder(name)) for name in ("left", "right")]
        calls = stack.enter_context(grpc_serving("grpcio"))
        auth = stack.enter_context(peer(("127.0.0.1", 0), judge))
        text = (Path(__file__).parent / "unasked.yaml").read_text()
        (folder / "routes.yaml").write_text(text.replace("HOST", host).replace("PORT", str(port)))
        write(
            folder,
            *(service(name, each.endpoint) for name, each in backends.items()),
            service("pair", *(each.endpoint for each in pair)),
            service("calls", f"127.0.0.1:{calls}"),
            service("auth", "{}:{}".format(*auth)),
            service("empty"),
            name="services.yaml",
        )
        yield Edge(stack.enter_context(running(folder, workers=1)), host, port, backends)


def judge(sock: socket.socket) -> None:
    """Let those pass who say the word."""
    while True:
        head = read_until(sock, b"\r\n\r\n").lower()
        if b"authorization: sesame" in head:
            sock.sendall(b"HTTP/1.1 200 OK\r\nX-User: ada\r\nContent-Length: 0\r\n\r\n")
        else:
            sock.sendall(b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Word\r\nContent-Length: 4\r\n\r\nnope")


# --- mirrors, filters of answers


def test_a_mirror_gets_the_request_as_the_backend_does(edge: Edge) -> None:
    body = bytes(range(256)) * 300
    fields = {"X-Set": "by-client", "X-Gone": "1", "X-Kept": "2"}
    edge.backends["shadow"].requests.clear()
    _, answer = edge.ask("mirrored.test", "/a/b?c=d", method="POST", body=body, headers=fields)
    (copy,) = wait_until(lambda: edge.backends["shadow"].requests, "the copy")
    seen = json.loads(answer)
    assert (copy.method, copy.path, copy.body) == ("POST", "/a/b?c=d", body)
    assert (copy.headers["x-set"], copy.headers["x-kept"], copy.headers["host"]) == ("by-rule", "2", "mirrored.test")
    assert "x-gone" not in copy.headers
    assert seen["body"].encode("latin-1") == body
    assert {**seen["headers"], "content-length": ""} == {**copy.headers, "content-length": ""}


def test_answers_are_marked_by_the_backend_that_gave_them(edge: Edge) -> None:
    marked: Counter[str] = Counter()
    for _ in range(10):
        answer, body = edge.ask("marked.test")
        assert json.loads(body)["backend"] == answer.headers["X-Served"]
        assert answer.headers["X-By"] == "rule"
        assert ("Server" in answer.headers) is (answer.headers["X-Served"] == "two")
        marked[answer.headers["X-Served"]] += 1
    assert marked == {"one": 5, "two": 5}


# --- matches by pattern


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        pytest.param("/v12/items", {}, "one", id="path"),
        pytest.param("/v12/items/1", {}, "404", id="a pattern is for the whole path"),
        pytest.param("/x/v12/items", {}, "404", id="from its beginning"),
        pytest.param("/v12/items?id=1234", {"X-Team": "red-fox"}, "one", id="path before header and query"),
        pytest.param("/", {"x-team": "blue-whale"}, "two", id="header"),
        pytest.param("/", {"x-team": "Red-fox"}, "404", id="values have a case"),
        pytest.param("/", {"x-team": "red-fox2"}, "404", id="a pattern is for the whole value"),
        pytest.param("/?id=1234", {}, "shadow", id="query parameter"),
        pytest.param("/?id=12345", {}, "404", id="a pattern is for the whole parameter"),
        pytest.param("/?id=%31234", {}, "shadow", id="parameters are decoded before"),
    ],
)
def test_patterns_match_in_full(edge: Edge, path: str, headers: Mapping[str, str], expected: str) -> None:
    assert edge.backend_of("patterns.test", path, headers) == expected


# --- backends that are not there


def test_a_service_without_endpoints_is_503(edge: Edge) -> None:
    assert edge.backend_of("partly.test", "/empty") == "503"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/some", {"one": 15, "500": 5}, id="a backend that does not exist keeps its share: 500"),
        pytest.param("/half", {"one": 10, "503": 10}, id="one without endpoints keeps its share: 503"),
    ],
)
def test_requests_for_a_missing_backend_are_not_given_to_another(
    edge: Edge, path: str, expected: Mapping[str, int]
) -> None:
    assert Counter(edge.backend_of("partly.test", path) for _ in range(20)) == expected


# --- gRPC


@pytest.mark.parametrize(
    ("way", "seen"),
    [("set", "by-rule"), ("add", "by-client, by-rule"), ("remove", None)],
)
async def test_header_fields_of_calls_are_set_added_and_removed(edge: Edge, way: str, seen: str | None) -> None:
    async with CLIENTS["grpcio"]((edge.host, edge.port), authority="calls.test") as client:
        outcome = await client.call("Unary", b"x", metadata=[("x-way", way), ("x-ask", "by-client")])
    assert (outcome.status, outcome.messages) == (0, [b"x"])
    assert outcome.initial.get("x-initial") == seen


async def test_header_fields_of_the_answers_of_calls_are_set(edge: Edge) -> None:
    async with CLIENTS["grpcio"]((edge.host, edge.port), authority="calls.test") as client:
        outcome = await client.call("Unary", b"x", metadata=[("x-way", "answer"), ("x-ask", "by-client")])
    assert outcome.initial["x-initial"] == "by-rule"


@pytest.mark.parametrize("method", ["Refuse", "Fail"], ids=["no such Service", "no endpoints"])
async def test_a_call_without_a_backend_is_unavailable(edge: Edge, method: str) -> None:
    async with CLIENTS["grpcio"]((edge.host, edge.port), authority="calls.test") as client:
        outcome = await client.call(method, b"x")
    assert (outcome.status, outcome.messages) == (UNAVAILABLE, [])


# --- bodies, trailers, streams, connections


@pytest.mark.parametrize("chunked", [False, True], ids=["by length", "in chunks"])
def test_request_bodies_arrive_whole(edge: Edge, chunked: bool) -> None:
    body = bytes(range(256)) * 4096
    pieces = iter([body[:1000], body[1000:500_000], body[500_000:]]) if chunked else body
    answer, _ = edge.ask("plain.test", "/in", method="PUT", body=pieces)
    assert answer.status == 200
    seen = edge.backends["one"].requests[-1]
    assert (seen.method, seen.path, seen.body == body) == ("PUT", "/in", True)


def test_trailers_of_an_answer_arrive(edge: Edge) -> None:
    with socket.create_connection((edge.host, edge.port), timeout=60) as sock:
        sock.sendall(b"GET /trailers HTTP/1.1\r\nHost: plain.test\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
        assert read_until(sock, b"0\r\nX-Sum: 42\r\n\r\n").count(b"body") == 1


def test_a_stream_arrives_as_it_is_written(edge: Edge) -> None:
    connection = edge.connect()
    connection.request("GET", "/stream", headers={"Host": "plain.test"})
    answer = connection.getresponse()
    assert answer.read(5) == b"first"  # while the backend waits for us
    edge.backends["one"].go_on.set()
    assert answer.read() == b"second"
    connection.close()


def test_connections_to_backends_outlive_those_of_clients(edge: Edge) -> None:
    for _ in range(10):
        assert edge.backend_of("plain.test", "/kept-alive") == "one"
    peers = [each.peer for each in edge.backends["one"].requests if each.path == "/kept-alive"]
    assert (len(peers), len(set(peers))) == (10, 1)


def test_ipv6_on_both_sides(edge: Edge) -> None:
    answer, body = edge.ask("six.test", at="::1")
    seen = json.loads(body)
    assert (answer.status, seen["backend"]) == (200, "six")
    assert seen["headers"]["x-forwarded-for"] == "::1"
    assert edge.backend_of("six.test") == "six"  # from IPv4 to IPv6


# --- authorization, sessions, budgets


def test_an_authorization_server_decides_who_may_pass(edge: Edge) -> None:
    answer, body = edge.ask("guarded.test", "/secret", headers={"Authorization": "Please"})
    assert (answer.status, answer.headers["WWW-Authenticate"], body) == (401, "Word", b"nope")
    answer, body = edge.ask("guarded.test", "/secret", headers={"Authorization": "Sesame", "X-User": "mallory"})
    assert (answer.status, json.loads(body)["headers"]["x-user"]) == (200, "ada")


def test_who_cannot_be_asked_about_does_not_pass(edge: Edge) -> None:
    n_before = len(edge.backends["one"].requests)
    answer, _ = edge.ask("guarded.test", "/auth-absent", headers={"Authorization": "Sesame"})
    assert answer.status >= 500 or answer.status == 403
    assert len(edge.backends["one"].requests) == n_before


def test_a_session_stays_with_its_endpoint_by_cookie(edge: Edge) -> None:
    answer, body = edge.ask("kept.test", "/cookie")
    first = json.loads(body)["backend"]
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    assert cookie.startswith("basket=")
    assert {edge.backend_of("kept.test", "/cookie", {"Cookie": f"a=b; {cookie}"}) for _ in range(10)} == {first}
    assert {edge.backend_of("kept.test", "/none", {"Cookie": cookie}) for _ in range(10)} == {"left", "right"}
    forged = f"{cookie[:-4]}AAAA" if not cookie.endswith("AAAA") else f"{cookie[:-4]}BBBB"
    assert {edge.backend_of("kept.test", "/cookie", {"Cookie": forged}) for _ in range(10)} == {"left", "right"}


def test_a_session_stays_with_its_endpoint_by_header(edge: Edge) -> None:
    answer, body = edge.ask("kept.test", "/header")
    first, session = json.loads(body)["backend"], answer.headers["X-Session"]
    assert "Set-Cookie" not in answer.headers
    assert {edge.backend_of("kept.test", "/header", {"X-Session": session}) for _ in range(10)} == {first}


def test_a_budget_bounds_the_retries_of_a_backend_that_fails(edge: Edge) -> None:
    n_asked = 40
    assert {edge.backend_of("again.test", "/fail/1000") for _ in range(n_asked)} == {"503"}
    n_retries = sum(each.path == "/fail/1000" for each in edge.backends["failing"].requests) - n_asked
    assert 0 < n_retries <= (n_asked + n_retries) * 20 // 100 + 1
