"""TLS ports in mode Passthrough: the ClientHello's server name chooses the TLSRoute; bytes go through as they came.

A refused connection is closed without an alert: we are not its TLS peer (Gateway API `TLSModeType` Passthrough).
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.protocols.splice_accept import StreamListener
from gatewayproxy.dataplane.protocols.splice_hello import PendingHello
from gatewayproxy.dataplane.protocols.splice_record import Client, Cutoff
from gatewayproxy.routing.match import find_host
from gatewayproxy.routing.table import Port, SniAction, SniIndex, SniTarget

__all__ = ["TlsPassthroughListener"]


class TlsPassthroughListener(StreamListener):
    """Waits for the ClientHello, then dials."""

    def __init__(self, port: Port, sockets: Sequence[socket.socket], context: Context) -> None:
        super().__init__(port, sockets, context, protocol="tls", gates=(context.connections, context.handshakes))
        self._pending: dict[PendingHello, None] = {}

    def begin(self, client: Client) -> None:
        """Wait for the client's first message."""
        self.context.handshakes.enter()
        hello = PendingHello(self.reactor, client, self._decide)
        self._pending[hello] = None
        hello.begin()
        if hello in self._pending:
            self.context.handshakes.expect_hello(hello)

    def abort(self) -> None:
        """Close connections that have not said whom they want, and reset every stream."""
        for hello in list(self._pending):
            hello.cut("drain_timeout")
        super().abort()

    def _decide(self, hello: PendingHello, client: Client, name: bytes | None, cutoff: Cutoff) -> None:
        self._pending.pop(hello, None)
        self.context.handshakes.forget(hello)
        self.context.handshakes.leave()
        if cutoff.reason:
            self.streams.refuse(client, cutoff, listener=self.label)
            return
        client = Client(client.fd, client.address, client.accepted_at, name or b"")
        target = _target(self.port.sni, name)
        if target is None:
            self.streams.refuse(client, Cutoff("unknown_sni" if name else "no_sni"), listener=self.label)
        elif target.entry is None or target.action is not SniAction.PASSTHROUGH:
            self.streams.refuse(client, Cutoff("no_route"), listener=target.listener.name)
        else:
            self.streams.start(client, listener=target.listener.name, entry=target.entry)


def _target(index: SniIndex | None, name: bytes | None) -> SniTarget | None:
    if index is None:
        return None
    return index.default if name is None else find_host(index, name)
