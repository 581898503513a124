"""TCP ports: every connection goes to a backend of the port's one TCPRoute rule (Gateway API `TCPRoute`)."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.protocols.splice_accept import StreamListener
from gatewayproxy.dataplane.protocols.splice_record import Client, Cutoff
from gatewayproxy.routing.table import Port

__all__ = ["TcpListener"]


class TcpListener(StreamListener):
    """Dials at accept."""

    def __init__(self, port: Port, sockets: Sequence[socket.socket], context: Context) -> None:
        super().__init__(port, sockets, context, protocol="tcp", gates=(context.connections,))

    def begin(self, client: Client) -> None:
        """Start a stream, or refuse where no route is attached."""
        entry = self.port.tcp
        if entry is None:
            self.streams.refuse(client, Cutoff("no_route"), listener=self.label)
        else:
            self.streams.start(client, listener=self.label, entry=entry)
