"""The top of what nobody serves: which requests end in 404, how often, and what came closest. Of one worker. Pure.

Space-Saving (Metwally, Agrawal, El Abbadi 2005): `MAX_MISSES` counters, and what is new takes the place of the smallest
and begins where that one ended. So no count is too low, none is too high by more than its *over*, and whatever makes
up more than 1/MAX_MISSES of all is in the list, whatever else a flood of random names brings.

Memory and time are bounded: of each second the first COUNTED_PER_S are counted, so that a list of a flood is one of its
samples, and for the first EXPLAINED_PER_S what came closest is looked for. What depends on nothing but host, method and
path is looked for once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from gatewayproxy.routing.causes import Cause

__all__ = ["COUNTED_PER_S", "EXPLAINED_PER_S", "MAX_MISSES", "MAX_PATH_BYTES", "Asked", "Miss", "Misses"]

MAX_MISSES: Final = 128
MAX_PATH_BYTES: Final = 256  # longer paths count as one, by their beginning
COUNTED_PER_S: Final = 1_000
EXPLAINED_PER_S: Final = 50


class Asked(NamedTuple):
    """What is counted as one."""

    listener: str  # of the host; of the port where no listener has it
    reason: str
    host: bytes  # in `host_key` form
    method: bytes
    path: bytes


class Miss:
    """One of the list. *over*: by how many the count may be too high."""

    __slots__ = ("asked", "cause", "generation", "last_at", "n", "over")

    def __init__(self, asked: Asked, over: int) -> None:
        self.asked = asked
        self.n = self.over = over
        self.last_at = 0.0  # monotonic
        self.generation = 0  # of the table that had nothing for it last
        self.cause: Cause | None = None  # by that table; None: not looked for


class Misses:
    """The list of one worker."""

    __slots__ = ("_by_count", "_counted", "_entries", "_explained", "_least", "_window_at")

    def __init__(self) -> None:
        self._entries: dict[Asked, Miss] = {}
        self._by_count: dict[int, dict[Asked, Miss]] = {}
        self._least = 0  # the smallest count, once the list is full
        self._window_at = 0.0
        self._counted = self._explained = 0

    def __iter__(self) -> Iterator[Miss]:
        return iter(self._entries.values())

    def count(self, asked: Asked, now: float, generation: int) -> Miss:
        """Count *asked*, which the table of *generation* has nothing for; *now* is monotonic."""
        miss = self._entries.get(asked)
        if miss is None:
            miss = self._entries[asked] = Miss(asked, self._make_room() if len(self._entries) >= MAX_MISSES else 0)
        else:
            self._leave(miss)
        miss.n += 1
        miss.last_at = now
        if miss.generation != generation:
            miss.generation = generation
            miss.cause = None
        self._by_count.setdefault(miss.n, {})[asked] = miss
        return miss

    def may_count(self, now: float) -> bool:
        """Return whether there is time to count one more; *now* is monotonic."""
        if now - self._window_at >= 1.0:
            self._window_at = now
            self._counted = self._explained = 0
        self._counted += 1
        return self._counted <= COUNTED_PER_S

    def may_explain(self) -> bool:
        """Return whether there is time to look for what came closest to one that may be counted."""
        self._explained += 1
        return self._explained <= EXPLAINED_PER_S

    def _make_room(self) -> int:
        """Drop the one with the smallest count, the one that has it longest; return the count."""
        least = self._least
        if least not in self._by_count:  # at most once for MAX_MISSES evictions at this count
            least = self._least = min(self._by_count)
        miss = next(iter(self._by_count[least].values()))
        self._leave(miss)
        del self._entries[miss.asked]
        return least

    def _leave(self, miss: Miss) -> None:
        same = self._by_count[miss.n]
        del same[miss.asked]
        if not same:
            del self._by_count[miss.n]
