"""gRPC-Web on GRPCRoutes, by hand as the protocol's text has it, over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from gatewayproxy.model.headops import HeadEdit
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import Cluster, Endpoint
from gatewayproxy.model.protocols import AppProtocol
from gatewayproxy.routing.table import BackendChoice, HostIndex, Mirror
from tests.support.backend import backend, client, until
from tests.support.grpc_peers import SERVICE, serving
from tests.support.grpc_web import chunks, frame, read_answer, unchunked, untexted
from tests.support.h2backend import H2Backend, H2Call, h2_backend
from tests.support.h2client import h2_session
from tests.support.worker import Served, entry, serve, vhost

MIB = 1 << 20
WEB = b"application/grpc-web+proto"
TEXT = b"application/grpc-web-text+proto"
OK = {"grpc-status": "0"}


@contextmanager
def gateway_to(number: int, limits: Limits | None = None, **rest: Any) -> Iterator[Served]:
    """Serve a.test by the HTTP/2 endpoint *number*; *rest* is of the choice."""
    target = Cluster(name="default/app:80", protocol=AppProtocol.H2C, endpoints=(Endpoint("127.0.0.1", number),))
    each = entry(BackendChoice(name=target.name, cluster=target, **rest), grpc=True)
    with serve(HostIndex(exact={b"a.test": vhost({b"": each})}), limits=limits) as served:
        yield served


@asynccontextmanager
async def gateway(
    behaviour: Callable[[H2Call], Awaitable[None]], limits: Limits | None = None, **rest: Any
) -> AsyncIterator[tuple[Served, H2Backend]]:
    async with h2_backend(behaviour) as endpoint:
        with gateway_to(endpoint.number, limits, **rest) as served:
            yield served, endpoint


async def echo(call: H2Call) -> None:
    """Answer with the request's messages."""
    await call.whole()
    call.head(200, ("content-type", "application/grpc+proto"), ("x-initial", "1"))
    await call.send(bytes(call.body), end=False)
    call.trail(("grpc-status", "0"), ("x-trailing", "2"))


async def hang(call: H2Call) -> None:
    await call.until(lambda: call.reset is not None)


def request(kind: bytes, body: bytes, *lines: bytes, path: bytes = b"/s/m", chunked: bool = False) -> bytes:
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    head = b"\r\n".join([b"POST %b HTTP/1.1" % path, b"Host: a.test", b"Content-Type: " + kind, framing, *lines])
    return b"%b\r\n\r\n%b" % (head, body)


def content(head: bytes, raw: bytes, kind: bytes) -> tuple[list[bytes], dict[str, str]]:
    """Return messages and trailers of a chunked answer of *kind*."""
    assert b"\r\ncontent-type: %b\r\n" % kind in head
    assert b"content-length" not in head.lower()
    body = unchunked(raw)
    return read_answer(untexted(body) if b"-text" in kind else body)


BINARY = frame(b"hello") + frame(b"w" * 300, 1)
TEXTS = base64.b64encode(frame(b"hello")) + base64.b64encode(frame(b"w" * 300, 1))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        pytest.param(WEB, BINARY, id="binary"),
        pytest.param(TEXT, base64.b64encode(BINARY), id="text in one piece"),
        pytest.param(TEXT, TEXTS, id="text in two pieces, each padded"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "in chunks"])
async def test_a_call_reaches_the_endpoint_as_grpc(kind: bytes, body: bytes, chunked: bool) -> None:
    async with gateway(echo) as (served, endpoint):
        async with client(served.number) as http:
            for _ in range(2):  # the connection goes on
                raw = chunks(body[:5], body[5:7], body[7:]) if chunked else body
                status, head, answer = await http.ask(request(kind, raw, b"X-Grpc-Web: 1", chunked=chunked))
                messages, trailers = content(head, answer, kind)
                assert (status, messages, trailers) == (200, [b"hello", b"w" * 300], {**OK, "x-trailing": "2"})
                assert b"\r\nx-initial: 1\r\n" in head
        for call in endpoint.calls:
            assert call.get(b"content-type") == [b"application/grpc+proto"]
            assert (call.get(b"te"), call.get(b"content-length"), call[b"x-grpc-web"]) == ([b"trailers"], [], b"1")
            assert bytes(call.body) == BINARY
    assert [(each.status, each.grpc_status, each.reason) for each in served.records] == [(200, "0", "")] * 2


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
async def test_a_body_may_come_in_any_slices(size: int) -> None:
    async with gateway(echo) as (served, endpoint):
        async with client(served.number) as http:
            head, body = request(TEXT, TEXTS).split(b"\r\n\r\n")
            http.send(head + b"\r\n\r\n")
            for at in range(0, len(body), size):
                http.send(body[at : at + size])
                await http.writer.drain()
            _, head, answer = await http.response()
            assert content(head, answer, TEXT)[0] == [b"hello", b"w" * 300]
        assert bytes(endpoint.calls[0].body) == BINARY


