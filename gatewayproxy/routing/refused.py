"""What a rule answers itself in the place of its backends, in words: `500 ref_not_permitted`. Pure.

Such a rule takes requests as any other does, so counts of hits alone do not tell that nobody is served by it.
"""

from __future__ import annotations

from typing import Final

from gatewayproxy.model.plan import Refusal
from gatewayproxy.routing.table import BackendGroup, RouteEntry

__all__ = ["refused_text"]

_REQUESTS: Final = ("HTTPRoute", "GRPCRoute")  # kinds whose clients get an answer; connections end


def refused_text(entry: RouteEntry) -> str:
    """Return how *entry* refuses what it takes, "" where it does not: `503 no_endpoints`, `25 % 500 invalid_kind`."""
    if entry.refusal is not None:
        return _text(entry, entry.refusal)
    if entry.group is None:
        return ""
    total = entry.group.bounds[-1]
    return ", ".join(
        _text(entry, refusal) if weight == total else f"{100 * weight / total:.3g} % {_text(entry, refusal)}"
        for refusal, weight in _weights(entry.group).items()
    )


def _weights(group: BackendGroup) -> dict[Refusal, int]:
    """Return the weight of each refusal, as if those that differ in their details alone were one."""
    weights: dict[Refusal, int] = {}
    for choice, low, high in zip(group.choices, (0, *group.bounds[:-1]), group.bounds, strict=True):
        if choice.refusal is not None:
            refusal = choice.refusal._replace(detail="")
            weights[refusal] = weights.get(refusal, 0) + high - low
    return weights


def _text(entry: RouteEntry, refusal: Refusal) -> str:
    how = str(refusal.status) if entry.label.kind in _REQUESTS else "ends,"
    return f"{how} {refusal.reason}"
