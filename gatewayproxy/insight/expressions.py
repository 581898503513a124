"""RE2 patterns read into expressions of `insight.languages`. Pure.

    https://github.com/google/re2/wiki/Syntax, over Latin-1 as `routing.patterns` has it: a character is a byte.

What is not read raises NotRead, and nothing is said of the pattern: word boundaries, Unicode classes, anchors that
stand where only the rest of a text would tell if they hold, and letters without case in ASCII under (?i).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from gatewayproxy.insight.languages import ALL_BYTES, EMPTY, NEVER, Language, Node, byte_mask

__all__ = ["NotRead", "beginning", "read_pattern"]


class NotRead(Exception):
    """The pattern has something that this module does not know."""


_NEWLINE: Final = 1 << 0x0A
_DIGITS: Final = byte_mask(b"0123456789")
_LOWER: Final = byte_mask(b"abcdefghijklmnopqrstuvwxyz")
_UPPER: Final = _LOWER >> 32
_WORD: Final = _DIGITS | _LOWER | _UPPER | 1 << 0x5F
_SPACE: Final = byte_mask(b"\t\n\f\r ")
_PERL: Final = {0x64: _DIGITS, 0x77: _WORD, 0x73: _SPACE}  # \d \w \s
_CONTROL: Final = {0x61: 7, 0x66: 12, 0x74: 9, 0x6E: 10, 0x72: 13, 0x76: 11}  # \a \f \t \n \r \v
_PUNCT: Final = byte_mask(b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_POSIX: Final = {
    b"alnum": _DIGITS | _LOWER | _UPPER, b"alpha": _LOWER | _UPPER, b"ascii": (1 << 128) - 1,
    b"blank": byte_mask(b"\t "),
    b"cntrl": byte_mask((*range(32), 127)), b"digit": _DIGITS, b"graph": byte_mask(range(0x21, 0x7F)), b"lower": _LOWER,
    b"print": byte_mask(range(0x20, 0x7F)), b"punct": _PUNCT, b"space": _SPACE | 1 << 11, b"upper": _UPPER,
    b"word": _WORD, b"xdigit": _DIGITS | byte_mask(b"abcdefABCDEF"),
}  # fmt: skip
_REPEAT: Final = re.compile(rb"\{(\d+)(?:(,)(\d*))?\}")
_FLAGS: Final = re.compile(rb"\?([imsU]*)(?:-([imsU]+))?([:)])")
_NAME: Final = re.compile(rb"\?P?<\w+>")
_POSIX_CLASS: Final = re.compile(rb"\[:(\^?)(\w+):\]")
_NUMBER: Final = re.compile(rb"x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]+)\})|(0[0-7]{0,2}|[1-7][0-7]{1,2})")

# The parse tree: what stands between anchors, each of which is known by its place.
_Tree = tuple[str, Sequence["_Tree"], int]
_BEGIN: Final[_Tree] = ("begin", (), 0)
_END: Final[_Tree] = ("end", (), 0)


def read_pattern(language: Language, pattern: bytes) -> Node:
    """Return the texts that *pattern*, one without a `pattern_error`, matches in full. Raises NotRead."""
    return _Builder(language).build(_Parser(pattern).whole(), starts=True, ends=True)


@lru_cache(maxsize=32_768)
def beginning(pattern: bytes) -> bytes:
    """Return what every text that *pattern* matches is known to begin with: b"/v1/" of "/v1/[0-9]+", often nothing."""
    try:
        return _beginning(_Parser(pattern).whole())[0]
    except NotRead:
        return b""


def _beginning(tree: _Tree) -> tuple[bytes, bool]:
    """Return (what the texts of *tree* begin with, whether that is all there is of them)."""
    kind, parts, mask = tree
    match kind:
        case "bytes":
            return (bytes((mask.bit_length() - 1,)), True) if mask.bit_count() == 1 else (b"", False)
        case "begin" | "end":
            return b"", True
        case "repeat" if parts[1][2]:
            return _beginning(parts[0])[0], False
        case "then":
            known = b""
            for part in parts:
                text, whole = _beginning(part)
                known += text
                if not whole:
                    return known, False
            return known, True
        case _:
            return b"", False


class _Parser:
    """Recursive descent; *at* is the place of the next byte."""

    def __init__(self, pattern: bytes) -> None:
        self.pattern = pattern
        self.at = 0
        self.flags = b""

    def whole(self) -> _Tree:
        tree = self._choice()
        if self.at != len(self.pattern):
            raise NotRead
        return tree

    def _next(self) -> int:
        return self.pattern[self.at] if self.at < len(self.pattern) else -1

    def _choice(self) -> _Tree:
        branches = [self._sequence()]
        while self._next() == 0x7C:
            self.at += 1
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else ("or", branches, 0)

    def _sequence(self) -> _Tree:
        items: list[_Tree] = []
        while self._next() not in (-1, 0x7C, 0x29):
            items.append(self._repeated(self._atom()))
        return ("then", items, 0)

    def _repeated(self, tree: _Tree) -> _Tree:
        while True:
            least, most, size = self._repetition()
            if not size:
                return tree
            self.at += size
            if self._next() == 0x3F:  # which of several ways is no matter here
                self.at += 1
            tree = ("repeat", (tree, ("", (), least), ("", (), most)), 0)

    def _repetition(self) -> tuple[int, int, int]:
        """Return (least, most, size of what says so); most -1: any number; size 0: there is none."""
        simple = {0x2A: (0, -1, 1), 0x2B: (1, -1, 1), 0x3F: (0, 1, 1)}.get(self._next())
        if simple is not None:
            return simple
        found = _REPEAT.match(self.pattern, self.at)
        if found is None:
            return 1, 1, 0
        least = int(found[1])
        most = least if found[2] is None else int(found[3]) if found[3] else -1
        return least, most, found.end() - self.at

    def _atom(self) -> _Tree:
        byte = self._next()
        self.at += 1
        match byte:
            case 0x28:
                return self._group()
            case 0x5B:
                return self._class()
            case 0x5C:
                return self._escape()
            case 0x2E:
                return ("bytes", (), ALL_BYTES if b"s" in self.flags else ALL_BYTES & ~_NEWLINE)
            case 0x5E:
                return _BEGIN
            case 0x24:
                return _END
            case _:
                return self._one(1 << byte)

    def _one(self, mask: int) -> _Tree:
        return ("bytes", (), self._folded(mask))

    def _folded(self, mask: int) -> int:
        if b"i" not in self.flags:
            return mask
        if mask >> 128 and mask >> 128 != (1 << 128) - 1:
            raise NotRead
        return mask | (mask & _LOWER) >> 32 | (mask & _UPPER) << 32

    def _group(self) -> _Tree:
        outer = self.flags
        flags = _FLAGS.match(self.pattern, self.at)
        name = _NAME.match(self.pattern, self.at)
        if flags is not None:
            self.flags = bytes(set(self.flags + flags[1]) - set(flags[2] or b""))
            self.at = flags.end()
            if flags[3] == b")":  # for the rest of the group around it
                return ("then", (), 0)
        elif name is not None:
            self.at = name.end()
        elif self._next() == 0x3F:
            raise NotRead
        tree = self._choice()
        if self._next() != 0x29:
            raise NotRead
        self.at += 1
        self.flags = outer
        return tree

    def _escape(self) -> _Tree:
        byte = self._next()
        if byte == 0x51:  # \Q...\E
            end = self.pattern.find(b"\\E", self.at)
            quoted = self.pattern[self.at + 1 : end if end >= 0 else None]
            self.at = end + 2 if end >= 0 else len(self.pattern)
            return ("then", [self._one(1 << each) for each in quoted], 0)
        if byte in (0x41, 0x7A, 0x43):  # \A \z \C
            self.at += 1
            return {0x41: _BEGIN, 0x7A: _END}.get(byte, ("bytes", (), ALL_BYTES))
        return ("bytes", (), self._escaped())

    def _escaped(self) -> int:
        """Return the bytes that an escape stands for, inside or outside of a class."""
        byte = self._next()
        if byte | 0x20 in _PERL and byte >= 0x41:
            self.at += 1
            mask = _PERL[byte | 0x20]
            return mask if byte & 0x20 else ALL_BYTES & ~mask
        number = _NUMBER.match(self.pattern, self.at)
        if number is not None:
            self.at = number.end()
            value = int(number[1] or number[2], 16) if number[1] or number[2] else int(number[3], 8)
            if value > 0xFF:
                raise NotRead
            return self._folded(1 << value)
        self.at += 1
        if byte in _CONTROL:
            return 1 << _CONTROL[byte]
        if byte < 0 or 1 << byte & (_WORD & ~(1 << 0x5F)):
            raise NotRead  # \b, \pN and what RE2 may yet learn
        return self._folded(1 << byte)

    def _class(self) -> _Tree:
        negated = self._next() == 0x5E
        self.at += negated
        mask, first = 0, True
        while first or self._next() != 0x5D:
            mask |= self._class_item()
            first = False
        self.at += 1
        mask = self._folded(mask)
        return ("bytes", (), ALL_BYTES & ~mask if negated else mask)

    def _class_item(self) -> int:
        posix = _POSIX_CLASS.match(self.pattern, self.at)
        if posix is not None:
            self.at = posix.end()
            if posix[2] not in _POSIX:
                raise NotRead
            return ALL_BYTES & ~_POSIX[posix[2]] if posix[1] else _POSIX[posix[2]]
        low = self._class_byte()
        if self._next() != 0x2D or self.pattern[self.at + 1 : self.at + 2] in (b"]", b""):
            return low
        self.at += 1
        high = self._class_byte()
        if low.bit_count() != 1 or high.bit_count() != 1:
            raise NotRead
        return byte_mask(range(low.bit_length() - 1, high.bit_length()))

    def _class_byte(self) -> int:
        byte = self._next()
        if byte < 0:
            raise NotRead
        self.at += 1
        if byte != 0x5C:
            return 1 << byte
        outer, self.flags = self.flags, b""  # the class is folded as a whole
        mask = self._escaped()
        self.flags = outer
        return mask


class _Builder:
    """Trees into expressions, anchors resolved: they hold at the ends of the text, and nowhere else."""

    def __init__(self, language: Language) -> None:
        self.language = language

    def build(self, tree: _Tree, *, starts: bool | None, ends: bool | None) -> Node:
        """Return the expression of *tree*; *starts*, *ends*: whether the text does where it does, None: maybe."""
        kind, parts, mask = tree
        match kind:
            case "bytes":
                return self.language.one_of(mask)
            case "begin" | "end":
                return _anchor(starts if kind == "begin" else ends)
            case "or":
                return self.language.either(*(self.build(each, starts=starts, ends=ends) for each in parts))
            case "repeat":
                return self._repeat(parts[0], parts[1][2], parts[2][2], starts, ends)
            case _:
                return self._sequence(parts, starts, ends)

    def _sequence(self, parts: Sequence[_Tree], starts: bool | None, ends: bool | None) -> Node:
        built = []
        for at, part in enumerate(parts):
            begins = _place(starts, parts[:at])
            finishes = _place(ends, parts[at + 1 :])
            built.append(self.build(part, starts=begins, ends=finishes))
        return self.language.then(*built)

    def _repeat(self, tree: _Tree, least: int, most: int, starts: bool | None, ends: bool | None) -> Node:
        once = (least, most) == (1, 1)
        optional = (least, most) == (0, 1)
        alone = once or optional
        node = self.build(tree, starts=starts if alone else None, ends=ends if alone else None)
        needed = [node] * least
        if most < 0:
            return self.language.then(*needed, self.language.star(node))
        rest = EMPTY
        for _ in range(most - least):
            rest = self.language.maybe(self.language.then(node, rest))
        return self.language.then(*needed, rest)


def _anchor(holds: bool | None) -> Node:
    if holds is None:
        raise NotRead
    return EMPTY if holds else NEVER


def _place(edge: bool | None, between: Sequence[_Tree]) -> bool | None:
    """Return whether a place with *between* it and the *edge* of the text is that edge itself."""
    if any(not _sizes(each)[0] for each in between):
        return False
    return edge if all(_sizes(each)[1] for each in between) else None if edge is not False else False


def _sizes(tree: _Tree) -> tuple[bool, bool]:
    """Return (whether it may take nothing, whether it can take nothing else)."""
    kind, parts, mask = tree
    match kind:
        case "bytes":
            return mask == 0, mask == 0
        case "begin" | "end":
            return True, True
        case "repeat":
            may, must = _sizes(parts[0])
            return may or parts[1][2] == 0, must or parts[2][2] == 0
        case _:
            combine: Callable[[list[bool]], bool] = any if kind == "or" else all
            sizes = [_sizes(each) for each in parts]
            return combine([may for may, _ in sizes]), all(must for _, must in sizes)
