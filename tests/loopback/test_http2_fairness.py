"""Streams of one HTTP/2 connection share it: none that is stuck or long keeps the others waiting. RFC 9113 §5.2."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gatewayproxy.model.limits import Limits
from gatewayproxy.routing.table import HostIndex
from tests.support.backend import Script, backend, until
from tests.support.h2client import H2Session, h2_session
from tests.support.worker import cluster, forward, serve, vhost

MIB = 1 << 20
FIRST_WINDOW = 65_535


def index(slow: int, quick: int) -> HostIndex:
    """Return a.test with *quick* under /q and *slow* elsewhere."""
    prefixes = {b"": forward(cluster(slow)), b"/q": forward(cluster(quick, name="default/quick:80"))}
    return HostIndex(exact={b"a.test": vhost(prefixes)})


def pour(size: int) -> Script:
    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(0, size, MIB):
            writer.write(bytes(MIB))
            await writer.drain()
        await reader.read()

    return serve_one


@pytest.mark.parametrize("n", [8, 98])
async def test_uploads_that_nobody_takes_leave_the_connection_to_the_others(n: int) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    limits = Limits(upstream_connections=1, upstream_queue_s=60)  # the first has it, the others wait with their bodies
    async with backend(hang) as slow, backend() as quick:
        with serve(index(slow.number, quick.number), limits=limits) as served:
            async with h2_session(served.number) as session:
                session.request("/")
                await until(lambda: slow.heads)
                stuck = [session.request("/", method="POST", end=False) for _ in range(n)]
                for stream_id in stuck:
                    await session.send(stream_id, bytes(FIRST_WINDOW), end=False)
                for _ in range(5):
                    answer = await session.ask("/q", method="POST", body=bytes(2 * MIB))
                    assert answer.status == 200
                assert not any(session.can_send(stream_id) for stream_id in stuck)
                assert session.h2.outbound_flow_control_window > 0


async def test_downloads_that_are_not_read_leave_the_connection_to_the_others() -> None:
    async with backend(raw=pour(4 * MIB)) as slow, backend() as quick:
        with serve(index(slow.number, quick.number)) as served:
            async with h2_session(served.number, INITIAL_WINDOW_SIZE=1000) as session:
                session.reads = False
                stuck = [session.answers[session.request("/")] for _ in range(20)]
                await session.until(lambda: all(len(answer.body) == 1000 for answer in stuck))
                session.reads = True
                for _ in range(20):
                    assert bytes((await session.ask("/q")).body) == b"ok"
                assert {len(answer.body) for answer in stuck} == {1000}


async def test_a_long_answer_lets_short_ones_pass() -> None:
    """What is sent ahead of a short answer is what the socket and one read of the long one hold, not more."""
    async with backend(raw=pour(512 * MIB)) as slow, backend() as quick:
        with serve(index(slow.number, quick.number)) as served:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", served.number))
            reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
            session = H2Session(reader, writer)
            await session.start(INITIAL_WINDOW_SIZE=(1 << 31) - 1)
            session.h2.increment_flow_control_window((1 << 31) - 1 - 65_535)
            assert (await session.ask("/q")).status == 200  # from now on there is a connection to it
            long = session.answers[session.request("/")]
            try:
                await session.until(lambda: len(long.body) > MIB)
                for _ in range(5):
                    before = len(long.body)
                    assert (await session.ask("/q")).status == 200
                    assert len(long.body) - before < MIB
            finally:
                writer.transport.abort()
