"""Gates: bounded counts shared by the listeners of a worker. At the bound, connections wait in the accept queue.

Silence must not hold a gate: of the handshakes under way, those that keep others waiting give way (`HandshakeGate`),
and so do, of what waits in memory, those bytes that have waited longest (`ByteGate`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol

__all__ = ["ByteGate", "Gate", "HandshakeGate", "Holder", "Shaking"]

HELLO_S: Final = 1.0  # spared so long without a whole ClientHello
FINISH_S: Final = 3.0  # spared so long after it: several times the longest round trip


class Gate:
    """A bounded count shared by the listeners of a worker: full, they stop accepting until there is room again."""

    __slots__ = ("_waiting", "bound", "count")

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.count = 0
        self._waiting: list[Callable[[], None]] = []

    @property
    def full(self) -> bool:
        """Return whether the bound is reached; more wait in the accept queue."""
        return self.count >= self.bound

    def enter(self) -> None:
        """Count one in."""
        self.count += 1

    def leave(self) -> None:
        """Count one out, and wake those who wait for room."""
        self.count -= 1
        if self._waiting and self.count < self.bound:
            waiting, self._waiting = self._waiting, []
            for resume in waiting:
                resume()

    def when_room(self, resume: Callable[[], None]) -> None:
        """Call *resume* once, at the next `leave` that makes room. Only where a connection is known to wait."""
        self._waiting.append(resume)


class Shaking(Protocol):
    """A handshake under way."""

    def give_way(self) -> None:
        """Close, and leave the gate, now or soon."""


class HandshakeGate(Gate):
    """TLS handshakes under way. Who waits for room takes the place of the oldest that has been spared long enough.

    Those without a whole ClientHello come first: to be silent costs a peer nothing.
    """

    __slots__ = ("_silent", "_timer", "_unfinished")

    def __init__(self, bound: int) -> None:
        super().__init__(bound)
        # Until when each is spared, monotonic; oldest first, as all of a kind get the same time.
        self._silent: dict[Shaking, float] = {}
        self._unfinished: dict[Shaking, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def expect_hello(self, handshake: Shaking) -> None:
        """Note that *handshake*, which has entered, has not sent a whole ClientHello yet."""
        self._silent[handshake] = monotonic() + HELLO_S
        if self._waiting and self._timer is None:
            self._make_room()  # it is the first that can give way

    def expect_finish(self, handshake: Shaking) -> None:
        """Note that the ClientHello of *handshake* is whole."""
        del self._silent[handshake]
        self._unfinished[handshake] = monotonic() + FINISH_S

    def forget(self, handshake: Shaking) -> None:
        """Ask *handshake* no more, if it is known; whoever counted it in counts it out."""
        if self._silent.pop(handshake, None) is None:
            self._unfinished.pop(handshake, None)

    def when_room(self, resume: Callable[[], None]) -> None:
        """Call *resume* once, at the next `leave` that makes room; see to it that one comes soon."""
        super().when_room(resume)
        self._make_room()

    def _make_room(self) -> None:
        """Have one handshake give way, now or as soon as one has been spared long enough."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._waiting or not self.full:
            return
        now = monotonic()
        oldest = [next(iter(kind.items())) for kind in (self._silent, self._unfinished) if kind]
        for handshake, spared_until in oldest:
            if spared_until <= now:
                self.forget(handshake)
                handshake.give_way()
                return
        if oldest:
            wait_s = min(spared_until for _, spared_until in oldest) - now
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._make_room)


class Holder(Protocol):
    """Who keeps bytes."""

    def give_way(self) -> None:
        """Let go of them; they are counted out already."""


class ByteGate:
    """Bytes kept in memory for those who wait for something. Beyond the bound, who has held some longest gives way.

    So a peer that sends slowly, in order to hold much for long, takes no room from those who are soon done.
    """

    __slots__ = ("_held", "bound", "n_bytes")

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.n_bytes = 0
        self._held: dict[Holder, int] = {}  # oldest first

    def hold(self, holder: Holder, n: int) -> bool:
        """Count *n* bytes more of *holder*; return whether it may keep them, else it has given way itself."""
        held = self._held
        held[holder] = held.get(holder, 0) + n
        self.n_bytes += n
        while self.n_bytes > self.bound:
            oldest = next(iter(held))
            self.release(oldest)
            oldest.give_way()
        return holder in held

    def release(self, holder: Holder) -> None:
        """Count out all that *holder* has, if any."""
        self.n_bytes -= self._held.pop(holder, 0)
