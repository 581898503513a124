"""Termination: connections that end their TLS here, on one port, from the ClientHello to what is spoken inside.

Handshakes are bounded in time (`Limits.handshake_timeout_s`) and in number (`Limits.handshakes`, per worker: beyond,
new ones wait until the oldest gives way, see `HandshakeGate`). Who accepts connections counts each into both gates of
the worker, `connections` and `handshakes`; they are counted out here.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Protocol

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.protocols.tls_contexts import ServerContexts
from gatewayproxy.dataplane.protocols.tls_handshake import Handshake, RefusedHandshake
from gatewayproxy.dataplane.stats import AccessRecord
from gatewayproxy.dataplane.tls.transport import TlsTransport
from gatewayproxy.routing.server_names import find_target
from gatewayproxy.routing.table import Port, SniTarget

__all__ = ["Speaker", "Termination"]

log = logging.getLogger(__name__)


class Speaker(Protocol):
    """What is spoken inside TLS on one port."""

    def speak(self, target: SniTarget, alpn: str | None, server_name: bytes) -> asyncio.Protocol:
        """Return the protocol of a new connection to *target*; *alpn* is what was agreed on, if anything.

        *server_name* is what the client asked for, b"" if for none.
        """

    def update(self, port: Port) -> None:
        """Serve new requests by *port*."""

    def drain(self) -> None:
        """Close idle connections now and the others, later ones too, after their exchange."""


class Termination:
    """The connections of one port that *speaker* speaks inside of."""

    def __init__(self, port: Port, context: Context, speaker: Speaker) -> None:
        self._port = port
        self._context = context
        self._speaker = speaker
        self._loop = asyncio.get_running_loop()
        self._contexts = ServerContexts(context.ticket_secret)
        self._handshakes: dict[Handshake, float] = {}  # deadline_at; oldest first, as all get the same time
        self._established: set[TlsTransport] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._aborted = False

    def begin(self, target: SniTarget | None = None) -> Handshake:
        """Return the protocol of a new connection; *target*: the one that its server name is known to lead to."""
        return Handshake(self, target)

    def update(self, port: Port) -> None:
        """Use the names and certificates of *port* from the next handshake on; live connections go on."""
        self._port = port
        self._contexts.renew()
        self._speaker.update(port)

    def drain(self) -> None:
        """Let every connection end after its exchange; handshakes under way may become one last exchange."""
        self._speaker.drain()

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
        return find_target(self._port.sni, name)

    def server_context(self, target: SniTarget, name: bytes | None) -> ssl.SSLContext:
        """Return the TLS context for *name* at *target*."""
        return self._contexts.get(target, name, self._loop.time())

    def begun(self, handshake: Handshake) -> None:
        """Start the clock of *handshake*."""
        if self._aborted:
            handshake.abort()
        deadline_at = self._loop.time() + self._context.limits.handshake_timeout_s
        self._handshakes[handshake] = deadline_at
        self._context.handshakes.expect_hello(handshake)
        if self._sweep is None:
            self._sweep = self._loop.call_at(deadline_at, self._expire)

    def heard(self, handshake: Handshake) -> None:
        """Note that the ClientHello of *handshake* is whole."""
        self._context.handshakes.expect_finish(handshake)

    def established(self, handshake: Handshake, transport: TlsTransport, target: SniTarget) -> asyncio.Protocol:
        """Turn *handshake* into a connection of *target*'s listener."""
        self._forget(handshake)
        self._established.add(transport)
        tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
        return self._speaker.speak(target, tls.selected_alpn_protocol(), handshake.server_name)

    def failed(self, handshake: Handshake, refused: RefusedHandshake | None) -> None:
        """Count and record a connection that was not established."""
        self._forget(handshake)
        self._context.connections.leave()
        if refused is not None:
            self._record(refused)

    def lost(self, transport: TlsTransport) -> None:
        """Let go of an established connection."""
        self._established.discard(transport)
        self._context.connections.leave()

    def _forget(self, handshake: Handshake) -> None:
        del self._handshakes[handshake]
        self._context.handshakes.forget(handshake)
        self._context.handshakes.leave()
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
        name = refused.listener.name if refused.listener else str(self._port.bound)
        self._context.stats.refuse(name, refused.reason)
        log.debug(
            "handshake_refused listener=%s reason=%s client=%s server_name=%r detail=%r",
            name, refused.reason, refused.client, refused.server_name, refused.detail,
        )  # fmt: skip
        if self._context.access is not None:
            self._context.access(self._access_record(name, refused))

    def _access_record(self, name: str, refused: RefusedHandshake) -> AccessRecord:
        return AccessRecord(
            protocol="tls",
            listener=name,
            client=refused.client,
            started_at=self._loop.time(),
            generation=self._context.generation,
            host=refused.server_name,
            reason=refused.reason,
            detail=refused.detail,
        )
