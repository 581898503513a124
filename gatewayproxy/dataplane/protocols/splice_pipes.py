"""Pipes: the kernel buffers that splice needs between two sockets, lent for as long as bytes are in them.

A pipe with bytes in it belongs to one direction of one stream. What it holds is no longer accounted as socket memory,
so the number lent out at a time is bounded; beyond it streams are copied, and wait in their socket buffers.
"""

from __future__ import annotations

import fcntl
import os
from typing import Final, NamedTuple

__all__ = ["PIPE_BYTES", "Pipe", "Pipes"]

PIPE_BYTES: Final = 1 << 20  # PERF: benchmarks/l4 bulk, 64 KiB pipes 0.300 -> 1 MiB 0.271 CPU-s/GB
_LENT: Final = 128  # pipes in use at a time: 128 MiB per worker at most
_KEPT: Final = 32  # empty pipes kept for the next bulk transfer
_WORTHWHILE_BYTES: Final = 65_536  # over fs.pipe-user-pages-soft the kernel gives less: copying is cheaper then


class Pipe(NamedTuple):
    """Two non-blocking descriptors."""

    read: int
    write: int


class Pipes:
    """A pool of empty pipes."""

    __slots__ = ("_free", "lent")

    def __init__(self) -> None:
        self._free: list[Pipe] = []
        self.lent = 0

    def take(self) -> Pipe | None:
        """Return an empty pipe, or None: out of descriptors or at the bound, copy instead."""
        if self.lent >= _LENT:
            return None
        pipe = self._free.pop() if self._free else _open()
        if pipe is not None:
            self.lent += 1
        return pipe

    def give_back(self, pipe: Pipe, *, empty: bool) -> None:
        """Take *pipe* back; one that is not *empty* is closed, bytes never meet another stream."""
        self.lent -= 1
        if empty and len(self._free) < _KEPT:
            self._free.append(pipe)
        else:
            _close(pipe)

    def close(self) -> None:
        """Close the pipes that are not lent."""
        for pipe in self._free:
            _close(pipe)
        self._free.clear()


def _open() -> Pipe | None:
    try:
        pipe = Pipe(*os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return None  # EMFILE, ENFILE
    try:
        size = fcntl.fcntl(pipe.write, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        size = fcntl.fcntl(pipe.write, fcntl.F_GETPIPE_SZ)
    if size < _WORTHWHILE_BYTES:
        _close(pipe)
        return None
    return pipe


def _close(pipe: Pipe) -> None:
    os.close(pipe.read)
    os.close(pipe.write)
