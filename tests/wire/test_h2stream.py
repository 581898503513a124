"""Stream states over every pair, and budgets over time."""

from __future__ import annotations

import pytest

from gatewayproxy.errors import H2Error, LocalProtocolError
from gatewayproxy.wire.h2stream import NEXT, Budget, Cause, State, Stream


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("cause", Cause)
def test_a_stream_moves_as_the_table_says_or_not_at_all(state: State, cause: Cause) -> None:
    stream = Stream(1, 0, 0)
    stream.state = state
    if (state, cause) in NEXT:
        assert stream.advance(cause) is NEXT[state, cause]
        assert stream.state is NEXT[state, cause]
    else:
        with pytest.raises(LocalProtocolError):
            stream.advance(cause)
        assert stream.state is state


def test_no_state_leads_out_of_closed_and_every_other_leads_there() -> None:
    assert not [pair for pair in NEXT if pair[0] is State.CLOSED]
    reached = {State.CLOSED}
    for _ in State:
        reached |= {before for (before, _), after in NEXT.items() if after in reached}
    assert reached == set(State)


@pytest.mark.parametrize(
    ("state", "receiving", "sending"),
    [
        (State.IDLE, False, False),
        (State.OPEN, True, True),
        (State.HALF_CLOSED_LOCAL, True, False),
        (State.HALF_CLOSED_REMOTE, False, True),
        (State.CLOSED, False, False),
    ],
)
def test_a_state_says_who_may_send(state: State, receiving: bool, sending: bool) -> None:
    stream = Stream(1, 0, 0)
    stream.state = state
    assert (stream.receiving, stream.sending) == (receiving, sending)


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
