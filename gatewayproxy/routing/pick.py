"""Weighted choice without chance: turn n lands at (n * step) mod total.

*step* is coprime to the total, so every full round of `total` turns gives each choice exactly its weight; being near
the golden ratio of the total, it also spreads any short run evenly. Pure: the caller counts turns, one counter a group.
"""

from __future__ import annotations

from bisect import bisect_right
from math import gcd

from gatewayproxy.routing.table import BackendChoice, BackendGroup

__all__ = ["pick", "step_for"]


def step_for(total: int) -> int:
    """Return the step for a group whose weights sum to *total* (>= 1)."""
    step = max(1, round(total * 0.6180339887))
    while gcd(step, total) != 1:
        step += 1
    return step


def pick(group: BackendGroup, turn: int) -> BackendChoice:
    """Return the choice of *turn* (any integer >= 0)."""
    choices = group.choices
    if len(choices) == 1:
        return choices[0]
    bounds = group.bounds
    return choices[bisect_right(bounds, turn * group.step % bounds[-1])]
