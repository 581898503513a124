"""BackendTLSPolicies: how a Service port must be spoken to, and what each policy comes to (GEP-1897, GEP-713). Pure.

A policy says that without it a backend is not to be reached in plain text. So its targets fail closed where it is
invalid; that holds for a policy whose text has errors too, as far as its targets can be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from gatewayproxy.compiler.manifests import Resources
from gatewayproxy.compiler.manifests.backendtlspolicy import BackendTLSPolicy, PolicyTarget
from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.compiler.manifests.service import Service
from gatewayproxy.compiler.resolve.authorities import Authorities
from gatewayproxy.compiler.resolve.conditions import Findings, listed
from gatewayproxy.compiler.resolve.drafts import ACCEPTED, RESOLVED
from gatewayproxy.compiler.resolve.trust import resolve_validation
from gatewayproxy.model.codes import BY_REASON, Code
from gatewayproxy.model.names import ResourceKey
from gatewayproxy.model.plan import BackendTls
from gatewayproxy.model.status import Condition, Reason

__all__ = ["Policies", "PolicyDraft", "ServiceTls"]

_HINTS: Final[Mapping[str, str]] = {
    Reason.CONFLICTED: "remove one of the two, or give each a sectionName of its own",
    Reason.INVALID: "name a TCP port in sectionName, or remove the policy",
    Reason.TARGET_NOT_FOUND: "correct name or sectionName: what the policy misses is reached in plain text",
}

_Place = tuple[
    str, str, str | None
]  # namespace, Service, name of a port; None = every port without a policy of its own


class ServiceTls(NamedTuple):
    """How a Service port must be spoken to."""

    policy: ResourceKey
    tls: BackendTls | None  # None: it cannot be, because of *flaw*
    flaw: str


@dataclass(slots=True, kw_only=True, eq=False)
class PolicyDraft:
    """A policy while it is being resolved."""

    spec: BackendTLSPolicy
    resolved: Condition = RESOLVED
    flaw: Condition | None = None  # Accepted=False wherever it applies
    flaws: dict[str, Condition] = field(default_factory=dict)  # Service -> Accepted=False because of that target
    partly: list[str] = field(default_factory=list)  # what of its targets it cannot apply to, and is accepted still

    def accepted(self, services: Iterable[str]) -> Condition:
        """Return the Accepted condition for a Gateway that reaches *services* of the policy's targets."""
        verdict = next((self.flaws[name] for name in services if name in self.flaws), self.flaw)
        return verdict or ACCEPTED._replace(message="; ".join(self.partly))

    @property
    def services(self) -> tuple[str, ...]:
        """Return the names of the Services it targets, in its own namespace."""
        return tuple(dict.fromkeys(target.name for target in self.spec.targets if _is_service(target)))


