"""What a worker keeps of names that are gone; its life is in tests/process."""

from __future__ import annotations

import pytest

from gatewayproxy.dataplane.stats import Stats
from gatewayproxy.ops import worker
from gatewayproxy.routing.table import RuleLabel


def _renamed(n: int) -> Stats:
    """Return counters after *n* renames of a listener and its route; one connection and one request are left open."""
    stats = Stats()
    for number in range(n):
        stats.row(RuleLabel(f"ns/gw/l{number}", "HTTPRoute", f"ns/r{number}", 0), "b").done(200, 0.1, 0, 0)
        stats.refuse(f"ns/gw/l{number}", "no_route")
        stats.connections[f"ns/gw/l{number}"] = int(number == 0)
        stats.connections_total[f"ns/gw/l{number}"] = 1
    stats.row(RuleLabel("ns/gw/l0", "HTTPRoute", "ns/r0", 0), "b").active = 1
    return stats


def test_names_within_the_bound_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "MAX_NAMES", 100)
    stats = _renamed(40)
    worker._forget_names(stats)
    assert (len(stats.rows), len(stats.reasons), len(stats.connections_total)) == (40, 40, 40)


def test_beyond_it_only_what_is_in_use_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "MAX_NAMES", 100)
    stats = _renamed(101)
    worker._forget_names(stats)
    assert [key.label.route for key in stats.rows] == ["ns/r0"]
    assert stats.connections == {"ns/gw/l0": 1}
    assert stats.connections_total == {"ns/gw/l0": 1}
    assert stats.reasons == {}
