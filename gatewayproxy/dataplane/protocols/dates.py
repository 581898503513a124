"""When an answer was made: the Date of the gateway's own answers. RFC 9110 §6.6.1."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache
from time import time  # noqa: TID251 - a Date is the time of day

__all__ = ["dated"]


def dated(lines: bytes) -> bytes:
    """Return the field *lines* of an answer with its Date in front, unless a response filter has given it one."""
    if b"\ndate:" in b"\n" + lines.lower():
        return lines
    return _date_line(int(time())) + lines


@lru_cache(maxsize=1)
def _date_line(second: int) -> bytes:
    return b"date: %b\r\n" % formatdate(second, usegmt=True).encode("ascii")
