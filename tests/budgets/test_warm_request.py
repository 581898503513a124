"""How many Python calls a warm request costs: a figure that does not depend on the machine.

A change that moves it must say why; fewer is better. Counted on a request of 11 fields with two prefixes of its host
configured, an idle upstream connection, no access log, no edits. Counted are the gateway's own.
"""

from __future__ import annotations

from collections import Counter

import pytest

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.protocols.http1 import Http1Connection
from gatewayproxy.dataplane.protocols.site import Site
from gatewayproxy.dataplane.shadow import Shadow
from gatewayproxy.dataplane.upstream.connection import UpstreamConnection
from gatewayproxy.dataplane.upstream.registry import Registry
from gatewayproxy.routing.table import HostIndex
from tests.support.calls import counted
from tests.support.memory import MemoryTransport
from tests.support.worker import cluster, forward, http_port, table, vhost

CALLS_WITH_FIELDS_AS_BEFORE = 22
CALLS_WITH_VALUES_THAT_DIFFERED_BEFORE = 23
CALLS_WITH_OTHER_FIELDS = 24
CALLS_WITH_ANOTHER_ANSWER = 22
CALLS_OF_A_SHADOW = 13  # where there is one; it looks for a virtual host and a rule of its own

REQUEST = (
    b"GET /api/v1/items/12345?page=2&size=50 HTTP/1.1\r\nHost: h07.example.com\r\nUser-Agent: Mozilla/5.0 (X11)\r\n"
    b"Accept: text/html\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\nCookie: s=abc\r\n"
    b"X-Trace-Id: 0123456789abcdef\r\nX-A: b\r\nCache-Control: no-cache\r\nReferer: https://www.example.com/\r\n\r\n"
)
RESPONSE = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
OTHER = REQUEST.replace(b"s=abc", b"s=abd")
ANOTHER = REQUEST.replace(b"s=abc", b"s=abcd")
LONGER = RESPONSE.replace(b"2\r\n\r\nok", b"3\r\n\r\noki")


@pytest.mark.parametrize(
    ("before", "calls", "shadowed"),
    [
        ([(REQUEST, RESPONSE)], CALLS_WITH_FIELDS_AS_BEFORE, False),
        ([(OTHER, RESPONSE), (ANOTHER, RESPONSE)], CALLS_WITH_VALUES_THAT_DIFFERED_BEFORE, False),
        ([(OTHER, RESPONSE)], CALLS_WITH_OTHER_FIELDS, False),
        ([(REQUEST, LONGER)], CALLS_WITH_ANOTHER_ANSWER, False),
        ([(REQUEST, RESPONSE)], CALLS_WITH_FIELDS_AS_BEFORE + CALLS_OF_A_SHADOW, True),
    ],
    ids=[
        "fields as in the request before", "a value that differed before, too", "a value that differs",
        "an answer of another length", "a shadow",
    ],
)  # fmt: skip
async def test_a_warm_request_costs_exactly_so_many_python_calls(
    before: list[tuple[bytes, bytes]], calls: int, shadowed: bool
) -> None:
    context = Context(registry=Registry())
    target = cluster(1)
    entry = forward(target)
    index = HostIndex(exact={b"h07.example.com": vhost({b"": entry, b"/api": entry})})
    port = http_port(1, index)
    context.shadow = Shadow(table(port)) if shadowed else None
    site = Site(port, context, scheme=b"http")
    pool = context.registry.cluster(target).pools[0]
    upstream = UpstreamConnection(pool)
    upstream.connection_made(MemoryTransport())
    pool.connections.add(upstream)
    pool.put(upstream)
    downstream = Http1Connection(site)
    client_side = MemoryTransport()
    downstream.connection_made(client_side)

    def one_request(request: bytes, answer: bytes) -> None:
        downstream.data_received(request)
        upstream.data_received(answer)

    for request, answer in before:
        one_request(request, answer)
    made = Counter[str]()
    with counted(made):
        one_request(REQUEST, RESPONSE)
    downstream.connection_lost(None)
    context.registry.close()
    assert client_side.take() == b"".join(answer for _, answer in before) + RESPONSE
    assert made.total() == calls, made