@pytest.mark.parametrize("kind", [WEB, TEXT])
async def test_http_2_clients_have_it_too(kind: bytes) -> None:
    async with gateway(echo) as (served, endpoint):
        async with h2_session(served.number) as session:
            fields = [("content-type", kind.decode()), ("content-length", str(len(TEXTS if kind is TEXT else BINARY)))]
            answer = await session.ask("/s/m", method="POST", fields=fields, body=TEXTS if kind is TEXT else BINARY)
        assert (answer.status, answer.trailers, answer.ended) == (200, [], True)
        fields_ = dict(answer.fields)
        assert (fields_[b"content-type"], b"content-length" in fields_) == (kind, False)
        body = untexted(bytes(answer.body)) if kind is TEXT else bytes(answer.body)
        assert read_answer(body) == ([b"hello", b"w" * 300], {**OK, "x-trailing": "2"})
        assert bytes(endpoint.calls[0].body) == BINARY


async def test_an_http_1_0_client_has_it_without_chunks() -> None:
    async with gateway(echo) as (served, _):
        async with client(served.number) as http:
            http.send(request(WEB, BINARY).replace(b"HTTP/1.1", b"HTTP/1.0"))
            head, _, body = (await http.rest()).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert read_answer(body)[0] == [b"hello", b"w" * 300]


async def test_accept_asks_for_the_other_form() -> None:
    async with gateway(echo) as (served, _):
        async with client(served.number) as http:
            _, head, answer = await http.ask(request(WEB, BINARY, b"Accept: application/grpc-web-text"))
    assert content(head, answer, TEXT)[0] == [b"hello", b"w" * 300]


async def test_messages_stream_to_the_client_one_by_one() -> None:
    go_on: list[bytes] = []

    async def count(call: H2Call) -> None:
        await call.whole()
        call.head(200, ("content-type", "application/grpc"))
        for n in range(3):
            await call.send(frame(b"%d" % n), end=False)
            await until(lambda n=n: len(go_on) > n)  # type: ignore[misc]
        call.trail(("grpc-status", "0"))

    async with gateway(count) as (served, _):
        async with client(served.number) as http:
            http.send(request(TEXT, base64.b64encode(frame(b"x"))))
            await http.reader.readuntil(b"\r\n\r\n")
            for n in range(3):
                piece = base64.b64encode(frame(b"%d" % n))
                assert await http.reader.readuntil(piece + b"\r\n") == b"%x\r\n%b\r\n" % (len(piece), piece)
                go_on.append(piece)
            rest = await http.reader.readuntil(b"0\r\n\r\n")
    assert read_answer(untexted(unchunked(rest))) == ([], OK)


async def test_a_request_streams_to_the_endpoint_as_it_comes() -> None:
    seen: list[int] = []

    async def watch(call: H2Call) -> None:
        await call.until(lambda: len(call.body) >= len(frame(b"one")))
        seen.append(len(call.body))
        await echo(call)

    async with gateway(watch) as (served, _):
        async with client(served.number) as http:
            first, second = base64.b64encode(frame(b"one")), base64.b64encode(frame(b"two"))
            http.send(request(TEXT, first, b"X: y", chunked=True).replace(first, chunks(first)[:-5]))
            await until(lambda: seen)
            http.send(chunks(second))
            _, head, answer = await http.response()
    assert seen == [len(frame(b"one"))]
    assert content(head, answer, TEXT)[0] == [b"one", b"two"]


