"""One port, told apart by server name: HTTPS, streams whose TLS ends here, and TLS that passes through."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator

import pytest

from gatewayproxy.dataplane.tls.certificates import load_certificate
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import Certificate
from gatewayproxy.routing.table import HostIndex, VirtualHost
from tests.support.certs import certificate, client_context
from tests.support.l4 import L4, choice, entry, open_l4, sni_port, wait_until
from tests.support.tls_client import TlsClient, bytewise, records_of
from tests.support.tls_ports import https, passed, terminated, tls_port
from tests.support.worker import cluster, forward, vhost

OWN = certificate("pass.test", serial=7)  # of the backend that is passed through to
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhttp"


@contextlib.asynccontextmanager
async def backends() -> AsyncIterator[tuple[tuple[str, int], tuple[str, int], tuple[str, int]]]:
    """Serve one request of HTTP a connection, a line of plain text, and a line inside TLS of its own."""

    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(ANSWER)
        writer.close()

    def line(text: bytes) -> object:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                writer.write(text + await reader.readline())
                await writer.drain()
                await reader.read()
            writer.close()

        return serve

    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_certificate(own, OWN)
    servers = [
        await asyncio.start_server(http, "127.0.0.1", 0),
        await asyncio.start_server(line(b"plain "), "127.0.0.1", 0),  # type: ignore[arg-type]
        await asyncio.start_server(line(b"own "), "127.0.0.1", 0, ssl=own),  # type: ignore[arg-type]
    ]
    try:
        first, second, third = (server.sockets[0].getsockname()[:2] for server in servers)
        yield first, second, third
    finally:
        for server in servers:
            server.close()


@contextlib.asynccontextmanager
async def mixed(limits: Limits | None = None) -> AsyncIterator[L4]:
    """Serve HTTPS for *.test, a stream for stream.test, and pass.test as it is."""
    async with backends() as (http, plain, own):
        wide = https("*.test", certificate("www.test", "http.test", "stream.test", "pass.test"))
        targets = {
            b".test": wide,
            b"stream.test": terminated(entry(choice("plain", plain)), "stream.test", listener="default/gw/stream"),
            b"pass.test": passed(entry(choice("own", own))),
        }
        routes = vhost({b"": forward(cluster(http[1]))}, wide.listener)
        elsewhere = VirtualHost(listener=targets[b"stream.test"].listener)
        index = HostIndex(exact={b"stream.test": elsewhere}, wildcard={b".test": routes})
        async with open_l4(tls_port(targets, http=index), limits=limits) as l4:
            yield l4


def ask_http(address: tuple[str, int], name: str, host: str | None = None) -> bytes:
    with TlsClient(address[1], client_context(), name).handshake() as tls:
        tls.send(b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % (host or name).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += tls.receive(1)
        return head.split(b"\r\n", 1)[0]


def ask_line(address: tuple[str, int], name: str, cut: object = None) -> tuple[bytes, bytes]:
    """Return what a line is answered by, and the certificate shown."""
    with TlsClient(address[1], client_context(alpn=()), name) as tls:
        tls.handshake(split_hello=cut)  # type: ignore[arg-type]
        tls.send(b"line\n")
        line = b""
        while not line.endswith(b"\n"):
            line += tls.receive(1)
        shown = tls.tls.getpeercert(binary_form=True)
        tls.close_notify()
        return line, shown or b""


def der(leaf: Certificate) -> bytes:
    pem = leaf.chain_pem.decode()
    return ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----END") + 25])


CUTS = [
    pytest.param(None, id="whole"),
    pytest.param(bytewise, id="bytewise"),
    pytest.param(records_of(64), id="in records"),
]


@pytest.mark.parametrize("cut", CUTS)
async def test_a_name_leads_to_its_own_listener_and_no_byte_is_lost(cut: object) -> None:
    async with mixed() as l4:
        assert await asyncio.to_thread(ask_line, l4.address, "stream.test", cut) == (
            b"plain line\n",
            der(certificate("stream.test")),
        )
        line, shown = await asyncio.to_thread(ask_line, l4.address, "pass.test", cut)
        assert (line, shown) == (b"own line\n", der(OWN))
        assert await asyncio.to_thread(ask_http, l4.address, "www.test") == b"HTTP/1.1 200 OK"


async def test_a_request_for_a_name_of_a_stream_belongs_to_another_connection() -> None:
    async with mixed() as l4:
        answer = await asyncio.to_thread(ask_http, l4.address, "www.test", "stream.test")
        assert answer == b"HTTP/1.1 421 Misdirected Request"
        assert await asyncio.to_thread(ask_http, l4.address, "www.test", "http.test") == b"HTTP/1.1 200 OK"


async def test_connections_are_counted_by_listener() -> None:
    async with mixed() as l4:
        stats = l4.context.stats
        await asyncio.to_thread(ask_http, l4.address, "www.test")
        await asyncio.to_thread(ask_line, l4.address, "stream.test")
        await asyncio.to_thread(ask_line, l4.address, "pass.test")
        await wait_until(lambda: not any(stats.connections.values()), "all connections to be counted out")
        assert {name: n for name, n in stats.connections_total.items() if n} == {
            "*.test": 1,
            "default/gw/stream": 1,
            l4.listener.label: 1,  # a passed connection has no listener before its name is read
        }


async def test_clients_of_all_kinds_wait_for_room_together() -> None:
    async with mixed(Limits(connections=2, handshakes=2)) as l4:
        names = ["stream.test", "pass.test"] * 6
        answers = await asyncio.gather(*(asyncio.to_thread(ask_line, l4.address, name) for name in names))
        assert [line for line, _ in answers] == [b"plain line\n", b"own line\n"] * 6


async def test_a_client_that_leaves_before_it_is_taken_over_is_counted_out() -> None:
    async with mixed() as l4:
        with TlsClient(l4.address[1], client_context(), "www.test") as tls:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.tls.do_handshake()
            tls.flush()
            tls.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await wait_until(lambda: l4.context.connections.count == 0, "the connection to be counted out")
        assert l4.context.handshakes.count == 0


async def test_a_handshake_that_was_taken_over_is_bounded_in_time() -> None:
    async with mixed(Limits(handshake_timeout_s=1.0)) as l4:
        with TlsClient(l4.address[1], client_context(), "www.test") as tls:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.tls.do_handshake()
            tls.flush()
            record = await l4.record()
            assert (record.reason, record.host, record.listener) == ("handshake_timeout", b"www.test", "*.test")


async def test_https_beside_streams_says_what_it_cannot_agree_on() -> None:
    def offer(address: tuple[str, int], name: str) -> str:
        with TlsClient(address[1], client_context(alpn=("mqtt",)), name) as tls:
            try:
                tls.handshake()
            except ssl.SSLError as error:
                return str(error)
            return f"agreed on {tls.tls.selected_alpn_protocol()}"

    async with mixed() as l4:
        assert "no application protocol" in await asyncio.to_thread(offer, l4.address, "www.test")
        assert await asyncio.to_thread(offer, l4.address, "stream.test") == "agreed on None"


async def test_http2_is_spoken_beside_streams() -> None:
    def agreed(address: tuple[str, int]) -> str | None:
        with TlsClient(address[1], client_context(alpn=("h2", "http/1.1")), "www.test").handshake() as tls:
            return tls.tls.selected_alpn_protocol()

    async with mixed() as l4:
        assert await asyncio.to_thread(agreed, l4.address) == "h2"


async def test_idle_http_connections_close_when_the_port_drains() -> None:
    async with mixed() as l4:
        with await asyncio.to_thread(lambda: TlsClient(l4.address[1], client_context(), "www.test").handshake()) as tls:
            l4.listener.stop()
            l4.listener.drain()
            assert await asyncio.to_thread(tls.end) == "close_notify"


async def test_a_port_that_passes_through_alone_has_no_use_for_the_rest() -> None:
    async with backends() as (_, _, own), open_l4(sni_port({b"pass.test": entry(choice("own", own))})) as l4:
        line, shown = await asyncio.to_thread(ask_line, l4.address, "pass.test")
        assert (line, shown) == (b"own line\n", der(OWN))
