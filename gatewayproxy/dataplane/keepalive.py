"""How the kernel finds out that a silent peer is gone: options of TCP sockets. tcp(7)."""

from __future__ import annotations

import socket
from typing import Final

__all__ = ["KEEPALIVE"]

# A stream may be silent for hours; a peer that is gone is found out within four minutes.
KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 120),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)
