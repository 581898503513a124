"""Accepting for the Reactor: descriptors to clients, within the bounds of the worker.

A bound that is reached (`Gate`) leaves connections in the accept queue until there is room.
"""

from __future__ import annotations

import select
import socket
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Final

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.gates import Gate
from gatewayproxy.dataplane.keepalive import KEEPALIVE
from gatewayproxy.dataplane.protocols.accepting import RETRY_S, Next, after_failure
from gatewayproxy.dataplane.protocols.splice_reactor import Reactor, reactor_of
from gatewayproxy.dataplane.protocols.splice_record import Client
from gatewayproxy.dataplane.protocols.splice_socket import accept, set_option
from gatewayproxy.dataplane.protocols.splice_streams import Streams
from gatewayproxy.routing.table import Port

__all__ = ["Acceptor", "StreamListener"]

_BATCH: Final = 32  # connections per event, then others come first
_LAST: Final = 8_192  # connections taken at most when listening ends: twice the usual backlog


class StreamListener(ABC):
    """A Listener of L4 connections; what becomes of one is the subclass's `begin`."""

    def __init__(
        self, port: Port, sockets: Sequence[socket.socket], context: Context, *, protocol: str, gates: Sequence[Gate]
    ) -> None:
        self.port = port
        self.context = context
        names = [label.name for label in port.listeners]
        self.label = names[0] if len(names) == 1 else f"{port.address or '*'}:{port.bind_port}"
        self.reactor = reactor_of(context)
        self.streams = Streams(context, self.reactor, protocol=protocol, label=self.label)
        self._acceptors = [Acceptor(self, sock, gates) for sock in sockets]

    @abstractmethod
    def begin(self, client: Client) -> None:
        """Serve a new connection."""

    def update(self, port: Port) -> None:
        """Serve new connections by *port*; live streams go on as they began."""
        self.port = port
        self.streams.new_table()

    def stop(self) -> None:
        """Take what the accept queues hold, then close our duplicates of the sockets."""
        for acceptor in self._acceptors:
            acceptor.stop()
        self._acceptors.clear()
        self.streams.stop()

    def drain(self) -> None:  # noqa: B027 - there is nothing to do, for any subclass
        """Let streams end by themselves: what they carry is not ours to judge."""

    def abort(self) -> None:
        """Reset every stream."""
        self.streams.cut_all("drain_timeout")

    @property
    def connections(self) -> int:
        """Return the number of open downstream connections."""
        return len(self.streams)

    def fingerprints(self) -> Counter[bytes]:
        """Return how many live streams follow each rule, by RouteEntry.fingerprint."""
        return self.streams.fingerprints()


# An accepted socket inherits them. Urgent data stays in its place.
_INHERITED: Final = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_OOBINLINE, 1),
    *KEEPALIVE,
)


class Acceptor:
    """One listening socket, its own from now on."""

    __slots__ = ("_exhausted", "_fd", "_gates", "_listener", "_reactor", "_sock", "_stopped")

    def __init__(self, listener: StreamListener, sock: socket.socket, gates: Sequence[Gate]) -> None:
        self._listener = listener
        self._reactor: Reactor = listener.reactor
        sock.setblocking(False)
        self._sock = sock
        self._fd = sock.fileno()
        self._gates = gates
        self._stopped = False
        self._exhausted = False  # and said so
        for level, option, value in _INHERITED:
            set_option(self._fd, level, option, value)
        self._reactor.watch(self._fd, self, select.EPOLLIN)

    def ready(self, events: int) -> None:
        """Accept a batch."""
        gates = self._gates
        for taken in range(_BATCH):
            for gate in gates:
                if gate.count >= gate.bound:  # PERF: `full` is one more call for every connection
                    if not taken:  # else the next event will tell whether another one waits
                        self._reactor.unwatch(self._fd)
                        gate.when_room(self._resume)
                    return
            if not self._accept():
                return

    def crashed(self) -> None:
        """Go on: the connection that failed is not the listener's fault."""

    def stop(self) -> None:
        """Take what is in the queue, bounds or not, then close."""
        self._stopped = True
        self._reactor.unwatch(self._fd)
        for _ in range(_LAST):
            if not self._accept():
                break
        self._reactor.discard(self._sock.detach())

    def _resume(self) -> None:
        if not self._stopped:
            self._reactor.watch(self._fd, self, select.EPOLLIN)

    def _accept(self) -> bool:
        """Begin one connection; return whether to try for another."""
        try:
            accepted = accept(self._fd)
        except OSError as error:
            return self._failed(error)
        if accepted is None:
            return False
        self._exhausted = False
        self._listener.begin(self._listener.streams.admit(*accepted))
        return True

    def _failed(self, error: OSError) -> bool:
        """Judge a failed accept; return whether to try again at once."""
        to_do = after_failure(error, self._listener.label, told=self._exhausted)
        if to_do is Next.ANOTHER:
            return True
        if self._stopped:
            return False
        self._reactor.unwatch(self._fd)
        if to_do is Next.LATER:
            self._exhausted = True
            self._reactor.loop.call_later(RETRY_S, self._resume)
        return False
