"""find_server(): which listener a TLS server name leads to. Pure.

Exact names first, then the longest wildcard suffix, then the listener without hostname, which also serves clients
that send no name (Gateway API `Listener.hostname`; RFC 6066 §3).
"""

from __future__ import annotations

from gatewayproxy.routing.table import SniIndex, SniTarget

__all__ = ["find_server"]


def find_server(index: SniIndex, name: bytes | None) -> SniTarget | None:
    """Return the target of *name* (lower-case; None: the client sent none), or None: refuse the connection."""
    if name is None:
        return index.default
    target = index.exact.get(name)
    if target is not None:
        return target
    dot = name.find(b".")
    while dot > 0:  # ".example.com" for "a.b.example.com": a wildcard spans any number of labels
        target = index.wildcard.get(name[dot:])
        if target is not None:
            return target
        dot = name.find(b".", dot + 1)
    return index.default
