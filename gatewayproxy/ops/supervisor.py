"""The supervisor: owns the listening sockets, the table in force as bytes, and the processes around them.

It decodes no table and reads no manifest, so neither a compiler nor a worker gone wrong takes it along. Signals: SIGHUP
reloads (however many arrive during a reload, one more follows), SIGUSR1 reopens log files, SIGTERM and SIGINT drain, a
second one ends at once. Exit status: 0 after a stop, 1 when the start fails: sources, admin address, access log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import secrets
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import uvloop

from gatewayproxy import __version__
from gatewayproxy.ops import logs
from gatewayproxy.ops.admin import AdminServer, Desk, Page
from gatewayproxy.ops.archive import SIGHUP, Archive, open_archive
from gatewayproxy.ops.binding import ListeningSockets
from gatewayproxy.ops.compiling import CompilerProcess
from gatewayproxy.ops.control import Control
from gatewayproxy.ops.explaining import Explainer, InForce
from gatewayproxy.ops.guarding import Guard
from gatewayproxy.ops.history import IN_FOLDER, IN_MEMORY, Bounds
from gatewayproxy.ops.history_pages import HistoryPages
from gatewayproxy.ops.options import RunOptions
from gatewayproxy.ops.pages import Pages
from gatewayproxy.ops.session_key import session_secret
from gatewayproxy.ops.shadow import ShadowControl
from gatewayproxy.ops.slots import Slot
from gatewayproxy.ops.snapshot import Totals
from gatewayproxy.ops.trail_pages import TrailPages

if TYPE_CHECKING:
    from gatewayproxy.ops.health import HealthServer

__all__ = ["Supervisor", "run"]

log = logging.getLogger(__name__)

_SIGNALS: Final = frozenset({signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT})
_STDERR: Final = 2
_KILL_GRACE_S: Final = 3.0  # beyond Limits.drain_s, before a draining worker is killed


def run(options: RunOptions) -> int:
    """Serve until told to stop; return the exit status."""
    _hold_standard_descriptors()
    logs.setup(options.log_format, options.log_level, "supervisor")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(options))


def _hold_standard_descriptors() -> None:
    # Started without one of them, the next thing to be opened would be in its place, and be written logs into.
    while (fd := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdout, sys.stderr = (stream or os.fdopen(os.dup(fd), "w") for fd, stream in ((1, sys.stdout), (2, sys.stderr)))


async def _run(options: RunOptions) -> int:
    return await Supervisor(options).run()


def _make_health(pages: Pages) -> HealthServer:
    from gatewayproxy.ops.health import HealthServer  # grpclib: its time and memory only where somebody asks

    return HealthServer(pages)


def _open_archive(options: RunOptions) -> Archive:
    default = IN_MEMORY if options.history_dir is None else IN_FOLDER
    return open_archive(options.history_dir, Bounds(options.history_generations or default, options.history_bytes))


def _why(error: OSError) -> str:
    # The loop's own message of a failed bind repeats the address; a failed look-up has no errno of the system.
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)


class Supervisor:
    """One run of the gateway."""

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        n_workers = options.workers or len(os.sched_getaffinity(0))
        self._session_secret = session_secret(options.session_key_file)
        self._ticket_secret = secrets.token_bytes(48)  # TLS sessions go on in any worker, and end with this run
        linger_s = options.limits.drain_s + _KILL_GRACE_S  # the workers' own deadline comes first
        self._sockets = ListeningSockets(n_workers, linger_s)
        self._compiler = CompilerProcess(options)
        self._totals = Totals()
        archive = _open_archive(options)
        self._control = Control(self._compiler, self._sockets, archive)
        self._slots = [self._make_slot(index) for index in range(n_workers)]
        self._control.slots = self._slots
        self._reload_wanted = asyncio.Event()
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()
        pages = Pages(self._control, self._compiler, self._totals, self._stopping.is_set, archive)
        self._guard = None
        if options.guard_s:
            self._guard = Guard(options.guard_s, count=pages.count, control=self._control, archive=archive)
            self._control.guard = self._guard
        self._trail = TrailPages(self._control, pages.count)
        self._shadow: ShadowControl | None = None
        if options.shadow is not None:
            self._shadow = ShadowControl(options, options.shadow, self._control, self._compiler)
            pages.also = self._shadow.metrics
        self._explainer = Explainer(options, self._in_force)
        desks: dict[str, Page | Desk] = {"/explain": Desk(answer=self._explainer.answer, private=True)}
        if self._shadow is not None:
            desks |= self._shadow.by_path()
        self._admin = AdminServer(
            {
                **pages.by_path(),
                **self._trail.by_path(),
                **HistoryPages(self._control, self._compiler, archive).by_path(),
                **desks,
            },
            partial(_make_health, pages),
            remote=options.admin_allow_remote,
        )

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT; return the exit status."""
        log.info("starting", extra=logs.fields(version=__version__, workers=len(self._slots), pid=os.getpid()))
        self._watch_signals()
        if not (self._can_log_access() and await self._open_admin()):
            return 1
        async with asyncio.TaskGroup() as group:
            lives = [group.create_task(slot.run(), name=f"slot-{slot.index}") for slot in self._slots]
            if self._guard is not None:
                lives.append(group.create_task(self._guard.run(), name="guard"))
            lives.append(group.create_task(self._trail.run(), name="trail"))
            if self._shadow is not None:
                lives.append(group.create_task(self._shadow.run(), name="shadow"))
            status = await self._serve()
            for life in lives:
                life.cancel()
        await self._compiler.close()
        await self._admin.close()
        await self._explainer.close()
        if self._shadow is not None:
            await self._shadow.close()
        log.info("stopped", extra=logs.fields(status=status))
        return status

    async def _serve(self) -> int:
        async with asyncio.TaskGroup() as group:
            reloads = group.create_task(self._reload_when_wanted(), name="reloads")
            stop = group.create_task(self._stopping.wait(), name="stop")
            await asyncio.wait([reloads, stop], return_when=asyncio.FIRST_COMPLETED)
            failed = reloads.done()
            reloads.cancel()
            stop.cancel()
        if failed:
            await self._end_workers(0.0)
            return 1
        await self._sleep_unless_hurried(self._options.drain_delay_s)
        self._sockets.keep(())
        self._sockets.part(at_once=True)
        await self._end_workers(self._options.limits.drain_s + _KILL_GRACE_S)
        return 0

    async def _reload_when_wanted(self) -> None:
        """Load the first configuration, then reload on demand; return only if there is no first one."""
        await self._control.start()
        while self._control.table is not None:
            if self._shadow is not None:
                self._shadow.wake()
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            await self._control.reload(SIGHUP)

    def _make_slot(self, index: int) -> Slot:
        return Slot(
            index,
            self._options,
            self._sockets,
            ticket_secret=self._ticket_secret,
            session_secret=self._session_secret,
            in_force=lambda: self._control.table,
            on_retired=self._control.retired,
            on_gone=self._totals.bury,
        )

    def _in_force(self) -> InForce | None:
        table = self._control.table
        if table is None:
            return None
        return InForce(table.generation, table.digest, self._control.unbound, self._compiler.memory)

    def _can_log_access(self) -> bool:
        """Try the access log once, before workers find out one by one."""
        path = self._options.access_log
        try:
            if path is not None and path != "-":
                os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o640))
        except OSError as error:
            hint = "check the folder and its permissions; - logs to standard output"
            log.error("access_log_failed", extra=logs.fields(path=path, error=error.strerror, hint=hint))
            return False
        return True

    async def _open_admin(self) -> bool:
        if self._options.admin is None:
            return True
        host, port = self._options.admin
        try:
            bound = await self._admin.open(host, port)
        except OSError as error:
            hint = "another gateway may run here: choose another --admin HOST:PORT, or none"
            log.error("admin_failed", extra=logs.fields(address=f"{host}:{port}", error=_why(error), hint=hint))
            return False
        log.info("admin_listening", extra=logs.fields(address=str(bound)))
        return True

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._reload_wanted.set)
        loop.add_signal_handler(signal.SIGUSR1, self._on_reopen)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop, number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)  # blocked while we started: `__main__`

    def _on_reopen(self) -> None:
        log.info("reopening_logs")
        for slot in self._slots:
            slot.reopen()

    def _on_stop(self, number: int) -> None:
        again = self._stopping.is_set()
        log.info("stopping", extra=logs.fields(signal=signal.Signals(number).name, at_once=again))
        (self._at_once if again else self._stopping).set()

    async def _end_workers(self, patience_s: float) -> None:
        """Let the workers finish; kill what is left after *patience_s*, or at a second signal."""
        async with asyncio.TaskGroup() as group:
            drains = [group.create_task(slot.drain(), name=f"drain-{slot.index}") for slot in self._slots]
            hurry = group.create_task(self._sleep_unless_hurried(patience_s), name="drain-deadline")
            hurry.add_done_callback(lambda _: self._kill_workers())
            await asyncio.wait(drains)
            hurry.cancel()

    def _kill_workers(self) -> None:
        for slot in self._slots:
            slot.kill()

    async def _sleep_unless_hurried(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._at_once.wait()
