"""WebSockets to endpoints that speak HTTP/2: extended CONNECT (RFC 8441), for clients of either version."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
import struct

import pytest

from gatewayproxy.model.plan import Cluster, Endpoint
from gatewayproxy.model.protocols import AppProtocol
from gatewayproxy.routing.table import HostIndex
from tests.support.backend import Client, client, until
from tests.support.h2backend import H2Backend, H2Call, h2_backend
from tests.support.h2client import Answer, H2Session, h2_session
from tests.support.worker import forward, serve, vhost

MIB = 1 << 20
OFFERED = {"ENABLE_CONNECT_PROTOCOL": 1}
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
PROOF = base64.b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest())
HANDSHAKE = (
    b"GET /ws?a=1 HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)


def index(number: int) -> HostIndex:
    to = Cluster(name="default/app:80", endpoints=(Endpoint("127.0.0.1", number),), protocol=AppProtocol.H2C)
    return HostIndex(exact={b"a.test": vhost({b"": forward(to)})})


async def echo(call: H2Call) -> None:
    """Agree, send back what comes, and say goodbye."""
    if call[b":method"] != b"CONNECT":
        call.head(200, end=True)
        return
    call.head(200, ("sec-websocket-protocol", "chat"))
    while call.body or not call.ended:
        await call.until(lambda: call.body or call.ended)
        piece = bytes(call.body)
        call.body.clear()
        await call.send(piece, end=False)
    await call.send(b"bye")


async def upgraded(c: Client) -> bytes:
    """Open a WebSocket; return the head of the 101."""
    status, head, _ = await c.ask(HANDSHAKE)
    assert status == 101
    return head


async def opened(session: H2Session) -> tuple[int, Answer]:
    """Return an open WebSocket of an HTTP/2 client."""
    stream_id: int = session.h2.get_next_available_stream_id()
    answer = session.answers[stream_id] = Answer()
    head = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "a.test")]
    session.h2.send_headers(stream_id, [*head, (":path", "/ws?a=1"), ("sec-websocket-version", "13")])
    session.flush()
    await session.until(lambda: answer.status)
    return stream_id, answer


def assert_asked(app: H2Backend) -> None:
    fields = app.calls[0].fields
    assert fields[:2] == [(b":method", b"CONNECT"), (b":protocol", b"websocket")]
    assert {(b":path", b"/ws?a=1"), (b":authority", b"a.test"), (b":scheme", b"http")} <= {*fields}
    names = [name for name, _ in fields]
    assert b"sec-websocket-version" in names
    assert not {b"sec-websocket-key", b"connection", b"upgrade"} & {*names}


async def test_an_http1_client_gets_a_101_with_the_proof_of_its_key() -> None:
    async with h2_backend(echo, settings=OFFERED) as app:
        with serve(index(app.number)) as served:
            async with client(served.number) as c:
                head = (await upgraded(c)).lower()
                assert b"\r\nsec-websocket-accept: %b\r\n" % PROOF.lower() in head
                assert b"\r\nsec-websocket-protocol: chat\r\n" in head
                c.send(b"x" * MIB)
                async with asyncio.timeout(60):
                    assert await c.reader.readexactly(MIB) == b"x" * MIB
                c.writer.write_eof()
                assert await c.rest() == b"bye"
            await until(lambda: served.records)
        assert_asked(app)
    assert (served.records[0].status, served.records[0].reason, served.records[0].bytes_in) == (101, "", MIB)


async def test_an_http2_client_gets_a_stream_to_a_stream() -> None:
    async with h2_backend(echo, settings=OFFERED) as app:
        with serve(index(app.number)) as served:
            async with h2_session(served.number) as session:
                stream_id, answer = await opened(session)
                assert (answer.status, answer.fields[1:]) == (200, [(b"sec-websocket-protocol", b"chat")])
                body = bytes(range(256)) * (4 * MIB // 256)
                await session.send(stream_id, body)
                await session.answer(stream_id)
                assert bytes(answer.body) == body + b"bye"
                assert (await session.ask("/")).status == 200  # the endpoint's connection goes on
            await until(lambda: len(served.records) == 2)
        assert_asked(app)
        assert len(app.peers) == 1
    assert [record.reason for record in served.records] == ["", ""]


@pytest.mark.parametrize("version", ["1.1", "2"])
async def test_an_endpoint_that_does_not_offer_it_is_not_asked(version: str) -> None:
    async with h2_backend() as app:
        with serve(index(app.number)) as served:
            if version == "2":
                async with h2_session(served.number) as session:
                    assert (await opened(session))[1].status == 501
                    assert (await session.ask("/")).status == 200
            else:
                async with client(served.number) as c:
                    assert (await c.ask(HANDSHAKE))[0] == 501
            assert served.reasons() == {"no_extended_connect": 1}
        assert all(call[b":method"] == b"GET" for call in app.calls)


@pytest.mark.parametrize("version", ["1.1", "2"])
async def test_a_refusal_passes(version: str) -> None:
    async def refuse(call: H2Call) -> None:
        call.head(403, ("content-length", "2"))
        await call.send(b"no")

    async with h2_backend(refuse, settings=OFFERED) as app:
        with serve(index(app.number)) as served:
            if version == "2":
                async with h2_session(served.number) as session:
                    stream_id, answer = await opened(session)
                    await session.answer(stream_id)
                    assert (answer.status, bytes(answer.body)) == (403, b"no")
            else:
                async with client(served.number) as c:
                    status, _, body = await c.ask(HANDSHAKE)
                    assert (status, body) == (403, b"no")


async def test_a_handshake_without_a_key_is_refused() -> None:
    async with h2_backend(echo, settings=OFFERED) as app:
        with serve(index(app.number)) as served:
            async with client(served.number) as c:
                assert (await c.ask(HANDSHAKE.replace(KEY, b"short")))[0] == 400
        assert not app.calls


async def test_a_client_that_leaves_cancels_the_endpoints_stream() -> None:
    async with h2_backend(echo, settings=OFFERED) as app:
        with serve(index(app.number)) as served:
            async with client(served.number) as c:
                await upgraded(c)
                # With SO_LINGER of 0 it says no farewell.
                linger = struct.pack("ii", 1, 0)
                c.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                c.writer.transport.abort()
            await until(lambda: served.records)
            await until(lambda: app.calls[0].reset is not None)
            assert app.calls[0].reset == 8
            assert app.n_open == 1
    assert served.records[0].reason == "client_closed"


async def test_an_endpoint_that_resets_its_stream_cancels_the_clients() -> None:
    async def leave(call: H2Call) -> None:
        call.head(200)
        await call.until(lambda: call.body)
        call.refuse(8)

    async with h2_backend(leave, settings=OFFERED) as app:
        with serve(index(app.number)) as served:
            async with h2_session(served.number) as session:
                stream_id, answer = await opened(session)
                await session.send(stream_id, b"x", end=False)
                assert (await session.answer(stream_id)).reset == 8
                assert answer.status == 200
    assert served.records[0].reason == "upstream_reset"


async def test_an_endpoint_that_leaves_before_its_settings_ends_the_handshake() -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.close()

    server = await asyncio.start_server(leave, "127.0.0.1", 0)
    with serve(index(server.sockets[0].getsockname()[1])) as served:
        async with client(served.number) as c:
            assert (await c.ask(HANDSHAKE))[0] == 502
    server.close()
