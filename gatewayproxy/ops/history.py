"""The history: every generation that was accepted, with the documents it was compiled from, oldest first.

Bounded by number and bytes; beyond, the oldest goes, but never the newest. Documents are opaque bytes (`ops.memory`),
kept here or, with a `HistoryFolder`, in files: `flush` writes and `documents` reads those, beside the event loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Protocol

from gatewayproxy.errors import GatewayProxyError

__all__ = ["Bounds", "Generation", "History", "Shelf", "UnknownGenerationError"]

IN_MEMORY: Final = 10  # generations without --history-dir
IN_FOLDER: Final = 100


class UnknownGenerationError(GatewayProxyError):
    """The history has no such generation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What is known of one that was accepted. Plain data."""

    number: int
    reason: str  # "start", "SIGHUP", "rollback", "guard", "promote"
    accepted: float  # Unix seconds
    input: str  # hex, over names and contents of all that was read
    digest: str  # of the table
    of: int = 0  # the generation whose documents these are, of a rollback
    objects: int = 0
    rules: int = 0
    errors: int = 0
    warnings: int = 0
    held: int = 0
    changes: Mapping[str, Any] | None = None  # against the one before, as `/status/reload` has them; None: not known
    reverted: Mapping[str, Any] | None = None  # by the guard: generation that followed, time, figures
    document_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return it as a tree."""
        return asdict(self)

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Generation:
        """Return what `to_json` was given, without fields of other versions; raise TypeError for another tree."""
        known = {name: value for name, value in tree.items() if name in cls.__slots__}
        if "number" not in known:
            raise TypeError("a generation without a number")
        odd = [name for name, value in known.items() if not _is_sound(name, value)]
        if odd:
            raise TypeError(f"a generation whose {odd[0]} is none")
        return cls(**known)


_TEXTS: Final = frozenset({"reason", "input", "digest"})
_TREES: Final = frozenset({"changes", "reverted"})


def _is_sound(name: str, value: object) -> bool:
    """Return whether *value* may be that of the field *name* of a Generation."""
    if name in _TEXTS:
        return isinstance(value, str)
    if name in _TREES:
        return value is None or isinstance(value, dict)
    return type(value) is int or (name == "accepted" and type(value) is float)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much history there may be."""

    generations: int
    n_bytes: int  # of documents


class Shelf(Protocol):
    """Where documents outlive the process. Every method may raise OSError."""

    def put(self, generation: Generation, documents: bytes) -> None:
        """Write both, in the place of what was there of that number."""

    def get(self, number: int) -> bytes:
        """Return the documents."""

    def drop(self, number: int) -> None:
        """Remove both."""


@dataclass(slots=True)
class _Entry:
    generation: Generation
    documents: bytes | None  # None: on the shelf
    dirty: bool  # the shelf does not know what is known here


@dataclass(slots=True)
class History:
    """Generations by number, ascending. Nothing but `documents` and `flush` touches the shelf."""

    bounds: Bounds
    shelf: Shelf | None = None
    _entries: dict[int, _Entry] = field(default_factory=dict)
    _dropped: list[int] = field(default_factory=list)  # and on the shelf still

    def recall(self, generations: list[Generation]) -> None:
        """Take what the shelf holds already."""
        for each in sorted(generations, key=lambda each: each.number):
            self._entries[each.number] = _Entry(each, None, dirty=False)
        self._trim()

    @property
    def generations(self) -> list[Generation]:
        """Return what is known of all, oldest first."""
        return [entry.generation for entry in self._entries.values()]

    @property
    def newest(self) -> int:
        """Return the highest number, 0 where there is none."""
        return max(self._entries, default=0)

    def find(self, number: int) -> Generation:
        """Return what is known of *number*; raise UnknownGenerationError."""
        entry = self._entries.get(number)
        if entry is None:
            kept = f"{min(self._entries)} to {self.newest} are kept" if self._entries else "none is kept"
            raise UnknownGenerationError(f"there is no generation {number}: {kept}")
        return entry.generation

    def documents(self, number: int) -> bytes:
        """Return the documents of *number*; raise UnknownGenerationError, or OSError where the shelf has lost them."""
        self.find(number)
        kept = self._entries[number].documents
        if kept is not None:
            return kept
        assert self.shelf is not None
        return self.shelf.get(number)

    def add(self, generation: Generation, documents: bytes) -> None:
        """Keep *generation*, in the place of one with its number."""
        self._entries[generation.number] = _Entry(generation, documents, dirty=True)
        self._trim()

    def mark_reverted(self, number: int, how: Mapping[str, Any]) -> None:
        """Take note that the guard took *number* back: its input is not tried again."""
        self._mark(number, how)

    def unmark(self, number: int) -> None:
        """Forget that *number* was reverted: somebody wants it nevertheless."""
        self._mark(number, None)

    def _mark(self, number: int, how: Mapping[str, Any] | None) -> None:
        entry = self._entries.get(number)
        if entry is not None and entry.generation.reverted != how:
            entry.generation = replace(entry.generation, reverted=how)
            entry.dirty = True

    def flush(self) -> None:
        """Have the shelf hold what is known here; raise OSError where it cannot: it is in memory, and tried again.

        One that cannot be written, or whose documents the shelf has lost, keeps no other one from it.
        """
        if self.shelf is None:
            return
        while self._dropped:
            self.shelf.drop(self._dropped.pop())
        failure: OSError | None = None
        for entry in list(self._entries.values()):
            try:
                self._write(entry, self.shelf)
            except OSError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def _write(self, entry: _Entry, shelf: Shelf) -> None:
        if not entry.dirty:
            return
        entry.dirty = False  # first: it may be marked while it is written
        try:
            generation, documents = entry.generation, entry.documents
            shelf.put(generation, documents if documents is not None else shelf.get(generation.number))
        except OSError:
            entry.dirty = True
            raise
        entry.documents = None

    def reverted_with(self, digest: str) -> Generation | None:
        """Return the newest generation with input *digest* if the guard took it back."""
        same = [each for each in self.generations if each.input == digest]
        return same[-1] if same and same[-1].reverted is not None else None

    def last_good(self) -> Generation | None:
        """Return the newest generation that the guard did not take back."""
        return next((each for each in reversed(self.generations) if each.reverted is None), None)

    def _trim(self) -> None:
        """Let go of the oldest until all fits; the newest stays."""
        total = sum(each.document_bytes for each in self.generations)
        for number in sorted(self._entries)[:-1]:
            if len(self._entries) <= self.bounds.generations and total <= self.bounds.n_bytes:
                return
            total -= self._entries.pop(number).generation.document_bytes
            self._dropped.append(number)
