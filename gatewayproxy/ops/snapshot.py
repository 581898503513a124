"""Counters on their way from the workers to /metrics: parts, sums, and what dead workers had counted.

A worker sends its counters in parts of bounded size, one a loop turn. `Totals` adds the latest snapshot of every
worker to what replaced workers had last shown, so a sum never goes back when a worker is replaced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from gatewayproxy.dataplane.misses import MAX_MISSES, MAX_PATH_BYTES, Miss
from gatewayproxy.dataplane.stats import BUCKETS, RuleStats, Stats
from gatewayproxy.routing.causes import Cause, printable
from gatewayproxy.routing.table import RuleLabel

__all__ = ["BUCKETS", "MissName", "MissRow", "Row", "RowName", "Snapshot", "Totals", "parts"]

MAX_GONE_ROWS: Final = 100_000  # names kept of replaced workers; beyond, they start anew, as after a restart
_ROWS_PER_PART: Final = 200


class RowName(NamedTuple):
    """Labels of one (rule, backend)."""

    listener: str
    kind: str
    route: str
    rule: int
    rule_name: str
    backend: str


class Row(NamedTuple):
    """Values of one (rule, backend), as `RuleStats`."""

    classes: list[int]
    buckets: list[int]
    duration_sum: float
    bytes_in: int
    bytes_out: int
    active: int
    retries: int
    failed_calls: int = 0

    @property
    def hits(self) -> int:
        """Return how many exchanges and streams have begun."""
        return sum(self.classes) + self.active

    @property
    def errors(self) -> int:
        """Return how many exchanges ended by the fault of a server: class 5xx, and calls of gRPC that failed."""
        return self.classes[5] + self.failed_calls


class MissName(NamedTuple):
    """What ended in 404, printable; see `dataplane.misses`."""

    listener: str
    reason: str
    host: str
    method: str
    path: str


class MissRow(NamedTuple):
    """How often that was, at most *over* too much; when last (monotonic), by which generation, and why."""

    n: int
    over: int
    last_at: float
    generation: int
    cause: Cause | None  # None: not looked for


class Snapshot:
    """Counters of one worker, or a sum of several."""

    def __init__(self) -> None:
        self.rows: dict[RowName, Row] = {}
        self.reasons: Counter[tuple[str, str]] = Counter()  # (listener, reason)
        self.connections: Counter[str] = Counter()
        self.connections_total: Counter[str] = Counter()
        self.datagrams: dict[str, list[int]] = {}  # UDP listener -> [from clients, to clients]
        self.upstream: dict[str, list[int]] = {}  # endpoint -> [active, idle, opened, failed]
        self.misses: dict[MissName, MissRow] = {}
        self.dropped_lines = 0  # of the access log
        self.dropped_events = 0  # lines of the event log

    def take(self, part: Mapping[str, Any]) -> None:
        """Add one part of a worker's counters."""
        for name, values in part["rows"]:
            self._add_row(RowName(*name), Row(*values))
        for listener, reason, n in part.get("reasons", ()):
            self.reasons[listener, reason] += n
        self.connections.update(part.get("connections", {}))
        self.connections_total.update(part.get("connections_total", {}))
        for listener, counts in part.get("datagrams", {}).items():
            _add_to(self.datagrams, listener, counts)
        for endpoint, values in part.get("upstream", {}).items():
            _add_to(self.upstream, endpoint, values)
        for name, row in part.get("misses", ()):
            missed = MissRow(*row)
            self._add_miss(MissName(*name), missed._replace(cause=Cause(*missed.cause) if missed.cause else None))
        self.dropped_lines += part.get("dropped_lines", 0)
        self.dropped_events += part.get("dropped_events", 0)

    def add(self, other: Snapshot) -> None:
        """Add all of *other*."""
        for name, row in other.rows.items():
            self._add_row(name, row)
        self.reasons.update(other.reasons)
        self.connections.update(other.connections)
        self.connections_total.update(other.connections_total)
        for listener, counts in other.datagrams.items():
            _add_to(self.datagrams, listener, counts)
        for endpoint, values in other.upstream.items():
            _add_to(self.upstream, endpoint, values)
        for missed, known in other.misses.items():
            self._add_miss(missed, known)
        self.dropped_lines += other.dropped_lines
        self.dropped_events += other.dropped_events

    @property
    def size(self) -> int:
        """Return how many names are counted."""
        return len(self.rows) + len(self.reasons) + len(self.connections_total) + len(self.upstream)

    def settle(self) -> None:
        """Forget the gauges: what is left has happened, and stays counted. What was under way has been cut."""
        self.rows = {name: _cut(row) for name, row in self.rows.items()}
        self.connections.clear()
        self.upstream = {name: [0, 0, *values[2:]] for name, values in self.upstream.items()}

    def keep_misses(self, most: int) -> None:
        """Keep the *most* frequent of the misses."""
        if len(self.misses) > most:
            self.misses = dict(sorted(self.misses.items(), key=lambda each: -each[1].n)[:most])

    def _add_miss(self, name: MissName, row: MissRow) -> None:
        mine = self.misses.get(name)
        if mine is None:
            self.misses[name] = row
            return
        newer, older = (row, mine) if row.last_at > mine.last_at else (mine, row)
        told = newer.cause or (older.cause if older.generation == newer.generation else None)
        self.misses[name] = newer._replace(n=row.n + mine.n, over=row.over + mine.over, cause=told)

    def _add_row(self, name: RowName, row: Row) -> None:
        mine = self.rows.get(name)
        if mine is None:
            self.rows[name] = row
            return
        self.rows[name] = Row(
            [a + b for a, b in zip(mine.classes, row.classes, strict=True)],
            [a + b for a, b in zip(mine.buckets, row.buckets, strict=True)],
            mine.duration_sum + row.duration_sum,
            mine.bytes_in + row.bytes_in,
            mine.bytes_out + row.bytes_out,
            mine.active + row.active,
            mine.retries + row.retries,
            mine.failed_calls + row.failed_calls,
        )


