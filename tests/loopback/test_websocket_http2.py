"""WebSockets over HTTP/2, by extended CONNECT (RFC 8441), to endpoints that speak HTTP/1.1."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from gatewayproxy.model.headops import HeadEdit
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import Refusal
from gatewayproxy.routing.table import BackendChoice, HostIndex, RouteEntry
from tests.support.backend import Backend, backend, until
from tests.support.h2client import Answer, H2Session, h2_session
from tests.support.h2peer import ACK, CONTINUATION, END_HEADERS, HEADERS, PING, block, data, frame
from tests.support.h2wire import connected
from tests.support.worker import cluster, entry, forward, serve, vhost

MIB = 1 << 20
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
VERSION = [("sec-websocket-version", "13")]

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def proof_of(head: bytes) -> bytes:
    """Return the Sec-WebSocket-Accept that the key in *head* asks for."""
    (key,) = [
        line.partition(b": ")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:")
    ]
    assert len(base64.b64decode(key, validate=True)) == 16
    return base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())


@asynccontextmanager
async def socket_backend(talk: Script, *, lines: bytes = b"") -> AsyncIterator[Backend]:
    """Run a backend that opens every WebSocket, and then talks."""
    heads: list[bytes] = []

    async def agree(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head)
        answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        writer.write(b"%bSec-WebSocket-Accept: %b\r\n%b\r\n" % (answer, proof_of(head), lines))
        await talk(reader, writer)

    async with backend(raw=agree) as served:
        served.heads = heads
        yield served


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.write(b"bye")


def index(to: RouteEntry) -> HostIndex:
    return HostIndex(exact={b"a.test": vhost({b"": to})})


def connect(session: H2Session, path: str = "/ws", **rest: str) -> int:
    """Ask for a WebSocket, *field_x* being a header field; return the stream's id."""
    stream_id: int = session.h2.get_next_available_stream_id()
    session.answers[stream_id] = Answer()
    head = [
        (":method", "CONNECT"),
        (":protocol", rest.get("protocol", "websocket")),
        (":scheme", rest.get("scheme", "http")),
    ]
    head += [(":authority", rest.get("host", "a.test")), (":path", path), *VERSION]
    head += [(name[6:].replace("_", "-"), value) for name, value in rest.items() if name.startswith("field_")]
    session.h2.send_headers(stream_id, head)
    session.flush()
    return stream_id


async def opened(session: H2Session, **rest: str) -> tuple[int, Answer]:
    """Return an open WebSocket."""
    stream_id = connect(session, **rest)
    answer = session.answers[stream_id]
    await session.until(lambda: answer.status)
    assert answer.status == 200
    return stream_id, answer


async def test_extended_connect_is_offered() -> None:
    async with socket_backend(echo) as app:
        with serve(index(forward(cluster(app.number)))) as served:
            async with h2_session(served.number) as session:
                assert session.h2.remote_settings.enable_connect_protocol == 1


async def test_a_websocket_is_opened_by_an_http1_handshake_of_our_own() -> None:
    async with socket_backend(echo, lines=b"Sec-WebSocket-Protocol: chat\r\nX-A: b\r\n") as app:
        with serve(index(forward(cluster(app.number)))) as served:
            async with h2_session(served.number) as session:
                stream_id, answer = await opened(
                    session, path="/ws?room=1", field_sec_websocket_protocol="chat", field_sec_websocket_key="theirs"
                )
                assert answer.fields == [(b":status", b"200"), (b"sec-websocket-protocol", b"chat"), (b"x-a", b"b")]
                await session.send(stream_id, b"hello", end=False)
                await session.until(lambda: answer.body == b"hello")
                session.h2.end_stream(stream_id)
                session.flush()
                await session.answer(stream_id)
                assert bytes(answer.body) == b"hellobye"
                assert answer.reset is None
            (head,) = app.heads
            lines = head.lower().split(b"\r\n")
            assert lines[0] == b"get /ws?room=1 http/1.1"
            assert lines.count(b"connection: upgrade") == lines.count(b"upgrade: websocket") == 1
            assert {b"sec-websocket-version: 13", b"sec-websocket-protocol: chat", b"via: 2 gatewayproxy"} <= {*lines}
            assert b"theirs" not in head
            (record,) = served.records
            assert (record.protocol, record.status, record.reason) == ("http/2", 200, "")
            assert (record.bytes_in, record.bytes_out) == (5, 8)


