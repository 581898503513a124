"""Dialling: what connect(2) takes of an Endpoint, and how a connection of ours is kept alive."""

from __future__ import annotations

import errno
import os
import socket
import struct
from functools import lru_cache
from typing import Final, NamedTuple

from gatewayproxy.dataplane.keepalive import KEEPALIVE
from gatewayproxy.dataplane.protocols.splice_socket import set_option
from gatewayproxy.model.plan import Endpoint

__all__ = ["Target", "keep_alive", "target_of"]

_PATH_BYTES: Final = 108  # of struct sockaddr_un


class Target(NamedTuple):
    """An endpoint as connect(2) wants it."""

    family: int
    address: bytes  # a sockaddr


@lru_cache(maxsize=4_096)
def target_of(endpoint: Endpoint) -> Target:
    """Return the Target of *endpoint*, an IP literal or "unix:" and a path. Raises OSError for a name."""
    host, port = endpoint
    if host.startswith("unix:"):
        return _unix(os.fsencode(host.removeprefix("unix:")))
    try:
        # AI_NUMERICHOST: no look-up, so no waiting; reads scope ids too (fe80::1%eth0).
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        raise OSError(errno.EADDRNOTAVAIL, f"{host} is no IP address") from None
    family, _, _, _, address = found[0]
    ip = socket.inet_pton(family, str(address[0]).partition("%")[0])
    if len(address) == 2:  # sockaddr_in
        return Target(int(family), struct.pack("=H", family) + struct.pack("!H4s8x", port, ip))
    _, _, flow, scope = address
    return Target(
        int(family), struct.pack("=H", family) + struct.pack("!HI16s", port, flow, ip) + struct.pack("=I", scope)
    )


def keep_alive(fd: int) -> None:
    """Have the kernel find out when the peer is gone."""
    for level, option, value in KEEPALIVE:
        set_option(fd, level, option, value)


def _unix(path: bytes) -> Target:
    if len(path) >= _PATH_BYTES:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    return Target(int(socket.AF_UNIX), struct.pack("=H", socket.AF_UNIX) + path + b"\0")
