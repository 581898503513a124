"""Names of backends: what is told of them to pools and to the log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from gatewayproxy.dataplane.upstream import resolve
from gatewayproxy.model.plan import Endpoint
from tests.support.backend import until

Answer = tuple[Endpoint, ...]


@contextlib.asynccontextmanager
async def resolving(host: str) -> AsyncIterator[list[Answer]]:
    """Resolve *host* for port 80 until the end; yield what was answered so far."""
    answers: list[Answer] = []
    task = asyncio.get_running_loop().create_task(resolve.resolve_forever(Endpoint(host, 80), answers.append))
    try:
        yield answers
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_an_answer_is_told_once_as_addresses_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "REFRESH_S", 0.001)
    n_looks = 0
    look_up = resolve._resolve

    async def counted(name: Endpoint) -> Answer:
        nonlocal n_looks
        n_looks += 1
        return await look_up(name)

    monkeypatch.setattr(resolve, "_resolve", counted)
    async with resolving("127.0.0.1") as answers:
        await until(lambda: n_looks > 2)
        assert answers == [(Endpoint("127.0.0.1", 80),)]


@pytest.mark.parametrize(
    ("again_s", "lines"),
    [
        pytest.param(60.0, lambda n: n == 1, id="once in a while"),
        pytest.param(0.0, lambda n: n >= 3, id="and again after it"),
    ],
)
async def test_a_name_that_goes_on_failing_is_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, again_s: float, lines: Callable[[int], bool]
) -> None:
    monkeypatch.setattr(resolve, "RETRY_S", 0.001)
    monkeypatch.setattr(resolve, "TOLD_S", again_s)
    async with resolving("a..b") as answers:
        await until(lambda: len(answers) > 3)
    assert set(answers) == {()}
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("dns_failed")]
    assert lines(len(told))
    assert "name=a..b" in told[0]
    assert "hint=" in told[0]
