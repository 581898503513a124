"""Retry budgets by a clock of the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayproxy.dataplane.upstream.budget import BudgetState, Window
from gatewayproxy.model.traffic import RetryBudget


def budget(percent: int = 20, least: int = 1, interval_s: float = 10.0, least_interval_s: float = 1.0) -> BudgetState:
    bounds = RetryBudget(
        service="default/app",
        percent=percent,
        interval_s=interval_s,
        least=least,
        least_interval_s=least_interval_s,
    )
    return BudgetState(bounds)


def taken(state: BudgetState, n: int, now: float) -> int:
    return sum(state.take(now) for _ in range(n))


def test_so_many_retries_as_the_least_rate_are_sent_whatever_their_share() -> None:
    state = budget(percent=0, least=3)
    assert taken(state, 10, 100.0) == 3
    assert taken(state, 10, 100.5) == 0
    assert taken(state, 10, 101.1) == 3


@pytest.mark.parametrize(("percent", "sent"), [(0, 1), (20, 25), (50, 100), (100, 1000)])
def test_a_share_of_the_requests_may_be_retries_themselves_included(percent: int, sent: int) -> None:
    state = budget(percent=percent)
    for _ in range(100):
        state.count(50.0)
    assert taken(state, 1000, 50.0) == sent


def test_what_is_older_than_the_interval_counts_no_more() -> None:
    state = budget(percent=50, interval_s=10.0)
    for _ in range(100):
        state.count(50.0)
    assert taken(state, 200, 60.9) == 1  # the least rate


def test_retries_use_up_the_budget_of_the_whole_interval() -> None:
    state = budget(percent=20)
    for _ in range(100):
        state.count(50.0)
    assert taken(state, 1000, 50.0) == 25
    assert taken(state, 10, 55.0) == 1  # the least rate is not of this interval
    assert taken(state, 10, 55.05) == 0


@given(st.lists(st.floats(0.0, 5.0), max_size=200))
def test_a_window_counts_what_is_within_it_give_or_take_a_tenth(gaps: list[float]) -> None:
    window, now, seen = Window(10.0), 1000.0, []
    for gap in gaps:
        now += gap
        seen.append(now)
        window.add(now)
        total = window.total(now)
        assert sum(1 for at in seen if now - at < 9.0) <= total <= sum(1 for at in seen if now - at < 10.0)
