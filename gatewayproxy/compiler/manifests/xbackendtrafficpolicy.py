"""XBackendTrafficPolicy: retry budgets and persistent sessions of Services (GEP-3388, GEP-1619). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.compiler.manifests.traffic import SessionPersistence, read_session_persistence
from gatewayproxy.fields import Fields
from gatewayproxy.fields.shapes import DURATION, GROUP, KIND, OBJECT_NAME, duration_s
from gatewayproxy.model.traffic import RetryBudget

__all__ = ["RetryConstraint", "TrafficTarget", "XBackendTrafficPolicy", "read"]

_HOUR_S: Final = 3600.0
_DEFAULTS: Final = RetryBudget(service="")


class TrafficTarget(NamedTuple):
    """LocalPolicyTargetReference."""

    group: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryConstraint:
    """RetryConstraint, defaults applied; see `RetryBudget`."""

    percent: int = _DEFAULTS.percent
    interval_s: float = _DEFAULTS.interval_s
    least: int = _DEFAULTS.least
    least_interval_s: float = _DEFAULTS.least_interval_s


@dataclass(frozen=True, slots=True, kw_only=True)
class XBackendTrafficPolicy:
    """XBackendTrafficPolicy.spec."""

    meta: Meta
    targets: tuple[TrafficTarget, ...] = ()
    constraint: RetryConstraint | None = None
    session: SessionPersistence | None = None


def read(meta: Meta, root: Fields, version: str) -> XBackendTrafficPolicy:
    """Read an XBackendTrafficPolicy."""
    spec = root.required_child("spec")
    return XBackendTrafficPolicy(
        meta=meta,
        targets=_read_targets(spec),
        constraint=_read_constraint(spec),
        session=read_session_persistence(spec),
    )


def _read_targets(spec: Fields) -> tuple[TrafficTarget, ...]:
    targets: list[TrafficTarget] = []
    for index, item in enumerate(spec.items("targetRefs", least=1, most=16)):
        target = TrafficTarget(item.text("group", GROUP), item.text("kind", KIND), item.text("name", OBJECT_NAME))
        if target in targets:
            spec.error_at("targetRefs", index, "names the same object again", "remove one of the two")
        targets.append(target)
    return tuple(targets)


def _read_constraint(spec: Fields) -> RetryConstraint | None:
    fields = spec.child("retryConstraint")
    if fields is None:
        return None
    percent, interval_s = _DEFAULTS.percent, _DEFAULTS.interval_s
    least, least_interval_s = _DEFAULTS.least, _DEFAULTS.least_interval_s
    budget, rate = fields.child("budget"), fields.child("minRetryRate")
    if budget is not None:
        percent = budget.integer("percent", 0, 100, percent)
        interval_s = _read_interval(budget, interval_s, shortest_s=1.0)
    if rate is not None:
        least = rate.integer("count", 1, 1_000_000, least)
        least_interval_s = _read_interval(rate, least_interval_s, shortest_s=0.001)
    return RetryConstraint(percent=percent, interval_s=interval_s, least=least, least_interval_s=least_interval_s)


def _read_interval(fields: Fields, default_s: float, *, shortest_s: float) -> float:
    text = fields.text("interval", DURATION, None)
    if text is None:
        return default_s
    interval_s = duration_s(text)
    if not shortest_s <= interval_s <= _HOUR_S:
        least = "1s" if shortest_s >= 1 else "1ms"
        fields.error("interval", f"{text} is not between {least} and 1h", "write a duration such as 10s")
    return max(interval_s, shortest_s)
