"""Counters from workers to a sum that never goes back."""

from __future__ import annotations

import json

import pytest

from gatewayproxy.dataplane.misses import MAX_MISSES, Asked, Misses
from gatewayproxy.dataplane.stats import BUCKETS, Stats
from gatewayproxy.ops import snapshot
from gatewayproxy.ops.snapshot import MissName, MissRow, Row, RowName, Snapshot, Totals, parts
from gatewayproxy.routing.causes import Cause
from gatewayproxy.routing.table import RuleLabel


def _stats(n_rows: int, *, active: int = 0) -> Stats:
    stats = Stats()
    for n in range(n_rows):
        row = stats.row(RuleLabel("ns/gw/http", "HTTPRoute", f"ns/r{n}", 0), "ns/app:80")
        row.done(200, 0.004, 10, 20)
        row.active = active
        row.failed_calls = 3
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
    assert row == Row([0, 0, 1, 0, 0, 0], [0, 0, 1] + [0] * (len(BUCKETS) - 2), 0.004, 10, 20, 0, 0, 3)
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
    assert before.rows[name].failed_calls == after.rows[name].failed_calls == 6
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


def _misses(*paths: bytes, now: float = 1.0, cause: Cause | None = None) -> Misses:
    misses = Misses()
    for path in paths:
        miss = misses.count(Asked("ns/gw/http", "no_rule", b"a.test", b"GET", path), now, 1)
        miss.cause = miss.cause or cause
    return misses


def _missed(misses: Misses) -> Snapshot:
    snapshot = Snapshot()
    for part in parts(Stats(), misses, 0):
        snapshot.take(json.loads(json.dumps(part)))
    return snapshot


def test_misses_are_summed_over_workers_and_kept_of_dead_ones() -> None:
    why = Cause("why", "do", "HTTPRoute", "ns/r", "0", "path")
    totals = Totals()
    totals.show(0, _missed(_misses(b"/a", b"/a", b"/b", now=5.0)))
    totals.show(1, _missed(_misses(b"/a", now=4.0, cause=why)))
    name = MissName("ns/gw/http", "no_rule", "a.test", "GET", "/a")
    for bury in (False, True):
        if bury:
            totals.bury(1)
        total = totals.sum()
        assert total.misses[name] == MissRow(3, 0, 5.0, 1, why)
        assert total.misses[name._replace(path="/b")].n == 1


def test_what_workers_that_died_had_missed_is_bounded() -> None:
    totals = Totals()
    for n in range(10):
        paths = [b"/%d/%d" % (n, each) for each in range(100)]
        totals.show(0, _missed(_misses(*paths, b"/often", b"/often")))
        totals.bury(0)
    found = totals.sum().misses
    assert len(found) == MAX_MISSES
    assert max(found.items(), key=lambda each: each[1].n)[0].path == "/often"


def test_what_peers_sent_arrives_printable() -> None:
    found = _missed(_misses(b"/\x1b[2J\xff"))
    assert [name.path for name in found.misses] == ["/\\x1b[2J\\xff"]


def test_requests_under_way_in_a_worker_that_dies_have_been_cut() -> None:
    totals = Totals()
    totals.show(0, _travelled(_stats(1, active=4)))
    name = next(iter(totals.sum().rows))
    hits = totals.sum().rows[name].hits
    totals.bury(0)
    row = totals.sum().rows[name]
    assert (row.hits, row.active, row.classes) == (hits, 0, [4, 0, 1, 0, 0, 0])
