"""What the admin server shows, from what the supervisor knows."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from gatewayproxy import __version__
from gatewayproxy.ops import logs, metrics
from gatewayproxy.ops.admin import Desk, Page, Reply
from gatewayproxy.ops.archive import Archive
from gatewayproxy.ops.compiling import CompilerProcess
from gatewayproxy.ops.control import Control
from gatewayproxy.ops.snapshot import Snapshot, Totals

__all__ = ["Pages"]

SCRAPE_S: Final = 2.0  # how long a scrape waits for a worker; then its last counters stand
_JSON: Final = "application/json"
_TEXT: Final = "text/plain; charset=utf-8"
_INDEX: Final = """\
gatewayproxy {version}
/healthz        200 while the supervisor lives
/readyz         200 while every worker serves the configuration in force and no drain has begun
/metrics        counters, for Prometheus
/status         every object with its status, as `gatewayproxy get all -A -o json` prints it
/status/reload  generation in force, the last reload, listeners, workers
/rules          every rule: since when it is as it is, how often it was hit and when last
/misses         what ended in 404 most often, what came closest, and what would mend it
/explain        what becomes of a request, and why: /explain?request=https://shop.example/cart&format=text
/history        generations that were accepted; /history/<n>: manifests of one; /history/diff/<a>/<b>
/rollback/<n>   POST, Content-Type: application/json: serve generation n again, until the next reload
/shadow         what the candidate of run --shadow would have done otherwise; /promote, by POST: it serves
gRPC            grpc.health.v1.Health: service "" as /readyz, "namespace/name" for a Gateway
"""


class Pages:
    """The pages of one gateway."""

    def __init__(
        self,
        control: Control,
        compiler: CompilerProcess,
        totals: Totals,
        stopping: Callable[[], bool],
        archive: Archive,
    ) -> None:
        self._control = control
        self._compiler = compiler
        self._totals = totals
        self._stopping = stopping
        self._archive = archive
        self._scraping = asyncio.Lock()
        self.also: Callable[[], Awaitable[bytes]] | None = None  # further metrics

    def by_path(self) -> Mapping[str, Page | Desk]:
        """Return the pages, for an AdminServer."""
        return {
            "/": self._index,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            "/status": self._status,
            "/status/reload": self._reload,
        }

    def serves(self, service: str) -> bool | None:
        """Return whether the gateway ("") or Gateway "namespace/name" serves, None if there is no such Gateway."""
        programmed = True if service == "" else self._control.gateways.get(service)
        return programmed and not self._missing()

    def services(self) -> Mapping[str, bool]:
        """Return every name that `serves` knows, and what it says."""
        ready = not self._missing()
        return {"": ready, **{name: programmed and ready for name, programmed in self._control.gateways.items()}}

    def _missing(self) -> str:
        """Return what keeps the gateway from being ready, "" if it is."""
        if self._stopping():
            return "draining"
        if self._control.table is None:
            return "no configuration yet"
        if not self._control.serving:
            return "not every worker serves the configuration in force, or no port could be bound"
        return ""

    async def _index(self) -> Reply:
        return Reply(200, _TEXT, _INDEX.format(version=__version__).encode())

    async def _healthz(self) -> Reply:
        return Reply(200, _TEXT, b"ok\n")

    async def _readyz(self) -> Reply:
        missing = self._missing()
        return Reply(503 if missing else 200, _TEXT, f"{missing or 'ready'}\n".encode())

    async def _status(self) -> Reply:
        return Reply(200, _JSON, self._control.status)

    async def _reload(self) -> Reply:
        control = self._control
        table = control.table
        keys = table.keys if table is not None else frozenset()
        state = {
            "pid": os.getpid(),
            "generation": table.generation if table is not None else 0,
            "digest": table.digest if table is not None else "",
            "rolled_back_to": control.rolled_back_to,
            "guard": control.guard.state if control.guard is not None else None,
            "ready": not self._missing(),
            "draining": self._stopping(),
            "listening": sorted(f"{key.address or '*'} {key.bind_port}{'/udp' if key.udp else ''}" for key in keys),
            "reloads": control.results,
            "reload": control.report,
            "workers": [
                {
                    "slot": slot.index,
                    "pid": slot.pid,
                    "restarts": slot.restarts,
                    "generation": slot.serving.generation if slot.serving is not None else 0,
                }
                for slot in control.slots
            ],
        }
        return Reply(200, _JSON, json.dumps(state).encode())

    async def _metrics(self) -> Reply:
        async with self._scraping:  # scrapes that meet share the workers' attention
            total = await self.count()
            # In a thread: a long exposition must not keep the supervisor from its workers.
            body = await asyncio.to_thread(metrics.expose, total, self._state(), tuple(self._control.rules))
        if self.also is not None:
            body += await self.also()
        return Reply(200, metrics.CONTENT_TYPE, body)

    async def count(self) -> Snapshot:
        """Return all counters, summed over workers, and have the rules in force look at them."""
        slots = self._control.slots
        counted = await asyncio.gather(*(slot.count(SCRAPE_S) for slot in slots))
        for slot, snapshot in zip(slots, counted, strict=True):
            if snapshot is not None:
                self._totals.show(slot.index, snapshot)
        total = self._totals.sum()
        self._control.rules.look(total, datetime.datetime.now(datetime.UTC).timestamp())
        return total

    def _state(self) -> metrics.ProcessState:
        control = self._control
        pids = {"supervisor": os.getpid(), "compiler": self._compiler.pid}
        pids |= {f"worker-{slot.index}": slot.pid for slot in control.slots}
        return metrics.ProcessState(
            generation=control.table.generation if control.table is not None else 0,
            ready=not self._missing(),
            reloads=dict(control.results),
            reload_at=control.succeeded_at,
            reload_s=control.report.get("total_ms", 0.0) / 1e3,
            restarts={f"worker-{slot.index}": slot.restarts for slot in control.slots},
            unbound=len(control.unbound),
            held=control.held,
            rolled_back=control.rolled_back_to != 0,
            kept=len(self._archive.history.generations),
            guard_reverts=control.guard.reverts if control.guard is not None else 0,
            dropped_events=logs.dropped(),
            pids={name: pid for name, pid in pids.items() if pid is not None},
        )