@pytest.mark.parametrize("kind", [WEB, TEXT])
async def test_large_messages_pass_both_ways(kind: bytes) -> None:
    message = bytes(range(256)) * 8192  # 2 MiB
    body = frame(message) if kind is WEB else base64.b64encode(frame(message))
    async with gateway(echo) as (served, _):
        async with client(served.number) as http:
            _, head, answer = await http.ask(request(kind, body))
    assert content(head, answer, kind)[0] == [message]


async def test_a_client_that_does_not_read_stops_the_endpoint() -> None:
    n_messages = 32
    sent: list[int] = []

    async def flood(call: H2Call) -> None:
        await call.whole()
        call.head(200, ("content-type", "application/grpc"))
        for _ in range(n_messages):
            await call.send(frame(b"x" * MIB), end=False)
            sent.append(len(sent))
        call.trail(("grpc-status", "0"))

    async with gateway(flood, Limits(buffer_bytes=65_536)) as (served, endpoint):
        still: list[int] = []  # what had been sent, look after look, with no window left

        def stopped() -> bool:
            call = endpoint.calls[0] if endpoint.calls else None
            if call is None or endpoint.peers[0].h2.local_flow_control_window(call.stream_id) or still[:1] != sent[-1:]:
                still[:] = sent[-1:]
            still.extend(sent[-1:])
            return len(still) > 40 or len(sent) == n_messages

        async with client(served.number) as http:
            http.send(request(WEB, frame(b"x")).replace(b"HTTP/1.1", b"HTTP/1.0"))
            await until(stopped)
            assert len(sent) < n_messages  # the buffers of the sockets hold some
            _, _, body = (await http.rest()).partition(b"\r\n\r\n")
    messages, trailers = read_answer(body)
    assert (len(messages), trailers) == (n_messages, OK)


# What is no gRPC-Web


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        pytest.param(TEXT, b"AAAA*AAA", id="no base64"),
        pytest.param(TEXT, b"AAA", id="a part of a group"),
        pytest.param(TEXT, base64.b64encode(frame(b"x"))[:4], id="a part of a message, as text"),
        pytest.param(WEB, frame(b"xyz")[:-1], id="a part of a message"),
        pytest.param(WEB, b"\0\0", id="a part of a frame's head"),
        pytest.param(WEB, frame(b"x") + frame(b"a: b\r\n", 0x80), id="trailers of a request"),
        pytest.param(WEB, b"\x05" + frame(b"x"), id="no frame"),
    ],
)
@pytest.mark.parametrize("late", [False, True], ids=["at once", "behind the head"])
async def test_a_body_that_is_no_grpc_web_is_refused(kind: bytes, body: bytes, late: bool) -> None:
    async with gateway(hang) as (served, endpoint):
        async with client(served.number) as http:
            head, _, body = request(kind, body).partition(b"\r\n\r\n")
            http.send(head + b"\r\n\r\n" + (b"" if late else body))
            if late:
                await until(lambda: endpoint.calls)
                http.send(body)
            status, head, answer = await http.response()
            assert (status, answer) == (200, b"")
            assert b"\r\ncontent-type: %b\r\ngrpc-status: 13\r\ngrpc-message: bad_grpc_web: " % kind in head
            await until(lambda: endpoint.calls and endpoint.calls[0].reset == 8)
            assert served.reasons() == {"bad_grpc_web": 1}


@pytest.mark.parametrize("kind", [WEB, TEXT])
async def test_answers_of_the_gateway_have_the_clients_form(kind: bytes) -> None:
    with gateway_to(1) as served:
        async with client(served.number) as http:
            status, head, body = await http.ask(request(kind, b""))
        async with h2_session(served.number) as session:
            answer = await session.ask("/", host="b.test", method="POST", fields=[("content-type", kind.decode())])
    assert (status, body) == (200, b"")
    assert b"\r\ncontent-type: %b\r\ngrpc-status: 14\r\ngrpc-message: connect_failed: " % kind in head
    fields = dict(answer.fields)
    assert (fields[b"content-type"], fields[b"grpc-status"], bytes(answer.body)) == (kind, b"12", b"")


