"""BackendTLSPolicies: which Service ports must not be spoken to in plain text. Pure.

TLS towards backends is not served. A policy says that without it a backend is not to be reached, so its targets fail
closed; that holds for a policy whose text has errors too, as far as its targets can be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from gatewayproxy.compiler.manifests import Resources
from gatewayproxy.compiler.manifests.backendtlspolicy import BackendTLSPolicy, PolicyTarget
from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.compiler.resolve.conditions import Findings
from gatewayproxy.model.names import ResourceKey

__all__ = ["BackendTls"]


class BackendTls:
    """All policies, looked up by Service and port name."""

    def __init__(self, resources: Resources, findings: Findings) -> None:
        self._policies: dict[tuple[str, str, str | None], ResourceKey] = {}
        for policy in resources.of(BackendTLSPolicy):
            self._add(policy.meta, policy.targets, findings)
        for meta in resources.fenced:
            if meta.key.kind == "BackendTLSPolicy":
                self._add(meta, _written_targets(meta), findings)

    def policy_of(self, namespace: str, service: str, port_name: str) -> ResourceKey | None:
        """Return a policy that asks for TLS to this port of a Service; None where there is none."""
        policies = self._policies
        return policies.get((namespace, service, port_name)) or policies.get((namespace, service, None))

    def _add(self, meta: Meta, targets: Iterable[PolicyTarget], findings: Findings) -> None:
        for target in targets:
            if (target.group, target.kind) == ("", "Service"):
                self._policies.setdefault((meta.namespace, target.name, target.section_name), meta.key)
                message = f"TLS to backends is not implemented yet: requests to Service {target.name} get 500"
                hint = "remove the policy where plain text to the Service is acceptable"
                findings.error(meta.origin, meta.key, "spec.targetRefs", message, hint)
            else:
                kind = f"{target.group}/{target.kind}".lstrip("/")
                findings.warn(meta.origin, meta.key, "spec.targetRefs", f"targets of kind {kind} are ignored")


def _written_targets(meta: Meta) -> Iterator[PolicyTarget]:
    """Yield the targets of a policy that has errors; what cannot be read as a narrow target is taken as a wide one."""
    spec = meta.manifest.get("spec")
    written = spec.get("targetRefs") if isinstance(spec, Mapping) else None
    for ref in written if isinstance(written, list) else ():
        name = ref.get("name") if isinstance(ref, Mapping) else None
        if isinstance(name, str):
            section = ref.get("sectionName")
            yield PolicyTarget("", "Service", name, section if isinstance(section, str) else None)
