"""Stream states, and budgets over time."""

from __future__ import annotations

import pytest

from gatewayproxy.errors import H2Error
from gatewayproxy.wire.h2stream import Budget, State, Stream


@pytest.mark.parametrize(
    ("receiving", "sending", "state"),
    [
        (True, True, State.OPEN),
        (True, False, State.HALF_CLOSED_LOCAL),
        (False, True, State.HALF_CLOSED_REMOTE),
        (False, False, State.CLOSED),
    ],
)
def test_who_may_still_send_is_the_state(receiving: bool, sending: bool, state: State) -> None:
    stream = Stream(1, 0, 0)
    assert stream.state is State.OPEN
    stream.receiving, stream.sending = receiving, sending
    assert stream.state is state
    assert repr(stream) == f"<Stream 1 {state.name}>"


def test_a_budget_lasts_for_a_burst_then_fills_by_a_tenth_a_second() -> None:
    budget = Budget(100, 0.0, "calm down")
    for _ in range(100):
        budget.spend(1, 0.0)
    with pytest.raises(H2Error) as caught:
        budget.spend(1, 0.0)
    assert (caught.value.code, caught.value.stream_id) == (11, 0)
    budget = Budget(100, 0.0, "calm down")
    for second in range(1000):
        for _ in range(10):
            budget.spend(1, float(second))
    with pytest.raises(H2Error):
        budget.spend(300, 1000.0)


def test_a_long_rest_earns_one_burst_and_no_more() -> None:
    budget = Budget(10, 0.0, "calm down")
    budget.spend(10, 0.0)
    budget.spend(10, 1e9)
    with pytest.raises(H2Error):
        budget.spend(1, 1e9)


def test_earning_does_not_pile_up() -> None:
    budget = Budget(10, 0.0, "calm down")
    for _ in range(1000):
        budget.earn(3)
    with pytest.raises(H2Error):
        budget.spend(14, 0.0)
