"""HTTPS listeners of one port that share names: what a client may be confused by. Pure.

OverlappingTLSConfig (GEP-3567) warns that a client which reuses a connection for another name (HTTP/2 coalescing) may
arrive at the wrong listener; such requests get 421. And a hostname that no certificate of its listener names will be
refused by every client.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gatewayproxy.compiler.resolve.conditions import listed
from gatewayproxy.compiler.resolve.drafts import ListenerDraft
from gatewayproxy.compiler.resolve.hostnames import intersect
from gatewayproxy.model.protocols import Protocol
from gatewayproxy.model.status import Condition, Reason

__all__ = ["judge_overlaps", "names_cover"]


def judge_overlaps(drafts: Sequence[ListenerDraft]) -> None:
    """Note on each accepted HTTPS listener which others of its port speak for some of its names."""
    https = [draft for draft in drafts if draft.protocol is Protocol.HTTPS and draft.accepted.status]
    for draft in https:
        others = [
            other.spec.name
            for other in https
            if other is not draft
            and other.spec.port == draft.spec.port
            and intersect(other.hostname, draft.hostname) is not None
        ]
        if others:
            message = f"hostname {draft.hostname or 'any'} overlaps with listener {listed(others)}"
            draft.overlapping = Condition("OverlappingTLSConfig", True, Reason.OVERLAPPING_HOSTNAMES, message)


def names_cover(names: Iterable[str], hostname: str) -> bool:
    """Tell whether a certificate's *names* hold for *hostname*; "*" stands for exactly one label (RFC 9525 §6.3)."""
    wildcard = f"*.{hostname.partition('.')[2]}"
    return any(name in {hostname, wildcard} for name in names)
