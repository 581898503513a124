"""How far the reading of logs has come, on standard error, if that is a terminal."""

from __future__ import annotations

import sys
import time
from typing import Final

__all__ = ["Progress"]

_PROGRESS_S: Final = 0.5  # between two lines of progress


class Progress:
    """A line that is written anew, twice a second."""

    def __init__(self, total: int) -> None:
        """*total*: bytes that are to be read, 0 where nobody knows."""
        self._total = total
        self._tty = sys.stderr.isatty()
        self._begun_at = self._shown_at = time.monotonic()

    def note(self, n_bytes: int, n_lines: int) -> None:
        """Take note of how far reading has come."""
        now = time.monotonic()
        if not self._tty or now - self._shown_at < _PROGRESS_S:
            return
        self._shown_at = now
        share = f"{100 * n_bytes / self._total:3.0f} %, " if self._total else ""
        rate = n_lines / (now - self._begun_at)
        sys.stderr.write(f"\r{share}{n_lines:,} lines, {rate:,.0f} a second\x1b[K")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the line to others."""
        if self._tty and self._shown_at > self._begun_at:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
