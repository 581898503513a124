"""Listening sockets: the supervisor owns one per worker slot for each address and port.

All sockets of a port share it by SO_REUSEPORT; the kernel spreads connections over them, and datagrams by the client's
address, so that a client stays with a worker. A slot's socket outlives the worker that serves it, so a replacement
finds what waits in its queue. "" means all interfaces: 0.0.0.0 and, where the machine has IPv6, [::] beside it
(IPV6_V6ONLY).

The sockets of a UDP port that is not wanted any more are parted with only when its flows have had their time to end: a
port that comes back meanwhile finds them, and they are the ones that its workers still read.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import socket
from collections.abc import Collection, Mapping
from time import monotonic
from typing import Final

from gatewayproxy.model.names import BindKey
from gatewayproxy.ops import logs

__all__ = ["IP_PKTINFO", "ListeningSockets", "hint_for"]

log = logging.getLogger(__name__)

BACKLOG: Final = 4_096  # per slot; the kernel caps it at net.core.somaxconn
DATAGRAM_QUEUE_BYTES: Final = 4 << 20  # per slot, what waits to be read; the kernel caps it at net.core.rmem_max
IP_PKTINFO: Final = 8  # <linux/in.h>; the socket module lacks it
_NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


class ListeningSockets:
    """Every listening socket of the gateway, by what it is bound to and by slot."""

    def __init__(self, n_slots: int, linger_s: float = 0.0) -> None:
        """*linger_s*: how long the sockets of a UDP port stay open when it is not wanted any more."""
        self.linger_s = linger_s
        self._n_slots = n_slots
        self._sockets: dict[BindKey, list[list[socket.socket]]] = {}
        self._parting: dict[BindKey, tuple[float, list[list[socket.socket]]]] = {}  # until when, monotonic

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
            if key in self._parting:
                _, self._sockets[key] = self._parting.pop(key)
                continue
            try:
                self._sockets[key] = self._bind_slots(key)
            except OSError as error:
                failures[key] = os.strerror(error.errno) if error.errno else str(error)
                told = logs.fields(address=str(key), error=failures[key], hint=hint_for(error, key))
                log.error("bind_failed", extra=told)
        return failures

    def keep(self, keys: Collection[BindKey]) -> bool:
        """Close our descriptors of everything else; return whether some must wait: call `part` after `linger_s`."""
        for key in self._sockets.keys() - set(keys):
            slots = self._sockets.pop(key)
            if key.udp and self.linger_s:
                self._parting[key] = monotonic() + self.linger_s, slots
            else:
                _close(slots)
        return bool(self._parting)

    def part(self, *, at_once: bool = False) -> None:
        """Close what has waited long enough."""
        now = monotonic()
        for key in [key for key, (until, _) in self._parting.items() if at_once or until <= now]:
            _close(self._parting.pop(key)[1])

    def of_slot(self, slot: int) -> Mapping[BindKey, list[socket.socket]]:
        """Return the sockets of *slot*; they stay ours."""
        return {key: slots[slot] for key, slots in self._sockets.items()}

    def _bind_slots(self, key: BindKey) -> list[list[socket.socket]]:
        ours = (*self._sockets, *self._parting)
        if not any((key.bind_port, key.udp) == (each.bind_port, each.udp) for each in ours):
            _refuse_to_share(key)
        slots: list[list[socket.socket]] = []
        try:
            for _ in range(self._n_slots):
                slots.append([])
                for family, host in _families(key.address):
                    slots[-1].append(_open_bound(family, host, key))
        except OSError:
            _close(slots)
            raise
        return slots


def hint_for(error: OSError, key: BindKey) -> str:
    """Return what to do about a failed bind."""
    port = key.bind_port
    match error.errno:
        case errno.EACCES:
            return f"ports below 1024 need CAP_NET_BIND_SERVICE; or map it: --map-port {port}={port + 8000}"
        case errno.EADDRINUSE:
            return f"another process listens there: ss -l{'u' if key.udp else 't'}np 'sport = :{port}'"
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


def _refuse_to_share(key: BindKey) -> None:
    # SO_REUSEPORT would let a second gateway of the same user take half of this one's traffic unseen.
    for family, host in _families(key.address):
        with _open(family, udp=key.udp) as probe:
            probe.bind((host, key.bind_port))


def _open_bound(family: socket.AddressFamily, host: str, key: BindKey) -> socket.socket:
    sock = _open(family, udp=key.udp)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if key.udp:
            _prepare_datagrams(sock, family)
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by what is accepted
        sock.bind((host, key.bind_port))
        if not key.udp:
            sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _open(family: socket.AddressFamily, *, udp: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
    if not udp:  # of datagrams, a second socket with it would take all
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family is socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def _prepare_datagrams(sock: socket.socket, family: socket.AddressFamily) -> None:
    # Before the bind, so that every datagram says which address of ours it was sent to: replies leave from there.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DATAGRAM_QUEUE_BYTES)
    if family is socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


def _close(slots: list[list[socket.socket]]) -> None:
    for sockets in slots:
        for sock in sockets:
            sock.close()
