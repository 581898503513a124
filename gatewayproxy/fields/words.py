"""How problems are worded: field paths, values and suggestions, as people write them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from re import compile as regex
from typing import Final

__all__ = ["Path", "close_match", "count", "kind_of", "one_of", "path_text", "quote", "spelled"]

Path = tuple[str | int, ...]  # ("spec", "rules", 0, "name")

_PLAIN_KEY: Final = regex(r"[A-Za-z_][A-Za-z0-9_-]*")


def close_match(word: str, known: Iterable[str], likeness: float = 0.7) -> str:
    """Return the known word that *word* probably stands for, or ""; *likeness* 1.0 is the same word."""
    lower = {name.lower(): name for name in known}
    found = get_close_matches(word.lower(), lower, 1, likeness)
    return lower[found[0]] if found else ""


def path_text(path: Path) -> str:
    """Return *path* as people write it."""
    out = ""
    for part in path:
        if isinstance(part, int):
            out += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            out += f".{part}" if out else part
        else:
            out += f"[{quote(part)}]"
    return out


def one_of(value: str, options: Mapping[str, object]) -> str:
    """Return a hint that lists the words of *options*, the likeliest first."""
    close = close_match(value, options)
    every = ", ".join(options)
    return f"did you mean {close}? One of: {every}" if close else f"write one of: {every}"


def count(n: int) -> str:
    """Return a number of entries in words."""
    return "one entry" if n == 1 else f"{n} entries"


def quote(text: str) -> str:
    """Return *text* in double quotes, control characters escaped, cut to a readable length."""
    shown = text if len(text) <= 80 else text[:77] + "..."
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown) + '"'


def spelled(value: object) -> str:
    """Return a scalar as YAML spells it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else "..."


def kind_of(value: object) -> str:
    """Return what *value* is, and the value itself where it is short."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"the boolean {spelled(value)}"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the string {quote(value)}"
    return "a mapping" if isinstance(value, dict) else "a list"
