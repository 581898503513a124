"""Dialling: from an Endpoint to a socket that connects, without waiting for it."""

from __future__ import annotations

import errno
import os
import socket
from functools import lru_cache
from typing import Final, NamedTuple

from gatewayproxy.model.plan import Endpoint

__all__ = ["TCP_OPTIONS", "Target", "begin_connect", "target_of"]

# A stream may be silent for hours; a peer that is gone is found out within four minutes.
TCP_OPTIONS: Final = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_OOBINLINE, 1),  # urgent data stays in its place
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 120),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)


class Target(NamedTuple):
    """An endpoint as the socket layer wants it, and as people read it."""

    family: socket.AddressFamily
    address: str | tuple[str, int] | tuple[str, int, int, int]
    text: str


@lru_cache(maxsize=4_096)
def target_of(endpoint: Endpoint) -> Target:
    """Return the Target of *endpoint*, an IP literal or "unix:" and a path. Raises OSError for a name."""
    host, port = endpoint
    if host.startswith("unix:"):
        return Target(socket.AF_UNIX, host.removeprefix("unix:"), host)
    try:
        # AI_NUMERICHOST: no look-up, so no waiting; reads scope ids too (fe80::1%eth0).
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        raise OSError(errno.EADDRNOTAVAIL, f"{host} is no IP address") from None
    family, _, _, _, address = found[0]
    if family == socket.AF_INET:
        return Target(socket.AF_INET, (host, port), f"{host}:{port}")
    assert isinstance(address[1], int)
    assert len(address) == 4
    return Target(socket.AF_INET6, address, f"[{host}]:{port}")


def begin_connect(target: Target) -> socket.socket:
    """Return a non-blocking socket that connects to *target*: writable or failed later. Raises OSError at once."""
    sock = socket.socket(target.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if target.family != socket.AF_UNIX:
            for level, option, value in TCP_OPTIONS:
                sock.setsockopt(level, option, value)
        error = sock.connect_ex(target.address)
        if error not in (0, errno.EINPROGRESS):  # EAGAIN: the backlog of a unix socket is full, no event will tell
            raise OSError(error, os.strerror(error))
    except OSError:
        sock.close()
        raise
    return sock
