"""Listening sockets: the supervisor owns one per worker slot for each address and port.

All sockets of a port share it by SO_REUSEPORT; the kernel spreads connections over them. A slot's socket outlives the
worker that serves it, so a replacement finds the accept queue as it was. "" means all interfaces: 0.0.0.0 and, where
the machine has IPv6, [::] beside it (IPV6_V6ONLY).
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import socket
from collections.abc import Collection, Mapping
from typing import Final

from gatewayproxy.model.names import BindKey
from gatewayproxy.ops import logs

__all__ = ["ListeningSockets", "hint_for"]

log = logging.getLogger(__name__)

BACKLOG: Final = 4_096  # per slot; the kernel caps it at net.core.somaxconn
_NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


class ListeningSockets:
    """Every listening socket of the gateway, by what it is bound to and by slot."""

    def __init__(self, n_slots: int) -> None:
        self._n_slots = n_slots
        self._sockets: dict[BindKey, list[list[socket.socket]]] = {}

    @property
    def keys(self) -> frozenset[BindKey]:
        """Return what is bound."""
        return frozenset(self._sockets)

    def bind(self, keys: Collection[BindKey]) -> dict[BindKey, str]:
        """Bind what is not bound yet; return what failed, and why in the system's words."""
        failures: dict[BindKey, str] = {}
        for key in keys:
            if key in self._sockets:
                continue
            try:
                self._sockets[key] = self._bind_slots(*key)
            except OSError as error:
                failures[key] = os.strerror(error.errno) if error.errno else str(error)
                address, port = key
                told = logs.fields(address=address or "*", port=port, error=failures[key], hint=hint_for(error, port))
                log.error("bind_failed", extra=told)
        return failures

    def keep(self, keys: Collection[BindKey]) -> None:
        """Close our descriptors of everything else."""
        for key in self._sockets.keys() - set(keys):
            _close(self._sockets.pop(key))

    def of_slot(self, slot: int) -> Mapping[BindKey, list[socket.socket]]:
        """Return the sockets of *slot*; they stay ours."""
        return {key: slots[slot] for key, slots in self._sockets.items()}

    def _bind_slots(self, address: str, port: int) -> list[list[socket.socket]]:
        if not any(port == bound for _, bound in self._sockets):
            _refuse_to_share(address, port)
        slots: list[list[socket.socket]] = []
        try:
            for _ in range(self._n_slots):
                slots.append([])
                for family, host in _families(address):
                    slots[-1].append(_listen(family, host, port))
        except OSError:
            _close(slots)
            raise
        return slots


def hint_for(error: OSError, port: int) -> str:
    """Return what to do about a failed bind."""
    match error.errno:
        case errno.EACCES:
            return f"ports below 1024 need CAP_NET_BIND_SERVICE; or map it: --map-port {port}={port + 8000}"
        case errno.EADDRINUSE:
            return f"another process listens there: ss -ltnp 'sport = :{port}'"
        case errno.EADDRNOTAVAIL:
            return "no interface has this address: add it, or mend spec.addresses, then reload"
        case _:
            return "mend it, then reload"


def _families(address: str) -> list[tuple[socket.AddressFamily, str]]:
    if not address:
        v4: list[tuple[socket.AddressFamily, str]] = [(socket.AF_INET, "0.0.0.0")]
        return [*v4, (socket.AF_INET6, "::")] if _has_ipv6() else v4
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    return [(family, address)]


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError as error:
        if error.errno in _NO_IPV6:
            return False
        raise
    return True


def _refuse_to_share(address: str, port: int) -> None:
    # SO_REUSEPORT would let a second gateway of the same user take half of this one's connections unseen.
    for family, host in _families(address):
        with _open(family) as probe:
            probe.bind((host, port))


def _listen(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    sock = _open(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by what is accepted
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _open(family: socket.AddressFamily) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family is socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def _close(slots: list[list[socket.socket]]) -> None:
    for sockets in slots:
        for sock in sockets:
            sock.close()
