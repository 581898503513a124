"""The HTTPS listener: TLS termination by server name, HTTP/1.1 inside.

Handshakes are bounded in number (`Limits.handshakes`, per worker: beyond, we stop accepting) and in time
(`Limits.handshake_timeout_s`). Each connection keeps the listener its server name led to, so that a request for
another listener's host is told 421.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Protocol

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.listeners.accept import Acceptor
from gatewayproxy.dataplane.protocols.tls import TlsTransport
from gatewayproxy.dataplane.protocols.tls_contexts import ServerContexts
from gatewayproxy.dataplane.protocols.tls_handshake import Handshake, RefusedHandshake
from gatewayproxy.dataplane.stats import AccessRecord
from gatewayproxy.routing.match import find_host
from gatewayproxy.routing.table import ListenerLabel, Port, SniIndex, SniTarget

__all__ = ["HttpsListener", "Inner"]

log = logging.getLogger(__name__)


class Inner(Protocol):
    """The protocol inside TLS, as far as a listener deals with it (an asyncio.Protocol besides)."""

    def drain(self) -> None:
        """Close now if idle, else after the exchange in flight."""


class HttpsListener:
    """One bound port that terminates TLS; *speak* makes the protocol of a connection to one of its listeners."""

    def __init__(
        self,
        port: Port,
        sockets: Sequence[socket.socket],
        context: Context,
        *,
        speak: Callable[[HttpsListener, ListenerLabel], asyncio.Protocol],
    ) -> None:
        self.port = port
        self.context = context
        self._speak = speak
        self._loop = asyncio.get_running_loop()
        self._contexts = ServerContexts(context.ticket_secret)
        self._handshakes: dict[Handshake, float] = {}  # deadline_at; oldest first, as all get the same time
        self._established: dict[TlsTransport, asyncio.Protocol] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._draining = False
        self._aborted = False
        gates = (context.connections, context.handshakes)
        self._acceptor = Acceptor(sockets, lambda: Handshake(self), gates)

    # Listener

    def update(self, port: Port) -> None:
        """Use the names and certificates of *port* from the next handshake on; live connections go on."""
        self.port = port
        self._contexts.renew()

    def stop(self) -> None:
        """Stop accepting, after taking what the accept queue holds."""
        self._acceptor.stop()

    def drain(self) -> None:
        """Let every connection end after its exchange; handshakes under way may become one last exchange."""
        self._draining = True
        for inner in list(self._established.values()):
            _drain(inner)

    def abort(self) -> None:
        """Close everything at once."""
        self._aborted = True
        for handshake in list(self._handshakes):
            handshake.abort()
        for transport in list(self._established):
            transport.abort()

    @property
    def connections(self) -> int:
        """Open downstream connections, those still shaking hands included."""
        return len(self._handshakes) + len(self._established)

    # HandshakeOwner

    def find_server(self, name: bytes | None) -> SniTarget | None:
        """Return the target of *name* on this port."""
        index = self.port.sni or SniIndex()
        return index.default if name is None else find_host(index, name)

    def server_context(self, target: SniTarget, name: bytes | None) -> ssl.SSLContext:
        """Return the TLS context for *name* at *target*."""
        return self._contexts.get(target, name, self._loop.time())

    def begun(self, handshake: Handshake) -> None:
        """Start the clock of *handshake*."""
        if self._aborted:
            handshake.abort()
        deadline_at = self._loop.time() + self.context.limits.handshake_timeout_s
        self._handshakes[handshake] = deadline_at
        if self._sweep is None:
            self._sweep = self._loop.call_at(deadline_at, self._expire)

    def established(self, handshake: Handshake, transport: TlsTransport, target: SniTarget) -> asyncio.Protocol:
        """Turn *handshake* into a connection of *target*'s listener."""
        self._forget(handshake)
        inner = self._established[transport] = self._speak(self, target.listener)
        if self._draining:
            self._loop.call_soon(_drain, inner)
        return inner

    def failed(self, handshake: Handshake, refused: RefusedHandshake | None) -> None:
        """Count and record a connection that was not established."""
        self._forget(handshake)
        self.context.connections.leave()
        if refused is not None:
            self._record(refused)

    def lost(self, transport: TlsTransport) -> None:
        """Let go of an established connection."""
        del self._established[transport]
        self.context.connections.leave()

    def _forget(self, handshake: Handshake) -> None:
        del self._handshakes[handshake]
        self.context.handshakes.leave()
        if not self._handshakes and self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def _expire(self) -> None:
        """End the handshakes whose time is over, and wait for the next deadline."""
        now = self._loop.time()
        late = []
        self._sweep = None
        for handshake, deadline_at in self._handshakes.items():
            if deadline_at > now:
                self._sweep = self._loop.call_at(deadline_at, self._expire)
                break
            late.append(handshake)
        for handshake in late:
            handshake.expire()

    def _record(self, refused: RefusedHandshake) -> None:
        """Count a refusal under its listener, or under the port where none was chosen."""
        name = refused.listener.name if refused.listener else f"{self.port.address or '*'}:{self.port.bind_port}"
        self.context.stats.refuse(name, refused.reason)
        log.debug(
            "handshake_refused listener=%s reason=%s client=%s server_name=%r detail=%r",
            name, refused.reason, refused.client, refused.server_name, refused.detail,
        )  # fmt: skip
        if self.context.access is not None:
            self.context.access(self._access_record(name, refused))

    def _access_record(self, name: str, refused: RefusedHandshake) -> AccessRecord:
        return AccessRecord(
            protocol="tls", listener=name, route="", rule="", backend="", endpoint="", client=refused.client,
            method=b"", host=refused.server_name, target=b"", status=0, reason=refused.reason, detail=refused.detail,
            bytes_in=0, bytes_out=0, started_at=self._loop.time(), duration_s=0.0, connect_s=0.0, upstream_s=0.0,
            generation=self.context.generation, request_id=b"", attempts=0,
        )  # fmt: skip


def _drain(inner: asyncio.Protocol) -> None:
    drain: Callable[[], None] | None = getattr(inner, "drain", None)
    if drain is not None:
        drain()
