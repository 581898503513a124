"""A worker: one process that serves one table at a time on sockets it was given.

Started as `python -m gatewayproxy.ops.worker FD`, where FD is its end of a channel to the supervisor; all else arrives
there (`channel.Kind`). It knows no Kubernetes and no YAML. A table is assembled one slice per loop turn beside the
traffic, and swapped in when the supervisor says COMMIT. The worker ends when told to drain, or when the channel does.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import ipaddress
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import uvloop

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.server import Applied, DataPlane, Drained
from gatewayproxy.dataplane.stats import Stats
from gatewayproxy.dataplane.upstream.registry import Registry
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.names import BindKey
from gatewayproxy.ops import logs, snapshot
from gatewayproxy.ops.accesslog import AccessLog, LineWriter
from gatewayproxy.ops.channel import Channel, Kind, from_json, to_json
from gatewayproxy.routing.handover import Assembler
from gatewayproxy.routing.table import RoutingTable

__all__ = ["Worker", "die_with_parent", "main"]

log = logging.getLogger("gatewayproxy.ops.worker")  # started with -m, __name__ is "__main__"

_LOG_CLOSE_S: Final = 2.0  # how long the last access log lines may take at exit
_PR_SET_PDEATHSIG: Final = 1
MAX_NAMES: Final = 100_000  # (rule, backend) pairs, or listeners, counted; a reload that finds more starts them anew


class Worker:
    """The worker's end of the channel. `ended` is done when the process should exit."""

    def __init__(self, sock: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._plane: DataPlane | None = None
        self._writer: LineWriter | None = None
        self._access: AccessLog | None = None
        self._sockets: dict[BindKey, list[socket.socket]] = {}
        self._assembler: Assembler | None = None
        self._pending: RoutingTable | None = None
        self._for_shadow = False  # what is assembled
        self._pending_shadow: RoutingTable | None = None
        self._begun_at = 0.0
        self._failure = ""
        self._actions: dict[Kind, Callable[[dict[str, Any]], None]] = {
            Kind.CONFIGURE: self._configure,
            Kind.TABLE_BEGIN: self._begin,
            Kind.TABLE_END: self._assembled,
            Kind.COMMIT: self._commit,
            Kind.DISCARD: self._discard,
            Kind.STATS: self._count,
            Kind.REOPEN: self._reopen,
            Kind.DRAIN: self._drain,
            Kind.SHADOW: self._cast_shadow,
            Kind.SHADOW_COUNTS: self._count_shadow,
        }
        self._channel = Channel(sock, on_frame=self._on_frame, on_close=self._on_lost)

    def _on_frame(self, kind: Kind, payload: bytes, fds: list[int]) -> None:
        if kind is Kind.TABLE_SLICE:
            self._feed(payload)
        elif kind is Kind.SOCKETS:
            self._sockets[BindKey(*from_json(payload))] = [_adopt(fd) for fd in fds]
        else:
            self._actions[kind](from_json(payload))

    def _configure(self, options: dict[str, Any]) -> None:
        logs.setup(options["log_format"], options["log_level"], options["name"])
        limits = Limits(**options["limits"])
        if options["access_log"] is not None:
            self._writer = LineWriter(options["access_log"])
            self._access = AccessLog(self._writer, options["access_log_format"])
        context = Context(
            registry=Registry(),
            limits=limits,
            access=self._access,
            explain_from=tuple(map(ipaddress.ip_network, options["explain_from"])),
            ticket_secret=bytes.fromhex(options["ticket_secret"]),
            session_secret=bytes.fromhex(options["session_secret"]),
        )
        self._plane = DataPlane(context)

    def _begin(self, head: dict[str, Any]) -> None:
        # A table lives long and has no cycles. Collections would walk it again and again while it grows, some for
        # 70 ms at 10,000 routes; so there are none until it is frozen, which leaves it out of them for good.
        gc.collect(1)
        gc.disable()
        self._assembler = Assembler()
        self._for_shadow = head.get("shadow", False)
        self._begun_at = self._loop.time()
        self._failure = ""

    def _feed(self, payload: bytes) -> None:
        if self._assembler is None or self._failure:
            return
        try:
            self._assembler.feed(payload)
        except Exception as error:
            self._fail(error)

    def _assembled(self, head: dict[str, Any]) -> None:
        if self._assembler is not None and not self._failure:
            try:
                if self._for_shadow:
                    self._pending_shadow = self._assembler.table
                else:
                    self._pending = self._assembler.table
            except Exception as error:
                self._fail(error)
        self._assembler = None
        if self._failure:
            gc.enable()
            self._channel.send(Kind.FAILED, to_json({**head, "error": self._failure}))
            return
        spent_ms = (self._loop.time() - self._begun_at) * 1e3
        self._channel.send(Kind.ASSEMBLED, to_json({**head, "ms": round(spent_ms, 1)}))

    def _fail(self, error: Exception) -> None:
        self._failure = f"{type(error).__name__}: {error}"
        log.error("table_failed", exc_info=error)

    def _commit(self, _: dict[str, Any]) -> None:
        table, self._pending = self._pending, None
        if table is None or self._plane is None:
            return
        applied = self._plane.apply(table, self._sockets, on_drained=self._on_retired)
        _forget_names(self._plane.context.stats)
        self._close_unused(table)
        gc.freeze()
        gc.enable()
        self._channel.send(Kind.APPLIED, to_json(_report(table.generation, applied)))

    def _discard(self, _: dict[str, Any]) -> None:
        self._pending = self._assembler = None
        gc.enable()
        self._close_unused(self._plane.table if self._plane is not None else None)

    def _close_unused(self, table: RoutingTable | None) -> None:
        wanted = {port.bound for port in table.ports} if table is not None else set()
        for key in [key for key in self._sockets if key not in wanted]:
            for sock in self._sockets.pop(key):
                sock.close()

    def _on_retired(self, drained: Drained) -> None:
        if drained.finished or drained.cut:
            self._channel.send(Kind.RETIRED, to_json({"finished": drained.finished, "cut": drained.cut}))

    def _count(self, _: dict[str, Any]) -> None:
        if self._plane is not None:
            context = self._plane.context
            context.registry.collect()
            dropped = self._writer.dropped if self._writer is not None else 0
            self._send_part(snapshot.parts(context.stats, context.misses, dropped, logs.dropped()))

    def _send_part(self, parts: Iterator[dict[str, Any]]) -> None:
        part = next(parts)
        self._channel.send(Kind.STATS, to_json(part))
        if "last" not in part:
            self._loop.call_soon(self._send_part, parts)

    def _reopen(self, _: dict[str, Any]) -> None:
        if self._writer is not None:
            self._writer.reopen()

    def _cast_shadow(self, asked: dict[str, Any]) -> None:
        table, self._pending_shadow = self._pending_shadow, None
        if self._plane is not None:
            self._plane.shadow(table if asked["on"] else None)
        gc.freeze()
        gc.enable()
        self._channel.send(Kind.APPLIED, to_json({}))

    def _count_shadow(self, _: dict[str, Any]) -> None:
        shadow = self._plane.context.shadow if self._plane is not None else None
        self._channel.send(Kind.SHADOW_COUNTS, to_json(shadow.told() if shadow is not None else {}))

    def _drain(self, _: dict[str, Any]) -> None:
        if self._plane is None:
            self._finish()
            return
        self._plane.drain(self._on_drained)
        for sockets in self._sockets.values():
            for sock in sockets:
                sock.close()
        self._sockets.clear()

    def _on_drained(self, drained: Drained) -> None:
        log.info("drained", extra=logs.fields(finished=drained.finished, cut=drained.cut))
        self._finish()

    def _on_lost(self) -> None:
        if self._plane is not None:
            self._plane.abort()
        self._finish()

    def _finish(self) -> None:
        if self._access is not None:
            self._access.close(_LOG_CLOSE_S)
        if not self.ended.done():
            self.ended.set_result(None)


def _adopt(fd: int) -> socket.socket:
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    return sock


def _forget_names(stats: Stats) -> None:
    """Bound what renamed routes and listeners leave behind; scrapers know counters that start anew from restarts."""
    if len(stats.rows) > MAX_NAMES:
        stats.rows = {key: row for key, row in stats.rows.items() if row.active}
    if len(stats.reasons) + len(stats.connections_total) > MAX_NAMES:
        stats.reasons.clear()
        stats.datagrams.clear()
        live = stats.connections = {listener: n for listener, n in stats.connections.items() if n}
        stats.connections_total = {name: n for name, n in stats.connections_total.items() if name in live}


def _report(generation: int, applied: Applied) -> dict[str, Any]:
    failed = [[str(key), why] for key, why in applied.failed]
    return {**applied._asdict(), "failed": failed, "generation": generation}


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, should the end of the channel go unseen."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


async def _serve(fd: int) -> None:
    worker = Worker(socket.socket(fileno=fd))
    await worker.ended


def main() -> None:
    """Run until told to end."""
    die_with_parent()
    # A terminal or an init system signals the whole group; only the supervisor decides.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1])))
    logging.shutdown()
    os._exit(0)  # nothing is left to tidy; a table of 10,000 routes need not be taken apart


if __name__ == "__main__":
    main()
