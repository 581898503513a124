"""Clients and backends that mean harm, or do not care: what they can hold, and whom they can hurt."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gatewayproxy.dataplane.listeners.http import HttpListener
from gatewayproxy.dataplane.protocols import mirror
from gatewayproxy.dataplane.protocols.http1 import Http1Connection
from gatewayproxy.model.headops import HeadEdit, Respond
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import Refusal
from gatewayproxy.routing.table import BackendChoice, HostIndex, Mirror, RouteEntry
from tests.support.backend import backend, client, until
from tests.support.worker import Served, cluster, entry, forward, serve, vhost

GET = b"GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
REFUSED = entry(refusal=Refusal(500, "no_backends"))


def everything(to: RouteEntry) -> HostIndex:
    return HostIndex(default=vhost({b"": to}))


@asynccontextmanager
async def reluctant_reader(gateway: Served) -> AsyncIterator[socket.socket]:
    """Connect with a small receive buffer that nobody empties."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.setblocking(False)
    with sock:
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", gateway.number))
        yield sock


async def connections(gateway: Served, n: int) -> list[Http1Connection]:
    """Return the *n* connections of clients, once they are there."""
    ((_, listener),) = gateway.plane._open.values()
    assert isinstance(listener, HttpListener)
    await until(lambda: len(listener._site.connections) == n)
    return [each for each in listener._site.connections if isinstance(each, Http1Connection)]


async def send_until_stuck(sock: socket.socket, data: bytes, most: int) -> int:
    """Send *data* again and again until the peer takes no more for a while, or *most* bytes are gone."""
    loop = asyncio.get_running_loop()
    sent = 0
    view = memoryview(data)
    try:
        while sent < most:
            async with asyncio.timeout(1.0):
                await loop.sock_sendall(sock, view)
            sent += len(view)
    except TimeoutError:
        pass
    return sent


@pytest.mark.parametrize("answered_by", ["gateway", "backend"])
async def test_a_client_that_pipelines_and_never_reads_is_not_read_on(answered_by: str) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n" + b"x" * 10_000
    async with backend(keep=answer) as app:
        to = REFUSED if answered_by == "gateway" else forward(cluster(app.number))
        with serve(everything(to), limits=Limits(buffer_bytes=65_536)) as gateway:
            async with reluctant_reader(gateway) as sock:
                await send_until_stuck(sock, GET * 1_000, 40_000_000)
                (connection,) = await connections(gateway, 1)
                assert connection.transport.get_write_buffer_size() < 500_000
                assert len(connection.buf) < 500_000


async def test_a_client_that_reads_late_gets_every_answer() -> None:
    n = 3_000
    with serve(everything(REFUSED), limits=Limits(buffer_bytes=65_536)) as gateway:
        async with client(gateway.number) as c:
            c.send(GET * n)
            await until(lambda: gateway.records)
            for _ in range(n):
                assert (await c.response())[0] == 500


