"""Ports that stay free until they are used, and an address where nobody listens while the tests run.

The kernel gives out the ports of net.ipv4.ip_local_port_range to whoever binds port 0 or connects: one of them that was
free just now may be taken a moment later. Those of `free_port` lie below, and each process has a share of its own.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
from typing import Final

__all__ = ["closed_port", "free_port"]

_LOWEST: Final = 15_000  # above what the tests' manifests name
_PER_PROCESS: Final = 128
_PROCESSES: Final = 128  # up to 31,384; the kernel begins at 32,768
_EVERYWHERE: Final = ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))
_turns = itertools.count(os.getpid() // _PROCESSES)  # those who share a share begin at another place


def free_port() -> int:
    """Return a port to which nobody is bound, on no address, with TCP or UDP, and to which no other test will be."""
    first = _LOWEST + os.getpid() % _PROCESSES * _PER_PROCESS
    for _ in range(_PER_PROCESS):
        port = first + next(_turns) % _PER_PROCESS
        if not _in_use(port):
            return port
    raise AssertionError(f"all ports from {first} to {first + _PER_PROCESS - 1} are in use; see ss -lntu")


def _in_use(port: int) -> bool:
    for family, address in _EVERYWHERE:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            try:
                with socket.socket(family, kind) as probe:
                    if family is socket.AF_INET6:
                        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    probe.bind((address, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return True  # any other error: a machine without IPv6
    return False


def closed_port() -> tuple[str, int]:
    """Return an address on loopback that refuses connections.

    Somebody is bound to it and does not listen: so nobody else gets it, nor does a client connect to itself from it.
    """
    address: tuple[str, int] = _held.getsockname()
    return address


_held: Final = socket.socket()
_held.bind(("127.0.0.1", 0))
