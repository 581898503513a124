"""A slot over real worker processes: tables in two steps, hung workers replaced, failed starts ever more slowly."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable

import pytest

from gatewayproxy.ops import slots
from gatewayproxy.ops.binding import ListeningSockets
from gatewayproxy.ops.options import RunOptions
from gatewayproxy.ops.slots import HandoverError, Slot, TableBytes
from gatewayproxy.routing.handover import slices
from gatewayproxy.routing.table import RoutingTable


def _table(generation: int) -> TableBytes:
    table = RoutingTable(generation=generation, digest="", ports=(), n_entries=0, n_groups=0)
    return TableBytes(generation, "", list(slices(table)), frozenset())


class _Held:
    """A slot and what it reports."""

    def __init__(self) -> None:
        self.table: TableBytes | None = None
        self.slot = Slot(
            0, RunOptions(paths=(), log_level="error"), ListeningSockets(1), ticket_secret=b"", session_secret=b"",
            in_force=lambda: self.table, on_retired=lambda finished, cut: None, on_gone=lambda slot: None,
        )  # fmt: skip


@contextlib.asynccontextmanager
async def _living() -> AsyncIterator[_Held]:
    held = _Held()
    async with asyncio.TaskGroup() as group:
        group.create_task(held.slot.run())
        await _until(lambda: held.slot.pid is not None)
        try:
            yield held
        finally:
            if held.slot.pid is not None:
                os.kill(held.slot.pid, signal.SIGCONT)
            await held.slot.drain()


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_table_serves_only_after_the_commit() -> None:
    async with _living() as held:
        table = _table(1)
        assert await held.slot.prepare(table)
        assert held.slot.serving is None
        report = await held.slot.commit()
        assert report is not None
        assert report["generation"] == 1
        assert held.slot.serving is table


async def test_a_worker_that_began_between_the_two_steps_serves_the_newer_table_too() -> None:
    async with _living() as held:
        older, newer = _table(1), _table(2)
        assert await held.slot.prepare(newer)
        held.table = older
        await held.slot._catch_up()  # as a successor does that starts now
        assert held.slot.serving is older
        held.table = newer
        report = await held.slot.commit()
        assert report is not None
        assert report["generation"] == 2
        assert held.slot.serving is newer


async def test_a_table_that_cannot_be_assembled_is_refused_and_the_worker_lives_on() -> None:
    async with _living() as held:
        first = _table(1)
        await held.slot.prepare(first)
        await held.slot.commit()
        pid = held.slot.pid
        with pytest.raises(HandoverError):
            await held.slot.prepare(TableBytes(2, "", [b"\x80\x05junk"], frozenset()))
        held.slot.discard()
        assert await held.slot.commit() is None
        assert (held.slot.pid, held.slot.serving) == (pid, first)
        assert await held.slot.prepare(_table(3))


async def test_a_hung_worker_is_replaced_and_catches_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with _living() as held:
        held.table = _table(1)
        await held.slot.prepare(held.table)
        await held.slot.commit()
        pid = held.slot.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        fresh = _table(2)
        with monkeypatch.context() as impatient:  # with this worker only: its successor may need time to start
            impatient.setattr(slots, "HANDOVER_S", 0.2)
            assert not await held.slot.prepare(fresh)
        held.table = fresh
        await _until(lambda: held.slot.serving is fresh)
        assert held.slot.pid != pid
        assert held.slot.restarts == 1


async def test_a_hung_worker_is_not_counted() -> None:
    async with _living() as held:
        assert held.slot.pid is not None
        assert await held.slot.count(60.0) is not None
        os.kill(held.slot.pid, signal.SIGSTOP)
        assert await held.slot.count(0.2) is None


async def test_workers_that_die_young_are_replaced_ever_more_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(slots, "_MODULE", "gatewayproxy.there_is_no_such_module")
    monkeypatch.setattr(slots, "_BACKOFF_S", (0.0, 0.01, 0.02))
    monkeypatch.setattr(slots, "_YOUNG_S", 1_000.0)  # a start may take its time
    held = _Held()
    sleep = asyncio.sleep

    async def counted(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr(slots.asyncio, "sleep", counted)
    async with asyncio.TaskGroup() as group:
        group.create_task(held.slot.run())
        async with asyncio.timeout(60):
            while len(waits) < 5:
                await sleep(0.01)
        await held.slot.drain()
    assert waits[:5] == [0.0, 0.01, 0.02, 0.02, 0.02]
