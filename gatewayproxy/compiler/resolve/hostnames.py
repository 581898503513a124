"""Hostnames of listeners and routes: which names both speak for. Pure.

"" is any host. "*.b.c" is a suffix match: `a.b.c` and `x.a.b.c`, never `b.c` (Gateway API `Hostname`).
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["covers", "intersect", "pairs"]


def covers(pattern: str, hostname: str) -> bool:
    """Tell whether every name that *hostname* speaks for is one that *pattern* speaks for."""
    if not pattern or pattern == hostname:
        return True
    # "*.b.c" covers "*.a.b.c" too: its own first label counts as one.
    return pattern.startswith("*.") and hostname.endswith(pattern[1:]) and len(hostname) > len(pattern) - 1


def intersect(listener: str, route: str) -> str | None:
    """Return the hostname both speak for, the narrower of the two; None where there is none."""
    if covers(listener, route):
        return route
    return listener if covers(route, listener) else None


def pairs(listener: str, route: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return (effective, own) for each hostname of a route that meets the listener's; no hostnames means any host."""
    found: dict[str, str] = {}
    for own in route or ("",):
        effective = intersect(listener, own)
        # Two own names may meet in one effective name; the narrower own name decides precedence.
        if effective is not None and covers(found.get(effective, ""), own):
            found[effective] = own
    return tuple(found.items())
