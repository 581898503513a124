"""Streams whose TLS ends here: both ways, ends of every kind, and refusals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import Cluster, Endpoint
from gatewayproxy.routing.table import BackendChoice, SniAction, SniTarget
from tests.support.certs import client_context
from tests.support.l4 import LISTENER, choice, entry, open_l4, refused, sni_port, wait_until
from tests.support.ports import closed_port
from tests.support.tls_client import Split, TlsClient, bytewise, records_of, whole
from tests.support.tls_ports import passed, terminated, tls_port

pytestmark = pytest.mark.usefixtures("no_leaks")

VERSIONS = [
    pytest.param(ssl.TLSVersion.TLSv1_2, id="TLS 1.2"),
    pytest.param(ssl.TLSVersion.TLSv1_3, id="TLS 1.3"),
]
RESET = struct.pack("ii", 1, 0)
MIB = 1 << 20


class Backend:
    """A listening socket; the test accepts and speaks."""

    def __init__(self) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.sock.settimeout(60)
        self.address: tuple[str, int] = self.sock.getsockname()[:2]

    def accept(self) -> socket.socket:
        conn, _ = self.sock.accept()
        conn.settimeout(60)
        return conn

    def n_waiting(self) -> int:
        """Return how many connections there are in the accept queue."""
        self.sock.setblocking(False)
        taken = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                self.sock.accept()[0].close()
                taken += 1
        self.sock.settimeout(60)
        return taken


@pytest.fixture
def backend() -> Iterator[Backend]:
    made = Backend()
    with made.sock:
        yield made


def connect(address: tuple[str, int], *, version: ssl.TLSVersion | None = None) -> TlsClient:
    return TlsClient(address[1], client_context(version=version, alpn=()), "a.test")


@contextlib.asynccontextmanager
async def echo(name: bytes = b"") -> AsyncIterator[tuple[str, int]]:
    """Answer *name*, then everything that comes, until the end of it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name)
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
            writer.write_eof()
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()


def received(conn: socket.socket) -> bytes:
    """Return all that comes to *conn*; ConnectionResetError passes."""
    data = b""
    while piece := conn.recv(65_536):
        data += piece
    return data


# Bytes


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "split",
    [
        pytest.param(whole, id="whole"),
        pytest.param(bytewise, id="bytewise"),
        pytest.param(records_of(40), id="in records"),
    ],
)
async def test_what_is_inside_tls_reaches_the_backend_in_plain_text(version: ssl.TLSVersion, split: Split) -> None:
    def client(address: tuple[str, int]) -> None:
        with connect(address, version=version).handshake(split_hello=split) as tls:
            assert tls.receive(5) == b"hello"
            tls.send(b"ping")
            assert tls.receive(4) == b"ping"
            tls.close_notify()
            assert tls.end() == "close_notify"

    async with echo(b"hello") as address:
        async with open_l4(tls_port({b"a.test": terminated(entry(choice("b", address), kind="TLSRoute"))})) as l4:
            await asyncio.to_thread(client, l4.address)
            record = await l4.record()
    assert (record.protocol, record.listener, record.route) == ("tls", "default/gw/l4", "TLSRoute default/route-0")
    assert (record.host, record.backend, record.reason) == (b"a.test", "b", "")
    assert (record.bytes_in, record.bytes_out, record.client) == (4, 9, "127.0.0.1")
    assert record.endpoint == f"127.0.0.1:{address[1]}"
    assert record.attempts == 1
    assert 0 < record.connect_s < record.duration_s


async def test_bytes_and_connections_are_counted(backend: Backend) -> None:
    async with open_l4(tls_port({b"a.test": terminated(entry(choice("b", backend.address)))})) as l4:
        tls = await asyncio.to_thread(lambda: connect(l4.address).handshake())
        with tls, await asyncio.to_thread(backend.accept) as conn:
            stats = l4.context.stats
            assert (stats.connections, stats.connections_total) == ({"default/gw/l4": 1},) * 2
            assert l4.listener.connections == 1
            assert l4.context.connections.count == 1
            (row,) = stats.rows.values()
            assert row.active == 1
            tls.send(b"12345")
            assert await asyncio.to_thread(conn.recv, 5) == b"12345"
        await l4.record()
        assert (row.bytes_in, row.classes[0]) == (5, 1)
        await wait_until(lambda: stats.connections == {"default/gw/l4": 0}, "the connection to be counted out")


