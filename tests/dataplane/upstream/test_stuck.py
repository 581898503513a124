"""Connections to endpoints that take no more bytes, or are gone: they end all the same."""

from __future__ import annotations

import asyncio
import socket
from time import monotonic

from gatewayproxy.dataplane.upstream.connection import UpstreamConnection
from gatewayproxy.dataplane.upstream.http2 import Http2Upstream
from gatewayproxy.dataplane.upstream.http2_pool import Http2Pool
from gatewayproxy.dataplane.upstream.pool import EndpointPool
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import Endpoint
from tests.support.backend import backend
from tests.support.memory import MemoryTransport


async def test_one_of_http2_that_is_closing_ends_though_the_endpoint_takes_no_more_bytes() -> None:
    limits = Limits()
    pool = Http2Pool(Endpoint("127.0.0.1", 1), limits, lambda dial, _: dial.close())
    upstream, transport = Http2Upstream(pool), MemoryTransport()
    upstream.connection_made(transport)
    pool._connected(upstream)
    upstream.leave()
    await asyncio.sleep(0)
    assert transport.closed  # behind what is buffered
    pool.sweep(monotonic())
    assert not transport.aborted
    pool.sweep(monotonic() + limits.idle_timeout_s + 1)
    assert transport.aborted
    upstream.connection_lost(None)
    assert not pool.connections


async def test_the_kernel_finds_out_that_a_silent_endpoint_is_gone() -> None:
    async with backend() as served:
        pool = EndpointPool(Endpoint("127.0.0.1", served.number), Limits(), lambda dial, _: dial.close())
        made = await pool.dial(lambda: UpstreamConnection(pool))
        sock = made.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 120
        made.abandon()
