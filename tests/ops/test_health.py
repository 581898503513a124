"""What a gRPC client can send to the health service, well-formed or not, and where it is held within bounds."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from grpclib.client import Channel, UnaryStreamMethod, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from gatewayproxy.ops import health
from gatewayproxy.ops.admin import AdminServer
from gatewayproxy.ops.health import HealthServer, service_of
from gatewayproxy.wire.h2frames import HEADERS, PING, PREFACE, SETTINGS, frame
from tests.support.grpc_peers import Bytes

NAME = "/grpc.health.v1.Health/"
OPENING = PREFACE + frame(SETTINGS, 0, 0, b"")
SERVING, NOT_SERVING, UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"


class Truth:
    def __init__(self, **known: bool) -> None:
        self.known: dict[str, bool] = {"": True, **known}

    def serves(self, service: str) -> bool | None:
        return self.known.get(service)

    def services(self) -> Mapping[str, bool]:
        return self.known


@asynccontextmanager
async def admin(truth: Truth) -> AsyncIterator[tuple[str, int]]:
    server = AdminServer({}, lambda: HealthServer(truth))
    bound = await server.open("127.0.0.1", 0)
    assert server._server is not None
    server._server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
    try:
        yield bound.address, bound.bind_port
    finally:
        await server.close()


@asynccontextmanager
async def channel(address: tuple[str, int]) -> AsyncIterator[Channel]:
    opened = Channel(*address, codec=Bytes())
    try:
        yield opened
    finally:
        opened.close()


async def call(opened: Channel, method: str, message: bytes = b"") -> bytes:
    return bytes(await UnaryUnaryMethod(opened, NAME + method, bytes, bytes)(message, timeout=60))


@pytest.mark.parametrize(
    ("message", "service"),
    [
        pytest.param(b"", "", id="no field"),
        pytest.param(b"\x0a\x00", "", id="an empty name"),
        pytest.param(b"\x0a\x04ns/a", "ns/a", id="a name"),
        pytest.param(b"\x0a\x01x\x0a\x01y", "y", id="the last of two"),
        pytest.param(b"\x10\x96\x01\x0a\x01x", "x", id="after a number that we do not know"),
        pytest.param(b"\x11\0\0\0\0\0\0\0\0\x1d\0\0\0\0\x0a\x01x", "x", id="after fixed fields that we do not know"),
        pytest.param(b"\x12\x02ab\x0a\x01x", "x", id="after bytes that we do not know"),
        pytest.param(b"\x0a\x83\x00abc", "abc", id="a length in two bytes"),
    ],
)
def test_the_service_of_a_request_is_read(message: bytes, service: str) -> None:
    assert service_of(message) == service


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"\x0a", id="no length"),
        pytest.param(b"\x0a\x02x", id="a length beyond the end"),
        pytest.param(b"\x0a\x01\xff", id="not UTF-8"),
        pytest.param(b"\x0b\x00", id="a group"),
        pytest.param(b"\xff" * 11, id="an endless number"),
        pytest.param(b"\x11\0\0", id="a short fixed field"),
        pytest.param(b"\x10\x80", id="a cut number"),
    ],
)
def test_what_is_no_request_is_an_invalid_argument(message: bytes) -> None:
    with pytest.raises(GRPCError) as raised:
        service_of(message)
    assert raised.value.status is Status.INVALID_ARGUMENT


async def test_list_tells_every_service_and_long_names() -> None:
    long = "n" * 63 + "/" + "g" * 253
    async with admin(Truth(**{long: False})) as address, channel(address) as opened:
        answer = await call(opened, "List")
    entry = b"\x0a\xbd\x02" + long.encode() + b"\x12\x02" + NOT_SERVING
    assert answer == b"\x0a\x06\x0a\x00\x12\x02" + SERVING + b"\x0a\xc4\x02" + entry


async def test_a_list_of_more_than_a_hundred_services_is_refused() -> None:
    truth = Truth(**{f"ns/{n}": True for n in range(health.MAX_LISTED)})
    async with admin(truth) as address, channel(address) as opened:
        with pytest.raises(GRPCError) as raised:
            await call(opened, "List")
    assert raised.value.status is Status.RESOURCE_EXHAUSTED


async def test_an_unknown_service_is_watched_until_it_is_there() -> None:
    truth = Truth()
    async with admin(truth) as address, channel(address) as opened:
        async with UnaryStreamMethod(opened, NAME + "Watch", bytes, bytes).open(timeout=60) as watch:
            await watch.send_message(b"\x0a\x04ns/a", end=True)
            assert await watch.recv_message() == UNKNOWN
            truth.known["ns/a"] = False
            assert await watch.recv_message() == NOT_SERVING
            truth.known["ns/a"] = True
            assert await watch.recv_message() == SERVING
            await watch.cancel()


async def test_watchers_beyond_the_bound_are_refused_and_leave_room_when_they_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "MAX_WATCHERS", 1)
    async with admin(Truth()) as address, channel(address) as opened:
        method = UnaryStreamMethod(opened, NAME + "Watch", bytes, bytes)
        async with method.open(timeout=60) as watch:
            await watch.send_message(b"", end=True)
            assert await watch.recv_message() == SERVING
            with pytest.raises(GRPCError) as raised:
                await method(b"", timeout=60)
            assert raised.value.status is Status.RESOURCE_EXHAUSTED
            await watch.cancel()
        async with method.open(timeout=60) as watch:
            await watch.send_message(b"", end=True)
            assert await watch.recv_message() == SERVING
            await watch.cancel()


async def test_an_idle_connection_gives_way_at_the_bound_and_a_watcher_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "MAX_SESSIONS", 2)
    async with admin(Truth()) as address, channel(address) as watching, channel(address) as idle:
        async with UnaryStreamMethod(watching, NAME + "Watch", bytes, bytes).open(timeout=60) as watch:
            await watch.send_message(b"", end=True)
            assert await watch.recv_message() == SERVING
            reader, writer = await asyncio.open_connection(*address)
            writer.write(OPENING)
            assert await reader.read(1)
            assert await call(idle, "Check") == SERVING
            assert await drained(reader) is not None  # ended: it was idle
            writer.close()
            await watch.cancel()


async def drained(reader: asyncio.StreamReader) -> bytes:
    """Read to the end of the connection, however it ends."""
    got = b""
    async with asyncio.timeout(60):
        try:
            while data := await reader.read(1 << 16):
                got += data
        except ConnectionResetError:
            pass
    return got


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(frame(PING, 0, 0, b"short"), id="a frame of the wrong size"),
        pytest.param(frame(0x20, 0, 0, b""), id="a frame of an unknown type"),
        pytest.param(frame(HEADERS, 5, 1, b"\xff\xff\xff\xff\xff"), id="fields that cannot be decoded"),
        pytest.param(b"\x00" * 4096, id="DATA on stream 0"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n" * 100, id="another protocol"),
        pytest.param(b"\x00\x40\x01\x00\x00\x00\x00\x00\x01", id="a frame that is announced too long"),
    ],
)
async def test_a_hostile_client_ends_its_own_connection_only(hostile: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with admin(Truth()) as address, channel(address) as opened:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(OPENING + hostile)
        await drained(reader)
        writer.close()
        assert await call(opened, "Check") == SERVING
    assert not caplog.records


async def test_a_request_that_grows_without_end_ends_its_connection() -> None:
    async with admin(Truth()) as address, channel(address) as opened:
        async with UnaryUnaryMethod(opened, NAME + "Check", bytes, bytes).open(timeout=60) as check:
            with pytest.raises(StreamTerminatedError):
                await check.send_message(b"\x0a\xff\xff\x7f" + b"x" * (1 << 21), end=True)


async def test_a_client_that_does_not_read_is_not_read() -> None:
    async with admin(Truth()) as address:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
        _, writer = await asyncio.open_connection(sock=sock)
        writer.transport.pause_reading()
        writer.write(OPENING)
        pings = frame(PING, 0, 0, b"8 octets") * 4096
        async with asyncio.timeout(60):
            while await drains(writer):
                writer.write(pings)
        writer.transport.abort()


async def drains(writer: asyncio.StreamWriter) -> bool:
    """Return whether the peer takes what was written."""
    try:
        async with asyncio.timeout(1.0):
            await writer.drain()
    except TimeoutError:
        return False
    return True


async def test_the_preface_may_come_byte_by_byte() -> None:
    async with admin(Truth()) as address:
        reader, writer = await asyncio.open_connection(*address)
        for byte in OPENING:
            writer.write(bytes((byte,)))
            await asyncio.sleep(0)
        head = await asyncio.wait_for(reader.readexactly(9), 60)
        assert head[3] == SETTINGS
        writer.close()


async def test_half_a_preface_is_no_request() -> None:
    async with admin(Truth()) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(PREFACE[:10])
        writer.write_eof()
        assert (await drained(reader)).startswith(b"HTTP/1.1 400 ")
        writer.close()