async def test_each_direction_ends_by_itself(backend: Backend) -> None:
    def talk(address: tuple[str, int]) -> None:
        with connect(address).handshake() as tls, backend.accept() as conn:
            tls.send(b"question")
            tls.close_notify()
            assert received(conn) == b"question"
            conn.sendall(b"answer")  # after the client's end
            assert tls.receive(6) == b"answer"
            conn.shutdown(socket.SHUT_WR)
            assert tls.end() == "close_notify"

    async with open_l4(tls_port({b"a.test": terminated(entry(choice("b", backend.address)))})) as l4:
        await asyncio.to_thread(talk, l4.address)
        assert (await l4.record()).reason == ""


async def test_the_backend_may_end_first(backend: Backend) -> None:
    def talk(address: tuple[str, int]) -> None:
        with connect(address).handshake() as tls, backend.accept() as conn:
            conn.sendall(b"bye")
            conn.shutdown(socket.SHUT_WR)
            assert tls.receive(3) == b"bye"
            assert tls.end() == "close_notify"
            tls.send(b"more")  # its direction goes on
            assert conn.recv(4) == b"more"
            tls.close_notify()
            assert received(conn) == b""

    async with open_l4(tls_port({b"a.test": terminated(entry(choice("b", backend.address)))})) as l4:
        await asyncio.to_thread(talk, l4.address)
        assert (await l4.record()).reason == ""


async def test_what_comes_with_the_end_of_the_handshake_is_not_lost(backend: Backend) -> None:
    def talk(address: tuple[str, int]) -> None:
        with connect(address, version=ssl.TLSVersion.TLSv1_3) as tls:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.tls.do_handshake()
            tls.flush()
            finished = False
            while not finished:
                tls.fill()
                with contextlib.suppress(ssl.SSLWantReadError):
                    tls.tls.do_handshake()
                    finished = True
            tls.tls.write(b"early" * 1000)
            tls.close_notify()  # sends our last flight, the data and the end of them at once
            with backend.accept() as conn:
                assert received(conn) == b"early" * 1000

    async with open_l4(tls_port({b"a.test": terminated(entry(choice("b", backend.address)))})) as l4:
        await asyncio.to_thread(talk, l4.address)


@pytest.mark.parametrize("slow", ["client", "backend"])
async def test_who_reads_slowly_holds_the_other_back(backend: Backend, slow: str) -> None:
    limits = Limits(buffer_bytes=65_536)
    sent = 0

    def flood(send: Callable[[bytes], None], sock: socket.socket) -> int:
        nonlocal sent
        sock.settimeout(1.0)
        with contextlib.suppress(TimeoutError, BlockingIOError):
            while sent < 64 * MIB:
                send(bytes(65_536))
                sent += 65_536
        return sent

    async with open_l4(tls_port({b"a.test": terminated(entry(choice("b", backend.address)))}), limits=limits) as l4:
        tls = await asyncio.to_thread(lambda: connect(l4.address).handshake())
        with tls, await asyncio.to_thread(backend.accept) as conn:
            sender = (conn.sendall, conn) if slow == "client" else (tls.send, tls.sock)
            assert await asyncio.to_thread(flood, *sender) < 32 * MIB


async def test_bulk_arrives_whole_both_ways() -> None:
    data = os.urandom(4 * MIB)

    def client(address: tuple[str, int]) -> bytes:
        with connect(address).handshake() as tls:
            got = b""
            for at in range(0, len(data), 65_536):
                tls.send(data[at : at + 65_536])
                got += tls.receive(65_536)
            tls.close_notify()
            assert tls.end() == "close_notify"
            return got

    async with echo() as address, open_l4(tls_port({b"a.test": terminated(entry(choice("b", address)))})) as l4:
        assert await asyncio.to_thread(client, l4.address) == data


# Ends that are none


async def test_a_client_that_is_cut_off_does_not_look_done_to_the_backend(backend: Backend) -> None:
    def talk(address: tuple[str, int]) -> None:
        with connect(address).handshake() as tls, backend.accept() as conn:
            tls.send(b"half a sen")
            assert conn.recv(10) == b"half a sen"
            tls.sock.shutdown(socket.SHUT_WR)  # TCP's end, not that of TLS
            with pytest.raises(ConnectionResetError):
                received(conn)

    async with open_l4(tls_port({b"a.test": terminated(entry(choice("b", backend.address)))})) as l4:
        await asyncio.to_thread(talk, l4.address)
        record = await l4.record()
    assert (record.reason, record.detail) == ("client_closed", "the TCP stream ended without close_notify")


