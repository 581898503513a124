"""Who a connection goes to, and how it ends when it cannot go there."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gatewayproxy.dataplane.protocols import splice_accept, splice_stream
from gatewayproxy.dataplane.protocols.splice import Half
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import Cluster, Endpoint
from gatewayproxy.routing.table import BackendChoice
from tests.support.l4 import choice, entry, open_l4, refused, tcp_port, wait_until
from tests.support.ports import closed_port

pytestmark = pytest.mark.usefixtures("no_leaks")


@contextlib.asynccontextmanager
async def greeter(name: bytes, host: str = "127.0.0.1", path: str = "") -> AsyncIterator[tuple[str, int]]:
    """Serve *name* to whoever connects, then wait for its end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name)
        writer.write_eof()
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await (asyncio.start_unix_server(serve, path) if path else asyncio.start_server(serve, host, 0))
    try:
        yield (f"unix:{path}", 0) if path else server.sockets[0].getsockname()[:2]
    finally:
        server.close()


async def ask(address: tuple[str, int]) -> bytes:
    """Return all that comes; an empty answer or a reset both are b""."""
    try:
        reader, writer = await asyncio.open_connection(*address)
    except ConnectionResetError:  # before we have looked whether there is a connection
        return b""
    try:
        return await asyncio.wait_for(reader.read(), 60)
    except TimeoutError:
        raise
    except OSError:
        return b""
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_connections_are_shared_out_by_weight_and_a_refused_share_is_closed() -> None:
    async with greeter(b"a") as a, greeter(b"b") as b:
        route = entry(choice("a", a), choice("b", b), refused("gone", "backend_not_found"), weights=(5, 3, 2))
        async with open_l4(tcp_port(route)) as l4:
            got = Counter([await ask(l4.address) for _ in range(20)])
            await l4.record(20)
            assert l4.reasons == {"backend_not_found": 4}
    assert got == {b"a": 10, b"b": 6, b"": 4}


async def test_endpoints_of_a_backend_take_turns() -> None:
    async with greeter(b"1") as one, greeter(b"2") as two, greeter(b"3") as three:
        async with open_l4(tcp_port(entry(choice("b", one, two, three)))) as l4:
            got = Counter([await ask(l4.address) for _ in range(9)])
    assert got == {b"1": 3, b"2": 3, b"3": 3}


async def test_an_endpoint_that_refuses_is_followed_by_the_next() -> None:
    async with greeter(b"up") as up, open_l4(tcp_port(entry(choice("b", closed_port(), up)))) as l4:
        assert [await ask(l4.address) for _ in range(4)] == [b"up"] * 4
        await l4.record(4)
        assert {record.reason for record in l4.records} == {""}
        assert max(record.attempts for record in l4.records) == 2


async def test_an_endpoint_that_does_not_answer_is_given_up_for_the_next() -> None:
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen(0)
    address = silent.getsockname()
    fillers = []
    for _ in range(3):  # a full accept queue drops further SYNs
        fillers.append(socket.socket())
        fillers[-1].setblocking(False)
        fillers[-1].connect_ex(address)
    limits = Limits(connect_timeout_s=1.0)
    async with greeter(b"up") as up, open_l4(tcp_port(entry(choice("b", address, up))), limits=limits) as l4:
        assert [await ask(l4.address) for _ in range(2)] == [b"up"] * 2
    for sock in [*fillers, silent]:
        sock.close()


@pytest.mark.parametrize(
    ("route", "reason"),
    [
        pytest.param(None, "no_route", id="no route attached"),
        pytest.param(entry(refused("x", "ref_not_permitted")), "ref_not_permitted", id="forbidden backend"),
        pytest.param(entry(choice("empty")), "no_endpoints", id="no endpoints"),
        pytest.param(entry(choice("down", closed_port())), "connect_failed", id="nobody listens"),
        pytest.param(entry(choice("name", ("not-an-address.invalid", 1))), "connect_failed", id="not an address"),
        pytest.param(entry(choice("path", ("unix:/nonexistent/socket", 0))), "connect_failed", id="no such path"),
    ],
)
async def test_who_cannot_be_served_is_closed_without_a_byte_and_told_apart(route: object, reason: str) -> None:
    async with open_l4(tcp_port(route)) as l4:  # type: ignore[arg-type]
        assert await ask(l4.address) == b""
        record = await l4.record()
        assert (record.reason, record.protocol, record.bytes_out) == (reason, "tcp", 0)
        assert l4.reasons == {reason: 1}


async def test_a_name_is_resolved_before_the_first_stream_goes_on() -> None:
    async with greeter(b"named", host="127.0.0.1") as (_, port):
        route = entry(BackendChoice(name="n", cluster=Cluster(name="n", dns=Endpoint("localhost", port))))
        async with open_l4(tcp_port(route)) as l4:
            assert await ask(l4.address) == b"named"