def _cut(row: Row) -> Row:
    return row._replace(active=0, classes=[row.classes[0] + row.active, *row.classes[1:]]) if row.active else row


def _add_to(sums: dict[str, list[int]], name: str, values: list[int]) -> None:
    mine = sums.setdefault(name, [0] * len(values))
    sums[name] = [a + b for a, b in zip(mine, values, strict=True)]


class Totals:
    """The sum over all workers, living and replaced."""

    def __init__(self) -> None:
        self._gone = Snapshot()
        self._latest: dict[int, Snapshot] = {}  # by slot

    def show(self, slot: int, snapshot: Snapshot) -> None:
        """Take *snapshot* as the present state of *slot*'s worker."""
        self._latest[slot] = snapshot

    def bury(self, slot: int) -> None:
        """Keep what the worker of *slot* had last shown: it is gone."""
        snapshot = self._latest.pop(slot, None)
        if snapshot is not None:
            snapshot.settle()
            if self._gone.size > MAX_GONE_ROWS:
                self._gone = Snapshot()
            self._gone.add(snapshot)
            self._gone.keep_misses(MAX_MISSES)

    def sum(self) -> Snapshot:
        """Return a new sum."""
        total = Snapshot()
        total.add(self._gone)
        for snapshot in self._latest.values():
            total.add(snapshot)
        return total


def parts(
    stats: Stats, misses: Iterable[Miss], dropped_lines: int, dropped_events: int = 0
) -> Iterator[dict[str, Any]]:
    """Yield the counters of a worker in JSON-ready parts, the last one with `last` set."""
    rows = list(stats.rows.items())
    for start in range(0, len(rows), _ROWS_PER_PART):
        some = rows[start : start + _ROWS_PER_PART]
        yield {"rows": [[(*_label(key.label), key.backend), _values(row)] for key, row in some]}
    yield {
        "last": True,
        "rows": [],
        "reasons": [[listener, reason, n] for (listener, reason), n in stats.reasons.items()],
        "connections": stats.connections,
        "connections_total": stats.connections_total,
        "datagrams": stats.datagrams,
        "upstream": stats.upstream,
        "misses": [_miss(each) for each in misses],
        "dropped_lines": dropped_lines,
        "dropped_events": dropped_events,
    }


def _label(label: RuleLabel) -> tuple[str, str, str, int, str]:
    return (label.listener, label.kind, label.route, label.rule, label.rule_name)


def _values(row: RuleStats) -> list[Any]:
    return [
        row.classes, row.buckets, row.duration_sum, row.bytes_in, row.bytes_out, row.active, row.retries,
        row.failed_calls,
    ]  # fmt: skip


def _miss(miss: Miss) -> list[Any]:
    listener, reason, host, method, path = miss.asked
    name = [listener, reason, printable(host, MAX_PATH_BYTES), printable(method), printable(path, MAX_PATH_BYTES)]
    return [name, [miss.n, miss.over, miss.last_at, miss.generation, miss.cause]]
