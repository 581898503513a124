"""Acceptor: takes connections from listening sockets while there is room for them.

Own accept calls rather than the loop's server, because that one cannot pause: at a bound (`Gate`) or without
descriptors the connections stay in the kernel's accept queue, unharmed, until there is room again.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Final

from gatewayproxy.dataplane.gates import Gate
from gatewayproxy.dataplane.keepalive import KEEPALIVE
from gatewayproxy.dataplane.protocols.accepting import RETRY_S, Next, after_failure

__all__ = ["Acceptor", "Attacher"]

log = logging.getLogger(__name__)

_PER_TURN: Final = 64  # connections taken before others get the loop


class Attacher:
    """Gives accepted connections transports; one whose peer is gone already is counted out of *gates*."""

    def __init__(self, gates: Sequence[Gate]) -> None:
        self._loop = asyncio.get_running_loop()
        self._gates = tuple(gates)
        self._attaching: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._attaching)

    def attach(self, conn: socket.socket, factory: Callable[[], asyncio.Protocol]) -> None:
        """Have a protocol of *factory* at work on *conn*, non-blocking, soon."""
        # Attaching a transport cannot wait, but uvloop offers it as a coroutine only; we own the task.
        task = self._loop.create_task(self._attach(conn, factory), name="attach")
        self._attaching.add(task)
        task.add_done_callback(self._attaching.discard)

    async def _attach(self, conn: socket.socket, factory: Callable[[], asyncio.Protocol]) -> None:
        try:
            if conn.family != socket.AF_UNIX:
                conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(factory, conn)
        except OSError as error:  # the peer is gone already
            log.debug("attach_failed error=%r", str(error))
            conn.close()
            for gate in self._gates:
                gate.leave()


class Acceptor:
    """Accepts on *sockets* (its own from now on) and attaches a protocol of *factory* to each connection.

    Every connection is counted into all *gates*; whoever owns the protocol counts it out, once, when it is lost.
    """

    def __init__(
        self, sockets: Sequence[socket.socket], factory: Callable[[], asyncio.Protocol], gates: Sequence[Gate]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._factory = factory
        self._gates = tuple(gates)
        self._sockets = list(sockets)
        self._attacher = Attacher(gates)
        self._paused = False
        self._stopped = False
        for sock in self._sockets:
            sock.setblocking(False)
            if sock.family != socket.AF_UNIX:
                for option in KEEPALIVE:  # what is accepted inherits them
                    sock.setsockopt(*option)
        self._watch()

    @property
    def attaching(self) -> int:
        """Return how many connections are accepted and have no protocol at work yet."""
        return len(self._attacher)

    def stop(self) -> None:
        """Take what the accept queues hold, bounds or not, then close our descriptors of the sockets."""
        if self._stopped:
            return
        self._unwatch()
        self._stopped = True
        for sock in self._sockets:
            while self._take(sock):
                pass
            sock.close()

    def _watch(self) -> None:
        for sock in self._sockets:
            self._loop.add_reader(sock, self._on_readable, sock)

    def _unwatch(self) -> None:
        for sock in self._sockets:
            self._loop.remove_reader(sock)

    def _on_readable(self, sock: socket.socket) -> None:
        for taken in range(_PER_TURN):
            full = next((gate for gate in self._gates if gate.full), None)
            if full is not None:
                if not taken:  # else the next event will tell whether another one waits
                    self._pause()
                    full.when_room(self._resume)
                return
            if not self._take(sock):
                return

    def _pause(self) -> None:
        self._paused = True
        self._unwatch()

    def _resume(self) -> None:
        if self._paused and not self._stopped:
            self._paused = False
            self._watch()

    def _take(self, sock: socket.socket) -> bool:
        """Accept one connection; False = stop for this turn."""
        try:
            conn, _ = sock.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            return self._survive(sock, error)
        conn.setblocking(False)
        for gate in self._gates:
            gate.enter()
        self._attacher.attach(conn, self._factory)
        return True

    def _survive(self, sock: socket.socket, error: OSError) -> bool:
        to_do = after_failure(error, str(sock.getsockname()))
        if to_do is Next.ANOTHER:
            return True
        if to_do is Next.NEVER:
            self._loop.remove_reader(sock)
        elif not self._stopped:
            self._pause()
            self._loop.call_later(RETRY_S, self._resume)
        return False