async def test_trailers_only_stay_in_the_head() -> None:
    async def refuse(call: H2Call) -> None:
        await call.whole()
        call.head(200, ("content-type", "application/grpc"), ("grpc-status", "5"), ("grpc-message", "no"), end=True)

    async with gateway(refuse) as (served, _):
        async with client(served.number) as http:
            for _ in range(2):
                status, head, body = await http.ask(request(TEXT, b""))
                assert (status, body) == (200, b"")
                assert b"content-type: " + TEXT in head
                assert b"\r\ngrpc-status: 5\r\ngrpc-message: no\r\n" in head
        async with h2_session(served.number) as session:
            answer = await session.ask("/", method="POST", fields=[("content-type", "application/grpc-web")])
            assert (dict(answer.fields)[b"grpc-status"], answer.ended) == (b"5", True)
    assert [each.grpc_status for each in served.records] == ["5"] * 3
    assert served.counted() == (3, 0, 0)


async def test_an_answer_that_is_no_grpc_passes_as_it_is() -> None:
    async def page(call: H2Call) -> None:
        await call.whole()
        call.head(415, ("content-type", "text/plain"))
        await call.send(b"what?", end=False)
        call.trail(("x-a", "b"))

    async with gateway(page) as (served, _):
        async with client(served.number) as http:
            status, head, body = await http.ask(request(WEB, b""))
            assert (status, body) == (415, b"5\r\nwhat?\r\n0\r\nx-a: b\r\n\r\n")
            assert b"content-type: text/plain" in head
        async with h2_session(served.number) as session:
            answer = await session.ask("/", method="POST", fields=[("content-type", WEB.decode())])
            assert (answer.status, bytes(answer.body), answer.trailers) == (415, b"what?", [(b"x-a", b"b")])


async def test_a_call_that_ends_without_trailers_is_told_as_one_that_broke() -> None:
    async def forget(call: H2Call) -> None:
        await call.whole()
        call.head(200, ("content-type", "application/grpc"))
        await call.send(frame(b"x"))

    async with gateway(forget) as (served, _):
        async with client(served.number) as http:
            _, head, body = await http.ask(request(WEB, b""))
    messages, trailers = content(head, body, WEB)
    assert (messages, trailers["grpc-status"]) == ([b"x"], "13")


@pytest.mark.parametrize(
    "body", [frame(b"xyz")[:-1], frame(b"a: b\r\n", 0x80)], ids=["part of a message", "trailers of its own"]
)
async def test_an_endpoint_that_sends_no_messages_is_not_believed(body: bytes) -> None:
    async def lie(call: H2Call) -> None:
        await call.whole()
        call.head(200, ("content-type", "application/grpc"))
        await call.send(body, end=False)
        call.trail(("grpc-status", "0"))

    async with gateway(lie) as (served, _):
        async with client(served.number) as http:
            http.send(request(WEB, b""))
            raw = await http.rest()  # cut
    assert not raw.endswith(b"0\r\n\r\n")
    assert served.reasons() == {"bad_response": 1}


async def test_a_deadline_counts_for_browsers_too() -> None:
    async with gateway(hang) as (served, endpoint):
        async with client(served.number) as http:
            status, head, body = await http.ask(request(TEXT, b"", b"grpc-timeout: 500m"))
            await until(lambda: endpoint.calls[0].reset is not None)
    assert (status, body) == (200, b"")
    assert b"content-type: %b\r\ngrpc-status: 4\r\ngrpc-message: deadline_exceeded: " % TEXT in head


@pytest.mark.parametrize("kind", [WEB, TEXT])
@pytest.mark.parametrize("way", ["http/1.1", "http/2"])
async def test_an_answer_that_breaks_off_between_messages_says_why(kind: bytes, way: str) -> None:
    async def begin(call: H2Call) -> None:
        call.head(200, ("content-type", "application/grpc"))
        await call.send(frame(b"x"), end=False)
        await hang(call)

    async with gateway(begin) as (served, endpoint):
        if way == "http/2":
            async with h2_session(served.number) as session:
                fields = [("content-type", kind.decode()), ("grpc-timeout", "500m")]
                answer = await session.ask("/", method="POST", fields=fields)
                raw = bytes(answer.body)
                assert answer.ended
        else:
            async with client(served.number) as http:
                for _ in range(2):  # the connection goes on
                    _, _, body = await http.ask(request(kind, b"", b"grpc-timeout: 500m"))
                raw = unchunked(body)
        await until(lambda: endpoint.calls[-1].reset == 8)
    messages, trailers = read_answer(untexted(raw) if kind is TEXT else raw)
    assert (messages, trailers["grpc-status"]) == ([b"x"], "4")
    assert trailers["grpc-message"].startswith("deadline_exceeded: ")
    assert {(each.status, each.grpc_status, each.reason) for each in served.records} == {
        (200, "4", "deadline_exceeded")
    }
    assert served.counted() == (len(served.records), 0, len(served.records))