class Policies:
    """All policies, looked up by Service and port name."""

    def __init__(self, resources: Resources, services: Mapping[tuple[str, str], Service], findings: Findings) -> None:
        self._services = services
        self._findings = findings
        self._places: dict[_Place, ServiceTls] = {}
        authorities = Authorities(resources)
        ordered = sorted(resources.of(BackendTLSPolicy), key=lambda policy: policy.meta.age)
        self.drafts = tuple(self._draft(policy, authorities) for policy in ordered)
        for meta in resources.fenced:  # after those that can be read: these protect their targets as well
            if meta.key.kind == "BackendTLSPolicy":
                broken = ServiceTls(meta.key, None, f"{meta.key} has errors")
                for target in _written_targets(meta):
                    self._places.setdefault((meta.namespace, target.name, target.section_name), broken)

    def tls_of(self, namespace: str, service: str, port_name: str) -> ServiceTls | None:
        """Return how this port of a Service must be spoken to; None where no policy asks for TLS."""
        places = self._places
        own = places.get((namespace, service, port_name)) if port_name else None
        return own or places.get((namespace, service, None))

    def _draft(self, policy: BackendTLSPolicy, authorities: Authorities) -> PolicyDraft:
        tls, resolved, flaw = resolve_validation(policy.validation, policy.meta.namespace, authorities)
        if tls is not None:
            tls = replace(tls, of_gateway=True)
        draft = PolicyDraft(spec=policy, resolved=resolved, flaw=flaw)
        why = f"{policy.meta.key} is not valid: {flaw.message}" if flaw is not None else ""
        for target in policy.targets:
            if _is_service(target):
                self._judge_target(draft, target)
                place = (policy.meta.namespace, target.name, target.section_name)
                winner = self._places.setdefault(place, ServiceTls(policy.meta.key, tls, why))
                if winner.policy != policy.meta.key:
                    section = f", port {target.section_name}" if target.section_name else ""
                    message = f"Service {target.name}{section}: {winner.policy} is older, or first by namespace/name"
                    draft.flaws.setdefault(target.name, Condition("Accepted", False, Reason.CONFLICTED, message))
        self._tell(draft)
        return draft

    def _judge_target(self, draft: PolicyDraft, target: PolicyTarget) -> None:
        """Note a target that is not there, or that TLS over TCP cannot be spoken to."""
        service = self._services.get((draft.spec.meta.namespace, target.name))
        ports = service.ports if service is not None else ()
        named = [port for port in ports if target.section_name in (None, port.name)]
        reason, message = Reason.TARGET_NOT_FOUND, ""
        udp = [port.name or str(port.port) for port in named if port.protocol != "TCP"]
        if service is None:
            message = f"Service {target.name} does not exist, or has errors"
        elif target.section_name is not None and not named:
            known = listed([port.name for port in ports if port.name]) or "none"
            message = f"Service {target.name} has no port named {target.section_name}; it has {known}"
        elif named and len(udp) == len(named):
            reason = Reason.INVALID
            message = f"Service {target.name}: TLS runs over TCP, which port {listed(udp)} is not"
        elif udp:
            draft.partly.append(f"Service {target.name}: does not apply to port {listed(udp)}, which is not TCP")
        if message:
            draft.flaws.setdefault(target.name, Condition("Accepted", False, reason, message))

    def _tell(self, draft: PolicyDraft) -> None:
        meta, findings = draft.spec.meta, self._findings
        for target in draft.spec.targets:
            if not _is_service(target):
                kind = f"{target.group}/{target.kind}".lstrip("/")
                told = f"targets of kind {kind} are ignored"
                findings.warn(meta.origin, meta.key, "spec.targetRefs", told, "name a Service", Code.TARGET)
        for condition in draft.flaws.values():
            message = f"{condition.reason}: {condition.message}"
            code = BY_REASON.get(condition.reason, Code.TARGET)
            findings.warn(meta.origin, meta.key, "spec.targetRefs", message, _HINTS[condition.reason], code)
        broken = draft.flaw or draft.resolved
        if not broken.status:
            hint = (
                "until then its Services are not reached" if draft.flaw else "until then the others alone are trusted"
            )
            message = f"{broken.reason}: {broken.message}"
            code = BY_REASON.get(broken.reason, Code.AUTHORITY)
            findings.error(meta.origin, meta.key, "spec.validation", message, f"correct it; {hint}", code)


def _is_service(target: PolicyTarget) -> bool:
    return (target.group, target.kind) == ("", "Service")


def _written_targets(meta: Meta) -> Iterator[PolicyTarget]:
    """Yield the targets of a policy that has errors; what cannot be read as a narrow target is taken as a wide one."""
    spec = meta.manifest.get("spec")
    written = spec.get("targetRefs") if isinstance(spec, Mapping) else None
    for ref in written if isinstance(written, list) else ():
        name = ref.get("name") if isinstance(ref, Mapping) else None
        if isinstance(name, str):
            section = ref.get("sectionName")
            yield PolicyTarget("", "Service", name, section if isinstance(section, str) else None)