async def test_each_websocket_has_a_key_of_its_own() -> None:
    async with socket_backend(echo) as app:
        with serve(index(forward(cluster(app.number)))) as served:
            async with h2_session(served.number) as session:
                for _ in range(3):
                    await opened(session)
    assert len({proof_of(head) for head in app.heads}) == 3


async def test_what_is_sent_ahead_of_the_answer_follows_the_handshake() -> None:
    async with socket_backend(echo) as app:
        with serve(index(forward(cluster(app.number)))) as served:
            async with h2_session(served.number) as session:
                stream_id = connect(session)
                session.h2.send_data(stream_id, b"early", end_stream=True)
                session.flush()
                assert bytes((await session.answer(stream_id)).body) == b"earlybye"


async def test_a_websocket_may_be_half_closed_from_the_beginning() -> None:
    async with socket_backend(echo) as app:
        with serve(index(forward(cluster(app.number)))) as served:
            async with h2_session(served.number) as session:
                stream_id = connect(session)
                session.h2.end_stream(stream_id)
                session.flush()
                answer = await session.answer(stream_id)
                assert (answer.status, bytes(answer.body), answer.reset) == (200, b"bye", None)


async def test_the_endpoint_may_end_first() -> None:
    done = asyncio.Event()

    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"last")
        writer.write_eof()
        assert await reader.read() == b"still here"
        done.set()

    async with socket_backend(leave) as app:
        with serve(index(forward(cluster(app.number)))) as served:
            async with h2_session(served.number) as session:
                stream_id = connect(session)
                answer = await session.answer(stream_id)
                assert (bytes(answer.body), answer.reset) == (b"last", None)
                await session.send(stream_id, b"still here")
                await asyncio.wait_for(done.wait(), 60)
                await until(lambda: served.records)
            assert served.records[0].reason == ""


async def test_a_stream_that_is_reset_lets_go_of_the_endpoint() -> None:
    async with socket_backend(echo) as app:
        with serve(index(forward(cluster(app.number)))) as served:
            async with h2_session(served.number) as session:
                stream_id, _ = await opened(session)
                session.h2.reset_stream(stream_id, 8)
                session.flush()
                await until(lambda: not app.n_open)
                await until(lambda: served.records)
            assert [record.reason for record in served.records] == ["client_closed"]


async def test_an_endpoint_that_is_reset_cancels_the_stream() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.get_extra_info("socket").setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: no farewell
        writer.transport.abort()

    async with socket_backend(reset) as app:
        with serve(index(forward(cluster(app.number)))) as served:
            async with h2_session(served.number) as session:
                stream_id, answer = await opened(session)
                await session.send(stream_id, b"x", end=False)
                await session.answer(stream_id)
                assert answer.reset == 8
            assert [record.reason for record in served.records] == ["upstream_reset"]


@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        pytest.param(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403, "", id="a refusal passes"),
        pytest.param(b"HTTP/1.1 302 Found\r\nLocation: /l\r\nContent-Length: 0\r\n\r\n", 302, "", id="a redirect too"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 502, "bad_response", id="200 is no WebSocket"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", 502, "bad_response", id="nor is 204"),
        pytest.param(
            b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 502, "bad_response", id="no proof"
        ),
        pytest.param(
            b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: eHg=\r\n\r\n",
            502, "bad_response", id="the proof of another key",
        ),
        pytest.param(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", 502, "bad_response", id="h2c"),
    ],
)  # fmt: skip
async def test_what_is_not_agreed_on_opens_nothing(said: bytes, status: int, reason: str) -> None:
    async with backend(said) as app:
        with serve(index(forward(cluster(app.number)))) as served:
            async with h2_session(served.number) as session:
                stream_id = connect(session)
                answer = await session.answer(stream_id)
                assert (answer.status, answer.ended) == (status, True)
                assert (await session.ask("/")).status == 200
            assert [record.reason for record in served.records] == [reason, ""]


async def test_another_protocol_is_answered_501() -> None:
    async with backend() as app:
        with serve(index(forward(cluster(app.number)))) as served:
            async with h2_session(served.number) as session:
                answer = await session.answer(connect(session, protocol="connect-udp"))
                assert answer.status == 501
                assert (await session.ask("/")).status == 200
            assert served.reasons() == {"unknown_protocol": 1}
            assert len(app.heads) == 1


