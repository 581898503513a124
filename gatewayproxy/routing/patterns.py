"""Regular expressions of matches: RE2, over bytes, in linear time. Pure.

Tables carry patterns as bytes; each is compiled at its first use, so a table of any size is handed over and swapped
without compiling anything. RE2 never backtracks: its time is at worst text length x pattern size, which MAX_PROGRAM
bounds. Texts are matched as octets (a pattern in UTF-8 matches the same octets).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, Protocol, cast

import re2

__all__ = ["MAX_MEMORY_BYTES", "MAX_PATTERNS", "MAX_PROGRAM", "matches", "pattern_error"]

MAX_MEMORY_BYTES: Final = 1 << 20  # of one compiled pattern with its automaton; beyond, RE2 forgets states
MAX_PROGRAM: Final = 256  # RE2 instructions; the worst pattern of this size takes 15 ms for a path of 16 KiB
MAX_PATTERNS: Final = 4_096  # compiled patterns kept per process; beyond, the least used are compiled again


class _Compiled(Protocol):
    programsize: int

    def fullmatch(self, text: bytes) -> object | None: ...


def _options() -> Any:  # google-re2 has no types
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = MAX_MEMORY_BYTES
    options.never_capture = True
    options.log_errors = False
    return options


_OPTIONS: Final = _options()


@lru_cache(maxsize=MAX_PATTERNS)
def _compiled(pattern: bytes) -> _Compiled:
    return cast("_Compiled", re2.compile(pattern, _OPTIONS))


def matches(pattern: bytes, text: bytes) -> bool:
    """Return whether *pattern*, one without a `pattern_error`, matches the whole of *text*."""
    return _compiled(pattern).fullmatch(text) is not None


def pattern_error(pattern: bytes) -> str:
    """Return what is wrong with *pattern*, or "" where it can be used."""
    try:
        size = _compiled(pattern).programsize
    except re2.error as error:
        cause = error.args[0] if error.args else b"not a regular expression"
        return cause.decode("utf-8", "replace") if isinstance(cause, bytes) else str(cause)
    return f"too large: {size} RE2 instructions, at most {MAX_PROGRAM}" if size > MAX_PROGRAM else ""
