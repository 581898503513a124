"""Reactor: one edge-triggered epoll per worker, nested in the event loop, for connections that are only moved.

TCP and passthrough streams need no transports, no tasks and no buffers of their own. Their descriptors live in an
epoll whose own descriptor the loop watches: a wake-up of the loop is one `turn`, which hands up to 256 events to their
`Source`s by plain calls, on the loop's thread.

Invariants: a descriptor is closed only after the turn in which it was discarded, so that no event of the same batch can
reach a new owner of its number; a Source that raises loses its own connection and no other.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
from time import monotonic
from typing import Final, Protocol

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.protocols.splice_pipes import Pipes

__all__ = ["ARRIVALS", "EDGES", "Deadlines", "Expiring", "Mover", "Reactor", "Source", "reactor_of"]

log = logging.getLogger(__name__)

# PERF: benchmarks/l4 connections: who watches for room only where it is missed gets no event for having it.
ARRIVALS: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLPRI | select.EPOLLET
EDGES: Final = ARRIVALS | select.EPOLLOUT
_EVENTS: Final = 256  # per turn: then the loop's other work has its chance
_SWEEP_S: Final = 0.002  # how long bulk bytes below the low-water mark may wait


class Source(Protocol):
    """What owns a descriptor in the epoll."""

    def ready(self, events: int) -> None:
        """Act on EPOLL* *events*; they may be stale or spurious."""

    def crashed(self) -> None:
        """Close the connection: `ready` raised."""


class Mover(Protocol):
    """One direction of a stream, as far as the reactor has to call it back."""

    def move(self) -> None:
        """Go on after a fairness pause."""

    def settle(self) -> bool:
        """Return whether sweeps are over for it, after leaving bulk mode if nothing came since the last one."""


class Expiring(Protocol):
    """What waits for something with a deadline."""

    def expire(self) -> None:
        """Give up: the deadline has passed."""


class Deadlines:
    """Deadlines that are all equally far away: insertion order is their order, one timer serves any number."""

    __slots__ = ("_at", "_loop", "_timeout_s", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self._loop = loop
        self._timeout_s = timeout_s
        self._at: dict[Expiring, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._at)

    def add(self, item: Expiring) -> None:
        """Expire *item* after the timeout, unless it is dropped before."""
        self._at[item] = monotonic() + self._timeout_s
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._look)

    def drop(self, item: Expiring) -> None:
        """Forget *item*, if it is here."""
        self._at.pop(item, None)

    def _look(self) -> None:
        self._timer = None
        now = monotonic()
        late = []
        for item, at in self._at.items():
            if at > now:
                self._timer = self._loop.call_later(at - now, self._look)
                break
            late.append(item)
        for item in late:
            del self._at[item]
            item.expire()

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Reactor:
    """Made at the first listener that needs it, closed with the last (`acquire`, `release`)."""

    __slots__ = (
        "_again", "_closing", "_epoll", "_loop", "_sources", "_sweep", "_turning", "_users", "bulk", "dialling",
        "hellos", "pipes",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        self._loop = loop
        self._sources: dict[int, Source] = {}
        self._again: list[Mover] = []
        self._closing: list[int] = []
        self._turning = False
        self._users = 0
        self._sweep: asyncio.TimerHandle | None = None
        self._epoll: select.epoll | None = None
        self.bulk: dict[Mover, None] = {}  # halves that a sweep must look after
        self.pipes = Pipes()
        self.dialling = Deadlines(loop, context.limits.connect_timeout_s)
        self.hellos = Deadlines(loop, context.limits.handshake_timeout_s)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop this reactor turns in."""
        return self._loop

    def acquire(self) -> None:
        """Count a user in: a listener, or a stream that outlives it."""
        self._users += 1
        if self._epoll is None:
            self._epoll = select.epoll()
            self._loop.add_reader(self._epoll.fileno(), self.turn)

    def release(self) -> None:
        """Count a user out; the last one closes the epoll, the pipes and the timers."""
        self._users -= 1
        if not self._users and not self._turning:
            self._close()

    def watch(self, fd: int, source: Source, events: int = EDGES) -> None:
        """Give the events of *fd* to *source*; what is already there comes as a first event. Raises OSError."""
        assert self._epoll is not None
        self._epoll.register(fd, events)
        self._sources[fd] = source

    def watch_room(self, fd: int) -> None:
        """Tell the source of *fd*, which watches ARRIVALS, also of room to write."""
        assert self._epoll is not None
        self._epoll.modify(fd, EDGES)

    def hand_over(self, fd: int, source: Source) -> None:
        """Give the events of the watched *fd* to *source* from now on."""
        self._sources[fd] = source

    def unwatch(self, fd: int) -> None:
        """Take *fd* out, if it is watched; it stays open."""
        assert self._epoll is not None
        if self._sources.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def discard(self, fd: int) -> None:
        """Close *fd*, watched or not: now, or at the end of the turn."""
        self._sources.pop(fd, None)
        if self._turning:
            self._closing.append(fd)
        else:
            os.close(fd)

    def call_again(self, mover: Mover) -> None:
        """Call *mover* in the next turn: it has more to do, others come first."""
        if not self._again and not self._turning:
            self._loop.call_soon(self.turn)
        self._again.append(mover)

    def look_after(self, mover: Mover) -> None:
        """Have sweeps look after *mover* until it says that it is settled."""
        self.bulk[mover] = None
        if self._sweep is None:
            self._sweep = self._loop.call_later(_SWEEP_S, self._sweep_bulk)

    def turn(self) -> None:
        """Hand out what the epoll has."""
        if self._epoll is None:
            return
        again, self._again = self._again, []
        self._turning = True
        sources = self._sources
        for fd, events in self._epoll.poll(0, _EVENTS):
            source = sources.get(fd)
            if source is None:
                continue  # discarded earlier in this turn
            try:
                source.ready(events)
            except Exception:
                log.exception("connection_crashed fd=%d", fd)
                source.crashed()
        for mover in again:
            mover.move()
        self._turning = False
        if self._closing:
            for fd in self._closing:
                os.close(fd)
            self._closing.clear()
        if self._again:
            self._loop.call_soon(self.turn)
        if not self._users:
            self._close()

    def _sweep_bulk(self) -> None:
        self._sweep = None
        for mover in [m for m in self.bulk if m.settle()]:
            self.bulk.pop(mover, None)
        if self.bulk:
            self._sweep = self._loop.call_later(_SWEEP_S, self._sweep_bulk)

    def _close(self) -> None:
        if self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self.dialling.close()
        self.hellos.close()
        self.pipes.close()


def reactor_of(context: Context) -> Reactor:
    """Return the Reactor of the worker *context* belongs to."""
    reactor = context.reactor
    if not isinstance(reactor, Reactor):
        reactor = context.reactor = Reactor(asyncio.get_running_loop(), context)
    return reactor
