"""A candidate beside what serves: compiled, decided on by every worker, and promoted when the operator says so.

    compile (a child of its own) ─▶ Slot.cast_shadow × N ─▶ counts of what differs ─▶ promote: a reload of its documents

Nothing that goes wrong with a candidate reaches traffic, or what serves: it is in the log and on /shadow. It opens no
socket. Promoting serves the very documents that were watched, and has later reloads read the candidate's files.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qs

from gatewayproxy.errors import ConfigError
from gatewayproxy.ops import logs
from gatewayproxy.ops.admin import Asked, Desk, Page, Reply
from gatewayproxy.ops.archive import Cause
from gatewayproxy.ops.compiling import CompilerProcess, Refused
from gatewayproxy.ops.control import Control
from gatewayproxy.ops.options import RunOptions
from gatewayproxy.ops.shadow_counts import ShadowCounts, expose
from gatewayproxy.ops.slots import TableBytes

__all__ = ["ShadowControl"]

log = logging.getLogger(__name__)

COUNT_S: Final = 2.0  # how long a worker may take to tell; then its last counts stand
_JSON: Final = "application/json"
_TEXT: Final = "text/plain; charset=utf-8"


class ShadowControl:
    """Knows the candidate; `run` is its life."""

    def __init__(self, options: RunOptions, candidate: str, control: Control, compiler: CompilerProcess) -> None:
        self._candidate = candidate
        self._control = control
        self._compiler = compiler  # of what serves
        self._own = CompilerProcess(replace(options, paths=(candidate,)))
        self._table: TableBytes | None = None
        self._documents = b""
        self._report: dict[str, Any] = {"state": "compiling"}
        self._turn = asyncio.Lock()
        self._counting = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._latest: dict[int, tuple[int | None, Mapping[str, Any] | None]] = {}  # by slot: pid, what it told last
        self._gone = ShadowCounts()  # of workers that have been replaced
        for slot in control.slots:
            slot.in_shadow = lambda: self._table

    def by_path(self) -> Mapping[str, Page | Desk]:
        """Return the pages, for an AdminServer."""
        return {
            "/shadow": Desk(answer=self._shown, private=True),
            "/promote": Desk(answer=self._promoted, private=True, acts=True),
        }

    def wake(self) -> None:
        """Read the candidate again, soon."""
        self._wanted.set()

    async def run(self) -> None:
        """Compile the candidate whenever `wake` has been called."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            async with self._turn:
                if self._report["state"] != "promoted":
                    await self._try_reload()

    async def close(self) -> None:
        """End the compiling child."""
        await self._own.close()

    async def metrics(self) -> bytes:
        """Return the exposition of what differs."""
        return expose(await self._count(), deciding=self._table is not None)

    # --- the candidate

    async def _try_reload(self) -> None:
        try:
            await self._reload()
        except Exception as error:  # what serves goes on, whatever this was
            log.exception("shadow_failed")
            self._report = {"state": "failed", "error": f"{type(error).__name__}: {error}", "hint": "see the log"}
            self._table = None

    async def _reload(self) -> None:
        """Compile, and have the workers decide on it; what fails leaves none: an older one would be mistaken for it."""
        started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        report: dict[str, Any] = {"state": "failed", "compiled": started}
        table = None
        try:
            answer = await self._own.compile(self._request())
        except ConfigError as error:
            report |= {"error": str(error), "where": error.where, "hint": error.hint}
            report["problems"] = error.problems if isinstance(error, Refused) else []
        else:
            head = answer.head
            report |= {name: head[name] for name in ("digest", "objects", "rules", "errors", "warnings", "problems")}
            table = TableBytes(head["generation"], head["digest"], answer.slices, frozenset())
            self._documents = answer.memory
        finally:
            await self._own.close()  # its memory is for traffic
        if table is None or self._table is None or table.digest != self._table.digest:
            self._latest.clear()
            self._gone = ShadowCounts()
        self._table = table
        refused = await self._cast()
        if refused:
            report |= {"error": f"a worker could not take the table: {refused}", "hint": "see its log"}
        elif table is not None:
            report["state"] = "deciding"
        self._report = report
        _log(report, self._candidate)

    def _request(self) -> dict[str, Any]:
        control = self._control
        serving = control.table.generation if control.table is not None else 0
        unbound = [[key, why] for key, why in control.unbound.items()]
        return {"generation": serving + 1, "serving": serving, "digest": "", "unbindable": unbound}

    async def _cast(self) -> str:
        """Have all workers decide on the candidate, or no longer; return why one of them cannot."""
        refused = next(filter(None, await asyncio.gather(*(slot.cast_shadow() for slot in self._control.slots))), "")
        if refused and self._table is not None:
            self._table = None
            await self._cast()
        return refused

    async def _count(self) -> ShadowCounts:
        async with self._counting:
            slots = self._control.slots
            told = await asyncio.gather(*(slot.count_shadow(COUNT_S) for slot in slots))
            digest = self._table.digest if self._table is not None else ""
            for slot, new in zip(slots, told, strict=True):
                worker, last = self._latest.get(slot.index, (slot.pid, None))
                if last is not None and worker != slot.pid:
                    self._gone.add(last)
                    last = None
                self._latest[slot.index] = (slot.pid, new if new and new["digest"] == digest else last)
            counts = ShadowCounts()
            counts.merge(self._gone)
            for _, each in self._latest.values():
                if each is not None:
                    counts.add(each)
            return counts

    # --- pages

    async def _shown(self, _: Asked) -> Reply:
        counts = await self._count()
        pairs = sorted(counts.pairs, key=lambda pair: counts.pairs[pair], reverse=True)
        tree = {
            "candidate": self._candidate,
            **self._report,
            "requests": counts.requests,
            "different": counts.different,
            "failed": counts.failed,
            "differences": [
                {
                    "listener": pair[0], "did": pair[1], "would": pair[2], "requests": counts.pairs[pair],
                    "samples": [f"{method} {host}{path}" for method, host, path in counts.samples[pair]],
                }
                for pair in pairs
            ],
        }  # fmt: skip
        return Reply(200, _JSON, json.dumps(tree).encode())

    async def _promoted(self, asked: Asked) -> Reply:
        query = parse_qs(asked.query)
        async with self._turn:
            refusal = self._refusal(query.get("digest", [""])[0], force=query.get("force") == ["1"])
            if refusal:
                return Reply(409, _TEXT, f"{refusal}\n".encode())
            report = await self._control.reload(Cause("promote", documents=self._documents, guarded=True))
            if report["result"] == "failed":
                return Reply(409, _TEXT, f"not promoted: {report.get('error', 'see the log')}\n".encode())
            await self._end()
        told = {"candidate": self._candidate, **self._report, "generation": report["generation"]}
        return Reply(200, _JSON, json.dumps(told).encode())

    def _refusal(self, digest: str, *, force: bool) -> str:
        """Return why the candidate is not promoted, "" if it may be."""
        if self._table is None:
            return f"no candidate to promote: {self._report.get('error') or self._report['state']}"
        if digest != self._table.digest:
            return "the candidate is another one by now: look at /shadow again"
        if self._report["errors"] and not force:
            return f"the candidate has errors: see gatewayproxy check {self._candidate}, or --force"
        return ""

    async def _end(self) -> None:
        """The candidate serves: there is no shadow from here on."""
        await self._compiler.move((self._candidate,))
        self._report = {**self._report, "state": "promoted"}
        self._table = None
        await self._cast()
        hint = "reloads read the candidate from now on; have the next start do so, too"
        log.warning("promoted", extra=logs.fields(candidate=self._candidate, digest=self._report["digest"], hint=hint))


def _log(report: Mapping[str, Any], candidate: str) -> None:
    if report["state"] == "failed":
        told = {name: report.get(name) or None for name in ("error", "where", "hint")}
        log.error("shadow_failed", extra=logs.fields(candidate=candidate, **told))
        return
    told = {name: report[name] for name in ("digest", "objects", "rules", "errors", "warnings")}
    log.info("shadow_deciding", extra=logs.fields(candidate=candidate, **told))
