"""Accepting for the Reactor: sockets to clients, within the bounds of the worker.

accept() that fails for want of descriptors or memory is tried again in 0.1 s; a bound that is reached (`Gate`) leaves
connections in the accept queue until there is room. Any other failure ends the listening, loudly.
"""

from __future__ import annotations

import errno
import logging
import select
import socket
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Final

from gatewayproxy.dataplane.context import Context, Gate
from gatewayproxy.dataplane.protocols.splice_dial import TCP_OPTIONS
from gatewayproxy.dataplane.protocols.splice_reactor import Reactor, reactor_of
from gatewayproxy.dataplane.protocols.splice_record import Client
from gatewayproxy.dataplane.protocols.splice_streams import Streams
from gatewayproxy.routing.table import Port

__all__ = ["Acceptor", "StreamListener"]

log = logging.getLogger(__name__)

_BATCH: Final = 32  # connections per event, then others come first
_LAST: Final = 8_192  # connections taken at most when listening ends: twice the usual backlog
_RETRY_S: Final = 0.1
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_CLIENT_GONE: Final = (
    # accept(2): errors of the new connection, not of the listener
    errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.ENONET,
    errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH, errno.EPERM, errno.ETIMEDOUT,
)  # fmt: skip


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


class Acceptor:
    """One listening socket."""

    __slots__ = ("_exhausted", "_gates", "_listener", "_reactor", "_sock", "_stopped")

    def __init__(self, listener: StreamListener, sock: socket.socket, gates: Sequence[Gate]) -> None:
        self._listener = listener
        self._reactor: Reactor = listener.reactor
        self._sock = sock
        self._gates = gates
        self._stopped = False
        self._exhausted = False  # and said so
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            for level, option, value in TCP_OPTIONS:  # accepted sockets inherit them
                sock.setsockopt(level, option, value)
        self._reactor.watch(sock, self, select.EPOLLIN)

    def ready(self, events: int) -> None:
        """Accept a batch."""
        for _ in range(_BATCH):
            if not self._room() or not self._accept():
                return

    def crashed(self) -> None:
        """Go on: the connection that failed is not the listener's fault."""

    def stop(self) -> None:
        """Take what is in the queue, bounds or not, then close."""
        self._stopped = True
        self._reactor.unwatch(self._sock)
        for _ in range(_LAST):
            if not self._accept():
                break
        self._reactor.discard(self._sock)

    def _room(self) -> bool:
        for gate in self._gates:
            if gate.full:
                self._reactor.unwatch(self._sock)
                gate.when_room(self._resume)
                return False
        return True

    def _resume(self) -> None:
        if not self._stopped:
            self._reactor.watch(self._sock, self, select.EPOLLIN)

    def _accept(self) -> bool:
        """Begin one connection; return whether to try for another."""
        try:
            sock, address = self._sock.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            return self._failed(error)
        self._exhausted = False
        sock.setblocking(False)
        client = self._listener.streams.admit(sock, address[0] if isinstance(address, tuple) else "")
        self._listener.begin(client)
        return True

    def _failed(self, error: OSError) -> bool:
        """Judge a failed accept; return whether to try again at once."""
        if error.errno in _CLIENT_GONE:
            return True
        if self._stopped:
            return False
        self._reactor.unwatch(self._sock)
        if error.errno in _EXHAUSTED:
            if not self._exhausted:
                log.warning(
                    "accept_exhausted listener=%s error=%r hint=%r", self._listener.label, error.strerror, _HINT
                )
            self._exhausted = True
            self._reactor.loop.call_later(_RETRY_S, self._resume)
        else:
            log.error("accept_failed listener=%s error=%r: no more connections", self._listener.label, error.strerror)
        return False


_HINT: Final = "raise the open files limit (ulimit -n) or lower Limits.connections"
