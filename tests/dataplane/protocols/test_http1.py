"""A downstream HTTP/1.1 connection in memory, whose client has gone or does not read: it must not stay for ever."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.protocols.http1 import Http1Connection
from gatewayproxy.dataplane.protocols.site import Site
from gatewayproxy.dataplane.upstream.connection import UpstreamConnection
from gatewayproxy.dataplane.upstream.registry import Registry
from gatewayproxy.model.limits import Limits
from gatewayproxy.routing.table import HostIndex
from tests.support.memory import MemoryTransport
from tests.support.worker import cluster, forward, http_port, vhost

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
HANDSHAKE = b"GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Pair:
    """The gateway between a client and an endpoint."""

    def __init__(self, context: Context, quiet: socket.socket) -> None:
        target = cluster(1)
        site = Site(http_port(1, HostIndex(default=vhost({b"": forward(target)}))), context, scheme=b"http")
        pool = context.registry.cluster(target).pools[0]
        self.endpoint_side, self.client_side = MemoryTransport(quiet), MemoryTransport()
        self.upstream = UpstreamConnection(pool)
        self.upstream.connection_made(self.endpoint_side)
        pool.connections.add(self.upstream)
        pool.put(self.upstream)
        self.downstream = Http1Connection(site)
        self.downstream.connection_made(self.client_side)


@contextmanager
def connected(limits: Limits | None = None) -> Iterator[Pair]:
    context = Context(registry=Registry(), limits=limits or Limits())
    quiet, peer = socket.socketpair()
    pair = Pair(context, quiet)
    try:
        yield pair
    finally:
        pair.downstream.connection_lost(None)
        context.registry.close()
        quiet.close()
        peer.close()


async def test_a_client_that_ended_before_the_101_has_its_end_passed_on() -> None:
    with connected() as pair:
        pair.downstream.data_received(HANDSHAKE)
        assert pair.downstream.eof_received()
        pair.upstream.data_received(SWITCH)
        assert pair.client_side.take().startswith(b"HTTP/1.1 101 ")
        assert pair.endpoint_side.ended
        pair.upstream.eof_received()
        assert pair.client_side.closed
        assert pair.endpoint_side.closed


@pytest.mark.parametrize("answered", [b"", STREAM, STREAM + b"1\r\na\r\n"], ids=["nothing", "a head", "a piece"])
async def test_a_half_closed_client_does_not_keep_an_answer_that_rests(answered: bytes) -> None:
    with connected() as pair:
        pair.downstream.data_received(GET)
        if answered:
            pair.upstream.data_received(answered)
        assert pair.downstream.eof_received()
        assert pair.downstream.deadline_at
        pair.downstream.on_deadline()
        assert pair.client_side.aborted


async def test_a_half_closed_client_gets_an_answer_that_moves() -> None:
    with connected() as pair:
        pair.downstream.data_received(GET)
        pair.upstream.data_received(STREAM)
        assert pair.downstream.eof_received()
        for _ in range(3):
            pair.upstream.data_received(b"1\r\na\r\n")
            pair.downstream.on_deadline()
            assert not pair.client_side.closed
            assert pair.downstream.deadline_at
        pair.downstream.on_deadline()
        assert pair.client_side.aborted


async def test_a_half_closed_client_that_did_not_read_for_a_while_does_not_keep_an_answer_that_rests() -> None:
    with connected() as pair:
        pair.downstream.data_received(GET)
        pair.upstream.data_received(STREAM)
        assert pair.downstream.eof_received()
        pair.downstream.pause_writing()
        pair.downstream.resume_writing()
        assert pair.downstream.deadline_at
        pair.downstream.on_deadline()
        assert pair.client_side.aborted


async def test_a_tunnel_whose_endpoint_reads_no_more_is_silent_too() -> None:
    with connected(Limits(tunnel_idle_timeout_s=600.0)) as pair:
        pair.downstream.data_received(HANDSHAKE)
        pair.upstream.data_received(SWITCH)
        pair.downstream.data_received(b"more than it takes")
        pair.upstream.pause_writing()
        assert pair.client_side.paused
        assert pair.downstream.deadline_at
        pair.downstream.on_deadline()
        assert pair.client_side.closed


async def test_a_tunnel_that_has_ended_is_not_kept_by_a_client_that_reads_nothing() -> None:
    with connected() as pair:
        pair.downstream.data_received(HANDSHAKE)
        pair.upstream.data_received(SWITCH + b"the last words")
        pair.upstream.connection_lost(None)
        assert pair.client_side.closed  # behind what is buffered
        assert not pair.client_side.aborted
        assert pair.downstream.deadline_at
        pair.downstream.on_deadline()
        assert pair.client_side.aborted


@pytest.mark.parametrize("n_unsent", [0, 5])
async def test_an_endpoint_that_answered_early_and_reads_nothing_keeps_no_connection(n_unsent: int) -> None:
    with connected() as pair:
        pair.downstream.data_received(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nabc")
        pair.endpoint_side.n_unsent = n_unsent
        pair.upstream.data_received(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        assert pair.client_side.take().startswith(b"HTTP/1.1 413 ")
        assert pair.endpoint_side.closed
        assert pair.endpoint_side.aborted == bool(n_unsent)
