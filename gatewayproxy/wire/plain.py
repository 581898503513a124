"""What is remembered of the field lines of a plain head, so that the next one like it is not read again. Pure.

Which lines matter, and which ones an edit drops, are questions of names: behind equal names in equal order most values
are but bytes to pass on (docs/decisions/007-what-a-connection-remembers.md). So a head that differs from the last one
in such values is compared with the text between them, and only what stands in their place is held to the grammar.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from gatewayproxy.wire.grammar import TEXT

__all__ = ["KNOWN_BYTES", "MAX_LESSONS", "MAX_VALUES", "PlainFields"]

KNOWN_BYTES: Final = 2_048  # of a head of which a connection remembers anything
MAX_VALUES: Final = 6  # that may differ: where eight of ten lines do, reading them all is as fast
MAX_LESSONS: Final = 8  # without use: whose heads differ in their names pays no more than their reading from then on
_VALUE: Final = re.compile(TEXT)
_GAP: Final = b"\0"  # what no line may hold


class PlainFields:
    """All there is to know of the field lines of a head whose only line that matters is a plain Host.

    *block*: from the LF before them to the end of the head; *authority*: the value of Host. *ending*: with which a head
    ends whose fields may be known.
    """

    # PERF: no slots and few assignments, as for RequestHead: where clients are never alike, each is made for one head.
    free_of: tuple[bytes, ...] = ()  # what `RequestHead.mentions` did not find in them last
    _first = b""  # of the block, as far as the first value that may differ
    _others: Sequence[bytes] = ()  # of the block, behind each of them as far as the next
    _varying: frozenset[int] = frozenset()  # their lines, counted from 0
    _lessons = 0  # in a row, without use

    def __init__(self, block: bytes, authority: bytes, last: PlainFields | None = None) -> None:
        self.block = self.ending = block
        self.authority = authority
        if last is not None:
            self._lessons = last._lessons
            if last._lessons < MAX_LESSONS and last.authority == authority:
                self._learn(last)

    def _learn(self, last: PlainFields) -> None:
        """Have the values that differ from those of *last* differ in what comes, if nothing else does."""
        self._lessons += 1
        lines, before = self.block.split(b"\r\n"), last.block.split(b"\r\n")
        if len(lines) != len(before):
            return
        varying = set(last._varying)
        for i, line in enumerate(lines):
            if line != before[i]:
                name = line[: line.find(b":") + 1]
                if not name or not before[i].startswith(name):
                    return
                varying.add(i)
        if not 0 < len(varying) <= MAX_VALUES:
            return
        for i in varying:
            lines[i] = lines[i][: lines[i].index(b":") + 1] + _GAP
        self._first, *self._others = b"\r\n".join(lines).split(_GAP)
        self._varying = frozenset(varying)
        self.ending = self._others[-1]

    def take(self, buf: bytes, start: int) -> bool:
        """Return whether buf[start:] differs in such values alone; then it is the block from now on.

        PERF: in memory 10.8 -> 7.2 us a request where two values of ten differ.
        """
        first = self._first
        if not first or not buf.startswith(first, start):
            return False
        at = start + len(first)
        for text in self._others:
            found = _VALUE.match(buf, at)
            assert found is not None  # no value is one, too
            at = found.end()
            if not buf.startswith(text, at):
                return False
            at += len(text)
        if at != len(buf):
            return False
        self.block = buf[start:]
        self._lessons = 0
        return True
