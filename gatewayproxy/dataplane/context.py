"""What every connection of a worker may reach: limits, counters, the current generation, the access log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gatewayproxy.dataplane.stats import AccessRecord, Stats
from gatewayproxy.dataplane.upstream.registry import Registry
from gatewayproxy.model.limits import Limits

__all__ = ["Context", "Gate"]


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
        """Call *resume* once, at the next `leave` that makes room."""
        self._waiting.append(resume)


@dataclass(slots=True, kw_only=True)
class Context:
    """Shared by all listeners of one worker; *generation* moves at each applied table."""

    registry: Registry
    limits: Limits = field(default_factory=Limits)
    stats: Stats = field(default_factory=Stats)
    access: Callable[[AccessRecord], None] | None = None  # None: no access log, build no record
    generation: int = 0
    draining: bool = False  # answer "Connection: close" from now on
    ticket_secret: bytes = b""  # TLS session tickets: equal in all workers; b"" = tickets good in one worker only
    reactor: object | None = None  # the worker's one Reactor; protocols.splice_reactor keeps it here
    connections: Gate = field(init=False)  # downstream connections of this worker, Limits.connections
    handshakes: Gate = field(init=False)  # TLS handshakes under way, Limits.handshakes

    def __post_init__(self) -> None:
        self.connections = Gate(self.limits.connections)
        self.handshakes = Gate(self.limits.handshakes)
        self.registry.attach(self.limits, self.stats)
