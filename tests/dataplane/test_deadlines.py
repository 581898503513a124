"""Deadlines: in time, in order, and not at all once they are cancelled."""

from __future__ import annotations

import asyncio
from functools import partial
from time import monotonic

import pytest

from gatewayproxy.dataplane.deadlines import Deadline, Deadlines


async def within(seconds: float, done: asyncio.Event) -> None:
    async with asyncio.timeout(seconds):
        await done.wait()


async def test_a_call_is_made_in_time_and_never_early() -> None:
    deadlines = Deadlines(asyncio.get_running_loop())
    made: list[tuple[float, float]] = []
    done = asyncio.Event()
    began = monotonic()

    def call(delay_s: float) -> None:
        made.append((delay_s, monotonic() - began))

    for delay_s in (0.25, 0.05, 0.001, 0.1):  # the first is not the next
        deadlines.after(delay_s, partial(call, delay_s))
    deadlines.after(0.3, done.set)
    await within(60, done)
    assert [delay_s for delay_s, _ in made] == [0.001, 0.05, 0.1, 0.25]
    assert not [each for each in made if each[1] < each[0]]


async def test_what_is_cancelled_is_not_called() -> None:
    deadlines = Deadlines(asyncio.get_running_loop())
    made: list[int] = []
    done = asyncio.Event()
    both = [deadlines.after(0.02, partial(made.append, n)) for n in range(2)]
    deadlines.after(0.05, done.set)
    both[0].cancel()
    both[0].cancel()
    await within(60, done)
    both[1].cancel()
    assert made == [1]


async def test_a_call_may_cancel_one_of_the_same_time() -> None:
    deadlines = Deadlines(asyncio.get_running_loop())
    made: list[int] = []
    done = asyncio.Event()
    both: list[Deadline | asyncio.TimerHandle] = []

    def call(n: int) -> None:
        made.append(n)
        both[1 - n].cancel()

    both += [deadlines.after(0.02, partial(call, n)) for n in range(2)]
    deadlines.after(0.05, done.set)
    await within(60, done)
    assert len(made) == 1


async def test_a_call_that_fails_does_not_stop_those_behind_it() -> None:
    loop = asyncio.get_running_loop()
    failures: list[object] = []
    loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))
    deadlines = Deadlines(loop)
    done = asyncio.Event()

    def fail() -> None:
        raise RuntimeError("as it may")

    for _ in range(3):
        deadlines.after(0.02, fail)
    deadlines.after(0.05, done.set)
    await within(60, done)
    assert [str(each) for each in failures] == ["as it may"] * 3


@pytest.mark.parametrize("delay_s", [30.0, 1e6], ids=["near", "far"])
async def test_those_that_are_cancelled_leave_little_behind(delay_s: float) -> None:
    deadlines = Deadlines(asyncio.get_running_loop())
    for n in range(1000):
        deadlines.after(delay_s + n, lambda: None).cancel()
    assert sum(len(due) for due in deadlines._steps.values()) == 0
    assert len(deadlines._steps) <= 31
    assert deadlines._timer is None or delay_s < 60
