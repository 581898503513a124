"""A downstream HTTP/2 connection in memory: what it does while its client does not read."""

from __future__ import annotations

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.protocols.http2 import Http2Connection
from gatewayproxy.dataplane.protocols.site import Site
from gatewayproxy.dataplane.upstream.registry import Registry
from gatewayproxy.model.headops import Respond
from gatewayproxy.model.limits import Limits
from gatewayproxy.routing.table import HostIndex
from gatewayproxy.wire.h2 import H2Client
from tests.support.memory import MemoryTransport
from tests.support.worker import entry, http_port, vhost

LIMITS = Limits(buffer_bytes=65_536)
N_STREAMS = 90
TARGET = b"/" + b"x" * 3_900  # it is an index in the client's frames, and whole in each answer
REDIRECT = entry(respond=Respond(status=301, scheme=b"https", host=None, port=b""))


class FullTransport(MemoryTransport):
    """Nobody reads what is written."""

    protocol: Http2Connection
    n_bytes = 0
    _high = 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        self._high = high

    def write(self, data: bytes | bytearray | memoryview) -> None:
        was_full = self.n_bytes > self._high
        self.n_bytes += len(data)
        if self.n_bytes > self._high and not was_full:
            self.protocol.pause_writing()


async def test_a_client_that_reads_nothing_is_not_heard_beyond_the_buffer_and_one_read() -> None:
    context = Context(registry=Registry(), limits=LIMITS)
    site = Site(http_port(1, HostIndex(default=vhost({b"": REDIRECT}))), context, scheme=b"http")
    gateway, transport, client = Http2Connection(site), FullTransport(), H2Client(LIMITS, 0.0)
    transport.protocol = gateway
    gateway.connection_made(transport)
    sizes = [0]
    head = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", TARGET)]
    while not transport.paused:
        for _ in range(N_STREAMS):
            client.request(head, end=True)
        client.streams.clear()  # it does not wait for answers
        gateway.data_received(client.take_output())
        sizes.append(transport.n_bytes)
    of_one_read = sizes[1]
    assert of_one_read > N_STREAMS * len(TARGET)
    assert sizes[-1] <= LIMITS.buffer_bytes + of_one_read
    gateway.resume_writing()
    assert not transport.paused
    gateway.connection_lost(None)
    context.registry.close()
