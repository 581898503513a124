"""Counters from workers to a sum that never goes back."""

from __future__ import annotations

import json

import pytest

from gatewayproxy.dataplane.stats import BUCKETS, Stats
from gatewayproxy.ops import snapshot
from gatewayproxy.ops.snapshot import Row, RowName, Snapshot, Totals, parts
from gatewayproxy.routing.table import RuleLabel


def _stats(n_rows: int, *, active: int = 0) -> Stats:
    stats = Stats()
    for n in range(n_rows):
        row = stats.row(RuleLabel("ns/gw/http", "HTTPRoute", f"ns/r{n}", 0), "ns/app:80")
        row.done(200, 0.004, 10, 20)
        row.active = active
    stats.refuse("ns/gw/http", "no_route")
    stats.connections["ns/gw/http"] = 3
    stats.connections_total["ns/gw/http"] = 7
    stats.upstream["10.0.0.1:80"] = [1, 2, 3, 4]
    return stats


def _travelled(stats: Stats, dropped: int = 0) -> Snapshot:
    snapshot = Snapshot()
    for part in parts(stats, (), dropped):
        snapshot.take(json.loads(json.dumps(part)))
    return snapshot


def test_counters_travel_in_parts_and_arrive_whole() -> None:
    stats = _stats(1001)
    sent = list(parts(stats, (), 5))
    assert max(len(part["rows"]) for part in sent) <= 200
    assert ["last" in part for part in sent] == [False] * 6 + [True]
    snapshot = _travelled(stats, 5)
    assert len(snapshot.rows) == 1001
    row = snapshot.rows[RowName("ns/gw/http", "HTTPRoute", "ns/r0", 0, "", "ns/app:80")]
    assert row == Row([0, 0, 1, 0, 0, 0], [0, 0, 1] + [0] * (len(BUCKETS) - 2), 0.004, 10, 20, 0, 0)
    assert snapshot.reasons == {("ns/gw/http", "no_route"): 1}
    assert snapshot.dropped_lines == 5


def test_a_sum_adds_what_dead_workers_had_counted_but_not_what_they_held() -> None:
    totals = Totals()
    totals.show(0, _travelled(_stats(2, active=4)))
    totals.show(1, _travelled(_stats(2, active=4)))
    before = totals.sum()
    totals.bury(1)
    after = totals.sum()
    name = next(iter(before.rows))
    assert before.rows[name].classes[2] == after.rows[name].classes[2] == 2
    assert (before.rows[name].active, after.rows[name].active) == (8, 4)
    assert before.connections_total == after.connections_total == {"ns/gw/http": 14}
    assert after.connections == {"ns/gw/http": 3}
    assert after.upstream == {"10.0.0.1:80": [1, 2, 6, 8]}
    assert after.reasons == before.reasons


def test_a_slot_without_counters_may_be_buried() -> None:
    totals = Totals()
    totals.bury(3)
    assert totals.sum().rows == {}


def test_a_sum_shares_nothing_with_its_parts() -> None:
    totals = Totals()
    totals.show(0, _travelled(_stats(1)))
    first = totals.sum()
    first.connections["ns/gw/http"] = 99
    next(iter(first.rows.values())).classes[2] = 99
    second = totals.sum()
    assert second.connections["ns/gw/http"] == 3


def test_what_dead_workers_leave_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "MAX_GONE_ROWS", 10)
    totals = Totals()
    for n in range(30):
        shown = Snapshot()
        shown.upstream = {f"10.0.0.{n}:80": [0, 0, 1, 0], f"10.0.1.{n}:80": [0, 0, 1, 0]}  # endpoints come and go
        totals.show(0, shown)
        totals.bury(0)
    assert totals.sum().size <= 12
