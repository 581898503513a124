"""The HTTP listener: HTTP/1.1 in clear text."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.listeners.accept import Acceptor
from gatewayproxy.dataplane.protocols.http1 import Http1Connection
from gatewayproxy.dataplane.protocols.site import Site
from gatewayproxy.routing.table import Port

__all__ = ["HttpListener"]


class _Counted(Http1Connection):
    """A connection that the gate of the worker counts."""

    __slots__ = ()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.site.context.connections.leave()


class HttpListener:
    """One bound port that speaks HTTP/1.1 in clear text."""

    def __init__(self, port: Port, sockets: Sequence[socket.socket], context: Context) -> None:
        self._site = Site(port, context, scheme=b"http")
        self._acceptor = Acceptor(sockets, self._speak, (context.connections,))

    def _speak(self) -> asyncio.Protocol:
        return _Counted(self._site)

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
