"""The list of what nobody serves: what its counts promise, whatever the stream."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gatewayproxy.dataplane.misses import COUNTED_PER_S, EXPLAINED_PER_S, MAX_MISSES, Asked, Misses
from gatewayproxy.routing.causes import Cause


def asked(name: int) -> Asked:
    return Asked("ns/gw/http", "no_rule", b"a", b"GET", b"/%d" % name)


@given(st.lists(st.integers(0, 3 * MAX_MISSES) | st.integers(0, 3), max_size=3_000))
def test_no_count_is_too_low_and_none_too_high_by_more_than_it_says(stream: list[int]) -> None:
    misses = Misses()
    for name in stream:
        misses.count(asked(name), 0.0, 1)
    true = Counter(map(asked, stream))
    listed = {each.asked: each for each in misses}
    assert len(listed) == min(len(true), MAX_MISSES)
    for name, each in listed.items():
        assert true[name] <= each.n
        assert each.n - each.over <= true[name]
    assert sum(each.n for each in misses) == len(stream)
    for name, n in true.items():
        assert name in listed or n <= len(stream) / MAX_MISSES


def test_what_repeats_stays_in_the_list_of_a_flood() -> None:
    misses = Misses()
    for turn in range(50_000):
        misses.count(asked(-1 if turn % 50 == 0 else turn), 0.0, 1)
    assert len(list(misses)) == MAX_MISSES
    most = max(misses, key=lambda each: each.n - each.over)
    assert most.asked == asked(-1)
    assert most.n - most.over >= 900


def test_so_many_are_counted_in_a_second_and_fewer_explained() -> None:
    misses = Misses()
    assert sum(misses.may_count(100.0 + n / 10_000) for n in range(9_000)) == COUNTED_PER_S
    assert sum(misses.may_explain() for _ in range(9_000)) == EXPLAINED_PER_S
    assert misses.may_count(101.0)
    assert misses.may_explain()


def test_a_new_table_is_asked_anew() -> None:
    misses = Misses()
    misses.count(asked(1), 5.0, 1).cause = Cause("why", "do")
    assert misses.count(asked(1), 6.0, 1).cause is not None
    again = misses.count(asked(1), 7.0, 2)
    assert (again.cause, again.generation, again.n, again.last_at) == (None, 2, 3, 7.0)
