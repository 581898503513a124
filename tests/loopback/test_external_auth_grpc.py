"""ExternalAuth over gRPC: an ext_authz server of grpcio, and one that misbehaves frame by frame."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import Cluster, Endpoint, ExternalAuth
from gatewayproxy.model.protocols import AppProtocol
from gatewayproxy.model.traffic import Session
from gatewayproxy.routing.table import Auth, BackendChoice, HostIndex
from tests.support.backend import Backend, backend, client, until
from tests.support.ext_authz import CheckRequest, CheckResponse
from tests.support.ext_authz_server import ext_authz_server
from tests.support.external_auth import guarded
from tests.support.h2backend import H2Call, h2_backend
from tests.support.h2client import h2_session
from tests.support.ports import closed_port
from tests.support.worker import Served, cluster, entry, serve, vhost

APP = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-App: app\r\n\r\nok"
GRPC = ("content-type", "application/grpc")


def asked(port: int, **options: Any) -> ExternalAuth:
    spoken = Cluster(name="default/auth:80", protocol=AppProtocol.H2C, endpoints=(Endpoint("127.0.0.1", port),))
    return ExternalAuth(cluster=spoken, grpc=True, authority=b"auth.default:80", **options)


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with ext_authz_server() as port:
        yield port


@asynccontextmanager
async def gateway(
    port: int, limits: Limits | None = None, rule: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[tuple[Served, Backend]]:
    async with backend(keep=APP) as app:
        with serve(guarded(app.number, asked(port, **options), **(rule or {})), limits=limits) as served:
            yield served, app


def question(app: Backend) -> Any:
    """Return the CheckRequest that led to the last request of *app*, and its headers by name."""
    found = re.search(rb"x-question: ([^\r]+)", app.heads[-1])
    assert found is not None
    return CheckRequest.FromString(b64decode(found[1])).attributes


def headers_of(attributes: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in attributes.request.http.headers}


def get(answer: Any, lines: bytes = b"") -> bytes:
    told = answer if isinstance(answer, bytes) else b64encode(answer.SerializeToString())
    return b"GET /p?q=1 HTTP/1.1\r\nHost: a.test\r\nX-Have: old\r\nX-Answer: %b\r\n%b\r\n" % (told, lines)


def option(options: Any, key: str, value: str, *, append: bool | None = None, action: int = 0) -> None:
    made = options.add(append_action=action)
    made.header.key, made.header.value = key, value
    if append is not None:
        made.append.value = append


# The question


async def test_the_server_is_told_of_the_request_as_envoy_tells_it(server: int) -> None:
    async with gateway(server) as (served, app), client(served.number) as peer:
        lines = b"X-A: 1\r\nUser-Agent: u\r\nX-A: 2\r\nX-Latin: \xe9\r\n"
        status, _, _ = await peer.ask(b"GET /p?q=1 HTTP/1.1\r\nHost: a.test:8080\r\n" + lines + b"\r\n")
        assert status == 200
        attributes = question(app)
        http = attributes.request.http
        assert (http.method, http.path, http.host, http.scheme) == ("GET", "/p?q=1", "a.test:8080", "http")
        assert (http.protocol, http.size, http.body, http.raw_body) == ("HTTP/1.1", 0, "", b"")
        assert (http.query, http.fragment) == ("", "")  # the path has it
        headers = headers_of(attributes)
        assert {name: headers[name] for name in headers if name[0] == ":"} == {
            ":method": "GET", ":path": "/p?q=1", ":scheme": "http", ":authority": "a.test:8080",
        }  # fmt: skip
        assert (headers["x-a"], headers["user-agent"], headers["x-latin"]) == ("1,2", "u", "\N{REPLACEMENT CHARACTER}")
        assert headers["x-forwarded-for"] == "127.0.0.1"
        assert "host" not in headers
        assert attributes.source.address.socket_address.address == "127.0.0.1"
        destination = attributes.destination.address.socket_address
        assert (destination.address, destination.port_value) == ("127.0.0.1", 80)
        assert attributes.request.time.seconds > 1_700_000_000
        assert b"x-request-id: %b\r\n" % http.id.encode() in app.heads[-1]


async def test_the_server_sees_only_the_fields_that_are_named(server: int) -> None:
    async with gateway(server, request_headers=(b"x-a", b"cookie")) as (served, app), client(served.number) as peer:
        await peer.ask(b"GET / HTTP/1.1\r\nHost: a.test\r\nX-A: 1\r\nAuthorization: secret\r\n\r\n")
        assert headers_of(question(app)) == {"x-a": "1"}


@pytest.mark.parametrize(
    ("body", "text", "raw"), [(b"hi", "hi", b""), (b"\xff\x00", "", b"\xff\x00")], ids=["text", "not text"]
)
@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "in chunks"])
async def test_the_server_sees_the_body(server: int, body: bytes, text: str, raw: bytes, chunked: bool) -> None:
    framing, sent = b"Content-Length: %d" % len(body), body
    if chunked:
        framing, sent = b"Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    async with gateway(server, body_bytes=10) as (served, app), client(served.number) as peer:
        status, _, _ = await peer.ask(b"POST / HTTP/1.1\r\nHost: a.test\r\n" + framing + b"\r\n\r\n" + sent)
        assert status == 200
        http = question(app).request.http
        assert (http.size, http.body, http.raw_body) == (len(body), text, raw)
        assert app.bodies == [sent]


async def test_a_size_that_is_not_known_is_minus_one(server: int) -> None:
    async with gateway(server) as (served, app), client(served.number) as peer:
        await peer.ask(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n")
        assert (question(app).request.http.size, question(app).request.http.body) == (-1, "")


async def test_clients_of_http2_are_told_as_such(server: int) -> None:
    async with gateway(server) as (served, app), h2_session(served.number) as session:
        for n in range(2):
            assert (await session.ask(f"/{n}", fields=[("cookie", "a=1"), ("cookie", "b=2")])).status == 200
        http = question(app).request.http
        assert (http.protocol, http.path) == ("HTTP/2", "/1")
        assert headers_of(question(app))["cookie"] == "a=1; b=2"


# The verdict


@pytest.mark.parametrize(
    ("append", "action", "have", "new"),
    [
        pytest.param(None, 0, [b"new"], [b"new"], id="nothing said: set"),
        pytest.param(False, 0, [b"new"], [b"new"], id="not appended: set"),
        pytest.param(True, 0, [b"old", b"new"], [b"new"], id="appended"),
        pytest.param(None, 1, [b"old"], [b"new"], id="added if absent"),
        pytest.param(None, 2, [b"new"], [b"new"], id="overwritten or added"),
        pytest.param(None, 3, [b"new"], [], id="overwritten if there"),
    ],
)
async def test_consent_changes_fields(
    server: int, append: bool | None, action: int, have: list[bytes], new: list[bytes]
) -> None:
    answer = CheckResponse()
    for name in ("X-Have", "x-new"):
        option(answer.ok_response.headers, name, "new", append=append, action=action)
    async with gateway(server) as (served, app), client(served.number) as peer:
        status, _, _ = await peer.ask(get(answer))
        assert status == 200
        lines = app.heads[0].lower().split(b"\r\n")
        assert [line[8:] for line in lines if line.startswith(b"x-have: ")] == have
        assert [line[7:] for line in lines if line.startswith(b"x-new: ")] == new


async def test_consent_removes_fields_but_not_what_frames_the_request(server: int) -> None:
    answer = CheckResponse()
    answer.ok_response.headers_to_remove.extend(["X-Have", "host", "content-length", "x-answer", "x-forwarded-for"])
    option(answer.ok_response.headers, "Host", "evil.test")
    option(answer.ok_response.headers, "content-length", "99")
    async with gateway(server) as (served, app), client(served.number) as peer:
        assert (await peer.ask(get(answer, b"x_have: old\r\n")))[0] == 200
        head = app.heads[0].lower()
        assert b"host: a.test\r\n" in head
        for gone in (b"have", b"evil", b": 99\r", b"x-answer", b"x-forwarded-for"):
            assert gone not in head


@pytest.mark.parametrize(
    ("options", "told"),
    [
        pytest.param({}, [b"app", b"told"], id="nothing said: beside the backend's"),
        pytest.param({"append": True}, [b"app", b"told"], id="appended"),
        pytest.param({"append": False}, [b"told"], id="not appended: in its place"),
        pytest.param({"action": 2}, [b"told"], id="overwritten"),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
async def test_consent_tells_the_client(server: int, options: dict[str, Any], told: list[bytes], version: int) -> None:
    answer = CheckResponse()
    option(answer.ok_response.response_headers_to_add, "X-App", "told", **options)
    option(answer.ok_response.response_headers_to_add, "Content-Length", "99")
    option(answer.ok_response.response_headers_to_add, "Transfer-Encoding", "chunked")
    async with gateway(server) as (served, _):
        if version == 1:
            async with client(served.number) as peer:
                status, head, body = await peer.ask(get(answer))
                fields = [tuple(line.lower().split(b": ")) for line in head.split(b"\r\n")[1:-2]]
        else:
            async with h2_session(served.number) as session:
                fields_ = [("x-answer", b64encode(answer.SerializeToString()).decode())]
                found = await session.ask("/", fields=fields_)
                status, fields, body = found.status, list(found.fields), bytes(found.body)
        assert (status, body) == (200, b"ok")
        assert [field[1] for field in fields if field[0] == b"x-app"] == told
        assert [field[1] for field in fields if field[0] == b"content-length"] == [b"2"]
        assert not [field for field in fields if field[0] == b"transfer-encoding"]


async def test_what_one_client_is_told_no_other_is(server: int) -> None:
    answer = CheckResponse()
    option(answer.ok_response.response_headers_to_add, "X-App", "told", append=False)
    async with gateway(server) as (served, _), h2_session(served.number) as session:
        fields = [("x-answer", b64encode(answer.SerializeToString()).decode())]
        apps = [dict((await session.ask("/", fields=each)).fields)[b"x-app"] for each in (fields, [], fields, [])]
        assert apps == [b"told", b"app", b"told", b"app"]


async def test_what_a_client_is_told_stays_with_a_session_that_is_given_another_endpoint(server: int) -> None:
    answer = CheckResponse()
    option(answer.ok_response.response_headers_to_add, "X-App", "told", append=False)
    async with backend(keep=APP) as app:
        target = cluster(closed_port()[1], app.number)
        each = entry(
            BackendChoice(name=target.name, cluster=target),
            auths=(Auth(server=asked(server)),), session=Session(rule="r", name=b"gwp"),
        )  # fmt: skip
        with serve(HostIndex(default=vhost({b"": each}))) as served:
            async with client(served.number) as peer:
                for _ in range(4):  # every other one is for the endpoint that is gone
                    status, head, _ = await peer.ask(get(answer))
                    fields = [line.lower() for line in head.split(b"\r\n")]
                    assert status == 200
                    assert [line for line in fields if line.startswith(b"x-app")] == [b"x-app: told"]
                    (cookie,) = (line[12:] for line in fields if line.startswith(b"set-cookie: gwp="))
                    status, head, _ = await peer.ask(get(denied(7), b"Cookie: %b\r\n" % cookie.partition(b";")[0]))
                    assert (status, b"gwp=" in head) == (403, False)


def denied(code: int, status: int = 0, body: str = "") -> Any:
    answer = CheckResponse()
    answer.status.code = code
    if status:
        answer.denied_response.status.code = status
        answer.denied_response.body = body
        for name, value in (("WWW-Authenticate", "Basic"), ("set-cookie", "a"), ("set-cookie", "b")):
            option(answer.denied_response.headers, name, value)
    return answer


@pytest.mark.parametrize(
    ("answer", "status", "body", "n_cookies"),
    [
        pytest.param(denied(7), 403, b"", 0, id="no more said"),
        pytest.param(denied(16, 401, "no"), 401, b"no", 2, id="status, fields and body"),
        pytest.param(denied(7, 302), 302, b"", 2, id="a redirect"),
        pytest.param(denied(7, 200, "fine"), 403, b"", 0, id="200 would pass for success"),
        pytest.param(denied(-1, 99), 403, b"", 0, id="no status of HTTP"),
    ],
)
async def test_a_refusal_is_worded_by_the_server(
    server: int, answer: Any, status: int, body: bytes, n_cookies: int
) -> None:
    async with gateway(server) as (served, app), client(served.number) as peer:
        found, head, content = await peer.ask(get(answer))
        assert (found, content, head.count(b"set-cookie: ")) == (status, body, n_cookies)
        assert app.heads == []
        assert served.reasons() == {"auth_denied": 1}


def unsupported() -> list[Any]:
    query, absent, name, value, action = (CheckResponse() for _ in range(5))
    query.ok_response.query_parameters_to_remove.append("q")
    option(absent.ok_response.response_headers_to_add, "x-app", "1", action=1)
    option(name.ok_response.headers, ":path", "/evil")
    option(value.ok_response.headers, "x-a", "1\r\nx-b: 2")
    option(action.ok_response.headers, "x-a", "1", action=9)
    return [query, absent, name, value, action]


@pytest.mark.parametrize("answer", unsupported(), ids=["query", "answer if absent", "path", "line break", "action"])
async def test_what_cannot_be_done_as_the_server_wants_is_not_done_otherwise(server: int, answer: Any) -> None:
    async with gateway(server) as (served, app), client(served.number) as peer:
        assert (await peer.ask(get(answer)))[0] == 503
        assert app.heads == []
        assert served.reasons() == {"auth_failed": 1}


# Failures


@pytest.mark.parametrize(
    ("answer", "timeout_s", "status", "reason"),
    [(b"fail", 60.0, 503, "auth_failed"), (b"hang", 3.0, 504, "auth_timeout")],
    ids=["fail", "hang"],
)
async def test_a_call_that_fails_lets_nobody_pass(
    server: int, answer: bytes, timeout_s: float, status: int, reason: str
) -> None:
    async with gateway(server, Limits(ext_auth_timeout_s=timeout_s)) as (served, app), client(served.number) as peer:
        assert (await peer.ask(get(answer)))[0] == status
        assert served.reasons() == {reason: 1}
        assert app.heads == []
        assert (await peer.ask(get(CheckResponse())))[0] == 200


async def no_status(call: H2Call) -> None:
    await call.whole()
    call.head(200, GRPC)
    await call.send(b"\0\0\0\0\0")


async def only_trailers(call: H2Call) -> None:
    await call.whole()
    call.head(200, GRPC, ("grpc-status", "0"), end=True)


async def two_messages(call: H2Call) -> None:
    await call.whole()
    call.head(200, GRPC)
    await call.send(b"\0\0\0\0\0" * 2, end=False)
    call.trail(("grpc-status", "0"))


async def compressed(call: H2Call) -> None:
    await call.whole()
    call.head(200, GRPC)
    await call.send(b"\1\0\0\0\0", end=False)
    call.trail(("grpc-status", "0"))


async def no_proto(call: H2Call) -> None:
    await call.whole()
    call.head(200, GRPC)
    await call.send(b"\0\0\0\0\2\xff\xff", end=False)
    call.trail(("grpc-status", "0"))


async def a_page(call: H2Call) -> None:
    await call.whole()
    call.head(404, ("content-length", "0"), end=True)


async def refuse(call: H2Call) -> None:
    call.refuse(7)


@pytest.mark.parametrize(
    "behaviour",
    [no_status, only_trailers, two_messages, compressed, no_proto, a_page, refuse],
    ids=lambda it: it.__name__,
)
async def test_an_answer_that_is_none_lets_nobody_pass(behaviour: Any) -> None:
    async with h2_backend(behaviour) as auth, gateway(auth.number) as (served, app), client(served.number) as peer:
        assert (await peer.ask(get(CheckResponse())))[0] == 503
        assert served.reasons() == {"auth_failed": 1}
        assert app.heads == []


async def consent(call: H2Call) -> None:
    await call.whole()
    call.head(200, GRPC)
    await call.send(b"\0\0\0\0\0", end=False)
    call.trail(("grpc-status", "0"))


async def test_questions_share_one_connection_and_say_how_long_they_may_take() -> None:
    async with h2_backend(consent) as auth, gateway(auth.number) as (served, app):
        async with h2_session(served.number) as session:
            streams = [session.request(f"/{n}") for n in range(20)]
            assert [(await session.answer(stream)).status for stream in streams] == [200] * 20
        assert (len(auth.calls), len(auth.peers), len(app.heads)) == (20, 1, 20)
        call = auth.calls[0]
        assert call[b":path"] == b"/envoy.service.auth.v3.Authorization/Check"
        assert (call[b":authority"], call[b":method"], call[b"te"]) == (b"auth.default:80", b"POST", b"trailers")
        assert call[b"grpc-timeout"] == b"5000m"


async def test_a_client_that_resets_its_stream_cancels_the_call() -> None:
    async def hang(call: H2Call) -> None:
        await call.until(lambda: call.reset is not None)

    async with h2_backend(hang) as auth, gateway(auth.number) as (served, app):
        async with h2_session(served.number) as session:
            stream = session.request("/")
            await until(lambda: auth.calls)
            session.h2.reset_stream(stream, 8)
            session.flush()
            await until(lambda: auth.calls[0].reset is not None)
        assert app.heads == []
