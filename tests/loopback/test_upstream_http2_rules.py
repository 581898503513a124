"""Endpoints that break the rules of HTTP/2, or flood us: what they get, what the client gets, who does not notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace

import pytest

from gatewayproxy.model.protocols import AppProtocol
from gatewayproxy.routing.table import HostIndex
from gatewayproxy.wire.hpack import Decoder
from tests.support.backend import Backend, Client, backend, client, until
from tests.support.h2peer import (
    ACK,
    CONTINUATION,
    DATA,
    GET,
    HEADERS,
    OK,
    PADDED,
    PING,
    PREFACE,
    SETTINGS,
    Sent,
    block,
    data,
    frame,
    goaways,
    headers,
    literal,
    resets,
    settings_frame,
    window,
)
from tests.support.h2rules import CLIENT_RULES, Rule, params
from tests.support.h2wire import Wire, connected
from tests.support.worker import Served, cluster, forward, serve, vhost

POST = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nbody"  # which goes on
HONEST = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"


@dataclass
class Hostile:
    """An endpoint that answers its first request with *raw*, and every other one as it should."""

    raw: bytes
    heard: list[Sent] = field(default_factory=list)  # on the first connection
    n_connections: int = 0
    said: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.n_connections += 1
        first = self.n_connections == 1
        assert await reader.readexactly(len(PREFACE)) == PREFACE
        writer.write(settings_frame() + frame(SETTINGS, ACK, 0))
        wire = Wire(Client(reader, writer))
        while (each := await wire.frame()) is not None:
            if first:
                self.heard.append(each)
            if each[0] == HEADERS and self.said:
                writer.write(
                    headers(each[2], (*OK, (b"content-length", b"2")), end=False) + data(each[2], b"ok", end=True)
                )
            elif each[0] == DATA and not self.said:
                self.said = True
                writer.write(self.raw)


@contextmanager
def gateway(up: Backend) -> Iterator[Served]:
    target = replace(cluster(up.number), protocol=AppProtocol.H2C)
    with serve(HostIndex(exact={b"a.test": vhost({b"": forward(target)})})) as served:
        yield served


@asynccontextmanager
async def hostile(raw: bytes) -> AsyncIterator[tuple[Hostile, Served]]:
    endpoint = Hostile(raw)
    async with backend(raw=endpoint.serve) as up:
        with gateway(up) as served:
            yield endpoint, served


def final(answer: bytes) -> bytes:
    """Return *answer* without the interim heads in front of it."""
    while answer.startswith(b"HTTP/1.1 1"):
        answer = answer.partition(b"\r\n\r\n")[2]
    return answer


def honest(answer: bytes) -> bool:
    """Return whether a 200 says no more than it announced, and has no end where it announced nothing."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"chunked" in head.lower():
        return not body.endswith(b"0\r\n\r\n")
    return len(body) <= int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])


OF_STREAMS = tuple(rule for rule in CLIENT_RULES if rule.stream and "the stream's window" not in rule.clause)
OF_CONNECTIONS = tuple(rule for rule in CLIENT_RULES if not rule.stream and "GOAWAY that" not in rule.clause)


async def judge(served: Served, rule: Rule) -> None:
    """Ask, and see that the client is not told something whole that the endpoint did not say."""
    async with client(served.number) as raw:
        raw.send(POST)
        answer = final(await raw.rest())
    assert answer[:13] in (b"HTTP/1.1 502 ", b"HTTP/1.1 200 ", b"HTTP/1.1 204 ", b"HTTP/1.1 304 "), answer
    if answer.startswith(b"HTTP/1.1 200 ") and "half-closed" not in rule.clause:
        assert honest(answer), answer


@pytest.mark.parametrize("rule", params(OF_STREAMS))
async def test_what_an_endpoint_breaks_on_a_stream_costs_it_alone(rule: Rule, caplog: pytest.LogCaptureFixture) -> None:
    async with hostile(rule.raw) as (endpoint, served):
        await judge(served, rule)
        await until(lambda: resets(endpoint.heard))
        assert resets(endpoint.heard) == [(1, rule.code)]
        async with client(served.number) as raw:
            assert (await raw.ask(HONEST))[::2] == (200, b"ok")
        assert goaways(endpoint.heard) == []
        assert endpoint.n_connections == 1
    assert not caplog.records


