"""The history beside a running gateway: what reloads keep there and ask of it, off the event loop where it is on disk.

A history that cannot be written costs the gateway nothing but its history: the log says so, and it goes on in memory.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gatewayproxy.errors import ConfigError
from gatewayproxy.ops import logs
from gatewayproxy.ops.history import Bounds, Generation, History
from gatewayproxy.ops.history_folder import HistoryFolder

__all__ = ["SIGHUP", "START", "Archive", "Cause", "RevertedError", "now", "open_archive"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why there is a reload, and what it reads: *documents* of generation *of*, or what is on disk."""

    reason: str  # as `Generation.reason`
    of: int = 0
    documents: bytes = b""
    guarded: bool = False  # watched by the guard, where there is one
    instead_of: int = 0  # only if this generation serves still; 0: whatever does


START = Cause("start")
SIGHUP = Cause("SIGHUP", guarded=True)


class RevertedError(ConfigError):
    """The guard took this very input back once."""


def open_archive(folder: str | None, bounds: Bounds) -> Archive:
    """Return the history in *folder*, None: in memory; raise ConfigError where it cannot be kept there."""
    shelf = HistoryFolder(folder) if folder is not None else None
    history = History(bounds, shelf)
    if shelf is not None:
        generations, problems = shelf.load()
        for problem in problems:
            log.warning("history_file_unreadable", extra=logs.fields(problem=problem, hint="remove it"))
        history.recall(generations)
        history.flush()  # removes what is beyond the bounds
        log.info("history_read", extra=logs.fields(folder=folder, generations=len(history.generations)))
    return Archive(history)


def now() -> float:
    """Return Unix seconds, to the millisecond."""
    return round(datetime.datetime.now(datetime.UTC).timestamp(), 3)


class Archive:
    """A History as reloads use it."""

    def __init__(self, history: History) -> None:
        self.history = history
        self._writing = asyncio.Lock()

    def refuse_reverted(self, digest: str, cause: Cause) -> None:
        """Raise RevertedError where the guard took back what *digest* names, unless it is wanted by its number."""
        reverted = None if cause.of else self.history.reverted_with(digest)
        if reverted is not None:
            raise RevertedError(
                f"these manifests were reverted by the guard, as generation {reverted.number}",
                where=f"input {digest}",
                hint=f"change them; or, to serve them nevertheless: gatewayproxy rollback {reverted.number}",
            )

    async def documents(self, number: int) -> bytes:
        """Return the documents of *number*; raise UnknownGenerationError, or ConfigError where they are lost."""
        self.history.find(number)
        try:
            return await asyncio.to_thread(self.history.documents, number)
        except OSError as error:
            raise ConfigError(f"generation {number} cannot be read: {error}", hint="choose another one") from error

    def keep(self, number: int, cause: Cause, head: Mapping[str, Any], documents: bytes) -> None:
        """Keep what a compilation made, which serves as *number*."""
        told = {name: head[name] for name in ("input", "digest", "objects", "rules", "errors", "warnings", "held")}
        generation = Generation(
            number=number,
            reason=cause.reason,
            of=cause.of,
            accepted=now(),
            changes=head["changes"],
            document_bytes=len(documents),
            **told,
        )
        self.history.add(generation, documents)
        self.history.unmark(cause.of)

    def confirm(self, number: int, cause: Cause, head: Mapping[str, Any], documents: bytes) -> None:
        """Take note that other documents mean what *number* does, which goes on serving."""
        known = {each.number: each for each in self.history.generations}.get(number)
        if known is not None and known.input != head["input"]:
            same = replace(known, input=head["input"], document_bytes=len(documents), reverted=None)
            self.history.add(same, documents)
        self.history.unmark(cause.of)

    async def flush(self) -> None:
        """Write what is new; a failure is in the log, and it is tried again with the next one."""
        try:
            async with self._writing:
                await asyncio.to_thread(self.history.flush)
        except OSError as error:
            hint = "check room and permissions of --history-dir; what cannot be written ends with this run"
            log.error("history_not_written", extra=logs.fields(error=str(error), hint=hint))
