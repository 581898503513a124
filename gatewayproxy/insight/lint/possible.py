"""May a regular expression match any text at all? Told of RE2 patterns that must match a text in full. Pure.

An expression is run on sets of octets in place of a text. What is kept of the text is whether it has begun and whether
it has ended, so that an anchor in its middle is a dead end, and so is an octet that such a text never holds. The
answer "no" is certain; what is not understood (Unicode classes, deep nesting) may always match.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final, NamedTuple

__all__ = ["ANY_TEXT", "FIELD_VALUE", "GRPC_NAME", "PATH", "Alphabet", "may_match"]

Octets = frozenset[int]


class Alphabet(NamedTuple):
    """The octets that a kind of text begins with, and those that it goes on with."""

    first: Octets
    rest: Octets
    may_be_empty: bool = False


_ALL: Final = frozenset(range(256))
# `wire.target`: what a request path is made of, where it is not refused.
_IN_PATHS: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/%|[]")
_VISIBLE: Final = frozenset((*range(0x21, 0x7F), *range(0x80, 0x100)))

PATH: Final = Alphabet(frozenset(b"/"), _IN_PATHS)
GRPC_NAME: Final = Alphabet(_IN_PATHS - frozenset(b"/"), _IN_PATHS)
FIELD_VALUE: Final = Alphabet(_VISIBLE, _VISIBLE | frozenset(b"\t "), may_be_empty=True)  # RFC 9110 §5.5
ANY_TEXT: Final = Alphabet(_ALL, _ALL, may_be_empty=True)


class _State(NamedTuple):
    """How much of a text is behind us."""

    begun: bool
    ended: bool


_States = frozenset[_State]
_Step = Callable[[_States], _States]  # what a part of the expression makes of where we may be
_START: Final = frozenset((_State(begun=False, ended=False),))
_NOWHERE: Final[_States] = frozenset()
_MAX_DEPTH: Final = 40  # of groups; deeper ones are not looked into
_MAX_REPEATS: Final = 4  # there are no more states than that, so another turn changes nothing

_DIGITS: Final = frozenset(b"0123456789")
_UPPER: Final = frozenset(range(0x41, 0x5B))
_LOWER: Final = frozenset(range(0x61, 0x7B))
_WORD: Final = _DIGITS | _UPPER | _LOWER | frozenset(b"_")
_SPACE: Final = frozenset(b"\t\n\f\r ")
_CLASSES: Final = {
    b"d": _DIGITS, b"D": _ALL - _DIGITS, b"w": _WORD, b"W": _ALL - _WORD, b"s": _SPACE, b"S": _ALL - _SPACE,
}  # fmt: skip
_POSIX: Final = {
    b"alnum": _DIGITS | _UPPER | _LOWER, b"alpha": _UPPER | _LOWER, b"ascii": frozenset(range(128)),
    b"blank": frozenset(b"\t "), b"cntrl": frozenset((*range(32), 127)), b"digit": _DIGITS,
    b"graph": frozenset(range(0x21, 0x7F)), b"lower": _LOWER, b"print": frozenset(range(0x20, 0x7F)),
    b"punct": frozenset(range(0x21, 0x7F)) - _DIGITS - _UPPER - _LOWER, b"space": _SPACE | {0x0B}, b"upper": _UPPER,
    b"word": _WORD, b"xdigit": _DIGITS | frozenset(b"abcdefABCDEF"),
}  # fmt: skip
_CONTROLS: Final = {b"a": 7, b"f": 12, b"t": 9, b"n": 10, b"r": 13, b"v": 11}
_REPEAT: Final = re.compile(rb"(?:([*+?])|\{(\d+)(?:(,)(\d*))?\})\??")
_GROUP: Final = re.compile(rb"\((?:\?(?:P?<\w+>|([imsU]*)(?:-([imsU]+))?(:|(?=\))))|(?!\?))")
_POSIX_CLASS: Final = re.compile(rb"\[:(\^?)(\w+):\]")
_NUMBER: Final = re.compile(rb"x\{([0-9A-Fa-f]+)\}|x([0-9A-Fa-f]{2})|([0-7]{1,3})")


class _UnclearError(Exception):
    """The expression holds what is not understood here."""


def may_match(pattern: bytes, alphabet: Alphabet) -> bool:
    """Return False where no text of *alphabet* matches *pattern* in full; *pattern* is one that RE2 takes."""
    try:
        reading = _Reading(pattern, alphabet)
        step = reading.alternatives(0)
    except _UnclearError:
        return True
    if reading.at < len(pattern):
        return True
    return any(state.begun or alphabet.may_be_empty for state in step(_START))


class _Reading:
    """An expression on its way to steps."""

    def __init__(self, pattern: bytes, alphabet: Alphabet) -> None:
        self.at = 0
        self._pattern = pattern
        self._alphabet = alphabet
        self._flags = frozenset[int]()  # letters in force

    def alternatives(self, depth: int) -> _Step:
        """Read up to the end, or the ")" of the group."""
        if depth > _MAX_DEPTH:
            raise _UnclearError
        choices = [self._sequence(depth)]
        while self._next(b"|"):
            choices.append(self._sequence(depth))
        return _either(choices)

    def _next(self, literal: bytes) -> bool:
        found = self._pattern.startswith(literal, self.at)
        self.at += len(literal) * found
        return found

    def _sequence(self, depth: int) -> _Step:
        steps: list[_Step] = []
        while self.at < len(self._pattern) and self._pattern[self.at] not in b"|)":
            steps.append(self._repeated(depth))
        return _one_by_one(steps)

    def _repeated(self, depth: int) -> _Step:
        step = self._atom(depth)
        while found := _REPEAT.match(self._pattern, self.at):
            self.at = found.end()
            sign, least, comma, most = found.groups()
            if sign is not None:
                step = _repeat(step, sign == b"+", None if sign != b"?" else 1)
            else:
                step = _repeat(step, int(least), (int(most) if most else None) if comma else int(least))
        return step

    def _atom(self, depth: int) -> _Step:
        if self._pattern.startswith(b"(", self.at):
            return self._group(depth)
        if self._next(b"["):
            return self._octets(self._class())
        if self._next(b"."):
            return self._octets(_ALL if ord("s") in self._flags else _ALL - {10})
        if self._next(b"^"):
            return _same if ord("m") in self._flags else _at_start
        if self._next(b"$"):
            return _same if ord("m") in self._flags else _to_end
        if self._next(b"\\"):
            return self._escape()
        return self._octets(frozenset((self._octet(),)))

    def _group(self, depth: int) -> _Step:
        found = _GROUP.match(self._pattern, self.at)
        if found is None:
            raise _UnclearError
        self.at = found.end()
        outer = self._flags
        self._flags = (outer | frozenset(found[1] or b"")) - frozenset(found[2] or b"")
        if found[3] == b"":  # "(?i)" holds to the end of the group that it stands in
            self._close()
            return self._unrepeated(_same)
        step = self.alternatives(depth + 1)
        self._close()
        self._flags = outer
        return step

    def _close(self) -> None:
        if not self._next(b")"):
            raise _UnclearError

    def _unrepeated(self, step: _Step) -> _Step:
        """Return *step*, where a repeat would be of what stands before it, or of the end of it alone."""
        if _REPEAT.match(self._pattern, self.at):
            raise _UnclearError
        return step

    def _escape(self) -> _Step:
        if self._next(b"A"):
            return _at_start
        if self._next(b"z"):
            return _to_end
        if self._next(b"b") or self._next(b"B"):
            return _same
        if self._next(b"Q"):
            text, _, _ = self._pattern[self.at :].partition(b"\\E")
            self.at = min(self.at + len(text) + 2, len(self._pattern))
            return self._unrepeated(_one_by_one([self._octets(frozenset((octet,))) for octet in text]))
        return self._octets(self._escaped())

    def _escaped(self) -> Octets:
        """Return what the escape after a backslash stands for, in a class or outside."""
        letter = self._pattern[self.at : self.at + 1]
        if letter in _CLASSES:
            self.at += 1
            return _CLASSES[letter]
        if letter in _CONTROLS:
            self.at += 1
            return frozenset((_CONTROLS[letter],))
        number = _NUMBER.match(self._pattern, self.at)
        if number is not None:
            self.at = number.end()
            return frozenset((int(number[3], 8) if number[3] else int(number[1] or number[2], 16),)) & _ALL
        if letter.isalnum():
            raise _UnclearError
        return frozenset((self._octet(),))

    def _class(self) -> Octets:
        """Read a class after its "["."""
        negated = self._next(b"^")
        found: set[int] = set()
        first = True
        while first or not self._next(b"]"):
            first = False
            found |= self._item()
        if ord("i") in self._flags:
            found |= _folded(found)
        return _ALL - found if negated else frozenset(found)

    def _item(self) -> Octets:
        posix = _POSIX_CLASS.match(self._pattern, self.at)
        if posix is not None:
            self.at = posix.end()
            named = _POSIX.get(posix[2])
            if named is None:
                raise _UnclearError
            return _ALL - named if posix[1] else named
        low = self._single()
        if (
            len(low) == 1
            and self._pattern[self.at : self.at + 1] == b"-"
            and self._pattern[self.at + 1 : self.at + 2] not in (b"]", b"")
        ):
            self.at += 1
            high = self._single()
            return frozenset(range(min(low), max(high, default=0) + 1))
        return low

    def _single(self) -> Octets:
        return self._escaped() if self._next(b"\\") else frozenset((self._octet(),))

    def _octet(self) -> int:
        if self.at >= len(self._pattern):
            raise _UnclearError
        self.at += 1
        return self._pattern[self.at - 1]

    def _octets(self, octets: Octets) -> _Step:
        """Return the step of one octet."""
        if ord("i") in self._flags:
            octets |= _folded(octets)
        begins, goes_on = bool(octets & self._alphabet.first), bool(octets & self._alphabet.rest)

        def step(states: _States) -> _States:
            passes = any(not state.ended and (goes_on if state.begun else begins) for state in states)
            return frozenset((_State(begun=True, ended=False),)) if passes else _NOWHERE

        return step


def _folded(octets: Octets | set[int]) -> Octets:
    return frozenset(octet ^ 0x20 for octet in octets if octet in _UPPER or octet in _LOWER)


def _same(states: _States) -> _States:
    return states


def _at_start(states: _States) -> _States:
    return frozenset(state for state in states if not state.begun)


def _to_end(states: _States) -> _States:
    return frozenset(state._replace(ended=True) for state in states)


# PERF: each step is asked once for each of the 16 sets of states, so nested repeats do not multiply.


def _either(steps: Sequence[_Step]) -> _Step:
    return cache(lambda states: _NOWHERE.union(*(step(states) for step in steps)))


def _one_by_one(steps: Sequence[_Step]) -> _Step:
    def through(states: _States) -> _States:
        for step in steps:
            states = step(states)
        return states

    return cache(through)


def _repeat(step: _Step, least: int, most: int | None) -> _Step:
    def repeated(states: _States) -> _States:
        for _ in range(min(least, _MAX_REPEATS)):
            states = step(states)
        more = _MAX_REPEATS if most is None else min(most - least, _MAX_REPEATS)
        for _ in range(more):
            states |= step(states)
        return states

    return cache(repeated)
