"""The HTTPS listener: TLS termination by server name, with HTTP/2 or HTTP/1.1 inside, as ALPN says (RFC 7301).

Each connection keeps the listener its server name led to, so that a request for another listener's host is told 421.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.listeners.accept import Acceptor
from gatewayproxy.dataplane.listeners.termination import Speaker, Termination
from gatewayproxy.dataplane.protocols.http1 import Http1Connection
from gatewayproxy.dataplane.protocols.http2 import Http2Connection
from gatewayproxy.dataplane.protocols.site import Site
from gatewayproxy.routing.table import Port, SniTarget

__all__ = ["HttpSpeaker", "HttpsListener"]


class HttpSpeaker:
    """HTTP inside TLS."""

    def __init__(self, port: Port, context: Context) -> None:
        self._site = Site(port, context, scheme=b"https")

    def speak(self, target: SniTarget, alpn: str | None, server_name: bytes) -> asyncio.Protocol:
        """Return a connection that answers 421 to requests for other listeners' hosts."""
        if alpn == "h2":
            return Http2Connection(self._site, target.listener)
        return Http1Connection(self._site, target.listener)

    def update(self, port: Port) -> None:
        """Serve new requests, on old connections too, by *port*."""
        self._site.update(port)

    def drain(self) -> None:
        """Close idle connections now and the others after their exchange."""
        self._site.drain()


class HttpsListener:
    """One bound port that terminates TLS; *speaker* speaks inside (None: HTTP)."""

    def __init__(
        self, port: Port, sockets: Sequence[socket.socket], context: Context, speaker: Speaker | None = None
    ) -> None:
        self._termination = Termination(port, context, speaker or HttpSpeaker(port, context))
        self._acceptor = Acceptor(sockets, self._termination.begin, (context.connections, context.handshakes))

    def update(self, port: Port) -> None:
        """Use the names and certificates of *port* from the next handshake on; live connections go on."""
        self._termination.update(port)

    def stop(self) -> None:
        """Stop accepting, after taking what the accept queue holds."""
        self._acceptor.stop()

    def drain(self) -> None:
        """Let every connection end after its exchange; handshakes under way may become one last exchange."""
        self._termination.drain()

    def abort(self) -> None:
        """Close everything at once."""
        self._termination.abort()

    @property
    def connections(self) -> int:
        """Open downstream connections, those still shaking hands included."""
        return self._acceptor.attaching + self._termination.connections