async def test_a_name_that_does_not_resolve_refuses_with_its_own_reason() -> None:
    route = entry(BackendChoice(name="n", cluster=Cluster(name="n", dns=Endpoint("host.invalid", 1))))
    async with open_l4(tcp_port(route), limits=Limits(connect_timeout_s=60)) as l4:
        assert await ask(l4.address) == b""
        assert (await l4.record()).reason == "dns_failed"


async def test_unix_and_ipv6_endpoints_and_listeners_serve(tmp_path: Path) -> None:
    async with greeter(b"unix", path=str(tmp_path / "s")) as unix, greeter(b"six", host="::1") as six:
        route = entry(choice("u", unix), choice("six", six))  # type: ignore[arg-type]
        async with open_l4(tcp_port(route), host="::1") as l4:
            assert sorted([await ask(l4.address) for _ in range(4)]) == [b"six", b"six", b"unix", b"unix"]
            record = await l4.record(4)
            assert record.client == "::1"
            assert {r.endpoint for r in l4.records} == {unix[0], f"[::1]:{six[1]}"}


async def test_a_new_table_takes_new_connections_and_leaves_live_streams_alone() -> None:
    async with greeter(b"old") as old, greeter(b"new") as new:
        async with open_l4(tcp_port(entry(choice("old", old), index=1))) as l4:
            reader, writer = await asyncio.open_connection(*l4.address)
            assert await reader.read() == b"old"
            l4.listener.update(tcp_port(entry(choice("new", new), index=2)))
            assert await ask(l4.address) == b"new"
            await wait_until(lambda: l4.listener.connections == 1, "the second stream to end")
            assert l4.listener.fingerprints() == {b"\1" * 16: 1}
            writer.write(b"still here")
            writer.close()
            await writer.wait_closed()
            record = await l4.record(2)
            assert (record.backend, record.bytes_in, record.reason) == ("old", 10, "")


async def test_stopping_serves_what_the_accept_queue_holds_and_lets_streams_end() -> None:
    async with greeter(b"x") as address, open_l4(tcp_port(entry(choice("b", address)))) as l4:
        waiting = [socket.create_connection(l4.address) for _ in range(50)]
        l4.listener.stop()
        l4.listener.drain()
        assert l4.listener.connections == 50
        loop = asyncio.get_running_loop()
        for sock in waiting:
            sock.setblocking(False)
            assert await loop.sock_recv(sock, 10) == b"x"
            sock.close()
        await wait_until(lambda: l4.listener.connections == 0, "streams to end")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*l4.address)


async def test_abort_resets_streams() -> None:
    async with greeter(b"x") as address, open_l4(tcp_port(entry(choice("b", address)))) as l4:
        reader, writer = await asyncio.open_connection(*l4.address)
        assert await reader.readexactly(1) == b"x"
        l4.listener.abort()
        writer.write(b"anyone?")
        with contextlib.suppress(OSError):
            await reader.read()
        assert (await l4.record()).reason == "drain_timeout"
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_a_silent_stream_is_reset_after_the_idle_timeout_and_a_talking_one_is_not() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(100):
                writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    route = entry(choice("b", server.sockets[0].getsockname()))
    async with open_l4(tcp_port(route), limits=Limits(tcp_idle_timeout_s=1.0)) as l4:
        silent, silent_writer = await asyncio.open_connection(*l4.address)
        reader, writer = await asyncio.open_connection(*l4.address)
        ended = asyncio.create_task(silent.read())
        while not ended.done():
            writer.write(b"tick")
            assert await reader.readexactly(4) == b"tick"
            await asyncio.sleep(0.05)
        with pytest.raises(ConnectionResetError):
            await ended
        assert (await l4.record()).reason == "idle_timeout"
        assert l4.listener.connections == 1
        for each in (writer, silent_writer):
            each.close()
            with contextlib.suppress(OSError):
                await each.wait_closed()
    server.close()
    await server.wait_closed()


async def test_connections_beyond_the_bound_wait_in_the_accept_queue() -> None:
    async with greeter(b"x") as address:
        async with open_l4(tcp_port(entry(choice("b", address))), limits=Limits(connections=2)) as l4:
            held = [await asyncio.open_connection(*l4.address) for _ in range(2)]
            assert [await reader.read() for reader, _ in held] == [b"x", b"x"]
            third, third_writer = await asyncio.open_connection(*l4.address)
            late = asyncio.create_task(third.read())
            await wait_until(lambda: l4.context.connections.full, "the bound")
            for _ in range(20):
                await asyncio.sleep(0)
            assert l4.listener.connections == 2
            assert not late.done()
            held[0][1].close()
            assert await asyncio.wait_for(late, 60) == b"x"
            for writer in (held[0][1], held[1][1], third_writer):
                writer.close()
                await writer.wait_closed()


