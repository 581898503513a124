"""Site: what the connections of one HTTP(S) port share, and the per-entry state of the table in force.

`update` swaps the index and forgets the entries; exchanges under way keep the `Target` they began with.
"""

from __future__ import annotations

import asyncio
import os
from itertools import count
from time import monotonic
from typing import Final, Protocol

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.stats import RuleStats
from gatewayproxy.dataplane.upstream.pool import ClusterState
from gatewayproxy.routing.pick import pick
from gatewayproxy.routing.table import BackendChoice, BackendGroup, HostIndex, Port, RouteEntry
from gatewayproxy.wire.edit import edited_lines, line_starts

__all__ = ["EntryState", "Site", "Target", "Watched"]

_SWEEP_S: Final = 0.25  # resolution of connection deadlines


class Watched(Protocol):
    """A connection, as its site sees it."""

    deadline_at: float  # monotonic, 0 = none

    def on_deadline(self) -> None:
        """Act: the deadline has passed."""

    def drain(self) -> None:
        """Close now if idle, else after the exchange in flight."""

    def abort(self) -> None:
        """Close at once."""


class Target:
    """Where requests of one (entry, choice) go, looked up once per table."""

    __slots__ = (
        "choice", "cluster", "entry", "mirror_turns", "mirrors", "request", "request_starts", "response",
        "response_starts", "response_tail", "row",
    )  # fmt: skip

    def __init__(self, entry: RouteEntry, choice: BackendChoice, context: Context) -> None:
        self.entry = entry
        self.choice = choice
        self.request = choice.request
        self.response = choice.response
        # What the edits come to for heads that have none of the fields they drop, see `wire.edit.edited_lines`.
        self.request_starts = line_starts(choice.request)
        self.response_starts = line_starts(choice.response)
        self.response_tail = edited_lines(b"", choice.response) + b"\r\n"
        self.row: RuleStats = context.stats.row(entry.label, choice.name)
        self.cluster: ClusterState | None = None
        if choice.cluster is not None:
            self.cluster = context.registry.cluster(choice.cluster)
        self.mirrors = tuple((mirror, context.registry.cluster(mirror.cluster)) for mirror in choice.mirrors)
        self.mirror_turns = 0


class EntryState:
    """A route entry at work: its turn counter and targets."""

    __slots__ = ("_context", "_group", "_targets", "_turn", "entry", "only")

    def __init__(self, entry: RouteEntry, context: Context) -> None:
        self.entry = entry
        self._context = context
        self._targets: dict[BackendChoice, Target] = {}
        self._turn = -1
        # An entry that answers by itself behaves as a group of one such choice.
        self._group = entry.group or BackendGroup(
            index=-1,
            choices=(BackendChoice(name="", refusal=entry.refusal, respond=entry.respond, response=entry.response),),
            bounds=(1,),
            step=1,
        )
        choices = self._group.choices
        self.only = self._target(choices[0]) if len(choices) == 1 else None

    def pick(self) -> Target:
        """Return the target of the next request."""
        if self.only is not None:
            return self.only
        self._turn += 1
        return self._target(pick(self._group, self._turn))

    def _target(self, choice: BackendChoice) -> Target:
        target = self._targets.get(choice)
        if target is None:
            target = self._targets[choice] = Target(self.entry, choice, self._context)
        return target


class Site:
    """One port as its connections see it. *scheme* is that of the port's clients."""

    def __init__(self, port: Port, context: Context, *, scheme: bytes) -> None:
        self.context = context
        self.limits = context.limits
        self.scheme = scheme
        self.connections: set[Watched] = set()
        self.draining = False
        self.port = port
        self.index: HostIndex = port.http or HostIndex()
        self.entries: dict[RouteEntry, EntryState] = {}
        self.label = port.label
        self.ids = count(1 << 44)  # twelve hexadecimal digits each
        self.id_prefix = os.urandom(10).hex().encode("ascii")
        self.loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def update(self, port: Port) -> None:
        """Serve new requests by *port*."""
        self.port = port
        self.index = port.http or HostIndex()
        self.entries = {}
        self.label = port.label

    def open_entry(self, entry: RouteEntry) -> EntryState:
        """Return the state of *entry*, made at its first request."""
        state = self.entries[entry] = EntryState(entry, self.context)
        return state

    def add(self, connection: Watched) -> None:
        """Watch the deadlines of *connection* until it is removed."""
        self.connections.add(connection)
        if self._timer is None:
            self._timer = self.loop.call_later(_SWEEP_S, self._sweep)

    def remove(self, connection: Watched) -> None:
        """Let go of a closed connection."""
        self.connections.discard(connection)

    def drain(self) -> None:
        """Close idle connections now and the others after their exchange."""
        self.draining = True
        for connection in list(self.connections):
            connection.drain()

    def abort(self) -> None:
        """Close everything at once."""
        for connection in list(self.connections):
            connection.abort()

    def _sweep(self) -> None:
        """Let connections whose deadline has passed act on it: one timer for all of them."""
        now = monotonic()
        late = [each for each in self.connections if 0.0 < each.deadline_at < now]
        # First: what one connection may raise must not end the time of all.
        self._timer = self.loop.call_later(_SWEEP_S, self._sweep) if self.connections else None
        for connection in late:
            connection.on_deadline()