@pytest.mark.parametrize("rule", params(OF_CONNECTIONS))
async def test_what_an_endpoint_breaks_of_its_connection_ends_that(
    rule: Rule, caplog: pytest.LogCaptureFixture
) -> None:
    async with hostile(rule.raw) as (endpoint, served):
        await judge(served, rule)
        await until(lambda: goaways(endpoint.heard))
        assert goaways(endpoint.heard) == [rule.code]
        async with client(served.number) as raw:
            assert (await raw.ask(HONEST))[::2] == (200, b"ok")
        assert endpoint.n_connections == 2
    assert not caplog.records


EARLY = headers(1, ((b":status", b"103"),), end=False)
OPENED = headers(1, OK, end=False)
FLOODS = [
    pytest.param(frame(PING, 0, 0, bytes(8)) * 2000, id="PING, CVE-2019-9512"),
    pytest.param(settings_frame() * 2000, id="SETTINGS, CVE-2019-9515"),
    pytest.param(window(0, 1) * 2000, id="WINDOW_UPDATE"),
    pytest.param(frame(0xBE, 0, 0) * 2000, id="unknown frames"),
    pytest.param(EARLY * 2000, id="interim responses"),
    pytest.param(OPENED + data(1, b"") * 2000, id="empty DATA, CVE-2019-9518"),
    pytest.param(OPENED + frame(DATA, PADDED, 1, b"\xff" + bytes(255)) * 2000, id="padding"),
    pytest.param(frame(HEADERS, 0, 1, block(OK)) + frame(CONTINUATION, 0, 1) * 2000, id="CONTINUATION"),
    pytest.param(
        frame(HEADERS, 0, 1, block(OK)) + frame(CONTINUATION, 0, 1, literal(b"x", b"y" * 16_000)) * 100,
        id="large CONTINUATION, CVE-2024-27316",
    ),
    pytest.param(
        frame(HEADERS, 4, 1, block(((b":status", b"103"),)) + literal(b"b", b"b" * 4000, 0x40))
        + frame(HEADERS, 5, 1, block(OK) + b"\xbe" * 16_000),
        id="an HPACK bomb",
    ),
]


@pytest.mark.parametrize("raw", FLOODS)
async def test_a_flood_of_an_endpoint_ends_its_connection(raw: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with hostile(raw) as (endpoint, served):
        await judge(served, Rule("", raw, 11, 0))  # type: ignore[arg-type]
        await until(lambda: goaways(endpoint.heard))
        assert goaways(endpoint.heard) == [11]
        assert len(endpoint.heard) < 1200
        async with client(served.number) as other:
            assert (await other.ask(HONEST))[::2] == (200, b"ok")
    assert not caplog.records


async def test_a_field_never_to_be_indexed_goes_on_so_both_ways() -> None:
    decoder = Decoder(65_536)
    marked: list[frozenset[bytes]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(len(PREFACE)) == PREFACE
        writer.write(settings_frame() + frame(SETTINGS, ACK, 0))
        wire = Wire(Client(reader, writer))
        while (each := await wire.frame()) is not None:
            if each[0] == HEADERS:
                marked.append(decoder.decode(each[3])[1])
                writer.write(frame(HEADERS, 5, each[2], block(OK) + literal(b"x-token", b"t", 0x10)))

    async with backend(raw=answer) as up:
        with gateway(up) as served:
            async with connected(served.number) as wire:
                for at in (1, 3, 5):
                    wire.raw.send(frame(HEADERS, 5, at, block(GET) + literal(b"x-key", b"k", 0x10)))
                    await wire.until(HEADERS, at)
    assert marked == [{b"x-key"}] * 3
    told = Decoder(65_536)
    assert [told.decode(each[3])[1] for each in wire.heard if each[0] == HEADERS] == [{b"x-token"}] * 3
