"""UDP ports: every client's datagrams go to a backend of the port's one UDPRoute rule (Gateway API `UDPRoute`)."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.protocols.udp_flows import Flows
from gatewayproxy.dataplane.protocols.udp_gate import gate_of
from gatewayproxy.routing.table import Port

__all__ = ["UdpListener"]


class UdpListener:
    """A bound UDP port. One that comes back while the flows of its last time still end goes on with them."""

    def __init__(self, port: Port, sockets: Sequence[socket.socket], context: Context) -> None:
        left = gate_of(context).leaving.get(port.bound)
        if isinstance(left, Flows) and left.resume(port, sockets):
            self._flows = left
        else:
            self._flows = Flows(port, sockets, context)
        self._flows.holder = self

    def update(self, port: Port) -> None:
        """Send datagrams by *port* from now on; flows stay with their endpoints where they can."""
        self._flows.update(port)

    def stop(self) -> None:
        """Begin no more flows; the sockets stay open while there are any."""
        self._flows.stop()

    def drain(self) -> None:
        """Let flows end: those that fall silent, since nothing else tells their end."""

    def abort(self) -> None:
        """End every flow."""
        if self._flows.holder is self:
            self._flows.cut_all("drain_timeout")

    @property
    def connections(self) -> int:
        """Return the number of flows."""
        return len(self._flows) if self._flows.holder is self else 0
