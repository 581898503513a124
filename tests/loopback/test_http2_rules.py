"""Clients that break the rules of HTTP/2, at the whole data plane: what they get, and who is not to notice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gatewayproxy.routing.table import HostIndex
from tests.support.backend import backend
from tests.support.h2peer import (
    DATA,
    END_STREAM,
    GET,
    GOAWAY,
    HEADERS,
    RST_STREAM,
    headers,
)
from tests.support.h2rules import SERVER_RULES, Rule, params
from tests.support.h2wire import connected
from tests.support.worker import Served, cluster, forward, serve, vhost

SLOW = ((b":path", b"/slow"), *GET[:3])
OF_STREAMS = tuple(rule for rule in SERVER_RULES if rule.stream == 1 and "depend" not in rule.clause)


@contextmanager
def gateway(quick: int, slow: int) -> Iterator[Served]:
    prefixes = {b"": forward(cluster(quick)), b"/slow": forward(cluster(slow, name="default/slow:80"))}
    with serve(HostIndex(exact={b"a.test": vhost(prefixes)})) as served:
        yield served


def moved(raw: bytes, by: int) -> bytes:
    """Return frames with the ids of their streams moved."""
    out = b""
    while raw:
        size = 9 + int.from_bytes(raw[:3], "big")
        stream_id = int.from_bytes(raw[5:9], "big")
        out += raw[:5] + (stream_id + by if stream_id else 0).to_bytes(4, "big") + raw[9:size]
        raw = raw[size:]
    return out


@pytest.mark.parametrize("rule", params(OF_STREAMS))
async def test_what_one_stream_breaks_another_does_not_notice(rule: Rule, caplog: pytest.LogCaptureFixture) -> None:
    release = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")
        await writer.drain()

    async with backend() as quick, backend(wait) as slow:
        with gateway(quick.number, slow.number) as served:
            async with connected(served.number) as wire:
                wire.raw.send(headers(1, SLOW) + moved(rule.raw, 2))
                assert int.from_bytes(await wire.until(RST_STREAM, 3), "big") == rule.code
                release.set()
                await wire.until(HEADERS, 1)
                assert await wire.until(DATA, 1, END_STREAM) == b"slow"
                wire.raw.send(headers(2001))
                await wire.until(HEADERS, 2001)
                assert await wire.until(DATA, 2001, END_STREAM) == b"ok"
                assert GOAWAY not in [each[0] for each in wire.heard]
    assert not caplog.records


OF_CONNECTIONS = tuple(rule for rule in SERVER_RULES if not rule.stream)


@pytest.mark.parametrize("rule", params(OF_CONNECTIONS))
async def test_what_a_connection_breaks_ends_it_and_no_other(rule: Rule, caplog: pytest.LogCaptureFixture) -> None:
    async with backend() as quick, backend() as slow:
        with gateway(quick.number, slow.number) as served:
            async with connected(served.number) as wire, connected(served.number) as other:
                wire.raw.send(rule.raw)
                found = await wire.rest()
                codes = [int.from_bytes(each[3][4:8], "big") for each in found if each[0] == GOAWAY]
                assert codes == [rule.code]
                other.raw.send(headers(1))
                assert await other.until(DATA, 1, END_STREAM) == b"ok"
    assert not caplog.records