async def test_running_out_of_descriptors_is_said_once_and_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [errno.EMFILE, errno.ENFILE, errno.ECONNABORTED, errno.EMFILE]
    real = splice_accept.accept

    def accept(listening: int) -> tuple[int, bytes] | None:
        if failures:
            code = failures.pop()
            raise OSError(code, os.strerror(code))
        return real(listening)

    monkeypatch.setattr(splice_accept, "RETRY_S", 0.02)
    monkeypatch.setattr(splice_accept, "accept", accept)
    async with greeter(b"x") as address, open_l4(tcp_port(entry(choice("b", address)))) as l4:
        with caplog.at_level(logging.WARNING):
            assert await ask(l4.address) == b"x"
        assert [record.msg.split()[0] for record in caplog.records] == ["accept_paused"]


async def test_a_crash_of_one_stream_closes_that_stream_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = splice_stream.Stream._join
    crashes = [True]

    def crash_once(self: splice_stream.Stream, upstream: int, events: int) -> None:
        if crashes:
            crashes.pop()
            raise RuntimeError("a bug of ours")
        real(self, upstream, events)

    monkeypatch.setattr(splice_stream.Stream, "_join", crash_once)
    async with greeter(b"x") as address, open_l4(tcp_port(entry(choice("b", address)))) as l4:
        with caplog.at_level(logging.ERROR):
            assert await ask(l4.address) == b""
        assert await ask(l4.address) == b"x"
        await l4.record(2)
        assert l4.reasons == {"internal_error": 1}
    assert "a bug of ours" in caplog.text


async def test_counters_show_a_live_stream_and_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatewayproxy.dataplane.protocols.splice_streams._TALLY_S", 0.02)
    async with greeter(b"hello") as address, open_l4(tcp_port(entry(choice("b", address)))) as l4:
        reader, writer = await asyncio.open_connection(*l4.address)
        assert await reader.read() == b"hello"
        row = next(iter(l4.context.stats.rows.values()))
        await wait_until(lambda: row.bytes_out == 5, "bytes of a live stream")
        assert row.active == 1
        assert l4.context.stats.connections == {"default/gw/l4": 1}
        writer.close()
        await writer.wait_closed()
        record = await l4.record()
        assert (row.active, row.bytes_out, sum(row.classes)) == (0, 5, 1)
        assert (record.listener, record.route, record.rule) == ("default/gw/l4", "TCPRoute default/route-0", "0")
        assert record.connect_s > 0


async def test_a_client_that_resets_while_we_dial_leaves_nothing_behind() -> None:
    async with greeter(b"x") as address, open_l4(tcp_port(entry(choice("b", address)))) as l4:
        for _ in range(20):
            sock = socket.create_connection(l4.address)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        await l4.record(1)
        await wait_until(lambda: l4.listener.connections == 0, "all to be gone")


async def test_an_ended_stream_leaves_no_work_to_the_garbage_collector() -> None:
    async with greeter(b"x") as address, open_l4(tcp_port(entry(choice("b", address)))) as l4:
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                assert await ask(l4.address) == b"x"
            await l4.record(20)
            await wait_until(lambda: not _streams(), "streams to be freed by their counts")
        finally:
            gc.enable()


def _streams() -> list[object]:
    return [each for each in gc.get_objects() if isinstance(each, Half | splice_stream.Stream)]


async def test_a_stream_that_lasts_keeps_its_upstream_connection_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatewayproxy.dataplane.protocols.splice_streams._TALLY_S", 0.02)
    async with greeter(b"x") as address, open_l4(tcp_port(entry(choice("b", address)))) as l4:
        reader, writer = await asyncio.open_connection(*l4.address)
        assert await reader.readexactly(1) == b"x"
        stream = next(iter(l4.listener.streams._live))
        with (
            socket.socket(fileno=os.dup(stream._upstream)) as up,
            socket.socket(fileno=os.dup(stream.client.fd)) as down,
        ):
            for side in (up, down):
                await wait_until(lambda s=side: s.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), "keep-alive")
                assert side.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 120
                assert side.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 4
        writer.close()
        await writer.wait_closed()


async def test_a_unix_upstream_that_passes_descriptors_loses_no_bytes(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        server.setblocking(False)
        async with open_l4(tcp_port(entry(choice("u", (f"unix:{path}", 0))))) as l4:
            reader, writer = await asyncio.open_connection(*l4.address)
            conn, _ = await asyncio.get_running_loop().sock_accept(server)
            for i in range(5):  # a read ends at each message that carries descriptors
                socket.send_fds(conn, [b"%d" % i], [server.fileno()])
            conn.close()
            assert await asyncio.wait_for(reader.read(), 60) == b"01234"
            writer.close()
            await writer.wait_closed()
