"""Hand a table to another process, and drop an old one, in steps too small to be felt by the traffic. Pure.

    slices(table)      -> bytes, bytes ...   where the table was compiled
    Assembler().feed   <- one slice a turn   in a worker; `table` is there after the last
    dismantle(table)   -> None, None ...     in a worker, one step a turn, when nothing routes by it any more

A slice is one or more pickles of one stream, so objects shared in the table are shared after it. Dicts, which may be
of any size, travel as numbers and are filled by later records; a long tuple follows its own elements. The order of
slices matters, and they must come from our own supervisor: they name classes, if only those of a table.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from itertools import islice
from typing import Final, TypeVar, cast

from gatewayproxy.errors import LocalProtocolError
from gatewayproxy.routing.table import RoutingTable, VirtualHost

__all__ = ["SLICE_BYTES", "Assembler", "dismantle", "slices"]

SLICE_BYTES: Final = 16_384  # a slice ends at the record that reaches this
_BATCH: Final = 16  # dict items or tuple elements in one record
_STEP: Final = 128  # dict items that one step of `dismantle` drops
_EMPTY: Final = 0  # the number of every empty dict

T = TypeVar("T")
_Reduced = tuple[Callable[..., object], tuple[object, ...]]
_Record = tuple[int, tuple[tuple[bytes, object], ...]]  # number of a dict, items to put there; _EMPTY: nowhere


class _Writer:
    """What a Pickler writes to."""

    __slots__ = ("_parts", "size")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0

    def write(self, part: bytes) -> None:
        part = bytes(part)
        self._parts.append(part)
        self.size += len(part)

    def take(self) -> bytes:
        """Return what was written since the last time."""
        out = b"".join(self._parts)
        self._parts.clear()
        self.size = 0
        return out


class _Pickler(pickle.Pickler):
    """Writes a number for each dict and queues its items; writes our frozen classes as `_restore` reads them fast."""

    def __init__(self, writer: _Writer) -> None:
        super().__init__(writer, protocol=5)
        self.pending: deque[tuple[int, dict[bytes, object]]] = deque()
        self._numbers: dict[int, int] = {}

    def persistent_id(self, obj: object) -> int | None:
        if type(obj) is not dict:
            return None
        if not obj:
            return _EMPTY
        number = self._numbers.get(id(obj))
        if number is None:
            number = self._numbers[id(obj)] = len(self._numbers) + 1
            self.pending.append((number, obj))
        return number

    def reducer_override(self, obj: object) -> _Reduced:
        if isinstance(obj, Enum):  # by value: Python 3.11.0 to 3.11.3 write getattr(class, name)
            return type(obj), (obj.value,)
        if is_dataclass(obj) and not isinstance(obj, type):
            names = _names(type(obj))
            return _restore, (type(obj), *[getattr(obj, name) for name in names])
        return cast("_Reduced", NotImplemented)


@cache
def _names(cls: type) -> tuple[str, ...]:
    return tuple(each.name for each in fields(cls))


@cache
def _setters(cls: type) -> tuple[Callable[[object, object], None], ...]:
    return tuple(getattr(cls, name).__set__ for name in _names(cls))


def _restore(cls: type, *values: object) -> object:
    """Return a frozen *cls* with its slots set to *values*."""
    # PERF: benchmarks/routing, loading 10,000 routes: with dataclass __setstate__ 0.40 s, so 0.11 s
    made: object = object.__new__(cls)
    for setter, value in zip(_setters(cls), values, strict=True):
        setter(made, value)
    return made


def slices(table: RoutingTable) -> Iterator[bytes]:
    """Yield *table* in slices; it must not be dismantled meanwhile."""
    writer = _Writer()
    pickler = _Pickler(writer)
    for record in _all_records(table, pickler.pending):
        pickler.dump(record)
        if writer.size >= SLICE_BYTES:
            yield writer.take()
    pickler.dump(table)  # all of its parts are known by now
    yield writer.take()


def _all_records(table: RoutingTable, pending: deque[tuple[int, dict[bytes, object]]]) -> Iterator[_Record]:
    """Yield what comes before the table; writing a record adds the dicts it mentions to *pending*."""
    for port in table.ports:
        if port.http is not None:
            yield from _elements(port.http.default)
        yield _EMPTY, ((b"", port),)
    while pending:
        number, items = pending.popleft()
        yield from _records(number, items)


def _records(number: int, items: dict[bytes, object]) -> Iterator[_Record]:
    """Yield the items of dict *number* in batches, the elements of long tuples before them."""
    rest = iter(items.items())
    while batch := tuple(islice(rest, _BATCH)):
        for _, value in batch:
            yield from _elements(value)
        yield number, batch


def _elements(value: object) -> Iterator[_Record]:
    """Yield, as records that fill nothing, what long tuples of candidates within *value* hold."""
    tuples = [value] if isinstance(value, tuple) else []
    if isinstance(value, VirtualHost):
        tuples.extend(layer.regexes for layer in value.layers)
    for candidates in tuples:
        rest = iter(candidates) if len(candidates) > _BATCH else iter(())
        while batch := tuple(islice(rest, _BATCH)):
            yield _EMPTY, tuple((b"", each) for each in batch)


class Assembler:
    """Puts a table together, slice by slice."""

    def __init__(self) -> None:
        self._reader = _Reader()
        self._dicts: dict[int, dict[bytes, object]] = {_EMPTY: {}}
        self._unpickler = _Unpickler(self._reader, self._dicts)
        self._table: RoutingTable | None = None

    def feed(self, chunk: bytes) -> None:
        """Take the next slice; about a millisecond."""
        self._reader.open(chunk)
        while self._reader.more:
            record = self._unpickler.load()
            if isinstance(record, RoutingTable):
                self._table = record
            elif record[0] != _EMPTY:
                self._dicts[record[0]].update(record[1])

    @property
    def complete(self) -> bool:
        """Whether the last slice has come."""
        return self._table is not None

    @property
    def table(self) -> RoutingTable:
        """The table, after the last slice."""
        if self._table is None:
            raise LocalProtocolError("the table is not complete: feed all of its slices first")
        return self._table


class _Reader:
    """What an Unpickler reads from."""

    __slots__ = ("_at", "_chunk")

    def __init__(self) -> None:
        self.open(b"")

    def open(self, chunk: bytes) -> None:
        self._chunk = chunk
        self._at = 0

    @property
    def more(self) -> bool:
        return self._at < len(self._chunk)

    def read(self, n: int) -> bytes:
        start = self._at
        self._at = start + n
        return self._chunk[start : self._at]

    def readline(self) -> bytes:
        end = self._chunk.find(b"\n", self._at) + 1 or len(self._chunk)
        return self.read(end - self._at)


class _Unpickler(pickle.Unpickler):
    """Finds dicts by number, and no class but ours."""

    def __init__(self, reader: _Reader, dicts: dict[int, dict[bytes, object]]) -> None:
        super().__init__(reader)
        self._dicts = dicts

    def persistent_load(self, pid: int) -> dict[bytes, object]:
        return self._dicts.setdefault(pid, {})

    def find_class(self, module: str, name: str) -> object:
        if module.startswith("gatewayproxy.") or (module, name) == ("builtins", "frozenset"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"a table holds no {module}.{name}")


def dismantle(table: RoutingTable) -> Iterator[None]:
    """Empty *table* step by step, so that freeing it never takes long; nothing may route by it any more."""
    for port in table.ports:
        if port.sni is not None:
            yield from _emptied(port.sni.exact)
            yield from _emptied(port.sni.wildcard)
        if port.http is not None:
            yield from _emptied(port.http.exact)
            yield from _emptied(port.http.wildcard)
            if port.http.default is not None:
                yield from _dismantle_host(port.http.default)


def _emptied(items: dict[bytes, T]) -> Iterator[None]:
    n_dropped = 0
    while items:
        _, value = items.popitem()
        if isinstance(value, VirtualHost):
            yield from _dismantle_host(value)
        n_dropped += 1
        if n_dropped % _STEP == 0:
            yield


def _dismantle_host(host: VirtualHost) -> Iterator[None]:
    for layer in host.layers:
        yield from _emptied(layer.exact)
        yield from _emptied(layer.prefix)
