"""How far something long has come, on standard error, if that is a terminal."""

from __future__ import annotations

import sys
import time
from typing import Final

__all__ = ["Line", "Progress"]

_PROGRESS_S: Final = 0.5  # between two lines of progress


class Line:
    """A line that is written anew, twice a second."""

    def __init__(self) -> None:
        self._tty = sys.stderr.isatty()
        self.begun_at = self._shown_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Return whether it is time for another text."""
        return self._tty and time.monotonic() - self._shown_at >= _PROGRESS_S

    def show(self, text: str) -> None:
        """Write *text* over what stands there."""
        self._shown_at = time.monotonic()
        sys.stderr.write(f"\r{text}\x1b[K")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the line to others."""
        if self._tty and self._shown_at > self.begun_at:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


class Progress:
    """How much of some logs has been read."""

    def __init__(self, total: int) -> None:
        """*total*: bytes that are to be read, 0 where nobody knows."""
        self._total = total
        self._line = Line()

    def note(self, n_bytes: int, n_lines: int) -> None:
        """Take note of how far reading has come."""
        if self._line.is_due:
            share = f"{100 * n_bytes / self._total:3.0f} %, " if self._total else ""
            rate = n_lines / (time.monotonic() - self._line.begun_at)
            self._line.show(f"{share}{n_lines:,} lines, {rate:,.0f} a second")

    def end(self) -> None:
        """Leave the line to others."""
        self._line.end()
