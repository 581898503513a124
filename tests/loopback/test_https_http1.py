"""HTTP/1.1 inside TLS, through the whole data plane: listeners by name, forwarded scheme, bodies, drain."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import NamedTuple

import pytest

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.server import DataPlane
from gatewayproxy.dataplane.upstream.registry import Registry
from gatewayproxy.model.names import BindKey
from gatewayproxy.routing.table import HostIndex, ListenerLabel, Port, SniIndex, SniTarget
from tests.support.certs import certificate, client_context
from tests.support.https import https_port
from tests.support.peers import require
from tests.support.worker import cluster, forward, table, vhost

MIB = 1 << 20
NAMES = ("a.test", "b.test")


class Request(NamedTuple):
    """What the backend read: head and body."""

    head: bytes
    body: bytes


class Backend:
    """Answers each request with its own body."""

    def __init__(self) -> None:
        self.port = 0
        self.seen: list[Request] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
                body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
                self.seen.append(Request(head, body))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body))
                writer.write(body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def running_backend() -> AsyncIterator[Backend]:
    backend = Backend()
    server = await asyncio.start_server(backend.serve, "127.0.0.1", 0)
    backend.port = server.sockets[0].getsockname()[1]
    async with server:
        yield backend


def https_table_port(number: int, backend: int) -> Port:
    """Return a port with a listener for each of NAMES, all routed to *backend*."""
    labels = [ListenerLabel(i, name) for i, name in enumerate(NAMES)]
    entry = forward(cluster(backend))
    return replace(
        https_port(number),
        port=8443,
        listeners=tuple(labels),
        sni=SniIndex(
            exact={
                label.name.encode(): SniTarget(listener=label, certificates=(certificate(label.name),))
                for label in labels
            }
        ),
        http=HostIndex(exact={label.name.encode(): vhost({b"": entry}, label) for label in labels}),
    )


class Served(NamedTuple):
    plane: DataPlane
    number: int
    backend: Backend


@contextmanager
def serving(backend: Backend) -> Iterator[Served]:
    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    number = sock.getsockname()[1]
    context = Context(registry=Registry())
    plane = DataPlane(context)
    try:
        plane.apply(table(https_table_port(number, backend.port)), {BindKey("127.0.0.1", number): [sock]})
        sock.close()
        yield Served(plane, number, backend)
    finally:
        plane.abort()
        context.registry.close()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with running_backend() as backend:
        with serving(backend) as running:
            yield running


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(served: Served, name: str, version: ssl.TLSVersion | None = None) -> Streams:
    return await asyncio.open_connection(
        "127.0.0.1", served.number, ssl=client_context(version=version), server_hostname=name
    )


async def ask(streams: Streams, host: str, *, body: bytes = b"", lines: bytes = b"") -> tuple[int, bytes]:
    """Send a request, read its answer."""
    reader, writer = streams
    head = b"POST /x HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n%b\r\n" % (host.encode(), len(body), lines)

    async def send() -> None:
        writer.write(head)
        for at in range(0, len(body), 65_536):
            writer.write(body[at : at + 65_536])
            await writer.drain()

    async def receive() -> tuple[int, bytes]:
        answer = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in answer.split(b"\r\n")[1:-2])
        return int(answer[9:12]), await reader.readexactly(int(fields[b"content-length"]))

    async with asyncio.timeout(60):
        _, result = await asyncio.gather(send(), receive())
    return result


async def test_requests_are_forwarded_as_https(served: Served) -> None:
    streams = await connect(served, "a.test")
    assert await ask(streams, "a.test", lines=b"X-Forwarded-Proto: http\r\n") == (200, b"")
    assert await ask(streams, "a.test:8443", body=b"again") == (200, b"again")
    head = served.backend.seen[0].head.lower()
    assert head.count(b"x-forwarded-proto:") == 1
    assert b"x-forwarded-proto: https\r\n" in head
    assert b"x-forwarded-port: 8443\r\n" in head
    streams[1].close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
async def test_a_body_of_64_mib_passes_both_ways(served: Served, version: ssl.TLSVersion) -> None:
    streams = await connect(served, "a.test", version)
    body = bytes(range(256)) * (64 * MIB // 256)
    status, got = await ask(streams, "a.test", body=body)
    assert status == 200
    assert got == body
    streams[1].close()


async def test_a_host_of_another_listener_is_misdirected(served: Served) -> None:
    streams = await connect(served, "a.test")
    assert (await ask(streams, "b.test"))[0] == 421
    assert await ask(streams, "a.test", body=b"still open") == (200, b"still open")
    streams[1].close()


async def test_a_host_of_no_listener_is_not_found(served: Served) -> None:
    streams = await connect(served, "a.test")
    assert (await ask(streams, "c.test"))[0] == 404
    streams[1].close()


async def test_a_body_cut_off_without_close_notify_never_looks_complete(served: Served) -> None:
    raw = socket.create_connection(("127.0.0.1", served.number), timeout=60)

    def client() -> None:
        with client_context().wrap_socket(raw, server_hostname="a.test") as tls:
            tls.sendall(b"POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100\r\n\r\nhello")
            socket.socket.shutdown(tls, socket.SHUT_WR)
            assert b"HTTP/1.1 200" not in b"".join(iter(lambda: read(tls), b""))

    await asyncio.to_thread(client)
    assert served.backend.seen == []


def read(tls: ssl.SSLSocket) -> bytes:
    """Read on; a reset counts as the end."""
    try:
        return tls.recv(65_536)
    except OSError:
        return b""


async def test_draining_closes_idle_connections_with_close_notify(served: Served) -> None:
    streams = await connect(served, "a.test")
    assert await ask(streams, "a.test") == (200, b"")
    ended: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    served.plane.drain(ended.set_result)
    async with asyncio.timeout(60):
        assert await streams[0].read() == b""
        streams[1].close()
        await ended


@pytest.mark.parametrize(("option", "version"), [("--http1.1", "1.1"), ("--http2", "2")])
async def test_curl_reaches_each_name(served: Served, option: str, version: str) -> None:
    curl = require("curl")
    for name in NAMES:
        process = await asyncio.create_subprocess_exec(
            curl, "-sk", option, "--max-time", "60", "--resolve", f"{name}:{served.number}:127.0.0.1",
            "--data-binary", name, "-w", " %{http_code} %{http_version}", f"https://{name}:{served.number}/x",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate()
        assert output.decode() == f"{name} 200 {version}"
