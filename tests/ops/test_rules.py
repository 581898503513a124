"""The rules in force: since when each is as it is, how often it was hit, and when last."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gatewayproxy.model.source import CompileOptions
from gatewayproxy.ops.reload import Reloader
from gatewayproxy.ops.rules import Ledger
from gatewayproxy.ops.snapshot import Row, RowName, Snapshot
from tests.support.manifests import write

ROOT = Path(__file__).parents[2]

GW = "default/gw/http"
BUCKETS = [0] * 16


def told(index: int, *, name: str = "", digest: str = "a", listener: str = GW) -> list[Any]:
    return [listener, "HTTPRoute", "shop/api", index, name, digest, ""]


def counters(**by_rule: int) -> Snapshot:
    """Return counters: `r0=3` are 3 hits of rule 0, `r0_beta` of the rule at 0 that has a name."""
    total = Snapshot()
    for words, n in by_rule.items():
        index, _, name = words[1:].partition("_")
        row = RowName(GW, "HTTPRoute", "shop/api", int(index), name, "shop/app:80")
        total.rows[row] = Row([0, 0, n, 0, 0, 0], BUCKETS, 0.0, 0, 0, 0, 0)
    return total


def rules(ledger: Ledger) -> list[tuple[int, str, int, float, int, float]]:
    return [(x.index, x.rule_name, x.hits, x.last_hit_at, x.generation, x.since) for x in ledger]


def test_every_rule_is_there_before_it_is_hit() -> None:
    ledger = Ledger()
    ledger.adopt([told(1), told(0)], 3, 100.0)
    assert rules(ledger) == [(0, "", 0, 0.0, 3, 100.0), (1, "", 0, 0.0, 3, 100.0)]


def test_a_look_that_finds_more_hits_is_the_time_of_the_last_one() -> None:
    ledger = Ledger()
    ledger.adopt([told(0), told(1)], 1, 100.0)
    for now, n in ((110.0, 2), (120.0, 2), (130.0, 3), (140.0, 3)):
        ledger.look(counters(r0=n), now)
    assert rules(ledger) == [(0, "", 3, 130.0, 1, 100.0), (1, "", 0, 0.0, 1, 100.0)]


def test_backends_of_a_rule_are_summed_and_what_is_under_way_counts() -> None:
    total = counters(r0=2)
    other = RowName(GW, "HTTPRoute", "shop/api", 0, "", "shop/canary:80")
    total.rows[other] = Row([0, 0, 1, 0, 0, 1], BUCKETS, 0.0, 0, 0, 4, 0)
    ledger = Ledger()
    ledger.adopt([told(0)], 1, 100.0)
    ledger.look(total, 110.0)
    state = next(iter(ledger))
    assert (state.hits, state.active) == (8, 4)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        pytest.param(told(0), (0, "", 5, 110.0, 1, 100.0), id="unchanged"),
        pytest.param(told(0, digest="b"), (0, "", 5, 110.0, 2, 200.0), id="it does something else"),
        pytest.param(told(4), (4, "", 0, 0.0, 2, 200.0), id="another place is another rule"),
        pytest.param(told(0, listener="x"), (0, "", 0, 0.0, 2, 200.0), id="another listener"),
    ],
)
def test_counts_of_a_rule_that_stays_go_on(after: list[Any], expected: tuple[object, ...]) -> None:
    ledger = Ledger()
    ledger.adopt([told(0)], 1, 100.0)
    ledger.look(counters(r0=5), 110.0)
    ledger.adopt([after], 2, 200.0)
    assert rules(ledger) == [expected]


def test_a_rule_with_a_name_keeps_its_counts_where_it_moves() -> None:
    ledger = Ledger()
    ledger.adopt([told(0, name="beta")], 1, 100.0)
    ledger.look(counters(r0_beta=5), 110.0)
    ledger.adopt([told(0), told(1, name="beta")], 2, 200.0)
    ledger.look(counters(r0_beta=5, r1_beta=1), 210.0)  # rows of workers know places
    assert rules(ledger) == [(0, "", 0, 0.0, 2, 200.0), (1, "beta", 6, 210.0, 1, 100.0)]


def test_counters_that_begin_anew_are_no_hits() -> None:
    ledger = Ledger()
    ledger.adopt([told(0)], 1, 100.0)
    for now, n in ((110.0, 9), (120.0, 2), (130.0, 2), (140.0, 3)):
        ledger.look(counters(r0=n), now)
    state = next(iter(ledger))
    assert (state.hits, state.last_hit_at) == (10, 140.0)


def test_a_rule_that_comes_back_begins_anew() -> None:
    ledger = Ledger()
    ledger.adopt([told(0)], 1, 100.0)
    ledger.look(counters(r0=5), 110.0)
    ledger.adopt([], 2, 200.0)
    ledger.look(counters(r0=6), 210.0)
    ledger.adopt([told(0)], 3, 300.0)
    ledger.look(counters(r0=6), 310.0)
    assert rules(ledger) == [(0, "", 0, 0.0, 3, 300.0)]
    ledger.look(counters(r0=8), 320.0)
    assert rules(ledger) == [(0, "", 2, 320.0, 3, 300.0)]


def test_rules_are_listed_in_the_order_of_routes_and_places() -> None:
    ledger = Ledger()
    ledger.adopt([told(10), told(9), told(2), told(0, listener="a")], 1, 1.0)
    assert [(x.name.listener, x.index) for x in ledger] == [("a", 0), (GW, 2), (GW, 9), (GW, 10)]


def test_states_are_known_by_name_where_there_is_one() -> None:
    ledger = Ledger()
    ledger.adopt([told(0, name="beta"), told(1)], 1, 1.0)
    assert [state.name.rule for state in ledger] == ["beta", "1"]


# --- what tells a rule from the one it was before

CONFIG = [
    {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "gw"},
        "spec": {"gatewayClassName": "gatewayproxy", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
    },
    {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "h"},
        "spec": {
            "parentRefs": [{"name": "gw"}], "hostnames": ["a.test", "b.test", "c.test"],
            "rules": [
                {
                    "matches": [
                        {"path": {"value": "/a"}},
                        {"path": {"value": "/b"}, "headers": [{"name": "x", "value": "1"}]},
                    ],
                    "filters": [{"type": "RequestRedirect", "requestRedirect": {"hostname": "x.test"}}],
                },
                {"matches": [{"path": {"value": "/c"}}]},
            ],
        },
    },
    {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GRPCRoute", "metadata": {"name": "g"},
        "spec": {
            "parentRefs": [{"name": "gw"}], "hostnames": ["g.test"],
            "rules": [{"matches": [{"method": {"type": "RegularExpression", "service": "a.*"}}]}],
        },
    },
]  # fmt: skip
H0, H1, G0 = ("HTTPRoute", 0), ("HTTPRoute", 1), ("GRPCRoute", 0)


def digests(folder: Path, config: list[Any]) -> dict[tuple[str, int], str]:
    write(folder, *config)
    request = {"number": 1, "adopted": 0, "generation": 1, "serving": 0, "digest": "", "unbindable": []}
    head = Reloader([str(folder)], CompileOptions()).compile(request).head
    return {(kind, index): digest for _, kind, _, index, _, digest, _ in head["rule_list"]}


def edited(route: int, change: Callable[[Any], object]) -> list[Any]:
    config = json.loads(json.dumps(CONFIG))
    change(config[route]["spec"])
    return config


def _no_edit(_: Any) -> None: ...


@pytest.mark.parametrize(
    ("route", "change", "changed"),
    [
        pytest.param(1, _no_edit, set(), id="nothing"),
        pytest.param(1, lambda s: s["hostnames"].reverse(), set(), id="order of hostnames"),
        pytest.param(1, lambda s: s["rules"][0]["matches"].reverse(), set(), id="order of matches"),
        pytest.param(1, lambda s: s["hostnames"].pop(), {H0, H1}, id="hostname"),
        pytest.param(1, lambda s: s["rules"][1]["matches"][0]["path"].update(value="/d"), {H1}, id="path"),
        pytest.param(1, lambda s: s["rules"][0]["matches"][1]["headers"][0].update(value="2"), {H0}, id="header"),
        pytest.param(1, lambda s: s["rules"][0]["filters"][0]["requestRedirect"].update(port=8443), {H0}, id="filter"),
        pytest.param(2, lambda s: s["rules"][0]["matches"][0]["method"].update(service="b.*"), {G0}, id="call"),
    ],
)
def test_a_rule_changes_with_its_matches_and_with_what_it_does(
    route: int, change: Callable[[Any], object], changed: set[tuple[str, int]], tmp_path: Path
) -> None:
    before, after = digests(tmp_path, CONFIG), digests(tmp_path, edited(route, change))
    assert set(before) == set(after) == {H0, H1, G0}
    assert {name for name in before if before[name] != after[name]} == changed


def test_a_compiler_that_was_started_anew_finds_the_same_rules(tmp_path: Path) -> None:
    code = "import sys, pathlib; from tests.ops.test_rules import CONFIG, digests; "
    code += "print(sorted(digests(pathlib.Path(sys.argv[1]), CONFIG).items()))"
    told = {
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, text=True, capture_output=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(told) == 1
    assert "HTTPRoute" in told.pop()
