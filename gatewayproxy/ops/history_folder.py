"""Generations in a folder, one file each, written whole or not at all.

A file is a line of JSON (what is known of the generation, and a digest of the rest) and the documents, which hold
Secrets: it is readable by the owner alone, and the folder must not be writable by anybody else. One gateway has it at a
time. A file that does not read back as it was written is passed over, and told.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import stat
from hashlib import blake2b
from pathlib import Path
from typing import Final

from gatewayproxy.errors import ConfigError
from gatewayproxy.ops.history import Generation

__all__ = ["HistoryFolder"]

MAX_FILE_BYTES: Final = 512 << 20  # a larger file is none of ours
_FORMAT: Final = 1
_NAME: Final = re.compile(r"(\d{8,12})\.generation")
_HINT: Final = "name a folder of its own, for this gateway alone: mkdir -m 700"


class HistoryFolder:
    """The folder of --history-dir, for the life of the process."""

    def __init__(self, path: str) -> None:
        """Make the folder if it is not there, and lock it; raise ConfigError where it cannot serve."""
        self._path = Path(path)
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError(f"cannot keep a history: {error.strerror}", where=path, hint=_HINT) from error
        info = os.fstat(self._folder)
        if info.st_uid != os.geteuid() or info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            os.close(self._folder)
            raise ConfigError("others may write here: what they put in could be rolled back to", where=path, hint=_HINT)
        try:
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._folder)
            raise ConfigError("another gateway keeps its history here", where=path, hint=_HINT) from error

    def close(self) -> None:
        """Let another gateway have the folder."""
        os.close(self._folder)

    def load(self) -> tuple[list[Generation], list[str]]:
        """Return what is there, and what is wrong with the rest; what an interrupted write has left is removed."""
        found: list[Generation] = []
        problems: list[str] = []
        for name in sorted(os.listdir(self._folder)):  # noqa: PTH208 - by descriptor
            if name.endswith(".tmp") and _NAME.fullmatch(name.removesuffix(".tmp")):
                self._remove(name)
            if _NAME.fullmatch(name) is None:
                continue
            try:
                found.append(self._read(name)[0])
            except (OSError, ValueError, TypeError, RecursionError) as error:
                problems.append(f"{self._path / name}: {error}")
        return found, problems

    def put(self, generation: Generation, documents: bytes) -> None:
        """Write *generation*: when this returns, it is on the disk, when it raises OSError, what was there still is."""
        head = {**generation.to_json(), "format": _FORMAT, "documents": _digest(documents)}
        name = _name(generation.number)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(f"{name}.tmp", flags, 0o600, dir_fd=self._folder)
        try:
            with os.fdopen(file, "wb") as stream:
                stream.write(json.dumps(head).encode() + b"\n" + documents)
                stream.flush()
                os.fsync(stream.fileno())
            os.rename(f"{name}.tmp", name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except OSError:
            self._remove(f"{name}.tmp")
            raise
        os.fsync(self._folder)

    def get(self, number: int) -> bytes:
        """Return the documents of *number*; raise OSError where they are not what was written."""
        try:
            return self._read(_name(number))[1]
        except (ValueError, TypeError) as error:
            raise OSError(f"{self._path / _name(number)}: {error}") from error

    def drop(self, number: int) -> None:
        """Remove *number*."""
        self._remove(_name(number))

    def _read(self, name: str) -> tuple[Generation, bytes]:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._folder)
        with os.fdopen(file, "rb") as stream:
            info = os.fstat(stream.fileno())
            if not stat.S_ISREG(info.st_mode) or info.st_size > MAX_FILE_BYTES:
                raise ValueError("no file of a history")
            line, _, documents = stream.read().partition(b"\n")
        head = json.loads(line)
        if not isinstance(head, dict) or head.get("format") != _FORMAT:
            raise ValueError("a format of another version")
        if head.get("documents") != _digest(documents):
            raise ValueError("damaged: not what was written")
        generation = Generation.from_json(head)
        if _name(generation.number) != name:
            raise ValueError(f"is generation {generation.number} under another name")
        return generation, documents

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):  # gone already, or it will be tried again at the next start
            os.unlink(name, dir_fd=self._folder)


def _name(number: int) -> str:
    return f"{number:08}.generation"


def _digest(documents: bytes) -> str:
    return blake2b(documents, digest_size=16).hexdigest()