async def test_an_endpoint_that_resets_between_messages_is_told_of() -> None:
    async def reset(call: H2Call) -> None:
        await call.whole()
        call.head(200, ("content-type", "application/grpc"))
        await call.send(frame(b"x"), end=False)
        call.refuse(2)

    async with gateway(reset) as (served, _):
        async with client(served.number) as http:
            _, head, body = await http.ask(request(WEB, b""))
    messages, trailers = content(head, body, WEB)
    assert (messages, trailers["grpc-status"]) == ([b"x"], "14")
    assert served.reasons() == {"upstream_reset": 1}


async def test_a_call_that_is_refused_is_read_again_from_the_start() -> None:
    async def refuse_once(call: H2Call) -> None:
        await call.whole()
        if len(endpoint.calls) == 1:
            call.refuse(7)
        else:
            await echo(call)

    async with gateway(refuse_once) as (served, endpoint):
        async with client(served.number) as http:
            _, head, body = await http.ask(request(TEXT, TEXTS))
        assert [bytes(call.body) for call in endpoint.calls] == [BINARY] * 2
    assert content(head, body, TEXT)[0] == [b"hello", b"w" * 300]


async def test_filters_apply_and_mirrors_get_the_call_as_grpc() -> None:
    async with h2_backend(echo) as copy:
        mirror = Cluster(
            name="default/copy:80", protocol=AppProtocol.H2C, endpoints=(Endpoint("127.0.0.1", copy.number),)
        )
        edit = HeadEdit(append=b"x-edit: 1\r\n")
        mirrors = (Mirror(cluster=mirror, numerator=1, denominator=1),)
        async with gateway(echo, request=edit, response=edit, mirrors=mirrors) as (served, endpoint):
            async with client(served.number) as http:
                _, head, body = await http.ask(request(TEXT, TEXTS))
            assert content(head, body, TEXT)[0] == [b"hello", b"w" * 300]
            assert b"\r\nx-edit: 1\r\n" in head
            assert endpoint.calls[0][b"x-edit"] == b"1"
            await until(lambda: copy.calls and copy.calls[0].ended)
            (call,) = copy.calls
            assert (call[b"content-type"], bytes(call.body)) == (b"application/grpc+proto", BINARY)


async def test_other_routes_do_not_translate() -> None:
    async with backend() as upstream:
        target = Cluster(name="default/app:80", endpoints=(Endpoint("127.0.0.1", upstream.number),))
        index = HostIndex(default=vhost({b"": entry(BackendChoice(name=target.name, cluster=target))}))
        with serve(index) as served:
            async with client(served.number) as http:
                assert (await http.ask(request(TEXT, b"not base64")))[2] == b"ok"
    assert b"Content-Type: " + TEXT in upstream.heads[0]
    assert upstream.bodies == [b"not base64"]


@pytest.mark.parametrize("name", ["grpcio", "grpclib"])
async def test_servers_of_other_people_are_reached(name: str) -> None:
    with serving(name) as number, gateway_to(number) as served:
        async with client(served.number) as http:

            async def ask(method: str, message: bytes) -> tuple[list[bytes], dict[str, str], bytes]:
                path = f"/{SERVICE}/{method}".encode()
                _, head, body = await http.ask(request(TEXT, base64.b64encode(frame(message)), path=path))
                if b"content-length: 0" in head.lower():
                    return [], {}, head
                return *content(head, body, TEXT), head

            messages, trailers, _ = await ask("Unary", b"x")
            assert (messages, trailers["grpc-status"]) == ([b"x"], "0")
            messages, trailers, _ = await ask("Count", b"1000")
            assert (len(messages), trailers["grpc-status"]) == (1000, "0")
            messages, trailers, _ = await ask("Fail", b"x")
            assert (messages, trailers["grpc-status"], trailers["x-why"]) == ([b"x"], "10", "told")
            _, trailers, head = await ask("Refuse", b"x")
            assert b"grpc-status: 9" in head or trailers["grpc-status"] == "9"
