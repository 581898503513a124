"""Gates: who waits, and which handshake gives way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

import pytest

from gatewayproxy.dataplane import gates
from gatewayproxy.dataplane.gates import ByteGate, HandshakeGate


class Shaking:
    """A handshake that leaves when it is asked to."""

    def __init__(self, gate: HandshakeGate, *, heard: bool = False) -> None:
        self.gate = gate
        self.gone = False
        gate.enter()
        gate.expect_hello(self)
        if heard:
            gate.expect_finish(self)

    def give_way(self) -> None:
        self.end()

    def end(self) -> None:
        assert not self.gone
        self.gone = True
        self.gate.forget(self)
        self.gate.leave()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "HELLO_S", 0.02)
    monkeypatch.setattr(gates, "FINISH_S", 0.04)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


async def room(gate: HandshakeGate) -> None:
    """Wait for room as an acceptor does."""
    made = asyncio.Event()
    gate.when_room(made.set)
    await asyncio.wait_for(made.wait(), 60)


async def test_the_oldest_silent_one_gives_way_and_no_more_than_needed() -> None:
    gate = HandshakeGate(3)
    first, second, third = Shaking(gate), Shaking(gate), Shaking(gate)
    await room(gate)
    assert (first.gone, second.gone, third.gone) == (True, False, False)
    Shaking(gate)
    await room(gate)
    assert (second.gone, third.gone) == (True, False)


async def test_silent_ones_give_way_before_those_that_said_whom_they_want() -> None:
    gate = HandshakeGate(2)
    first, second = Shaking(gate, heard=True), Shaking(gate)
    await asyncio.sleep(0.1)  # both have had their time
    await room(gate)
    assert (first.gone, second.gone) == (False, True)
    Shaking(gate, heard=True)
    await room(gate)
    assert first.gone


async def test_nobody_gives_way_before_the_time_or_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "HELLO_S", 60)
    monkeypatch.setattr(gates, "FINISH_S", 60)
    gate = HandshakeGate(2)
    shaking = [Shaking(gate), Shaking(gate, heard=True)]
    waiting = asyncio.create_task(room(gate))
    await until(lambda: gate._timer is not None)
    assert not any(each.gone for each in shaking)
    shaking[0].end()  # by itself
    await waiting
    assert [each.gone for each in shaking] == [True, False]


async def test_room_that_came_by_itself_costs_nobody_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    now = monotonic()
    monkeypatch.setattr(gates, "monotonic", lambda: now)
    gate = HandshakeGate(2)
    first, second = Shaking(gate), Shaking(gate)
    waiting = asyncio.create_task(room(gate))
    await until(lambda: gate._timer is not None)
    timer = gate._timer
    first.end()
    now += 60  # the time of the other has come
    await waiting
    await until(lambda: gate._timer is not timer)
    assert not second.gone


class Holding:
    """One who keeps bytes until it is told to let go."""

    def __init__(self) -> None:
        self.gone = False

    def give_way(self) -> None:
        self.gone = True


def test_beyond_the_bound_who_has_held_bytes_longest_gives_way_and_no_more_than_needed() -> None:
    gate = ByteGate(10)
    first, second, third = Holding(), Holding(), Holding()
    assert all(gate.hold(each, 3) for each in (first, second, third))
    assert gate.hold(third, 4)
    assert (first.gone, second.gone, third.gone) == (True, False, False)
    assert gate.n_bytes == 10


def test_the_oldest_gives_way_to_its_own_bytes_too() -> None:
    gate = ByteGate(10)
    first, second = Holding(), Holding()
    gate.hold(first, 5)
    gate.hold(second, 5)
    assert not gate.hold(first, 1)
    assert (first.gone, second.gone) == (True, False)


def test_bytes_that_are_let_go_make_room() -> None:
    gate = ByteGate(10)
    first, second = Holding(), Holding()
    gate.hold(first, 10)
    gate.release(first)
    gate.release(first)
    assert gate.hold(second, 10)
    assert not first.gone
