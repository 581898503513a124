"""A backendRef to what serves it: a Cluster, or the refusal its share of the traffic gets. Pure.

`BACKENDS` is the whole registry of the kinds that a backendRef may name. What is common to all of them is here: kind
and ReferenceGrant come first, in this order (HTTPBackendRef, BackendObjectReference), then the kind itself is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from gatewayproxy.compiler.manifests import Resources
from gatewayproxy.compiler.manifests.service import Service
from gatewayproxy.compiler.resolve.authorities import Authorities
from gatewayproxy.compiler.resolve.backends.services import Services
from gatewayproxy.compiler.resolve.backends.target import (
    BackendDraft,
    BackendKind,
    Sought,
    Surroundings,
    Target,
    refused,
)
from gatewayproxy.compiler.resolve.backends.xbackends import XBackends
from gatewayproxy.compiler.resolve.conditions import Findings
from gatewayproxy.compiler.resolve.policies import Policies
from gatewayproxy.compiler.resolve.references import Grants, Subject
from gatewayproxy.compiler.resolve.secrets import Secrets
from gatewayproxy.compiler.resolve.traffic import TrafficPolicies
from gatewayproxy.fields import BackendObjectReference
from gatewayproxy.fields.shapes import EXPERIMENTAL_GROUP
from gatewayproxy.model.names import ResourceKey
from gatewayproxy.model.refusals import INVALID_KIND, REF_NOT_PERMITTED

__all__ = ["BACKENDS", "BackendDraft", "Backends", "Target"]

BACKENDS: Final[Mapping[tuple[str, str], Callable[[Surroundings], BackendKind]]] = {  # by (API group, kind)
    ("", "Service"): Services,
    (EXPERIMENTAL_GROUP, "XBackend"): XBackends,
}


class Backends:
    """All backends, looked up by backendRefs of all routes; equal references share one Cluster."""

    def __init__(
        self, resources: Resources, grants: Grants, secrets: Secrets, cluster_domain: str, findings: Findings
    ) -> None:
        services = {(s.meta.namespace, s.meta.name): s for s in resources.of(Service)}
        self.traffic = TrafficPolicies(resources, services, findings)
        self.policies = Policies(resources, services, findings)
        around = Surroundings(
            resources=resources,
            grants=grants,
            secrets=secrets,
            authorities=Authorities(resources),
            policies=self.policies,
            traffic=self.traffic,
            cluster_domain=cluster_domain,
            findings=findings,
        )
        self._kinds = {key: make(around) for key, make in BACKENDS.items()}
        self._grants = grants
        self._targets: dict[tuple[str, Sought], Target] = {}

    @property
    def drafts(self) -> tuple[BackendDraft, ...]:
        """Return the backends that have a status of their own."""
        return tuple(draft for kind in self._kinds.values() for draft in kind.drafts)

    def target(self, ref: BackendObjectReference, subject: Subject, *, passed_through: bool = False) -> Target:
        """Resolve *ref* of a route, the *subject*; *passed_through*: what goes there is the client's own TLS."""
        namespace = ref.namespace or subject.namespace
        name = f"{namespace}/{ref.name}" + (f":{ref.port}" if ref.port is not None else "")
        kind = self._kinds.get((ref.group, ref.kind))
        if kind is None:
            known = " or ".join(
                f"{group}/{known}" if group and known == ref.kind else known for group, known in BACKENDS
            )
            title = f"{ref.group}/{ref.kind}" if ref.group else ref.kind
            detail = f"backendRef {namespace}/{ref.name} has kind {title}, not {known}"
            return refused(f"{namespace}/{ref.name}", INVALID_KIND, detail, "correct group and kind")
        if not self._permits(ref, subject):
            needed = (
                f"a ReferenceGrant in namespace {namespace} from {subject.kind} of {subject.namespace} to {ref.kind}"
            )
            hint = "add that ReferenceGrant, or use one of the route's own namespace"
            return refused(name, REF_NOT_PERMITTED, f"{ref.kind} {namespace}/{ref.name} needs {needed}", hint)
        sought = Sought(namespace, ref.name, ref.port, subject.kind, passed_through)
        key = (ref.kind, sought)
        if (target := self._targets.get(key)) is None:
            target = self._targets[key] = kind.target(sought)
        return target

    def service_of(self, ref: BackendObjectReference, subject: Subject) -> tuple[str, str] | None:
        """Return namespace and name of the Service that *ref* names, there or not; None where *subject* may not."""
        key = self.object_of(ref, subject)
        return (key.namespace, key.name) if key is not None and key.kind == "Service" else None

    def object_of(self, ref: BackendObjectReference, subject: Subject) -> ResourceKey | None:
        """Return the backend that *ref* names, there or not; None where *subject* may not."""
        if (ref.group, ref.kind) not in self._kinds or not self._permits(ref, subject):
            return None
        return ResourceKey(ref.kind, ref.namespace or subject.namespace, ref.name)

    def _permits(self, ref: BackendObjectReference, subject: Subject) -> bool:
        namespace = ref.namespace or subject.namespace
        return self._grants.permits(subject, group=ref.group, kind=ref.kind, namespace=namespace, name=ref.name)