async def test_a_plain_connect_is_refused() -> None:
    async with backend() as app:
        with serve(index(forward(cluster(app.number)))) as served:
            async with h2_session(served.number) as session:
                stream_id = session.h2.get_next_available_stream_id()
                session.answers[stream_id] = Answer()
                session.h2.send_headers(stream_id, [(":method", "CONNECT"), (":authority", "a.test:443")])
                session.flush()
                answer = session.answers[stream_id]
                await session.until(lambda: answer.ended)
                assert answer.status == 405
            assert not app.heads


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param({"field_content_length": "5"}, 400, id="a length"),
        pytest.param({"host": "b.test"}, 404, id="a host nobody serves"),
        pytest.param({"scheme": "https"}, 421, id="https in clear text"),
        pytest.param({"path": "/a/../b"}, 400, id="an ambiguous path"),
    ],
)
async def test_a_handshake_is_judged_like_any_request(fields: dict[str, str], status: int) -> None:
    async with backend() as app:
        with serve(index(forward(cluster(app.number)))) as served:
            async with h2_session(served.number) as session:
                answer = session.answers[connect(session, **fields)]
                await session.until(lambda: answer.ended)
                assert answer.status == status
            assert not app.heads


async def test_routes_without_a_backend_answer() -> None:
    refused = entry(BackendChoice(name="x", refusal=Refusal(500, "backend_not_found")))
    with serve(index(refused)) as served:
        async with h2_session(served.number) as session:
            answer = session.answers[connect(session)]
            await session.until(lambda: answer.ended)
            assert answer.status == 500


async def test_filters_apply_to_the_handshake() -> None:
    request = HeadEdit(cut=frozenset(), append=b"x-in: 1\r\n")
    response = HeadEdit(cut=frozenset((b"server",)), append=b"x-out: 2\r\n")
    async with socket_backend(echo, lines=b"Server: app\r\n") as app:
        with serve(index(forward(cluster(app.number), request=request, response=response))) as served:
            async with h2_session(served.number) as session:
                _, answer = await opened(session)
                assert answer.fields == [(b":status", b"200"), (b"x-out", b"2")]
    assert b"\r\nx-in: 1\r\n" in app.heads[0]


async def test_timeouts_bound_the_handshake_alone() -> None:
    async with socket_backend(echo) as app:
        to = cluster(app.number)
        hurried = entry(BackendChoice(name=to.name, cluster=to), request_timeout_s=2.5, backend_timeout_s=2.0)
        with serve(index(hurried), limits=Limits(body_timeout_s=2.0, idle_timeout_s=2.0)) as served:
            async with h2_session(served.number) as session:
                stream_id, answer = await opened(session)
                loop = asyncio.get_running_loop()
                over = loop.create_future()
                loop.call_later(4.5, over.set_result, None)  # some ticks of the connection
                await over
                await session.send(stream_id, b"alive", end=False)
                await session.until(lambda: answer.body == b"alive")


async def test_a_silent_tunnel_is_cancelled() -> None:
    async with socket_backend(echo) as app:
        with serve(index(forward(cluster(app.number))), limits=Limits(tunnel_idle_timeout_s=0.2)) as served:
            async with h2_session(served.number) as session:
                stream_id, _ = await opened(session)
                assert (await session.answer(stream_id)).reset == 8
                assert (await session.ask("/ws", host="b.test")).status == 404  # the connection goes on
            assert served.records[0].reason == "idle_timeout"


async def test_a_tunnel_outlives_a_reload_and_the_beginning_of_a_drain() -> None:
    async with socket_backend(echo) as app:
        with serve(index(forward(cluster(app.number)))) as served:
            async with h2_session(served.number) as session:
                stream_id, answer = await opened(session)
                served.apply(HostIndex())
                assert (await session.ask("/")).status == 404
                await session.send(stream_id, b"reloaded", end=False)
                await session.until(lambda: answer.body == b"reloaded")


async def test_trailers_are_no_part_of_a_tunnel() -> None:
    async with socket_backend(echo) as app:
        with serve(index(forward(cluster(app.number)))) as served:
            async with h2_session(served.number) as session:
                stream_id, answer = await opened(session)
                session.h2.send_headers(stream_id, [("x-a", "b")], end_stream=True)
                session.flush()
                await session.until(lambda: answer.reset is not None)
                assert answer.reset == 1
                await until(lambda: not app.n_open)
            assert served.records[0].reason == "malformed_message"


