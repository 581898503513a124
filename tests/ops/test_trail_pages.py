"""Looks at the counters: again and again, whatever one of them meets."""

from __future__ import annotations

import asyncio
import logging

import pytest

from gatewayproxy.ops import trail_pages
from gatewayproxy.ops.snapshot import Snapshot
from gatewayproxy.ops.trail_pages import TrailPages


async def test_a_look_that_fails_ends_neither_the_looks_nor_the_gateway(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trail_pages, "LOOK_S", 0.001)
    looks = 0
    done = asyncio.Event()

    async def count() -> Snapshot:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise OSError("gone")
        done.set()
        return Snapshot()

    control: object = None
    pages = TrailPages(control, count)  # type: ignore[arg-type]
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        task = group.create_task(pages.run(), name="trail")
        await done.wait()
        task.cancel()
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == ["look_failed"]
