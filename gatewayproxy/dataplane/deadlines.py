"""Deadlines of requests: calls to be made in time, nearly all of which are cancelled before.

They are kept by steps of time, with one timer of the loop for the next step: so one is 10 ms late at most, and never
early. PERF: a timer of the loop for each, made and cancelled, cost 1.6 us; this, 0.5.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from time import monotonic
from typing import Final

__all__ = ["Deadline", "Deadlines"]

_STEPS: Final = 100  # a second
_FAR_S: Final = 60.0  # what is farther gets a timer of its own, so that steps are never many


class Deadline:
    """A call to come."""

    __slots__ = ("_due",)

    def __init__(self, call: Callable[[], None], due: dict[Deadline, Callable[[], None]]) -> None:
        self._due = due
        due[self] = call

    def cancel(self) -> None:
        """Do not make the call."""
        self._due.pop(self, None)


class Deadlines:
    """See the module."""

    __slots__ = ("_loop", "_next", "_steps", "_timer")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._steps: dict[int, dict[Deadline, Callable[[], None]]] = {}
        self._timer: TimerHandle | None = None
        self._next = 0  # the step that it is for, where there is one

    def after(self, delay_s: float, call: Callable[[], None]) -> Deadline | TimerHandle:
        """Make *call* once *delay_s* has passed, unless it is cancelled first."""
        if delay_s > _FAR_S:
            return self._loop.call_later(delay_s, call)
        step = int((monotonic() + delay_s) * _STEPS) + 1
        due = self._steps.get(step)
        if due is None:
            due = self._steps[step] = {}
            if self._timer is None or step < self._next:
                self._wait()
        return Deadline(call, due)

    def _wait(self) -> None:
        """Set the timer for the first step, if any."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._steps:
            self._next = min(self._steps)
            self._timer = self._loop.call_later(max(self._next / _STEPS - monotonic(), 0.0), self._fire)

    def _fire(self) -> None:
        step = int(monotonic() * _STEPS)
        try:
            while self._steps and (first := min(self._steps)) <= step:
                due = self._steps[first]
                while due:
                    _, call = due.popitem()
                    call()
                del self._steps[first]
        finally:  # a call that fails does not stop those behind it
            self._wait()
