"""/rules and /misses: how often each rule was hit and when last, and what nobody serves; summed over the workers.

`run` looks at the counters every LOOK_S, whether or not anybody asks: so last hits are that fresh, and what a worker
that dies had counted since is all that is lost.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from gatewayproxy.ops.admin import Asked, Desk, Reply
from gatewayproxy.ops.control import Control
from gatewayproxy.ops.rules import LOOK_S, RuleState
from gatewayproxy.ops.snapshot import MissName, MissRow, Snapshot

__all__ = ["TrailPages"]

log = logging.getLogger(__name__)

MAX_SHOWN: Final = 128  # misses on the page
_JSON: Final = "application/json"
_REASONS: Final = ("no_rule", "no_route")


class TrailPages:
    """The two pages. *count* asks the workers, and has the Ledger of *control* look."""

    def __init__(self, control: Control, count: Callable[[], Awaitable[Snapshot]]) -> None:
        self._control = control
        self._count = count
        self._turn = asyncio.Lock()  # looks that meet share the workers' attention

    def by_path(self) -> Mapping[str, Desk]:
        """Return the pages, for an AdminServer. What clients asked for is private."""
        return {"/rules": Desk(answer=self._rules), "/misses": Desk(answer=self._misses, private=True)}

    async def run(self) -> None:
        """Look at the counters, again and again."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self._total()
            except Exception as error:  # the gateway serves on, and the next look may work
                log.error("look_failed", exc_info=error)

    async def _total(self) -> Snapshot:
        async with self._turn:
            return await self._count()

    async def _rules(self, _: Asked) -> Reply:
        await self._total()
        return await self._reply(lambda: {"rules": [_rule(each) for each in self._control.rules]})

    async def _misses(self, _: Asked) -> Reply:
        total = await self._total()
        return await self._reply(lambda: _missed(total))

    async def _reply(self, make: Callable[[], dict[str, Any]]) -> Reply:
        generation = self._control.table.generation if self._control.table is not None else 0

        def body() -> bytes:
            return json.dumps({"generation": generation, **make()}).encode()

        return Reply(200, _JSON, await asyncio.to_thread(body))


def _rule(state: RuleState) -> dict[str, Any]:
    return {
        "listener": state.name.listener,
        "kind": state.name.kind,
        "route": state.name.route,
        "rule": state.index,
        "name": state.rule_name,
        "hits": state.hits,
        "active": state.active,
        "last_hit": _utc(state.last_hit_at) if state.last_hit_at else None,
        "generation": state.generation,
        "since": _utc(state.since),
        "answers": state.answers,
    }


def _missed(total: Snapshot) -> dict[str, Any]:
    """Return the most frequent misses, and how many there were in all, by reason."""
    answers = dict.fromkeys(_REASONS, 0)
    for (_, reason), n in total.reasons.items():
        if reason in answers:
            answers[reason] += n
    ago = datetime.datetime.now(datetime.UTC).timestamp() - time.monotonic()
    misses = sorted(total.misses.items(), key=lambda each: (each[1].over - each[1].n, -each[1].last_at))
    return {"answers": answers, "misses": [_miss(name, row, ago) for name, row in misses[:MAX_SHOWN]]}


def _miss(name: MissName, row: MissRow, ago: float) -> dict[str, Any]:
    cause = row.cause
    return {
        "count": row.n,
        "over": row.over,
        **name._asdict(),
        "last": _utc(row.last_at + ago),
        "generation": row.generation,
        "cause": cause.text if cause is not None else "",
        "fix": cause.fix if cause is not None else "",
        "failed": cause.failed if cause is not None else "",
        "closest": {"kind": cause.kind, "route": cause.route, "rule": cause.rule} if cause and cause.route else None,
    }


def _utc(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