async def test_a_client_that_resets_resets_the_backend(backend: Backend) -> None:
    def talk(address: tuple[str, int]) -> None:
        with connect(address).handshake() as tls, backend.accept() as conn:
            tls.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            tls.sock.close()
            with pytest.raises(ConnectionResetError):
                received(conn)

    async with open_l4(tls_port({b"a.test": terminated(entry(choice("b", backend.address)))})) as l4:
        await asyncio.to_thread(talk, l4.address)
        assert (await l4.record()).reason == "client_reset"
        assert l4.reasons == {"client_reset": 1}


async def test_a_backend_that_resets_does_not_look_done_to_the_client(backend: Backend) -> None:
    def talk(address: tuple[str, int]) -> str:
        with connect(address).handshake() as tls:
            conn = backend.accept()
            conn.sendall(b"half a sen")
            assert tls.receive(10) == b"half a sen"
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            conn.close()
            return tls.end()

    async with open_l4(tls_port({b"a.test": terminated(entry(choice("b", backend.address)))})) as l4:
        assert await asyncio.to_thread(talk, l4.address) in ("reset", "fin")  # and no close_notify
        assert (await l4.record()).reason == "upstream_reset"


async def test_silence_ends_where_a_bound_says_so(backend: Backend) -> None:
    limits = Limits(tcp_idle_timeout_s=0.2)
    async with open_l4(tls_port({b"a.test": terminated(entry(choice("b", backend.address)))}), limits=limits) as l4:
        tls = await asyncio.to_thread(lambda: connect(l4.address).handshake())
        with tls, await asyncio.to_thread(backend.accept) as conn:
            assert (await l4.record()).reason == "idle_timeout"
            assert await asyncio.to_thread(tls.end) in ("reset", "fin")
            with pytest.raises(ConnectionResetError):
                await asyncio.to_thread(received, conn)


async def test_drained_streams_go_on_until_they_are_aborted(backend: Backend) -> None:
    async with open_l4(tls_port({b"a.test": terminated(entry(choice("b", backend.address)))})) as l4:
        tls = await asyncio.to_thread(lambda: connect(l4.address).handshake())
        with tls, await asyncio.to_thread(backend.accept) as conn:
            l4.listener.stop()
            l4.listener.drain()
            tls.send(b"still here")
            assert await asyncio.to_thread(conn.recv, 10) == b"still here"
            assert l4.listener.connections == 1
            l4.listener.abort()
            assert (await l4.record()).reason == "drain_timeout"
            assert await asyncio.to_thread(tls.end) in ("reset", "fin")


# Who it goes to


async def test_weights_count_per_connection() -> None:
    def client(address: tuple[str, int]) -> bytes:
        with connect(address).handshake() as tls:
            name = tls.receive(1)
            tls.close_notify()
            return name

    async with echo(b"a") as a, echo(b"b") as b:
        route = entry(choice("a", a), choice("b", b), weights=[3, 1])
        async with open_l4(tls_port({b"a.test": terminated(route)})) as l4:
            got = Counter([await asyncio.to_thread(client, l4.address) for _ in range(20)])
    assert got == {b"a": 15, b"b": 5}


async def test_an_endpoint_that_cannot_be_reached_is_followed_by_the_next() -> None:
    def client(address: tuple[str, int]) -> bytes:
        with connect(address).handshake() as tls:
            name = tls.receive(1)
            tls.close_notify()
            return name

    async with echo(b"b") as address:
        route = entry(choice("b", closed_port(), address))
        async with open_l4(tls_port({b"a.test": terminated(route)})) as l4:
            assert [await asyncio.to_thread(client, l4.address) for _ in range(4)] == [b"b"] * 4


async def test_a_stream_whose_backend_cannot_be_reached_ends_without_close_notify() -> None:
    route = entry(choice("b", closed_port()))
    async with open_l4(tls_port({b"a.test": terminated(route)})) as l4:
        with await asyncio.to_thread(lambda: connect(l4.address).handshake()) as tls:
            assert await asyncio.to_thread(tls.end) in ("reset", "fin")
        record = await l4.record()
    assert (record.reason, record.backend, record.attempts) == ("connect_failed", "b", 1)
    assert "Connect call failed" in record.detail or "refused" in record.detail.lower()


async def test_a_name_without_addresses_ends_the_stream() -> None:
    cluster = Cluster(name="b", dns=Endpoint("nowhere.invalid", 80))
    route = entry(BackendChoice(name="b", cluster=cluster))
    async with open_l4(tls_port({b"a.test": terminated(route)})) as l4:
        with await asyncio.to_thread(lambda: connect(l4.address).handshake()) as tls:
            assert await asyncio.to_thread(tls.end) in ("reset", "fin")
        assert (await l4.record()).reason == "dns_failed"


