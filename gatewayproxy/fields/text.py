"""The shape of a string: what a reader asks for, and what is said where it is not met. Pure."""

from __future__ import annotations

from re import compile as regex
from typing import Final

from gatewayproxy.fields.words import quote

__all__ = ["ANY_TEXT", "Text"]


class Text:
    """The shape of a string: *expect* says it in words, *pattern* must match in full, lengths in characters.

    *code* is that of a problem with it, "" where it is one like others.
    """

    __slots__ = ("code", "expect", "longest", "match", "shortest")

    def __init__(
        self, expect: str, pattern: str | None = None, *, shortest: int = 0, longest: int = 1 << 30, code: str = "",
    ) -> None:  # fmt: skip
        self.expect = expect
        self.shortest = shortest
        self.longest = longest
        self.code = code
        self.match = None if pattern is None else regex(pattern).fullmatch

    def flaw(self, value: str) -> str:
        """Return what is wrong with *value*, or ""."""
        if len(value) < self.shortest:
            return "must not be empty" if self.shortest == 1 else f"must have at least {self.shortest} characters"
        if len(value) > self.longest:
            return f"has {len(value)} characters, {self.longest} is the most"
        if self.match is not None and not self.match(value):
            return f"{quote(value)} has the wrong form"
        return ""


ANY_TEXT: Final = Text("a string")
