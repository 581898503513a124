"""BackendTLSPolicy: Services that must be reached over TLS (GEP-1897). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from gatewayproxy.compiler.manifests.backend_validation import BackendValidation, read_backend_validation
from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.fields import Fields
from gatewayproxy.fields.shapes import GROUP, KIND, OBJECT_NAME, OPTION, SECTION_NAME

__all__ = ["BackendTLSPolicy", "PolicyTarget", "read"]


class PolicyTarget(NamedTuple):
    """LocalPolicyTargetReferenceWithSectionName."""

    group: str
    kind: str
    name: str
    section_name: str | None  # of a Service: a port's name; None = every port


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendTLSPolicy:
    """BackendTLSPolicy.spec."""

    meta: Meta
    targets: tuple[PolicyTarget, ...] = ()
    validation: BackendValidation


def read(meta: Meta, root: Fields, version: str) -> BackendTLSPolicy:
    """Read a BackendTLSPolicy."""
    spec = root.required_child("spec")
    targets = tuple(_read_target(item) for item in spec.items("targetRefs", least=1, most=16))
    _check_distinct(spec, targets)
    validation = read_backend_validation(spec.required_child("validation"))
    if spec.text_map("options", OPTION, most=16):
        spec.warn("options", "are not supported, ignored", "remove them")
    return BackendTLSPolicy(meta=meta, targets=targets, validation=validation)


def _read_target(item: Fields) -> PolicyTarget:
    return PolicyTarget(
        item.text("group", GROUP),
        item.text("kind", KIND),
        item.text("name", OBJECT_NAME),
        item.text("sectionName", SECTION_NAME, None),
    )


def _check_distinct(spec: Fields, targets: tuple[PolicyTarget, ...]) -> None:
    """Two references to one object must both name sections, and differ in them."""
    for index, target in enumerate(targets):
        twins = [other for other in targets[:index] if other[:3] == target[:3]]
        if any((other.section_name is None) != (target.section_name is None) for other in twins):
            hint = "give sectionName in all references to this object, or in none"
            spec.error_at("targetRefs", index, "sectionName is given in only some references to one object", hint)
        elif target in twins:
            spec.error_at("targetRefs", index, "names the same object and section again", "remove one of the two")