async def test_a_backend_connection_held_back_for_one_client_serves_the_next() -> None:
    """What ends while its client is not reading goes back to the pool, and must be read again there."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n" + b"x" * 10_000
    async with backend(keep=answer) as app:
        with serve(everything(forward(cluster(app.number))), limits=Limits(buffer_bytes=65_536)) as gateway:
            async with reluctant_reader(gateway) as sock:
                (connection,) = await connections(gateway, 1)
                while not connection._stalled:
                    n = len(gateway.records)
                    await asyncio.get_running_loop().sock_sendall(sock, GET)
                    await until(lambda n=n: len(gateway.records) > n)  # type: ignore[misc]
                for _ in range(3):
                    async with client(gateway.number) as c:
                        assert (await c.ask(GET))[0] == 200


async def test_a_forwarded_chain_cannot_be_mistaken_for_a_field() -> None:
    async with backend() as app:
        with serve(everything(forward(cluster(app.number))), limits=Limits(trusted_hops=1)) as gateway:
            async with client(gateway.number) as c:
                await c.ask(
                    b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: x-forwarded-proto: 1, 2.2.2.2\r\n"
                    b"X-Forwarded-Proto: https\r\n\r\n"
                )
    assert b"x-forwarded-for: x-forwarded-proto: 1, 2.2.2.2, 127.0.0.1\r\n" in app.heads[0]
    assert b"\r\nx-forwarded-proto: https\r\n" in app.heads[0]
    assert b"\r\nx-forwarded-proto: http\r\n" not in app.heads[0]


async def test_what_was_asked_before_the_client_ended_its_direction_is_answered() -> None:
    async with backend() as app:
        with serve(everything(forward(cluster(app.number)))) as gateway:
            async with client(gateway.number) as c:
                c.send(GET * 20)
                c.writer.write_eof()
                answers = await c.rest()
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 20
    assert len(app.heads) == 20


async def test_half_a_request_before_the_end_is_not_forwarded() -> None:
    async with backend() as app:
        with serve(everything(forward(cluster(app.number)))) as gateway:
            async with client(gateway.number) as c:
                c.send(GET + b"GET /half HTTP/1.1\r\n")
                c.writer.write_eof()
                assert (await c.rest()).count(b"HTTP/1.1 200 OK\r\n") == 1
    assert len(app.heads) == 1


@pytest.mark.parametrize("sent", [b"", b"half"], ids=["no body yet", "half a body"])
async def test_a_mirror_is_let_go_when_the_client_leaves_in_mid_body(sent: bytes) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with backend(raw=hang) as app, backend(raw=hang) as copy:
        both = BackendChoice(
            name="m",
            cluster=cluster(app.number),
            mirrors=(Mirror(cluster=cluster(copy.number), numerator=1, denominator=1),),
        )
        with serve(everything(entry(both))) as gateway:
            async with client(gateway.number) as c:
                c.send(b"POST /m HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n" + sent)
                await until(lambda: app.n_open and copy.n_open)
            await until(lambda: not app.n_open and not copy.n_open)


@pytest.mark.parametrize("body", [b"", b"hello"], ids=["no body", "a body"])
async def test_a_mirror_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    monkeypatch.setattr(mirror, "ANSWER_S", 0.1)
    async with backend() as app, backend(raw=hang) as copy:
        both = BackendChoice(
            name="m",
            cluster=cluster(app.number),
            mirrors=(Mirror(cluster=cluster(copy.number), numerator=1, denominator=1),),
        )
        with serve(everything(entry(both))) as gateway:
            async with client(gateway.number) as c:
                c.send(b"POST /m HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
                await until(lambda: copy.n_connections)
                assert (await c.ask(body))[0] == 200
                await until(lambda: not copy.n_open)


async def test_a_last_answer_survives_requests_behind_it() -> None:
    """Closing with unread bytes resets the connection, and a reset takes what the client has not read yet."""
    n = 20_000
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\nConnection: close\r\n\r\n" + b"x" * 300_000
    async with backend(big) as app:
        with serve(everything(forward(cluster(app.number)))) as gateway:
            async with client(gateway.number) as c:
                c.writer.transport.pause_reading()  # type: ignore[attr-defined]
                c.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n" + GET * n)
                await until(lambda: gateway.records)
                c.writer.transport.resume_reading()  # type: ignore[attr-defined]
                status, _, body = await c.response()
                assert (status, len(body)) == (200, 300_000)


async def test_filters_act_on_answers_of_our_own_without_doubling_fields() -> None:
    edit = HeadEdit(cut=frozenset((b"location", b"content-type")), append=b"Location: /x\r\nContent-Type: text/x\r\n")
    respond = Respond(status=302, scheme=b"http", host=b"b.test", port=b"")
    with serve(everything(entry(respond=respond, response=edit))) as gateway:
        async with client(gateway.number) as c:
            status, head, _ = await c.ask(GET)
    assert status == 302
    assert head.lower().count(b"location:") == 1
    assert b"Location: /x\r\n" in head