async def test_a_share_that_is_refused_leaves_the_others() -> None:
    def client(address: tuple[str, int]) -> str:
        with connect(address).handshake() as tls:
            try:
                return tls.receive(6).decode()
            except ConnectionError:
                return tls.end()

    async with echo(b"served") as address:
        route = entry(choice("b", address), refused("gone", "backend_not_found"), weights=[1, 1])
        async with open_l4(tls_port({b"a.test": terminated(route)})) as l4:
            ends = [await asyncio.to_thread(client, l4.address) for _ in range(4)]
            assert ends.count("served") == 2
            assert set(ends) <= {"served", "reset", "fin"}
            assert l4.reasons["backend_not_found"] == 2


def refusal_of(address: tuple[str, int], name: str | None) -> bytes:
    """Return what comes in answer to a ClientHello: nothing, if there is no alert."""
    with TlsClient(address[1], client_context(alpn=()), name) as tls:
        if name is None:
            tls.tls.context.check_hostname = False
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.tls.do_handshake()
        tls.flush()
        try:
            return tls.sock.recv(100)
        except ConnectionResetError:
            return b""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("b.test", "unknown_sni", id="a name of no listener"),
        pytest.param("unrouted.test", "no_route", id="a name without a route"),
        pytest.param("gone.test", "backend_not_found", id="a route without a backend"),
        pytest.param("bare.test", "no_certificate", id="a listener without a certificate"),
    ],
)
async def test_a_name_that_leads_nowhere_is_refused_before_the_handshake(name: str, reason: str) -> None:
    port = tls_port(
        {
            b"unrouted.test": terminated(None),
            b"gone.test": terminated(entry(refused("gone", "backend_not_found"))),
            b"bare.test": SniTarget(listener=LISTENER, action=SniAction.REFUSE),
        }
    )
    async with open_l4(port) as l4:
        assert await asyncio.to_thread(refusal_of, l4.address, name) == b""
        record = await l4.record()
        assert (record.reason, record.host) == (reason, name.encode())
        assert l4.reasons == {reason: 1}


async def test_the_backend_is_not_dialled_before_the_handshake_is_over(backend: Backend) -> None:
    async with open_l4(tls_port({b"a.test": terminated(entry(choice("b", backend.address)))})) as l4:
        with connect(l4.address) as tls:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.tls.do_handshake()
            tls.flush()
            assert await asyncio.to_thread(tls.sock.recv, 1)  # ServerHello
            assert backend.n_waiting() == 0
        record = await l4.record()
        assert (record.reason, record.backend) == ("handshake_failed", "")


# Reload


async def test_live_streams_outlive_a_table_and_new_ones_follow_it(backend: Backend) -> None:
    async with (
        echo(b"new") as other,
        open_l4(tls_port({b"a.test": terminated(entry(choice("b", backend.address)))})) as l4,
    ):
        tls = await asyncio.to_thread(lambda: connect(l4.address).handshake())
        with tls, await asyncio.to_thread(backend.accept) as conn:
            l4.context.generation = 2
            l4.listener.update(tls_port({b"a.test": terminated(entry(choice("new", other)))}))
            with await asyncio.to_thread(lambda: connect(l4.address).handshake()) as second:
                assert await asyncio.to_thread(second.receive, 3) == b"new"
                second.close_notify()
            tls.send(b"old")
            assert await asyncio.to_thread(conn.recv, 3) == b"old"
            assert (await l4.record()).generation == 2
            tls.close_notify()
        assert [each.generation for each in (await l4.record(1), await l4.record(2))] == [2, 0]


async def test_a_passthrough_stream_outlives_a_terminating_listener_beside_it(backend: Backend) -> None:
    route = entry(choice("b", backend.address))
    async with open_l4(sni_port({b"a.test": route})) as l4:
        with connect(l4.address) as tls:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.tls.do_handshake()
            tls.flush()
            with await asyncio.to_thread(backend.accept) as conn:
                assert (await asyncio.to_thread(conn.recv, 5))[:1] == b"\x16"
                l4.listener.update(tls_port({b"a.test": terminated(route), b"b.test": passed(route)}))
                conn.sendall(b"still raw")
                assert await asyncio.to_thread(tls.sock.recv, 9) == b"still raw"
