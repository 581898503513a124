"""What every kind of backend is asked, and what it answers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from gatewayproxy.compiler.manifests import Resources
from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.compiler.resolve.authorities import Authorities
from gatewayproxy.compiler.resolve.conditions import Findings
from gatewayproxy.compiler.resolve.policies import Policies
from gatewayproxy.compiler.resolve.references import Grants
from gatewayproxy.compiler.resolve.secrets import Secrets
from gatewayproxy.compiler.resolve.traffic import TrafficPolicies
from gatewayproxy.model.plan import Cluster, Refusal
from gatewayproxy.model.refusals import (
    BACKEND_NOT_FOUND,
    INVALID_KIND,
    REF_NOT_PERMITTED,
    UNSUPPORTED_PROTOCOL,
    refuse,
)
from gatewayproxy.model.status import Condition, Reason

__all__ = ["STREAMS", "BackendDraft", "BackendKind", "Sought", "Surroundings", "Target", "refused"]

STREAMS: Final = frozenset({"TCPRoute", "TLSRoute", "UDPRoute"})
# NO_ENDPOINTS and those of TLS are missing on purpose: the reference itself is resolved.
_CONDITION: Final[Mapping[str, Reason]] = {
    BACKEND_NOT_FOUND: Reason.BACKEND_NOT_FOUND,
    INVALID_KIND: Reason.INVALID_KIND,
    REF_NOT_PERMITTED: Reason.REF_NOT_PERMITTED,
    UNSUPPORTED_PROTOCOL: Reason.UNSUPPORTED_PROTOCOL,
}


class Sought(NamedTuple):
    """A backendRef that is permitted, and who asks."""

    namespace: str
    name: str
    port: int | None  # always there for a Service
    route_kind: str
    passed_through: bool = False  # what goes there is the client's own TLS


class Target(NamedTuple):
    """What a backendRef comes to: exactly one of *cluster* and *refusal*."""

    name: str
    cluster: Cluster | None
    refusal: Refusal | None
    hint: str = ""  # what to do about a refusal

    @property
    def condition(self) -> Condition | None:
        """Return ResolvedRefs=False where the reference does not resolve."""
        reason = _CONDITION.get(self.refusal.reason) if self.refusal else None
        if reason is None or self.refusal is None:
            return None
        return Condition("ResolvedRefs", False, reason, self.refusal.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a kind of backend may look at."""

    resources: Resources
    grants: Grants
    secrets: Secrets
    authorities: Authorities
    policies: Policies
    traffic: TrafficPolicies
    cluster_domain: str
    findings: Findings


class BackendDraft(Protocol):
    """A backend with a status of its own, `status.parents`."""

    @property
    def meta(self) -> Meta: ...

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Return what is to be said of it to each Gateway that reaches it."""


class BackendKind(Protocol):
    """All objects of one kind that a backendRef may name."""

    @property
    def drafts(self) -> tuple[BackendDraft, ...]:
        """Return those that have a status of their own."""

    def target(self, sought: Sought) -> Target:
        """Return what *sought* comes to."""


def refused(name: str, reason: str, detail: str, hint: str) -> Target:
    """Return the Target of a backendRef that nothing serves."""
    return Target(name, None, refuse(reason, detail), hint)
