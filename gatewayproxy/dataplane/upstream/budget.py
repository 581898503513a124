"""Retry budgets: which share of the requests to a Service may be retries (GEP-3388). Pure: the caller has the clock.

A retry may be sent while retries are few (`least` in `least_interval_s`), or while they make up no more than `percent`
of the requests of the last `interval_s`, themselves included. Each worker counts what it sends.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from gatewayproxy.model.traffic import RetryBudget

__all__ = ["BudgetState", "Window"]

_PARTS: Final = 10  # of a window: what is older leaves it a part at a time


class Window:
    """How often something has happened within the last *length_s*, give or take a tenth."""

    __slots__ = ("_parts", "_total", "_width_s")

    def __init__(self, length_s: float) -> None:
        self._width_s = length_s / _PARTS
        self._parts: deque[list[int]] = deque()  # [number of the part since the clock's zero, count]; at most _PARTS
        self._total = 0

    def add(self, now: float) -> None:
        """Count one."""
        number = int(now / self._width_s)
        if not self._parts or self._parts[-1][0] != number:
            self._forget(number)
            self._parts.append([number, 0])
        self._parts[-1][1] += 1
        self._total += 1

    def total(self, now: float) -> int:
        """Return the count."""
        self._forget(int(now / self._width_s))
        return self._total

    def _forget(self, number: int) -> None:
        parts = self._parts
        while parts and parts[0][0] <= number - _PARTS:
            self._total -= parts.popleft()[1]


class BudgetState:
    """The requests and retries that count towards one budget."""

    __slots__ = ("_few", "_requests", "_retries", "bounds")

    def __init__(self, bounds: RetryBudget) -> None:
        self.bounds = bounds
        self._requests = Window(bounds.interval_s)  # retries included
        self._retries = Window(bounds.interval_s)
        self._few = Window(bounds.least_interval_s)

    def count(self, now: float) -> None:
        """Count a request that is no retry."""
        self._requests.add(now)

    def take(self, now: float) -> bool:
        """Return whether a retry may be sent *now*, and count it if so."""
        bounds = self.bounds
        share = (self._retries.total(now) + 1) * 100 <= bounds.percent * (self._requests.total(now) + 1)
        if not share and self._few.total(now) >= bounds.least:
            return False
        for window in (self._requests, self._retries, self._few):
            window.add(now)
        return True
