"""Bytes arrive whole and in order, ends and resets arrive as what they were."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest

from gatewayproxy.dataplane.protocols import splice, splice_pipes
from tests.support.l4 import L4, choice, entry, open_l4, tcp_port, wait_until
from tests.support.positions import piece, receive, receive_end, send

pytestmark = pytest.mark.usefixtures("no_leaks")

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]
MIB = 1 << 20


@contextlib.asynccontextmanager
async def backend(handler: Handler, **options: object) -> AsyncIterator[tuple[str, int]]:
    """Serve *handler* on a loopback port; a failed check in it fails the test."""
    failures: list[BaseException] = []
    finished = asyncio.Event()
    running = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal running
        running += 1
        finished.clear()
        try:
            await handler(reader, writer)
        except BaseException as error:
            failures.append(error)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            running -= 1
            if not running:
                finished.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()
        if running:
            await asyncio.wait_for(finished.wait(), 60)
    finally:
        server.close()
        await server.wait_closed()
    assert not failures, failures


@contextlib.asynccontextmanager
async def through(handler: Handler) -> AsyncIterator[L4]:
    """Put a TCP listener before *handler*."""
    async with backend(handler) as address, open_l4(tcp_port(entry(choice("b", address)))) as l4:
        yield l4


@contextlib.asynccontextmanager
async def client(address: tuple[str, int]) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def read_to_end(reader: asyncio.StreamReader) -> None:
    while await reader.read(65_536):
        pass


def reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


SIZES = [
    pytest.param(0, 0, 1, id="nothing"),
    pytest.param(1, 1, 1, id="one byte"),
    pytest.param(700, 16_384, 100, id="one buffer"),
    pytest.param(20_000, 5_000, 150, id="many tiny writes"),
    pytest.param(3 * MIB + 1, 2 * MIB + 17, 200_000, id="bulk both ways"),
    pytest.param(64 * MIB, 10, 1_000_000, id="64 MiB up"),
    pytest.param(10, 64 * MIB, 1_000_000, id="64 MiB down"),
]


@pytest.mark.parametrize(("up", "down", "chunk"), SIZES)
async def test_bytes_cross_whole_and_in_order_both_ways_at_once(up: int, down: int, chunk: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.gather(receive(reader, 1, up), send(writer, 2, down, chunk=chunk))
        await receive_end(reader)

    async with through(serve) as l4, client(l4.address) as (reader, writer):
        await asyncio.gather(send(writer, 1, up, chunk=chunk), receive(reader, 2, down))
        writer.write_eof()
        await receive_end(reader)
        record = await l4.record()
    assert (record.bytes_in, record.bytes_out, record.reason) == (up, down, "")


@pytest.mark.parametrize("up", [0, 1, 50_000, 5 * MIB])
async def test_a_client_may_half_close_and_then_read_the_answer(up: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await receive(reader, 3, up)
        await receive_end(reader)
        await send(writer, 4, 5 * MIB)

    async with through(serve) as l4, client(l4.address) as (reader, writer):
        await send(writer, 3, up)
        writer.write_eof()
        await receive(reader, 4, 5 * MIB)
        await receive_end(reader)


async def test_a_server_may_half_close_and_then_read_on() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await send(writer, 5, MIB)
        writer.write_eof()
        await receive(reader, 6, 3 * MIB)
        await receive_end(reader)

    async with through(serve) as l4, client(l4.address) as (reader, writer):
        await receive(reader, 5, MIB)
        await receive_end(reader)
        await send(writer, 6, 3 * MIB)
        writer.write_eof()
        record = await l4.record()
    assert (record.bytes_in, record.bytes_out) == (3 * MIB, MIB)


async def test_a_server_may_speak_first() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x"}\r\n')
        assert await reader.readline() == b"CONNECT {}\r\n"
        writer.write(b"+OK\r\n")

    async with through(serve) as l4, client(l4.address) as (reader, writer):
        assert await reader.readline() == b'INFO {"server_id":"x"}\r\n'
        writer.write(b"CONNECT {}\r\n")
        assert await reader.readline() == b"+OK\r\n"


async def test_a_slow_reader_gets_everything() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await send(writer, 7, 12 * MIB, chunk=MIB)

    async with through(serve) as l4, client(l4.address) as (reader, _):
        await receive(reader, 7, 12 * MIB, chunk=3_000)
        await receive_end(reader)


@pytest.mark.parametrize("sent", [0, 10, 3 * MIB])
async def test_a_reset_by_the_client_reaches_the_server_as_a_reset(sent: int) -> None:
    seen = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"!")
        with pytest.raises(ConnectionResetError):
            await read_to_end(reader)
        seen.set()

    async with through(serve) as l4, client(l4.address) as (reader, writer):
        assert await reader.readexactly(1) == b"!"
        await send(writer, 8, sent)
        reset(writer)
        await asyncio.wait_for(seen.wait(), 60)
        assert (await l4.record()).reason == "client_reset"


@pytest.mark.parametrize("sent", [0, 10, 3 * MIB])
async def test_a_reset_by_the_server_reaches_the_client_as_a_reset(sent: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(1) == b"?"
        await send(writer, 9, sent)
        reset(writer)

    async with through(serve) as l4, client(l4.address) as (reader, writer):
        writer.write(b"?")
        with pytest.raises(ConnectionResetError):
            await read_to_end(reader)
        assert (await l4.record()).reason == "upstream_reset"


async def test_a_reset_is_told_even_while_the_other_side_reads_nothing() -> None:
    loop = asyncio.get_running_loop()
    server = socket.create_server(("127.0.0.1", 0))
    server.setblocking(False)
    async with open_l4(tcp_port(entry(choice("b", server.getsockname())))) as l4:
        sender = socket.create_connection(l4.address)
        sender.setblocking(False)
        stopped, _ = await loop.sock_accept(server)
        await fill(sender, l4)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sender.close()
        assert (await l4.record()).reason == "client_reset"
        stopped.close()
    server.close()


async def fill(sender: socket.socket, l4: L4) -> int:
    """Send until nothing more is taken for a while; return how much was."""
    sent, block, quiet = 0, bytes(65_536), 0
    while quiet < 50:
        try:
            sent += sender.send(block)
            quiet = 0
        except BlockingIOError:
            quiet += 1
            await asyncio.sleep(0.002)
        assert sent < 512 * MIB, "no backpressure"
    return sent


async def test_a_stopped_reader_stops_the_sender_and_loses_nothing() -> None:
    loop = asyncio.get_running_loop()
    server = socket.create_server(("127.0.0.1", 0))
    server.setblocking(False)
    total = 64 * MIB
    async with open_l4(tcp_port(entry(choice("b", server.getsockname())))) as l4:
        _, writer = await asyncio.open_connection(*l4.address)
        stopped, _ = await loop.sock_accept(server)
        sending = loop.create_task(send(writer, 10, total, chunk=MIB))

        def held() -> int:
            return next(iter(l4.listener.streams._live))._down.moved  # type: ignore[union-attr]

        await wait_until(lambda: held() > 100_000, "the first bytes")
        last = -1
        while held() != last:  # until the kernel's buffers are full
            last = held()
            await asyncio.sleep(0.1)
        assert last < 24 * MIB, "more held than two socket buffers and a pipe"
        assert not sending.done()
        back, front = await asyncio.open_connection(sock=stopped)
        await receive(back, 10, total)
        await sending
        writer.close()
        await receive_end(back)
        front.close()
        await front.wait_closed()
        await writer.wait_closed()
    server.close()


async def test_urgent_data_stays_in_its_place_and_stalls_nothing() -> None:
    n = 2 * MIB

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(3) == b"abU"
        await receive(reader, 11, n)
        assert await reader.readexactly(1) == b"V"
        await receive(reader, 12, n)
        await receive_end(reader)
        writer.write(b"done")

    async with through(serve) as l4, client(l4.address) as (reader, writer):
        sock = writer.get_extra_info("socket")
        oob = socket.socket(fileno=os.dup(sock.fileno()))
        oob.send(b"ab")
        oob.send(b"U", socket.MSG_OOB)
        await send(writer, 11, n)
        await wait_until(lambda: writer.transport.get_write_buffer_size() == 0, "the writes to be out")
        oob.send(b"V", socket.MSG_OOB)
        await send(writer, 12, n)
        writer.write_eof()
        assert await reader.read() == b"done"
        oob.close()


def no_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    def pipe2(flags: int) -> tuple[int, int]:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(splice_pipes.os, "pipe2", pipe2)


def small_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splice_pipes, "PIPE_BYTES", 4_096)


def no_splice_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(splice.os, "splice", fail)


def no_splice_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.splice
    calls = 0

    def odd_fails(source: int, sink: int, n: int, *, flags: int) -> int:
        nonlocal calls
        calls += 1
        if calls % 2 == 0:
            raise OSError(22, "Invalid argument")
        return real(source, sink, n, flags=flags)

    monkeypatch.setattr(splice.os, "splice", odd_fails)


def all_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splice_pipes, "_LENT", 0)


@pytest.mark.parametrize("obstacle", [no_pipes, small_pipes, no_splice_in, no_splice_out, all_lent])
async def test_where_splice_cannot_be_had_streams_are_copied(
    obstacle: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    n = 20 * MIB

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.gather(receive(reader, 1, n), send(writer, 2, n, chunk=MIB))
        await receive_end(reader)

    obstacle(monkeypatch)
    async with through(serve) as l4, client(l4.address) as (reader, writer):
        await asyncio.gather(send(writer, 1, n, chunk=MIB), receive(reader, 2, n))
        writer.write_eof()
        await receive_end(reader)


async def test_a_stream_goes_from_bulk_to_small_messages_and_back() -> None:
    rounds = [3 * MIB, 10, 200_000, 1, 5 * MIB, 17]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for i, n in enumerate(rounds):
            await receive(reader, i, n)
            writer.write(piece(i, 0, 5))

    async with through(serve) as l4, client(l4.address) as (reader, writer):
        for i, n in enumerate(rounds):
            await send(writer, i, n)
            assert await asyncio.wait_for(reader.readexactly(5), 60) == piece(i, 0, 5)


async def test_many_streams_of_mixed_behaviour_stay_intact() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seed, up, down, tiny = struct.unpack(">IIIB", await reader.readexactly(13))
        await asyncio.gather(receive(reader, seed, up), send(writer, seed + 1, down, chunk=150 if tiny else 100_000))
        await receive_end(reader)

    async def one(seed: int, address: tuple[str, int]) -> None:
        dice = random.Random(seed)
        tiny = dice.random() < 0.3
        up, down = (dice.choice([0, 1, dice.randint(1, 3_000), dice.randint(1, 15_000 if tiny else MIB)]) for _ in "ab")
        async with client(address) as (reader, writer):
            writer.write(struct.pack(">IIIB", seed, up, down, tiny))
            await asyncio.gather(
                send(writer, seed, up, chunk=150 if tiny else 100_000), receive(reader, seed + 1, down)
            )
            writer.write_eof()
            await receive_end(reader)

    async with through(serve) as l4:
        async with asyncio.TaskGroup() as group:
            for seed in range(150):
                group.create_task(one(seed, l4.address))
        await l4.record(150)
        assert l4.reasons == {}


async def test_a_port_whose_counters_were_dropped_counts_anew() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(4))

    async with through(echo) as l4:
        l4.context.stats.connections.clear()  # nobody was there, and there were too many names
        l4.context.stats.connections_total.clear()
        async with client(l4.address) as (reader, writer):
            writer.write(b"ping")
            assert await reader.readexactly(4) == b"ping"
        assert list(l4.context.stats.connections_total.values()) == [1]
