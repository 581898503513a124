"""Heads as their receivers see them: what a backend gets, and what the gateway does to what a client gets. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from gatewayproxy.compiler.manifests.routetest import HeaderValue, Message
from gatewayproxy.fields import Path
from gatewayproxy.insight.decision import Decision
from gatewayproxy.insight.outcomes import Outcome
from gatewayproxy.wire.origins import actual_lines

__all__ = ["SeenOtherwise", "backend_sees_otherwise", "client_sees_otherwise"]

_AS_SENT: Final = "as the backend sends it"


class SeenOtherwise(NamedTuple):
    """A part of a head that is not as expected."""

    path: Path
    expected: str
    actual: str
    hint: str = ""


class _Seen(NamedTuple):
    """A head: its fields, and which others cannot be there; of the rest only the backend knows."""

    fields: Sequence[tuple[str, str]]  # names in lower case
    cut: frozenset[str] | None = None  # None: there are no other fields

    def value(self, name: str) -> str | None:
        found = [value for key, value in self.fields if key == name.lower()]
        return ", ".join(found) if found else None

    def is_absent(self, name: str) -> bool:
        return self.value(name) is None and (self.cut is None or name.lower() in self.cut)

    def told(self, name: str) -> str:
        value = self.value(name)
        if value is not None:
            return f"{name}: {value}"
        return f"{name} is absent" if self.is_absent(name) else f"{name} {_AS_SENT}"


def backend_sees_otherwise(reached: Sequence[Outcome], wanted: Message) -> Iterator[SeenOtherwise]:
    """Yield what the backends that are *reached* see otherwise than *wanted*, each difference once."""
    seen: set[SeenOtherwise] = set()
    for outcome in reached:
        for each in _request_differs(outcome, wanted):
            if each not in seen:
                seen.add(each)
                yield each


def _request_differs(outcome: Outcome, wanted: Message) -> Iterator[SeenOtherwise]:
    if not outcome.head:
        yield SeenOtherwise((), "a request", "a stream, of which the gateway reads no requests")
        return
    method, _, rest = outcome.head[0].partition(" ")
    target = rest.rpartition(" ")[0]
    seen = _Seen(_fields(outcome.head[1:]))
    host = seen.value("host") or ""
    path = target if wanted.path is not None and "?" in wanted.path else target.partition("?")[0]
    for name, expected, actual in (
        ("method", wanted.method, method), ("host", wanted.host, host), ("path", wanted.path, path),
    ):  # fmt: skip
        if expected is not None and expected != actual:
            yield SeenOtherwise((name,), expected, actual)
    yield from _fields_differ(seen, wanted)


def client_sees_otherwise(decision: Decision, taken: Sequence[Outcome], wanted: Message) -> Iterator[SeenOtherwise]:
    """Yield what clients see otherwise than *wanted*, each difference once."""
    heads = [_Seen(_fields(decision.answer.lines))] if decision.answer is not None else [
        _answer_of(each, decision) for each in taken
    ]  # fmt: skip
    seen: set[SeenOtherwise] = set()
    for head in heads:
        for each in _fields_differ(head, wanted):
            if each not in seen:
                seen.add(each)
                yield each


def _answer_of(outcome: Outcome, decision: Decision) -> _Seen:
    """Return what is known of the answer: the lines of ours, and those that a filter removes."""
    own = _cors_lines(decision)
    if outcome.answer is not None:
        return _Seen(_fields((*outcome.answer.lines, *own)))
    edit = outcome.response
    if edit is None:
        return _Seen(_fields(own), frozenset())
    lines = edit.append.decode("latin-1").split("\r\n")
    return _Seen(_fields((*lines, *own)), frozenset(name.decode("latin-1") for name in edit.cut))


def _cors_lines(decision: Decision) -> tuple[str, ...]:
    entry, head = decision.entry, decision.head
    if entry is None or entry.cors is None or head is None:
        return ()
    return tuple(actual_lines(entry.cors, head.field(b"origin")).decode("latin-1").split("\r\n"))


def _fields(lines: Sequence[str]) -> list[tuple[str, str]]:
    parted = (line.partition(":") for line in lines if line)
    return [(name.lower(), value.strip()) for name, _, value in parted]


def _fields_differ(seen: _Seen, wanted: Message) -> Iterator[SeenOtherwise]:
    for index, header in enumerate(wanted.headers):
        if not _has(seen, header):
            expected = f"{header.name}: {header.value}" if header.value is not None else f"{header.name} is there"
            yield SeenOtherwise(("headers", index), expected, seen.told(header.name))
    for index, name in enumerate(wanted.absent):
        if not seen.is_absent(name):
            yield SeenOtherwise(("absent", index), f"{name} is absent", seen.told(name))


def _has(seen: _Seen, header: HeaderValue) -> bool:
    value = seen.value(header.name)
    return value is not None and header.value in (None, value)
