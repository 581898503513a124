"""The HTTP listener: HTTP/1.1 in clear text, and HTTP/2 to clients that begin with its preface.

RFC 9113 §3.3: prior knowledge alone leads to HTTP/2; the obsolete `Upgrade: h2c` is ignored.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import partial

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.listeners.accept import Acceptor
from gatewayproxy.dataplane.protocols.http1 import Http1Connection
from gatewayproxy.dataplane.protocols.http2 import Http2Connection
from gatewayproxy.dataplane.protocols.site import Site
from gatewayproxy.routing.table import Port
from gatewayproxy.wire.h2frames import PREFACE

__all__ = ["HttpListener"]


class _Counted(Http1Connection):
    """A connection that the gate of the worker counts."""

    __slots__ = ()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.site.context.connections.leave()

    def on_other_version(self, data: bytes) -> bool:
        """Let HTTP/2 take over where *data* begins with its preface."""
        if not data.startswith(PREFACE[: len(data)]):
            return False
        successor = _CountedHttp2(self.site)
        self.site.remove(self)
        counters = self.site.context.stats
        counters.connections[self.listener_name] -= 1  # it is the same connection
        counters.connections_total[self.listener_name] -= 1
        self.transport.set_protocol(successor)
        successor.connection_made(self.transport)
        successor.data_received(data)
        return True


class _CountedHttp2(Http2Connection):
    """The same, of HTTP/2."""

    __slots__ = ()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.site.context.connections.leave()


class HttpListener:
    """One bound port that speaks HTTP in clear text."""

    def __init__(self, port: Port, sockets: Sequence[socket.socket], context: Context) -> None:
        self._site = Site(port, context, scheme=b"http")
        # No method of ours: a cycle would keep us, and the port's routes, until a full collection, or for good.
        self._acceptor = Acceptor(sockets, partial(_Counted, self._site), (context.connections,))

    def update(self, port: Port) -> None:
        """Serve new requests, on old connections too, by *port*."""
        self._site.update(port)

    def stop(self) -> None:
        """Stop accepting, after taking what the accept queue holds."""
        self._acceptor.stop()

    def drain(self) -> None:
        """Close idle connections now and the others after their exchange."""
        self._site.drain()

    def abort(self) -> None:
        """Close everything at once."""
        self._site.abort()

    @property
    def connections(self) -> int:
        """Open downstream connections."""
        return self._acceptor.attaching + len(self._site.connections)
