"""Listeners: one file per port kind. `LISTENERS` is the whole registry."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.listeners.http import HttpListener
from gatewayproxy.dataplane.listeners.https import HttpsListener
from gatewayproxy.dataplane.listeners.tcp import TcpListener
from gatewayproxy.dataplane.listeners.tls import TlsListener
from gatewayproxy.dataplane.listeners.udp import UdpListener
from gatewayproxy.routing.table import Port, PortKind

__all__ = ["LISTENERS", "Listener", "Open"]


class Listener(Protocol):
    """A bound port at work. All methods are plain calls on the loop's thread."""

    def update(self, port: Port) -> None:
        """Serve new requests and connections by *port* (same address, port and kind); live ones go on."""

    def stop(self) -> None:
        """Stop accepting, after taking what the accept queue holds; the supervisor still owns the socket."""

    def drain(self) -> None:
        """Close idle connections now and the others after the exchange or stream in flight."""

    def abort(self) -> None:
        """Close everything at once."""

    @property
    def connections(self) -> int:
        """Open downstream connections; of UDP, flows."""


Open = Callable[[Port, Sequence[socket.socket], Context], Listener]  # sockets: bound (TCP: listening), non-blocking

LISTENERS: Final[dict[PortKind, Open]] = {
    PortKind.HTTP: HttpListener,
    PortKind.HTTPS: HttpsListener,
    PortKind.TCP: TcpListener,
    PortKind.TLS: TlsListener,
    PortKind.UDP: UdpListener,
}
