"""FlowGate: the UDP flows of a worker by how long they have been silent; a bounded number of them.

A flow ends after `Limits.udp_idle_timeout_s` of silence. At `Limits.udp_flows` a new one takes the place of the one
that has been silent longest, of those first that no backend has answered yet: who forges addresses fills the table with
flows that are never answered, and they displace each other, not the clients who are being served.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from time import monotonic
from typing import Final, Protocol

from gatewayproxy.dataplane.context import Context
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.names import BindKey

__all__ = ["Ages", "Aging", "FlowGate", "gate_of"]

_PER_TURN: Final = 256  # flows that expire before others get the loop
_LOOK_S: Final = 0.25  # how late a flow may expire


class Aging(Protocol):
    """A flow, as far as its age matters. Who touches it moves it to the end of its `Ages` too."""

    active_at: float  # monotonic, of the last datagram

    def expire(self) -> None:
        """End: it has been silent for the whole timeout."""

    def give_way(self) -> None:
        """End: another flow needs the place."""


Ages = OrderedDict[Aging, None]  # the longest silent first


class FlowGate:
    """All flows of the UDP ports of a worker."""

    __slots__ = ("_loop", "_timeout_s", "_timer", "answered", "bound", "fresh", "leaving")

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self._loop = loop
        self._timeout_s = limits.udp_idle_timeout_s
        self._timer: asyncio.TimerHandle | None = None
        self.bound = max(1, limits.udp_flows)
        self.fresh: Ages = OrderedDict()  # not answered yet
        self.answered: Ages = OrderedDict()
        self.leaving: dict[BindKey, object] = {}  # flows of removed ports, while they end

    def __len__(self) -> int:
        return len(self.fresh) + len(self.answered)

    def admit(self, flow: Aging) -> Ages:
        """Take *flow* in, at the cost of another where there is no room; return where it is kept."""
        if len(self) >= self.bound:
            next(iter(self.fresh or self.answered)).give_way()
        self.fresh[flow] = None
        if self._timer is None and self._timeout_s:
            self._timer = self._loop.call_later(self._timeout_s, self._look)
        return self.fresh

    def settle(self, flow: Aging) -> Ages:
        """Keep *flow*, which has been answered for the first time, with the others of which that is known."""
        del self.fresh[flow]
        self.answered[flow] = None
        return self.answered

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """End the flows whose time is over, some a turn."""
        now = monotonic()
        n_ended = 0
        for ages in (self.fresh, self.answered):
            while ages and n_ended < _PER_TURN:
                flow = next(iter(ages))
                if flow.active_at + self._timeout_s > now:
                    break
                flow.expire()
                n_ended += 1
        self._timer = self._loop.call_later(self._next_s(now), self._look) if len(self) else None

    def _next_s(self, now: float) -> float:
        oldest = min(next(iter(ages)).active_at for ages in (self.fresh, self.answered) if ages)
        left_s = oldest + self._timeout_s - now
        return left_s if left_s <= 0.0 else max(left_s, _LOOK_S)


def gate_of(context: Context) -> FlowGate:
    """Return the FlowGate of the worker *context* belongs to."""
    gate = context.flows
    if not isinstance(gate, FlowGate):
        gate = context.flows = FlowGate(asyncio.get_running_loop(), context.limits)
    return gate
