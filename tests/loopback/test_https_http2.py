"""HTTP/2 inside TLS: chosen by ALPN, told 421 for the hosts of other listeners (Gateway API, HTTP connection reuse)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import NamedTuple

import pytest

from gatewayproxy.model.limits import Limits
from gatewayproxy.routing.table import HostIndex, ListenerLabel, Port, SniIndex, SniTarget
from tests.support.backend import Backend, backend
from tests.support.certs import certificate, client_context
from tests.support.h2client import h2_session
from tests.support.https import https_port
from tests.support.worker import Served, cluster, forward, serve_port, vhost

NAMES = ("a.test", "b.test")
MIB = 1 << 20


class Running(NamedTuple):
    served: Served
    upstream: Backend


def port(number: int, upstream: int) -> Port:
    """Return a port with a listener for each of NAMES, all routed to *upstream*."""
    labels = [ListenerLabel(i, name) for i, name in enumerate(NAMES)]
    entry = forward(cluster(upstream))
    return replace(
        https_port(number),
        listeners=tuple(labels),
        sni=SniIndex(
            exact={
                label.name.encode(): SniTarget(listener=label, certificates=(certificate(label.name),))
                for label in labels
            }
        ),
        http=HostIndex(exact={label.name.encode(): vhost({b"": entry}, label) for label in labels}),
    )


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    async with backend() as upstream:
        with serve_port(lambda number: port(number, upstream.number), limits=Limits()) as served:
            yield Running(served, upstream)


async def test_alpn_chooses_http2(running: Running) -> None:
    number = running.served.number
    async with h2_session(number, tls=client_context(alpn=("h2", "http/1.1")), name="a.test") as session:
        assert session.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        answer = await session.ask("/x", scheme="https")
        assert (answer.status, bytes(answer.body)) == (200, b"ok")
    assert b"\r\nx-forwarded-proto: https\r\n" in running.upstream.heads[0]
    assert [record.protocol for record in running.served.records] == ["https/2"]


async def test_a_host_of_another_listener_is_misdirected_and_the_connection_goes_on(running: Running) -> None:
    async with h2_session(running.served.number, tls=client_context(alpn=("h2",)), name="a.test") as session:
        assert (await session.ask("/", scheme="https", host="b.test")).status == 421
        assert (await session.ask("/", scheme="https", host="a.test")).status == 200
        assert (await session.ask("/", scheme="https", host="c.test")).status == 404
    async with h2_session(running.served.number, tls=client_context(alpn=("h2",)), name="b.test") as session:
        assert (await session.ask("/", scheme="https", host="b.test")).status == 200
    assert running.served.reasons() == {"misdirected": 1, "no_route": 1}


async def test_an_upload_passes_whole(running: Running) -> None:
    body = bytes(range(256)) * (4 * MIB // 256)
    async with h2_session(running.served.number, tls=client_context(alpn=("h2",)), name="a.test") as session:
        stream_id = session.request(
            "/", method="PUT", scheme="https", end=False, fields=[("content-length", str(len(body)))]
        )
        await session.send(stream_id, body)
        assert (await session.answer(stream_id)).status == 200
    assert running.upstream.bodies == [body]


@pytest.mark.parametrize("alpn", [("http/1.1",), ()], ids=["another protocol agreed on", "no ALPN"])
async def test_a_preface_without_alpn_is_no_http2(running: Running, alpn: tuple[str, ...]) -> None:
    """RFC 9113 §3.2: over TLS it is ALPN that leads to HTTP/2."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", running.served.number, ssl=client_context(alpn=alpn), server_hostname="a.test"
    )
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    async with asyncio.timeout(60):
        assert (await reader.read()).startswith(b"HTTP/1.1 505 ")
    writer.close()
    assert running.served.reasons() == {"bad_version": 1}


async def test_a_client_without_http2_gets_http1(running: Running) -> None:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", running.served.number, ssl=client_context(alpn=("http/1.1",)), server_hostname="a.test"
    )
    writer.write(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(60):
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()
