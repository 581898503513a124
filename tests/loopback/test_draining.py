"""Keep-alive connections while the gateway drains: no request that a client could rightly send is lost."""

from __future__ import annotations

import asyncio

import pytest

from gatewayproxy.dataplane.protocols import http1
from gatewayproxy.model.limits import Limits
from gatewayproxy.routing.table import HostIndex
from tests.support.backend import backend, client, until
from tests.support.worker import cluster, forward, serve, vhost

GET = b"GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n"
BEGINNING, REST = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"ok"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "PARTING_S", 60.0)


async def test_a_request_that_was_on_its_way_is_answered_and_the_connection_ends(patient: None) -> None:
    async with backend() as app:
        with serve(HostIndex(default=vhost({b"": forward(cluster(app.number))}))) as gateway:
            async with client(gateway.number) as c:
                await c.ask(GET)
                drained: list[object] = []
                gateway.plane.drain(drained.append)
                status, head, _ = await c.ask(GET)
                assert (status, b"connection: close\r\n" in head) == (200, True)
                assert await c.rest() == b""
                await until(lambda: drained)


async def test_an_answer_that_promised_the_connection_keeps_it_for_one_more_request(patient: None) -> None:
    go = asyncio.Event()

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(BEGINNING)
        await go.wait()
        writer.write(REST)

    async with backend(slowly) as app:
        with serve(HostIndex(default=vhost({b"": forward(cluster(app.number))}))) as gateway:
            async with client(gateway.number) as c:
                c.send(GET)
                head = await c.reader.readuntil(b"\r\n\r\n")
                assert b"connection: close\r\n" not in head
                drained: list[object] = []
                gateway.plane.drain(drained.append)
                go.set()
                assert await c.reader.readexactly(2) == REST
                status, head, _ = await c.ask(GET)
                assert (status, b"connection: close\r\n" in head) == (200, True)
                assert await c.rest() == b""
                await until(lambda: drained)


@pytest.mark.parametrize(
    "limits", [pytest.param(Limits(), id="soon"), pytest.param(Limits(drain_s=3.0), id="at once where time is short")]
)
async def test_a_client_that_asks_no_more_does_not_hold_up_the_end(
    limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http1, "PARTING_S", 0.05 if limits.drain_s > 3.0 else 60.0)
    async with backend() as app:
        with serve(HostIndex(default=vhost({b"": forward(cluster(app.number))})), limits=limits) as gateway:
            async with client(gateway.number) as c:
                await c.ask(GET)
                drained: list[object] = []
                gateway.plane.drain(drained.append)
                assert await c.rest() == b""
                await until(lambda: drained)
