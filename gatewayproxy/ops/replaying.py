"""Replay logs in one process or in several: then this one reads, the others ask the tables, and their counts add up.

Blocks are dealt out in turn. A pipe that is full holds up the reading, so that no more than a block or two a process
are in memory.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from multiprocessing.connection import Connection
from typing import Final, NamedTuple

from gatewayproxy.errors import GatewayProxyError
from gatewayproxy.insight.replay import Replay
from gatewayproxy.insight.replay.counts import Counts
from gatewayproxy.ops.logfiles import Block, blocks

__all__ = ["Progress", "replay_logs"]

Progress = Callable[[int, int], None]  # bytes as on disk, and lines, that have been read

# Forked: the tables need not be pickled. Nothing here has threads.
_PROCESSES: Final = multiprocessing.get_context("fork")


def replay_logs(replay: Replay, paths: Sequence[str], *, jobs: int, progress: Progress) -> Counts:
    """Feed the logs *paths* to *replay*, or to *jobs* copies of it; return the counts."""
    with _uncollected():
        return _in_processes(replay, paths, jobs, progress) if jobs > 1 else _here(replay, paths, progress)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """PERF: what is remembered of lines has no cycles, so looking for them is in vain: a fifth of the time, or more."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _here(replay: Replay, paths: Sequence[str], progress: Progress) -> Counts:
    n_lines = 0
    for block in blocks(paths):
        lines = block.lines
        replay.feed(lines, block.file, block.first)
        n_lines += len(lines)
        progress(block.position, n_lines)
    return replay.take()


class _Process(NamedTuple):
    process: multiprocessing.process.BaseProcess
    connection: Connection


def _in_processes(replay: Replay, paths: Sequence[str], jobs: int, progress: Progress) -> Counts:
    started = [_start(replay) for _ in range(jobs)]
    n_lines = 0
    counts = Counts()
    try:
        for block, to in zip(blocks(paths), cycle(started), strict=False):
            to.connection.send(block)
            n_lines += block.n_lines
            progress(block.position, n_lines)
        for each in started:
            each.connection.send(None)
        for each in started:
            counts.add(each.connection.recv())
    except (EOFError, BrokenPipeError, ConnectionResetError) as error:
        raise GatewayProxyError("a process of the replay died: try again with --jobs 1") from error
    finally:
        for each in started:
            each.connection.close()
            each.process.terminate()
            each.process.join()
    return counts


def _start(replay: Replay) -> _Process:
    ours, theirs = _PROCESSES.Pipe()
    process = _PROCESSES.Process(target=_serve, args=(replay, theirs, ours), daemon=True)
    process.start()
    theirs.close()
    return _Process(process, ours)


def _serve(replay: Replay, connection: Connection, parents: Connection) -> None:
    parents.close()  # else this end would keep the parent's open
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to hear
    with contextlib.suppress(EOFError):  # it gave up
        while (block := connection.recv()) is not None:
            assert isinstance(block, Block)
            replay.feed(block.lines, block.file, block.first)
        connection.send(replay.take())
