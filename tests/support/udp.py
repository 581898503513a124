"""A UDP listener of ours in this process, backends that answer datagrams, and clients that count what comes back."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.listeners.udp import UdpListener
from gatewayproxy.dataplane.protocols.udp_gate import gate_of
from gatewayproxy.dataplane.stats import AccessRecord
from gatewayproxy.dataplane.upstream.registry import Registry
from gatewayproxy.model.limits import Limits
from gatewayproxy.routing.table import Port, PortKind, RouteEntry
from tests.support.l4 import LISTENER, wait_until

__all__ = ["Answer", "Peer", "Udp", "bound_socket", "open_udp", "peer", "udp_port"]

IP_PKTINFO = 8
Answer = Callable[[bytes], list[bytes]]  # of a backend, to one datagram


def udp_port(route: RouteEntry | None, address: str = "127.0.0.1") -> Port:
    """Return a UDP port."""
    return Port(kind=PortKind.UDP, address=address, bind_port=0, port=0, listeners=(LISTENER,), udp=route)


def bound_socket(host: str, port: int = 0, *, reuse: bool = False) -> socket.socket:
    """Return a listening socket as the supervisor makes it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if reuse:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family is socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    sock.bind((host, port))
    sock.setblocking(False)
    return sock


class Udp:
    """A listener at work."""

    def __init__(self, listener: UdpListener, context: Context, shared: socket.socket) -> None:
        self.listener = listener
        self.context = context
        self.shared = shared  # a duplicate of its socket, as the supervisor keeps one
        self.address: tuple[str, int] = shared.getsockname()[:2]
        self.records: list[AccessRecord] = []
        context.access = self.records.append

    @property
    def reasons(self) -> dict[str, int]:
        """Return how often each reason was counted."""
        return {reason: n for (_, reason), n in self.context.stats.reasons.items()}

    @property
    def datagrams(self) -> list[int]:
        """Return how many came from clients, and went to them."""
        return self.context.stats.datagrams[LISTENER.name]

    async def record(self, n: int = 1) -> AccessRecord:
        """Wait for the n-th access record."""
        await wait_until(lambda: len(self.records) >= n, f"{n} access records")
        return self.records[n - 1]

    async def dropped(self, reason: str, n: int = 1) -> None:
        """Wait until *n* datagrams have been dropped for *reason*."""
        await wait_until(lambda: self.reasons.get(reason, 0) >= n, f"{n} drops for {reason}, not {self.reasons}")


@contextlib.asynccontextmanager
async def open_udp(port: Port, *, limits: Limits | None = None, host: str = "127.0.0.1") -> AsyncIterator[Udp]:
    """Serve *port* on an ephemeral port of *host*; at exit everything is closed and counted out."""
    shared = bound_socket(host)
    context = Context(registry=Registry(), limits=limits or Limits())
    listener = UdpListener(port, [shared.dup()], context)
    try:
        yield Udp(listener, context, shared)
    finally:
        shared.close()
        listener.stop()
        listener.abort()
        assert listener.connections == 0
        assert len(gate_of(context)) == 0
        assert not gate_of(context).leaving
        assert all(row.active == 0 for row in context.stats.rows.values())
        assert all(n == 0 for n in context.stats.connections.values())
        context.registry.collect()
        assert all(row[0] == 0 for row in context.stats.upstream.values())
        context.registry.close()
        gate_of(context).close()


class Peer:
    """A socket that keeps what it receives; a backend answers too."""

    def __init__(self, sock: socket.socket, answer: Answer | None) -> None:
        self.sock = sock
        self.received: list[bytes] = []
        self.senders: list[tuple[str, int]] = []
        self._answer = answer
        sock.setblocking(False)
        asyncio.get_running_loop().add_reader(sock, self._read)

    @property
    def address(self) -> tuple[str, int]:
        """Return its own address."""
        address: tuple[str, int] = self.sock.getsockname()[:2]
        return address

    def _read(self) -> None:
        for data, sender in self._waiting():
            self.received.append(data)
            self.senders.append(sender[:2])
            for reply in self._answer(data) if self._answer is not None else ():
                self.sock.sendto(reply, sender)

    def _waiting(self) -> Iterator[tuple[bytes, tuple[str, int]]]:
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            while True:
                yield self.sock.recvfrom(70_000)

    async def get(self, n: int = 1) -> bytes:
        """Wait for the n-th datagram."""
        await wait_until(lambda: len(self.received) >= n, f"datagram {n}")
        return self.received[n - 1]

    async def ask(self, data: bytes, to: tuple[str, int]) -> bytes:
        """Send *data*, and wait for one more datagram."""
        n = len(self.received)
        self.sock.sendto(data, to)
        return await self.get(n + 1)


@contextlib.asynccontextmanager
async def peer(answer: Answer | None = None, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Peer]:
    """Yield a socket on *host*; with *answer*, a backend."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.bind((host, port))
        made = Peer(sock, answer)
        try:
            yield made
        finally:
            asyncio.get_running_loop().remove_reader(sock)