async def test_big_messages_pass_both_ways_at_once() -> None:
    size = 10 * MIB
    async with socket_backend(echo) as app:
        with serve(index(forward(cluster(app.number)))) as served:
            async with h2_session(served.number) as session:
                stream_id, answer = await opened(session)
                body = bytes(range(256)) * (size // 256)
                await session.send(stream_id, body)
                await session.answer(stream_id)
                assert answer.body == body + b"bye"
            assert (served.records[0].bytes_in, served.records[0].bytes_out) == (size, size + 3)


async def test_an_endpoint_that_does_not_read_stops_its_tunnel_at_the_window() -> None:
    release = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await release.wait()
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        await reader.readexactly(64 * MIB)
        writer.write(b"all")

    async with socket_backend(wait) as app, backend() as other:
        prefixes = {b"": forward(cluster(app.number)), b"/q": forward(cluster(other.number, name="default/q:80"))}
        with serve(HostIndex(exact={b"a.test": vhost(prefixes)})) as served:
            async with h2_session(served.number) as session:
                stream_id, answer = await opened(session)
                sent = 0
                stuck = False
                while not stuck:
                    while n := min(session.can_send(stream_id), 64 * MIB - sent):
                        session.h2.send_data(stream_id, bytes(n))
                        sent += n
                    session.flush()
                    assert (await session.ask("/q", method="POST", body=b"x")).status == 200
                    stuck = not session.can_send(stream_id)
                assert sent < 32 * MIB
                release.set()
                await session.send(stream_id, bytes(64 * MIB - sent), end=False)
                await session.until(lambda: answer.body == b"all")


async def test_a_client_that_does_not_read_its_tunnel_pauses_the_endpoint_alone() -> None:
    sent = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        for _ in range(64):
            writer.write(bytes(MIB))
            await writer.drain()
            sent += MIB

    async with socket_backend(pour) as app, backend() as other:
        prefixes = {b"": forward(cluster(app.number)), b"/q": forward(cluster(other.number, name="default/q:80"))}
        with serve(HostIndex(exact={b"a.test": vhost(prefixes)})) as served:
            async with h2_session(served.number, INITIAL_WINDOW_SIZE=65_535) as session:
                session.reads = False
                answer = session.answers[connect(session)]
                await session.until(lambda: len(answer.body) == 65_535)
                session.reads = True
                session.h2.increment_flow_control_window(MIB)
                for _ in range(5):
                    assert (await session.ask("/q")).status == 200
                assert len(answer.body) == 65_535
                assert sent < 24 * MIB
                session.give_back(1)
                session.flush()
                await session.until(lambda: len(answer.body) > MIB)


async def test_nothing_is_sent_ahead_of_the_agreement_even_where_the_backend_was_slow_to_take_the_handshake() -> None:
    """What comes early would be a request of its own to a backend that does not agree."""
    early = asyncio.Event()
    behind: list[bytes] = []

    async def decline(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await early.wait()
        head = bytearray()
        while b"\r\n\r\n" not in head[-70_000:]:
            head += await reader.read(65_536)
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        behind.append(bytes(head.partition(b"\r\n\r\n")[2]) + await reader.read())

    asked = block((
        (b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"), (b":authority", b"a.test"),
        (b":path", b"/ws"), (b"sec-websocket-version", b"13"), (b"x-long", b"x" * 6 * MIB),
    ))  # fmt: skip
    pieces = [asked[at : at + 16_384] for at in range(0, len(asked), 16_384)]
    limits = Limits(head_bytes=8 * MIB, buffer_bytes=1024, h2_continuations=1000)
    async with backend(raw=decline) as app:
        with serve(index(forward(cluster(app.number))), limits=limits) as served:
            async with connected(served.number) as wire:
                wire.raw.send(frame(HEADERS, 0, 1, pieces[0]))
                wire.raw.send(b"".join(frame(CONTINUATION, 0, 1, piece) for piece in pieces[1:]))
                wire.raw.send(frame(CONTINUATION, END_HEADERS, 1))
                wire.raw.send(data(1, b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"))
                wire.raw.send(frame(PING, 0, 0, b"all read"))
                await wire.until(PING, 0, ACK)
                early.set()
                await wire.until(HEADERS, 1)
            await until(lambda: behind)
    assert behind == [b""]
