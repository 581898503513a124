"""Weighted choice: exact over a round, even over any short run."""

from __future__ import annotations

from collections import Counter
from math import gcd

import pytest

from gatewayproxy.routing.pick import pick, step_for
from gatewayproxy.routing.table import BackendGroup
from tests.support.plans import backend, listener, route, rule, table_of


def group_of(*weights: int) -> BackendGroup:
    backends = [backend(f"default/b{index}:80", weight) for index, weight in enumerate(weights)]
    table = table_of(listener("http", route("r", rule(backends=backends))))
    http = table.ports[0].http
    assert http is not None
    assert http.default is not None
    group = http.default.layers[0].prefix[b""][0].entry.group
    assert group is not None
    return group


@pytest.mark.parametrize(
    "weights", [(1,), (1, 1), (90, 10), (70, 30, 0), (1, 2, 3, 4), (999_983, 1), (7, 11, 13)], ids=str
)
def test_a_full_round_gives_each_choice_exactly_its_weight(weights: tuple[int, ...]) -> None:
    group = group_of(*weights)
    total = group.bounds[-1]
    counts = Counter(pick(group, turn).name for turn in range(total))
    unit = gcd(*weights)
    assert counts == {f"default/b{index}:80": weight // unit for index, weight in enumerate(weights) if weight}


def test_any_short_run_is_near_its_share() -> None:
    group = group_of(70, 30)
    for start in range(0, 1_000, 7):
        firsts = sum(pick(group, turn).name == "default/b0:80" for turn in range(start, start + 20))
        assert 13 <= firsts <= 15


def test_equal_weights_take_turns() -> None:
    group = group_of(50, 50)
    names = [pick(group, turn).name for turn in range(6)]
    assert names[:2] * 3 == names
    assert names[0] != names[1]


@pytest.mark.parametrize("total", [1, 2, 3, 10, 97, 100, 1_000_000, 16_000_000])
def test_the_step_is_coprime_to_the_total(total: int) -> None:
    assert gcd(step_for(total), total) == 1
