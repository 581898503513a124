"""Reloads: from the sources to a table in every worker, or a reason why the old one stays.

    compile ─▶ bind what is new ─▶ Slot.prepare × N ─▶ the table is in force ─▶ Slot.commit × N ─▶ close what is unused

Generations name tables: a reload that finds nothing changed keeps the generation and hands nothing over. A port that
cannot be bound does not hold up the rest; the compiler puts it into the status, and each reload tries it again. An
object that is wrong is held at its last accepted version; a document that cannot be read at all keeps the table.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Sequence
from typing import Any, Final, Protocol

from gatewayproxy.errors import ConfigError
from gatewayproxy.model.names import BindKey
from gatewayproxy.ops import logs
from gatewayproxy.ops.archive import START, Archive, Cause, RevertedError
from gatewayproxy.ops.binding import ListeningSockets
from gatewayproxy.ops.compiling import Answer, CompilerProcess, Refused
from gatewayproxy.ops.rules import Ledger
from gatewayproxy.ops.slots import HandoverError, Slot, TableBytes
from gatewayproxy.routing.table import PortKind

__all__ = ["EMPTY_STATUS", "Control", "Watching"]

log = logging.getLogger(__name__)

EMPTY_STATUS: Final = b'{"apiVersion":"v1","kind":"List","items":[]}'
_LEVELS: Final = {"error": logging.ERROR, "warning": logging.WARNING}
_TOLD: Final = (  # of a compilation, in the report
    "input", "digest", "objects", "rules", "errors", "warnings", "held", "held_objects", "problems", "read_ms",
    "compile_ms", "changes",
)  # fmt: skip
_LOGGED: Final = (  # of a report
    "generation", "reason", "rolled_back_to", "digest", "objects", "rules", "errors", "warnings", "held", "total_ms",
    "compile_ms", "handover_ms",
)  # fmt: skip


class Watching(Protocol):
    """Somebody who compares what happens before and after a reload: `ops.guarding`."""

    reverts: int  # reloads that were taken back

    @property
    def state(self) -> dict[str, Any]:
        """Return what there is to tell."""

    async def mark(self) -> None:
        """A table is about to be replaced by another."""

    def watch(self, cause: Cause, head: dict[str, Any], old: int, documents: bytes) -> None:
        """It has been, that of generation *old*, whose documents are given."""


class Control:
    """Knows the table in force and how to replace it. One reload at a time."""

    def __init__(self, compiler: CompilerProcess, sockets: ListeningSockets, archive: Archive) -> None:
        self.slots: Sequence[Slot] = ()
        self.table: TableBytes | None = None
        self._leaving: TableBytes | None = None  # that it takes the place of just now
        self.status = EMPTY_STATUS  # every object with its status, JSON
        self.gateways: dict[str, bool] = {}  # "namespace/name" -> Programmed
        self.report: dict[str, Any] = {}  # the last reload
        self.results = dict.fromkeys(("applied", "unchanged", "failed"), 0)
        self.succeeded_at = 0.0  # Unix seconds
        self.unbound: dict[BindKey, str] = {}
        self.held = 0  # objects that serve as they were accepted, not as they are written now
        self.rules = Ledger()  # those of the table in force
        self.rolled_back_to = 0  # the generation whose documents serve, until a reload reads the sources
        self.guard: Watching | None = None
        self._compiler = compiler
        self._sockets = sockets
        self._archive = archive
        self._turn = asyncio.Lock()

    @property
    def serving(self) -> bool:
        """Whether every worker serves the table in force, on at least one port if there are any.

        While one table takes the other's place, both are: requests are answered all the time.
        """
        if self.table is None or (self.unbound and not self._sockets.keys):
            return False
        in_force = [each for each in (self.table, self._leaving) if each is not None]
        return all(any(slot.serving is each for each in in_force) for slot in self.slots)

    async def start(self) -> None:
        """Serve what is on disk, or the newest good generation of the history where the guard took that back."""
        report = await self.reload(START)
        good = self._archive.history.last_good()
        if report.get("reverted") and good is not None:
            await self.rollback(good.number, reason=START.reason)

    async def rollback(self, number: int, *, reason: str = "rollback") -> dict[str, Any]:
        """Serve the documents of generation *number*; return the report.

        Raise UnknownGenerationError where there is none, ConfigError where its documents are lost.
        """
        documents = await self._archive.documents(number)
        return await self.reload(Cause(reason, of=number, documents=documents))

    async def reload(self, cause: Cause) -> dict[str, Any]:
        """Compile and hand over; return the report. Whatever goes wrong is in it, and the old table serves on."""
        async with self._turn:
            if cause.instead_of and (self.table is None or self.table.generation != cause.instead_of):
                return {"result": "overtaken"}
            report = await self._reload(cause)
            await self._archive.flush()
            return report

    async def _reload(self, cause: Cause) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        started = datetime.datetime.now(datetime.UTC)
        report: dict[str, Any] = {"attempt": sum(self.results.values()) + 1, "reason": cause.reason}
        if cause.of:
            report["rolled_back_to"] = cause.of
        report["started"] = started.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        try:
            await self._compile_and_hand_over(report, cause)
        except ConfigError as error:
            report |= {"result": "failed", "error": str(error), "where": error.where, "hint": error.hint}
            report["reverted"] = isinstance(error, RevertedError)
            if isinstance(error, Refused):
                report["problems"] = error.problems
                _log_problems(error.problems)
        except HandoverError as error:
            report |= {"result": "failed", "error": f"a worker refused the table: {error}", "hint": "see its log"}
        except Exception as error:
            log.exception("reload_crashed")
            report |= {"result": "failed", "error": f"{type(error).__name__}: {error}", "hint": "see the log"}
        else:
            self.succeeded_at = started.timestamp()
        if report["result"] == "failed":
            self._keep(self.table.keys if self.table is not None else frozenset())
        report["generation"] = self.table.generation if self.table is not None else 0
        report["total_ms"] = round((loop.time() - begun_at) * 1e3, 1)
        self.results[report["result"]] += 1
        self.report = report
        _log_report(report)
        return report

    def retired(self, finished: int, cut: int) -> None:
        """Take note that connections of removed listeners have ended."""
        log.info("removed_listeners_drained", extra=logs.fields(finished=finished, cut=cut))
        connections = self.report.get("connections")
        if connections is not None:
            connections["finished"] += finished
            connections["cut"] += cut

    def _keep(self, keys: frozenset[BindKey]) -> None:
        if self._sockets.keep(keys):
            asyncio.get_running_loop().call_later(self._sockets.linger_s + 1.0, self._sockets.part)

    async def _compile_and_hand_over(self, report: dict[str, Any], cause: Cause) -> None:
        answer, unbound = await self._compile_and_bind(cause)
        head = answer.head
        self._archive.refuse_reverted(head["input"], cause)
        _log_problems(head["problems"], of=head["errors"] + head["warnings"])
        report |= {name: head[name] for name in _TOLD}
        report["unbound"] = [_unbound(key, why) for key, why in unbound.items()]
        keys = _keys(head) - unbound.keys()
        old, documents = self.table, self._compiler.memory
        if old is not None and (old.digest, old.keys) == (head["digest"], keys):
            report["result"] = "unchanged"
        else:
            same = old is not None and old.digest == head["digest"]  # then only sockets came or went
            slices = old.slices if old is not None and same else answer.slices
            await self._hand_over(TableBytes(head["generation"], head["digest"], slices, keys), report)
            _log_ports(head["ports"], frozenset() if old is None else old.keys, keys)
            report["result"] = "applied"
            self.rules.adopt(head["rule_list"], head["generation"], datetime.datetime.now(datetime.UTC).timestamp())
            if self.guard is not None and old is not None:
                self.guard.watch(cause, head, old.generation, documents)
        self.unbound = unbound
        self.held = head["held"]
        self.gateways = head["gateways"]
        self.status = answer.status
        self._compiler.adopt(answer)
        self.rolled_back_to = cause.of
        keep = self._archive.keep if report["result"] == "applied" else self._archive.confirm
        keep(self.table.generation if self.table is not None else 0, cause, head, answer.memory)

    async def _compile_and_bind(self, cause: Cause) -> tuple[Answer, dict[BindKey, str]]:
        """Compile and bind; compile again where a port cannot be bound, so that the status says so."""
        answer = await self._compiler.compile(self._request({}, cause), cause.documents)
        unbound = self._sockets.bind(_keys(answer.head))
        if unbound:
            answer = await self._compiler.compile(self._request(unbound, cause), cause.documents)
            unbound |= self._sockets.bind(_keys(answer.head) - unbound.keys())
        return answer, unbound

    def _request(self, unbound: dict[BindKey, str], cause: Cause) -> dict[str, Any]:
        serving = self.table.generation if self.table is not None else 0
        return {
            "generation": max(serving, self._archive.history.newest) + 1,
            "serving": serving,
            "digest": self.table.digest if self.table is not None else "",
            "unbindable": [[key, why] for key, why in unbound.items()],
            "again": cause.of != 0,
        }

    async def _hand_over(self, table: TableBytes, report: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        prepared = await asyncio.gather(*(slot.prepare(table) for slot in self.slots), return_exceptions=True)
        failure = next((each for each in prepared if isinstance(each, BaseException)), None)
        if failure is not None:
            for slot in self.slots:
                slot.discard()
            raise failure
        if self.guard is not None:
            await self.guard.mark()
        self._leaving, self.table = self.table, table  # from here on, a replaced worker starts with it
        try:
            reports = await asyncio.gather(*(slot.commit() for slot in self.slots))
        finally:
            self._leaving = None
        applied = [each for each in reports if each is not None]
        self._keep(table.keys)
        report["handover_ms"] = round((loop.time() - begun_at) * 1e3, 1)
        kept, draining = (sum(each[name] for each in applied) for name in ("kept", "draining"))
        report["connections"] = {"kept": kept, "draining": draining, "finished": 0, "cut": 0}


def _keys(head: dict[str, Any]) -> frozenset[BindKey]:
    return frozenset(_key(address, port, kind) for address, port, kind, _ in head["ports"])


def _key(address: str, port: int, kind: str) -> BindKey:
    return BindKey(address, port, kind == PortKind.UDP.value)


def _unbound(key: BindKey, why: str) -> dict[str, Any]:
    transport = {"transport": "udp"} if key.udp else {}
    return {"address": key.address, "port": key.bind_port, **transport, "error": why}


def _log_ports(ports: list[Any], old: frozenset[BindKey], new: frozenset[BindKey]) -> None:
    for address, port, kind, listeners in ports:
        key = _key(address, port, kind)
        if key in new - old:
            told = logs.fields(address=str(key), protocol=kind, listeners=",".join(listeners))
            log.info("listening", extra=told)
    for key in sorted(old - new):
        log.info("listening_ended", extra=logs.fields(address=str(key)))
    if not new:
        log.warning("nothing_served", extra=logs.fields(hint="no listener serves: gatewayproxy check says why"))


def _log_problems(problems: list[dict[str, str]], *, of: int = 0) -> None:
    for problem in problems:
        values = {name: value for name, value in problem.items() if name != "severity"}
        log.log(_LEVELS[problem["severity"]], "manifest_problem", extra=logs.fields(**values))
    if of > len(problems):
        hint = "gatewayproxy check lists them all"
        log.warning("manifest_problems_untold", extra=logs.fields(n=of - len(problems), hint=hint))


def _log_report(report: dict[str, Any]) -> None:
    counts = (report.get("changes") or {}).get("counts", {})
    if report["result"] == "failed":
        told = logs.fields(**{name: report.get(name) or None for name in ("error", "where", "hint", "generation")})
        log.error("reload_failed", extra=told)
        return
    told = {name: report.get(name) for name in _LOGGED}
    changed = {name: n for name, n in counts.items() if n}
    event = "reload_unchanged" if report["result"] == "unchanged" else "reload_applied"
    log.info(event, extra=logs.fields(**told, **changed, **report.get("connections", {})))
