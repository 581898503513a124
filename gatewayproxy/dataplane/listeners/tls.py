"""TLS ports: the ClientHello's server name chooses the listener, and with it what becomes of the connection.

Passthrough: the bytes go to a backend of the TLSRoute as they came. Terminate: TLS ends here, and what is inside goes
to a backend (TLSRoute of a listener in that mode), or is HTTP (an HTTPS listener that shares the port). The ClientHello
is only looked at, so that whoever takes the connection over reads it from its first byte.

A name that leads nowhere, to no certificate or to no backend is refused without an alert: nobody is its TLS peer yet.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import partial

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.listeners.accept import Attacher
from gatewayproxy.dataplane.listeners.https import HttpSpeaker
from gatewayproxy.dataplane.listeners.termination import Termination
from gatewayproxy.dataplane.protocols.splice_accept import StreamListener
from gatewayproxy.dataplane.protocols.splice_hello import PendingHello
from gatewayproxy.dataplane.protocols.splice_record import Client, Cutoff
from gatewayproxy.dataplane.protocols.tls_streams import TlsStreams
from gatewayproxy.routing.server_names import find_target
from gatewayproxy.routing.table import Port, RouteEntry, SniAction, SniTarget

__all__ = ["TlsListener"]


class TlsListener(StreamListener):
    """Waits for the ClientHello, then dials, or lets another take over."""

    def __init__(self, port: Port, sockets: Sequence[socket.socket], context: Context) -> None:
        super().__init__(port, sockets, context, protocol="tls", gates=(context.connections, context.handshakes))
        self._pending: dict[PendingHello, None] = {}
        self._attacher = Attacher((context.connections, context.handshakes))
        self._tls_streams = TlsStreams(context)
        self._terminations = {
            SniAction.HTTP: Termination(port, context, HttpSpeaker(port, context)),
            SniAction.STREAM: Termination(port, context, self._tls_streams),
        }

    def begin(self, client: Client) -> None:
        """Wait for the client's first message."""
        self.context.handshakes.enter()
        hello = PendingHello(self.reactor, client, self._decide)
        self._pending[hello] = None
        hello.begin()
        if hello in self._pending:
            self.context.handshakes.expect_hello(hello)

    def update(self, port: Port) -> None:
        """Serve new connections by *port*, and requests on old ones; live streams go on as they began."""
        super().update(port)
        for termination in self._terminations.values():
            termination.update(port)

    def drain(self) -> None:
        """Let HTTP connections end after their exchange, and streams by themselves."""
        super().drain()
        for termination in self._terminations.values():
            termination.drain()

    def abort(self) -> None:
        """Close connections that have not said whom they want, and reset every stream."""
        for hello in list(self._pending):
            hello.cut("drain_timeout")
        super().abort()
        self._tls_streams.abort()
        for termination in self._terminations.values():
            termination.abort()

    @property
    def connections(self) -> int:
        """Return the number of open downstream connections."""
        terminated = sum(termination.connections for termination in self._terminations.values())
        return super().connections + len(self._attacher) + terminated + self._tls_streams.without_client

    def _decide(self, hello: PendingHello, client: Client, name: bytes | None, cutoff: Cutoff) -> None:
        self._pending.pop(hello, None)
        self.context.handshakes.forget(hello)
        if cutoff.reason:
            self._refuse(client, cutoff, self.label)
            return
        client = Client(client.fd, client.address, client.accepted_at, name or b"")
        target = find_target(self.port.sni, name)
        if target is None:
            self._refuse(client, Cutoff("unknown_sni" if name else "no_sni"), self.label)
        elif target.action is SniAction.REFUSE:
            self._refuse(client, Cutoff("no_certificate"), target.listener.name)
        elif target.action is SniAction.HTTP:
            self._terminate(client, target)
        elif target.entry is None:
            self._refuse(client, Cutoff("no_route"), target.listener.name)
        elif target.action is SniAction.PASSTHROUGH:
            self.context.handshakes.leave()
            self.streams.start(client, listener=target.listener.name, entry=target.entry)
        elif (refused := self._tls_streams.refused(target.entry)) is not None:
            self._refuse(client, refused.cutoff, target.listener.name, target.entry, refused.backend)
        else:
            self._terminate(client, target)

    def _refuse(
        self, client: Client, cutoff: Cutoff, listener: str, entry: RouteEntry | None = None, backend: str = ""
    ) -> None:
        self.context.handshakes.leave()
        self.streams.refuse(client, cutoff, listener=listener, entry=entry, backend=backend)

    def _terminate(self, client: Client, target: SniTarget) -> None:
        """Let the connection, still a handshake to the worker's gates, go on as one of a Termination."""
        self.streams.release()
        begin = partial(self._terminations[target.action].begin, target)
        self._attacher.attach(socket.socket(fileno=client.fd), begin)
