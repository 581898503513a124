"""Ways: which backend the next stream of a rule goes to. Weights count per connection."""

from __future__ import annotations

from typing import NamedTuple

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.protocols.splice_record import Cutoff
from gatewayproxy.dataplane.stats import RuleStats
from gatewayproxy.dataplane.upstream.pool import ClusterState
from gatewayproxy.routing.pick import pick
from gatewayproxy.routing.table import BackendChoice, RouteEntry

__all__ = ["NoWay", "Way", "Ways"]


class Way(NamedTuple):
    """What every stream of a rule to a backend shares."""

    entry: RouteEntry
    backend: str  # its name
    cluster: ClusterState
    row: RuleStats


class NoWay(NamedTuple):
    """Why a stream is refused, and at which backend's share."""

    cutoff: Cutoff
    backend: str = ""


class Ways:
    """The choices of one port's entries at work."""

    __slots__ = ("_context", "_turns", "_ways")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._turns: dict[int, int] = {}  # BackendGroup.index -> connections so far
        self._ways: dict[tuple[RouteEntry, BackendChoice], Way] = {}  # of one table only

    def pick(self, entry: RouteEntry) -> Way | NoWay:
        """Return where the next stream of *entry* goes."""
        group = entry.group
        if group is None:
            refusal = entry.refusal
            return NoWay(Cutoff(refusal.reason, refusal.detail) if refusal else Cutoff("no_route"))
        if len(group.choices) == 1:
            choice = group.choices[0]
        else:
            turn = self._turns.get(group.index, 0)
            self._turns[group.index] = turn + 1
            choice = pick(group, turn)
        return self._ways.get((entry, choice)) or self._way(entry, choice)

    def refused(self, entry: RouteEntry) -> NoWay | None:
        """Return why every stream of *entry* is refused, None where some are not."""
        if entry.group is None or all(choice.cluster is None for choice in entry.group.choices):
            way = self.pick(entry)
            return way if isinstance(way, NoWay) else None
        return None

    def new_table(self) -> None:
        """Forget what belongs to the choices of the table before."""
        self._ways.clear()

    def _way(self, entry: RouteEntry, choice: BackendChoice) -> Way | NoWay:
        if choice.cluster is None:
            refusal = choice.refusal
            return NoWay(Cutoff(refusal.reason, refusal.detail) if refusal else Cutoff("no_endpoints"), choice.name)
        row = self._context.stats.row(entry.label, choice.name)
        cluster = self._context.registry.cluster(choice.cluster)
        way = self._ways[entry, choice] = Way(entry, choice.name, cluster, row)
        return way
