"""Manifests from files and folders, read whole at each reload.

Folders are walked recursively in name order for *.yaml, *.yml and *.json. Names that begin with a dot are passed over,
which also gives a kubelet volume its meaning: the visible links into `..data` are followed, each file is read once.
A file named on the command line is read whatever its name. A path that is not there, or a file that vanishes between
two looks, is the operator's to mend: ConfigError for the former, a Problem for the latter; the bounds below hold
before anything is read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

from gatewayproxy.errors import ConfigError
from gatewayproxy.model.codes import Code
from gatewayproxy.model.names import Origin
from gatewayproxy.model.source import MAX_SOURCE_BYTES, Source
from gatewayproxy.model.status import Problem, Severity

__all__ = ["MAX_FILES", "MAX_TOTAL_BYTES", "ReadSet", "read_files", "read_paths"]

SUFFIXES: Final = (".yaml", ".yml", ".json")
MAX_FILES: Final = 100_000  # files of all paths; more is a ConfigError
MAX_TOTAL_BYTES: Final = 512 << 20  # all manifests; more is a ConfigError
MAX_DEPTH: Final = 32  # folders within folders
MAX_FOLDERS: Final = 100_000  # of one path, as often as links lead to them; more is a ConfigError
MAX_WANTED_BYTES: Final = 1 << 20  # a certificate or key file that manifests name


class ReadSet(NamedTuple):
    """What was read, in reading order, and what could not be."""

    sources: tuple[Source, ...]
    problems: tuple[Problem, ...]


def read_paths(paths: Sequence[str]) -> ReadSet:
    """Read all manifests under *paths*; raise ConfigError when a path cannot be read at all or holds no manifest."""
    reading = _Reading()
    for path in paths:
        reading.add(path)
    if not reading.sources and not reading.problems:
        raise ConfigError(
            "no manifest found",
            where=", ".join(paths),
            hint=f"put at least one {', '.join('*' + s for s in SUFFIXES)} file there",
        )
    return ReadSet(tuple(reading.sources), tuple(reading.problems))


def read_files(paths: Iterable[str]) -> dict[str, bytes | None]:
    """Return the contents of regular files that manifests name; None for one unreadable or over the bound."""
    return {path: _read_wanted(path) for path in paths}


class _Reading:
    def __init__(self) -> None:
        self.sources: list[Source] = []
        self.problems: list[Problem] = []
        self._seen: set[tuple[int, int]] = set()  # (device, inode): one file is read once, whatever leads to it
        self._total = 0

    def add(self, path: str) -> None:
        """Read the file or folder *path*."""
        try:
            if Path(path).is_dir():
                for file in _walk(path, 0, count(1)):
                    self._read(file, named=False)
                return
            Path(path).stat()
        except OSError as error:
            raise ConfigError(
                f"cannot read: {error.strerror}",
                where=error.filename or path,
                hint="check the path and its permissions" if path != "-" else "standard input is called /dev/stdin",
            ) from error
        self._read(path, named=True)

    def _read(self, file: str, *, named: bool) -> None:
        if len(self.sources) >= MAX_FILES:
            raise ConfigError(f"more than {MAX_FILES} files", where=file, hint="name a narrower folder")
        try:
            with open(file, "rb", opener=None if named else _open_file) as stream:
                info = os.fstat(stream.fileno())
                if not (named or stat.S_ISREG(info.st_mode)):
                    self._problem(file, "not a regular file", "remove it, or name it on the command line")
                    return
                if (info.st_dev, info.st_ino) in self._seen:
                    return
                self._seen.add((info.st_dev, info.st_ino))
                text = stream.read(MAX_SOURCE_BYTES + 1) if info.st_size <= MAX_SOURCE_BYTES else None
        except OSError as error:
            self._problem(file, f"cannot read: {error.strerror}", "check its permissions")
            return
        if text is None or len(text) > MAX_SOURCE_BYTES:
            self._problem(file, f"has more than {MAX_SOURCE_BYTES} bytes", "split it into several files")
            return
        self._total += len(text)
        if self._total > MAX_TOTAL_BYTES:
            raise ConfigError(f"manifests exceed {MAX_TOTAL_BYTES} bytes in all", where=file, hint="name fewer files")
        self.sources.append(Source(file, text))

    def _problem(self, file: str, message: str, hint: str) -> None:
        problem = Problem(
            origin=Origin(file), severity=Severity.ERROR, key=None, field="", message=message, hint=hint,
            code=Code.MALFORMED,
        )  # fmt: skip
        self.problems.append(problem)


def _walk(folder: str, depth: int, visits: Iterator[int]) -> Iterator[str]:
    """Yield the manifest files under *folder*, in name order; raise OSError when it cannot be listed.

    *visits* numbers the folders: links from each to the next, two apiece, make four billion ways of 32 folders.
    """
    if depth > MAX_DEPTH:
        raise ConfigError(f"folders nest deeper than {MAX_DEPTH}", where=folder, hint="a link may lead back up")
    if next(visits) > MAX_FOLDERS:
        raise ConfigError(f"more than {MAX_FOLDERS} folders", where=folder, hint="links may lead to some many times")
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry.path, depth + 1, visits)
        elif entry.name.endswith(SUFFIXES):
            yield entry.path


def _open_file(path: str, flags: int) -> int:
    # O_NONBLOCK: a named pipe in a configuration folder must not hang the reload.
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _read_wanted(path: str) -> bytes | None:
    try:
        with open(path, "rb", opener=_open_file) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                return None
            text = stream.read(MAX_WANTED_BYTES + 1)
    except (OSError, ValueError):  # ValueError: a path that no file can have, with a NUL in it
        return None
    return text if len(text) <= MAX_WANTED_BYTES else None
