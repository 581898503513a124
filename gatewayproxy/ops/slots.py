"""A worker slot: a place in every port's socket group, and the worker process that fills it at the moment.

The slot keeps a worker there: one that dies is replaced at once, by one with the same sockets and the table in force;
one that dies young again and again is replaced ever more slowly. Tables are handed over in two steps, so that a reload
either happens in all workers or in none.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gatewayproxy.errors import GatewayProxyError
from gatewayproxy.model.names import BindKey
from gatewayproxy.ops import logs
from gatewayproxy.ops.binding import ListeningSockets
from gatewayproxy.ops.channel import Kind, from_json
from gatewayproxy.ops.child import Child, describe_exit
from gatewayproxy.ops.options import RunOptions
from gatewayproxy.ops.snapshot import Snapshot

__all__ = ["HandoverError", "Slot", "TableBytes", "WorkerDied"]

log = logging.getLogger(__name__)

HANDOVER_S: Final = 30.0  # a worker that does not take a table in this time is replaced
_MODULE: Final = "gatewayproxy.ops.worker"
_YOUNG_S: Final = 10.0  # a worker that dies before this age counts as a failed start
_NOT_STARTED: Final = (
    "raise the limit on processes, descriptors or memory; it is tried again, the other workers serve on"
)
_BACKOFF_S: Final = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)  # wait before a start, by failed starts in a row


class HandoverError(GatewayProxyError):
    """A worker could not assemble a table."""


class WorkerDied(GatewayProxyError):
    """The worker ended before it answered."""


@dataclass(frozen=True, slots=True)
class TableBytes:
    """A table as it travels: nobody but a worker looks inside."""

    generation: int
    digest: str
    slices: Sequence[bytes]
    keys: frozenset[BindKey]


class Slot:
    """One slot, for the life of the supervisor. `run` is its life."""

    def __init__(
        self,
        index: int,
        options: RunOptions,
        sockets: ListeningSockets,
        *,
        ticket_secret: bytes,
        session_secret: bytes,
        in_force: Callable[[], TableBytes | None],
        on_retired: Callable[[int, int], None],
        on_gone: Callable[[int], None],
    ) -> None:
        self.index = index
        self.restarts = 0
        self.serving: TableBytes | None = None  # what the present worker has applied
        self.in_shadow: Callable[[], TableBytes | None] = lambda: None  # what it is to decide on as well
        self._options = options
        self._sockets = sockets
        self._ticket_secret = ticket_secret
        self._session_secret = session_secret
        self._in_force = in_force
        self._on_retired = on_retired
        self._on_gone = on_gone
        self._child: Child | None = None
        self._exited: asyncio.Future[int] | None = None
        self._answer: asyncio.Future[dict[str, Any]] | None = None
        self._loading = asyncio.Lock()
        self._given: set[BindKey] = set()  # ports whose sockets the present worker has
        self._prepared: TableBytes | None = None
        self._stats: asyncio.Future[Snapshot] | None = None
        self._shadow_counts: asyncio.Future[dict[str, Any]] | None = None
        self._partial = Snapshot()
        self._draining = False

    @property
    def pid(self) -> int | None:
        """Return the present worker's process id, if there is one."""
        return self._child.pid if self._child is not None else None

    async def run(self) -> None:
        """Keep a worker in this slot until it is told to drain."""
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
            if self._draining:
                return
            started_at = loop.time()
            try:
                status = await self._live()
            except OSError as error:  # too many processes or descriptors, no memory: others may give some back
                failures += 1
                told = logs.fields(slot=self.index, error=error.strerror or str(error), hint=_NOT_STARTED)
                log.error("worker_not_started", extra=told)
                continue
            failures = failures + 1 if loop.time() - started_at < _YOUNG_S else 0
            if not self._draining:
                self.restarts += 1
                log.error("worker_died", extra=logs.fields(slot=self.index, how=describe_exit(status)))

    async def _live(self) -> int:
        """Start a worker, give it the table in force, return its exit status."""
        exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._exited = exited
        self._child = Child(_MODULE, on_frame=self._on_frame, on_exit=self._on_exit)
        options = self._options
        settings = {
            "name": f"worker-{self.index}",
            "limits": dataclasses.asdict(options.limits),
            "access_log": options.access_log,
            "explain_from": list(options.explain_header_from),
            "access_log_format": options.access_log_format,
            "log_format": options.log_format,
            "log_level": options.log_level,
            "ticket_secret": self._ticket_secret.hex(),
            "session_secret": self._session_secret.hex(),
        }
        self._child.send(Kind.CONFIGURE, settings)
        log.info("worker_started", extra=logs.fields(slot=self.index, pid=self._child.pid))
        try:
            await self._catch_up()
        except (WorkerDied, HandoverError) as error:
            log.error("worker_not_serving", extra=logs.fields(slot=self.index, error=str(error)))
            self.kill()
        return await exited

    async def _catch_up(self) -> None:
        async with self._loading:
            await self._bring_up()
            if self.in_shadow() is not None and not self._draining:
                await self._cast_shadow()

    async def _bring_up(self) -> dict[str, Any] | None:
        """Have the worker serve the table in force; return its report, None if it does already."""
        report = None
        table = self._in_force()
        while table is not None and self.serving is not table and not self._draining:
            await self._load(table)
            report = await self._apply()
            table = self._in_force()
        return report

    async def cast_shadow(self) -> str:
        """Have the worker decide on `in_shadow`, or no longer; return why it does not, "" if it does or will."""
        async with self._loading:
            try:
                return await self._cast_shadow()
            except WorkerDied:
                return ""  # the next one catches up

    async def _cast_shadow(self) -> str:
        table = self.in_shadow()
        if self._child is None or self._draining:
            return ""
        if table is not None:
            try:
                await self._send_table(table, shadow=True)
            except HandoverError as error:
                log.error("shadow_failed", extra=logs.fields(slot=self.index, error=str(error)))
                return str(error)
        if self._child is not None:
            self._child.send(Kind.SHADOW, {"on": table is not None})
            await self._wait_answer()
        return ""

    async def prepare(self, table: TableBytes) -> bool:
        """Have the worker assemble *table* beside its traffic; False if there is no worker (it will catch up).

        Raise HandoverError when the worker cannot.
        """
        if self._child is None or self._draining:
            return False
        async with self._loading:
            try:
                await self._load(table)
            except WorkerDied:
                return False
        return True

    async def commit(self) -> dict[str, Any] | None:
        """Have the worker serve what it prepared; return its report, None if it died.

        A worker that began meanwhile has taken the table in force instead of what it was to prepare, and may be behind.
        """
        async with self._loading:
            try:
                return await self._apply() if self._prepared is not None else await self._bring_up()
            except WorkerDied:
                return None
            except HandoverError as error:
                log.error("worker_not_serving", extra=logs.fields(slot=self.index, error=str(error)))
                self.kill()
                return None

    def discard(self) -> None:
        """Have the worker forget what it prepared, sockets included."""
        self._prepared = None
        if self._child is not None:
            self._child.send(Kind.DISCARD)
            self._given &= self.serving.keys if self.serving is not None else set()

    async def _load(self, table: TableBytes) -> None:
        if self._child is None:
            raise WorkerDied("the worker is gone")
        for key, sockets in self._sockets.of_slot(self.index).items():
            if key in table.keys and key not in self._given:
                self._child.send(Kind.SOCKETS, list(key), sockets)
                self._given.add(key)
        await self._send_table(table)
        self._prepared = table

    async def _send_table(self, table: TableBytes, *, shadow: bool = False) -> None:
        assert self._child is not None
        self._child.send(Kind.TABLE_BEGIN, {"shadow": shadow})
        for part in table.slices:
            self._child.send_bytes(Kind.TABLE_SLICE, part)
        self._child.send(Kind.TABLE_END, {"generation": table.generation})
        await self._wait_answer()

    async def _apply(self) -> dict[str, Any]:
        table, self._prepared = self._prepared, None
        if self._child is None or table is None:
            raise WorkerDied("the worker is gone")
        self._child.send(Kind.COMMIT)
        report = await self._wait_answer()
        self.serving = table
        self._given &= table.keys
        for address, why in report["failed"]:
            log.error("listener_not_opened", extra=logs.fields(slot=self.index, address=address, error=why))
        return report

    async def _wait_answer(self) -> dict[str, Any]:
        self._answer = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(HANDOVER_S):
                return await self._answer
        except TimeoutError as error:
            log.error("worker_unresponsive", extra=logs.fields(slot=self.index, after_s=HANDOVER_S))
            self.kill()
            raise WorkerDied("the worker did not answer") from error
        finally:
            self._answer = None

    async def count(self, timeout_s: float) -> Snapshot | None:
        """Return the worker's counters, None if it does not tell them in time."""
        if self._child is None:
            return None
        if self._stats is None or self._stats.done():
            self._stats = asyncio.get_running_loop().create_future()
            self._partial = Snapshot()
            self._child.send(Kind.STATS)
        done, _ = await asyncio.wait([self._stats], timeout=timeout_s)
        return next(iter(done)).result() if done and not next(iter(done)).cancelled() else None

    async def count_shadow(self, timeout_s: float) -> dict[str, Any]:
        """Return what differed on the shadow table, {} if there is none or the worker does not tell in time."""
        if self._child is None:
            return {}
        if self._shadow_counts is None or self._shadow_counts.done():
            self._shadow_counts = asyncio.get_running_loop().create_future()
            self._child.send(Kind.SHADOW_COUNTS)
        done, _ = await asyncio.wait([self._shadow_counts], timeout=timeout_s)
        return next(iter(done)).result() if done and not next(iter(done)).cancelled() else {}

    def reopen(self) -> None:
        """Have the worker reopen its log files."""
        if self._child is not None:
            self._child.send(Kind.REOPEN)

    async def drain(self) -> None:
        """Have the worker finish; return when it has ended."""
        self._draining = True
        if self._child is not None and self._exited is not None:
            self._child.send(Kind.DRAIN)
            await asyncio.wait([self._exited])

    def kill(self) -> None:
        """End the worker at once."""
        if self._child is not None:
            self._child.kill()

    def _on_frame(self, kind: Kind, payload: bytes) -> None:
        value = from_json(payload)
        match kind:
            case Kind.ASSEMBLED | Kind.APPLIED:
                if self._answer is not None and not self._answer.done():
                    self._answer.set_result(value)
            case Kind.FAILED:
                if self._answer is not None and not self._answer.done():
                    self._answer.set_exception(HandoverError(value["error"]))
            case Kind.STATS:
                self._take_part(value)
            case Kind.SHADOW_COUNTS:
                if self._shadow_counts is not None and not self._shadow_counts.done():
                    self._shadow_counts.set_result(value)
            case Kind.RETIRED:
                self._on_retired(value["finished"], value["cut"])
            case _:
                log.error("unexpected_frame", extra=logs.fields(slot=self.index, kind=kind.name))

    def _take_part(self, part: Mapping[str, Any]) -> None:
        self._partial.take(part)
        if "last" in part and self._stats is not None and not self._stats.done():
            self._stats.set_result(self._partial)

    def _on_exit(self, status: int) -> None:
        self._child = None
        self.serving = None
        self._prepared = None
        self._given.clear()
        self._on_gone(self.index)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(WorkerDied("the worker died"))
        if self._stats is not None and not self._stats.done():
            self._stats.cancel()
        if self._shadow_counts is not None and not self._shadow_counts.done():
            self._shadow_counts.cancel()
        if self._exited is not None:
            self._exited.set_result(status)
