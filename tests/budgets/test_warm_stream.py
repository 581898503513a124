"""How many Python calls a warm stream of HTTP/2 costs: a figure that does not depend on the machine.

A change that moves it must say why; fewer is better. Counted are the gateway's own calls, from the bytes of a request
to those of its answer, one stream at a time, on a route that asks for nothing: so what routes may ask for adds nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from dataclasses import replace

import pytest

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.protocols.http2 import Http2Connection
from gatewayproxy.dataplane.protocols.site import Site
from gatewayproxy.dataplane.upstream.connection import UpstreamConnection
from gatewayproxy.dataplane.upstream.http2 import Http2Upstream
from gatewayproxy.dataplane.upstream.http2_pool import Http2Pool
from gatewayproxy.dataplane.upstream.registry import Registry
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.protocols import AppProtocol
from gatewayproxy.routing.table import HostIndex, RouteEntry
from gatewayproxy.wire import h2events
from gatewayproxy.wire.h2 import H2Client, H2Server
from tests.support.calls import counted
from tests.support.memory import MemoryTransport
from tests.support.worker import cluster, forward, http_port, vhost

CALLS_OF_A_GET_TO_HTTP1 = 54
CALLS_OF_A_GRPC_CALL = 124
CALLS_OF_A_GRPC_CALL_WITH_A_DEADLINE = 127

HOST = b"h07.example.com"
GET = [
    (b":method", b"GET"), (b":scheme", b"http"), (b":authority", HOST), (b":path", b"/api/v1/items?page=2"),
    (b"accept", b"text/html"), (b"user-agent", b"curl/8.7"), (b"x-a", b"b"),
]  # fmt: skip
CALL = [
    (b":method", b"POST"), (b":scheme", b"http"), (b":authority", HOST), (b":path", b"/pkg.Service/Method"),
    (b"content-type", b"application/grpc"), (b"te", b"trailers"), (b"user-agent", b"grpc-go/1.64.0"),
]  # fmt: skip
MESSAGE = b"\0\0\0\0\x64" + b"q" * 100
RESPONSE = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
N_WARM = 4  # what repeats is in the tables by then


class Client:
    """A client of HTTP/2, with the gateway that serves it."""

    def __init__(self, context: Context, entry: RouteEntry) -> None:
        index = HostIndex(exact={HOST: vhost({b"": entry})})
        self.gateway = Http2Connection(Site(http_port(1, index), context, scheme=b"http"))
        self.transport = MemoryTransport()
        self.gateway.connection_made(self.transport)
        self.codec = H2Client(Limits(), 0.0)
        self.gateway.data_received(self.codec.take_output())

    def ask(self, fields: list[tuple[bytes, bytes]], body: bytes) -> bytes:
        """Return the bytes of a request."""
        stream = self.codec.request(fields, end=not body)
        if body:
            self.codec.send_data(stream, body, end=True)
        return self.codec.take_output()

    def answer(self) -> list[int]:
        """Return the kinds of events that have come."""
        kinds: list[int] = []
        for event in self.codec.receive(self.transport.take(), 0.0):
            if event[0] == h2events.DATA:
                self.codec.consumed(event[1], len(event[2]))
            kinds.append(event[0])
        return kinds


async def test_a_warm_get_to_an_http1_endpoint_costs_exactly_so_many_calls() -> None:
    context = Context(registry=Registry())
    target = cluster(1)
    client = Client(context, forward(target))
    pool = context.registry.cluster(target).pools[0]
    upstream = UpstreamConnection(pool)
    upstream.connection_made(MemoryTransport())
    pool.connections.add(upstream)
    pool.put(upstream)
    made = Counter[str]()
    for _ in range(N_WARM):
        made.clear()
        request = client.ask(GET, b"")
        client.answer()
        with counted(made):
            client.gateway.data_received(request)
            upstream.data_received(RESPONSE)
            await asyncio.sleep(0)
        assert client.answer() == [h2events.HEADERS, h2events.DATA]
    client.gateway.connection_lost(None)
    context.registry.close()
    assert made.total() == CALLS_OF_A_GET_TO_HTTP1, made


@pytest.mark.parametrize(
    ("more", "calls"),
    [([], CALLS_OF_A_GRPC_CALL), ([(b"grpc-timeout", b"1S")], CALLS_OF_A_GRPC_CALL_WITH_A_DEADLINE)],
    ids=["without a deadline", "with a deadline"],
)
async def test_a_warm_grpc_call_costs_exactly_so_many_calls(more: list[tuple[bytes, bytes]], calls: int) -> None:
    context = Context(registry=Registry())
    target = replace(cluster(1), protocol=AppProtocol.H2C)
    client = Client(context, replace(forward(target), grpc=True))
    pool = context.registry.cluster(target).pools[0]
    assert isinstance(pool, Http2Pool)
    upstream = Http2Upstream(pool)
    quiet, peer = socket.socketpair()
    endpoint_side = MemoryTransport(quiet)
    upstream.connection_made(endpoint_side)
    pool._connected(upstream)
    endpoint = H2Server(Limits(), 0.0)
    await asyncio.sleep(0)
    endpoint.receive(endpoint_side.take(), 0.0)
    upstream.data_received(endpoint.take_output())
    endpoint.receive(endpoint_side.take(), 0.0)
    made = Counter[str]()
    for _ in range(N_WARM):
        made.clear()
        request = client.ask(CALL + more, MESSAGE)
        client.answer()
        with counted(made):
            client.gateway.data_received(request)
            await asyncio.sleep(0)
        answer = serve_call(endpoint, endpoint_side.take())
        with counted(made):
            upstream.data_received(answer)
            await asyncio.sleep(0)
        assert client.answer() == [h2events.HEADERS, h2events.DATA, h2events.TRAILERS]
    client.gateway.connection_lost(None)
    context.registry.close()
    quiet.close()
    peer.close()
    assert made.total() == calls, made


def serve_call(endpoint: H2Server, received: bytes) -> bytes:
    """Return the answer to the call that has come whole."""
    for event in endpoint.receive(received, 0.0):
        if event[0] == h2events.DATA:
            stream = event[1]
            endpoint.consumed(stream, len(event[2]))
            endpoint.send_headers(stream, ((b":status", b"200"), (b"content-type", b"application/grpc")))
            endpoint.send_data(stream, MESSAGE)
            endpoint.send_headers(stream, ((b"grpc-status", b"0"),), end=True)
    return endpoint.take_output()
