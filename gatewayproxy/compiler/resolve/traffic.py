"""XBackendTrafficPolicies: which Service has a retry budget, which has persistent sessions (GEP-3388, GEP-1619). Pure.

A Service has one policy at most: the oldest of those that target it, by namespace/name among equals. What a rule says
of its own sessions comes before what a policy says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from gatewayproxy.compiler.manifests import Resources
from gatewayproxy.compiler.manifests.service import Service
from gatewayproxy.compiler.manifests.traffic import SessionPersistence
from gatewayproxy.compiler.manifests.xbackendtrafficpolicy import RetryConstraint, XBackendTrafficPolicy
from gatewayproxy.compiler.resolve.conditions import Findings
from gatewayproxy.compiler.resolve.drafts import ACCEPTED
from gatewayproxy.model.codes import BY_REASON, Code
from gatewayproxy.model.names import ResourceKey
from gatewayproxy.model.status import Condition, Reason
from gatewayproxy.model.traffic import RetryBudget, Session

__all__ = ["TrafficDraft", "TrafficPolicies", "bind_session"]

_ServiceName = tuple[str, str]  # namespace, name


@dataclass(slots=True, kw_only=True, eq=False)
class TrafficDraft:
    """A policy while it is being resolved."""

    spec: XBackendTrafficPolicy
    resolved: None = None  # it refers to nothing but its targets
    flaws: dict[str, Condition] = field(default_factory=dict)  # Service -> Accepted=False because of that target

    def accepted(self, services: Iterable[str]) -> Condition:
        """Return the Accepted condition for a Gateway that reaches *services* of the policy's targets."""
        return next((self.flaws[name] for name in services if name in self.flaws), ACCEPTED)

    @property
    def services(self) -> tuple[str, ...]:
        """Return the names of the Services it targets, in its own namespace."""
        return tuple(target.name for target in self.spec.targets if (target.group, target.kind) == ("", "Service"))


class TrafficPolicies:
    """All policies, looked up by Service."""

    def __init__(self, resources: Resources, services: Mapping[_ServiceName, Service], findings: Findings) -> None:
        self._services = services
        self._findings = findings
        self._by_service: dict[_ServiceName, XBackendTrafficPolicy] = {}
        ordered = sorted(resources.of(XBackendTrafficPolicy), key=lambda policy: policy.meta.age)
        self.drafts = tuple(self._draft(policy) for policy in ordered)

    def budget_of(self, namespace: str, service: str) -> RetryBudget | None:
        """Return the retry budget that all ports of a Service share."""
        place = (namespace, service)
        policy = self._by_service.get(place)
        return _budget("/".join(place), policy.constraint) if policy is not None and policy.constraint else None

    def session_of(self, services: Iterable[_ServiceName]) -> tuple[SessionPersistence | None, str]:
        """Return the session persistence of the first of *services* that has one, and what is to be told of it.

        GEP-1619 leaves to us what becomes of a rule's other backends: it holds for all of them.
        """
        found: SessionPersistence | None = None
        note = ""
        others = False
        for place in services:
            policy = self._by_service.get(place)
            session = policy.session if policy is not None else None
            if found is None and policy is not None and session is not None:
                found, note = session, f"{policy.meta.key} gives all backendRefs of this rule persistent sessions"
            others = others or session != found
        return found, note if others else ""

    def _draft(self, policy: XBackendTrafficPolicy) -> TrafficDraft:
        draft = TrafficDraft(spec=policy)
        meta = policy.meta
        for target in policy.targets:
            if (target.group, target.kind) != ("", "Service"):
                kind = f"{target.group}/{target.kind}".lstrip("/")
                told = f"targets of kind {kind} are ignored"
                self._findings.warn(meta.origin, meta.key, "spec.targetRefs", told, "name a Service", Code.TARGET)
                continue
            place = (meta.namespace, target.name)
            winner = self._by_service.setdefault(place, policy)
            if place not in self._services:
                message = f"Service {target.name} does not exist, or has errors"
                draft.flaws[target.name] = Condition("Accepted", False, Reason.TARGET_NOT_FOUND, message)
            elif winner is not policy:
                message = f"Service {target.name}: {winner.meta.key} is older, or first by namespace/name"
                draft.flaws[target.name] = Condition("Accepted", False, Reason.CONFLICTED, message)
        for condition in draft.flaws.values():
            hint = "name a Service of this namespace, in one policy only"
            text = f"{condition.reason}: {condition.message}"
            code = BY_REASON.get(condition.reason, Code.TARGET)
            self._findings.warn(meta.origin, meta.key, "spec.targetRefs", text, hint, code)
        return draft


def bind_session(spec: SessionPersistence, route: ResourceKey, index: int, name: str) -> Session:
    """Return *spec* for the sessions of one rule, by name where it has one, so that they outlive its neighbours."""
    rule = f"{route} {name or f'#{index}'}"  # "#" is in no name
    own_name = f"gwp-{blake2b(rule.encode('utf-8', 'surrogatepass'), digest_size=6).hexdigest()}"
    return Session(
        rule=rule,
        name=(spec.name or own_name).encode("ascii"),
        header=spec.header,
        path=spec.path.encode("ascii"),
        permanent=spec.permanent,
        absolute_s=spec.absolute_s,
    )


def _budget(service: str, constraint: RetryConstraint) -> RetryBudget:
    return RetryBudget(
        service=service,
        percent=constraint.percent,
        interval_s=constraint.interval_s,
        least=constraint.least,
        least_interval_s=constraint.least_interval_s,
    )
