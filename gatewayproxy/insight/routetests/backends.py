"""Backends and their shares, as expected and as they are. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gatewayproxy.compiler.manifests.routetest import Expected
from gatewayproxy.insight.outcomes import Outcome

__all__ = ["BackendsDiffer", "backends_differ"]


class BackendsDiffer(NamedTuple):
    """Both sides in words; "" both where they agree."""

    expected: str
    actual: str
    hint: str = ""


def backends_differ(outcomes: Sequence[Outcome], wanted: Sequence[Expected], namespace: str) -> BackendsDiffer:
    """Return how *outcomes* differ from the backends that a test in *namespace* wants.

    Weights count as shares: 9 and 1 are 90 and 10. A backend that is named twice by a rule has the sum of both.
    """
    total = sum(each.weight for each in outcomes)
    wanted_total = sum(each.weight or 0 for each in wanted)
    left = list(outcomes)
    for each in wanted:
        own = [outcome for outcome in left if _is_meant(outcome, each, namespace)]
        left = [outcome for outcome in left if outcome not in own]
        weight = sum(outcome.weight for outcome in own)
        missing = not weight and each.weight != 0
        unequal = each.weight is not None and weight * wanted_total != each.weight * total
        if missing or unequal or any(not _answers_as(outcome, each) for outcome in own):
            break
    else:
        if not any(outcome.weight for outcome in left):
            return BackendsDiffer("", "")
    return BackendsDiffer(_wanted_text(wanted, wanted_total, namespace), _actual_text(outcomes), _hint(outcomes))


def _is_meant(outcome: Outcome, wanted: Expected, namespace: str) -> bool:
    full_name = f"{wanted.namespace or namespace}/{wanted.name}"
    if wanted.port is not None:
        return outcome.name == f"{full_name}:{wanted.port}"
    return outcome.name == full_name or outcome.name.rpartition(":")[0] == full_name


def _answers_as(outcome: Outcome, wanted: Expected) -> bool:
    """Return whether *outcome* reaches a backend, or gives the answer that is wanted in its place."""
    return (outcome.answer.status if outcome.answer is not None else None) == wanted.status


def _wanted_text(wanted: Sequence[Expected], total: int, namespace: str) -> str:
    parts = []
    for each in wanted:
        port = f":{each.port}" if each.port is not None else ""
        share = f" {_percent(each.weight, total)}" if each.weight is not None else ""
        answer = f" (answers {each.status})" if each.status is not None else ""
        parts.append(f"{each.namespace or namespace}/{each.name}{port}{share}{answer}")
    return ", ".join(parts)


def _actual_text(outcomes: Sequence[Outcome]) -> str:
    total = sum(each.weight for each in outcomes)
    parts = []
    for each in outcomes:
        told = f" (answers {each.answer.status} {each.answer.reason})" if each.answer is not None else ""
        parts.append(f"{each.name or 'the rule itself'} {_percent(each.weight, total)}{told}")
    return ", ".join(parts) or "none"


def _hint(outcomes: Sequence[Outcome]) -> str:
    """Return what is wrong with a backend that the gateway answers for."""
    details = (each.answer.detail for each in outcomes if each.answer is not None and each.name)
    return next(filter(None, details), "")


def _percent(weight: int, total: int) -> str:
    return f"{weight * 100 / total:.4g} %" if total else "0 %"
