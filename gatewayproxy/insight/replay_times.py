"""Times as logs write them, into Unix seconds, and back for people. Pure."""

from __future__ import annotations

import datetime
import re
from functools import lru_cache
from typing import Final

__all__ = ["seconds_of", "time_text"]

_MONTHS: Final = {name: n for n, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}
# nginx: 10/Oct/2026:13:55:36 -0700; HAProxy, which names no zone: 06/Feb/2026:12:14:14.655
_CLF: Final = re.compile(
    rb"(\d{2})/([A-Z][a-z]{2})/(\d{4}):(\d{2}):(\d{2}):(\d{2})(?:\.\d+)?(?: ([+-])(\d{2})(\d{2}))?"
)


@lru_cache(maxsize=4_096)  # PERF: the lines of a second share it
def seconds_of(written: bytes) -> float:
    """Return *written* as Unix seconds, a time without a zone as UTC; 0.0 where it is no time."""
    try:
        return _clf(written) if b"/" in written else _iso(written)
    except (ValueError, KeyError, OverflowError):
        return 0.0


def _iso(written: bytes) -> float:
    time = datetime.datetime.fromisoformat(written.decode("ascii", "replace"))
    return (time if time.tzinfo is not None else time.replace(tzinfo=datetime.UTC)).timestamp()


def _clf(written: bytes) -> float:
    found = _CLF.fullmatch(written)
    if found is None:
        return 0.0
    day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = found.groups()
    east = datetime.timedelta(hours=int(zone_hours or 0), minutes=int(zone_minutes or 0))
    zone = datetime.timezone(-east if sign == b"-" else east)
    time = datetime.datetime(
        int(year), _MONTHS[month], int(day), int(hour), int(minute), min(int(second), 59), tzinfo=zone
    )
    return time.timestamp()


def time_text(at: float) -> str:
    """Return Unix seconds *at* as UTC, to the second; "" for 0."""
    if not at:
        return ""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
