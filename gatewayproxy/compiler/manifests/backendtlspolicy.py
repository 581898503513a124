"""BackendTLSPolicy: Services that must be reached over TLS (GEP-1897). Pure.

Its shape is checked and its targets are kept: without TLS towards backends they must refuse traffic (`resolve`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.fields import Fields, Text
from gatewayproxy.fields.shapes import (
    GROUP,
    HOSTNAME,
    KIND,
    OBJECT_NAME,
    OPTION,
    PRECISE_HOSTNAME,
    SECTION_NAME,
    SUBDOMAIN_PATTERN,
)

__all__ = ["BackendTLSPolicy", "PolicyTarget", "read"]

WELL_KNOWN: Final = Text(
    "System",
    rf"System|{SUBDOMAIN_PATTERN}/"
    r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]",
    shortest=1,
    longest=253,
)
# The official expression does not ask for the end of the text, and so do we.
URI: Final = Text("an absolute URI such as spiffe://a/b", r"[^:/?#]+://[^/?#]*(?s:.*)", shortest=1, longest=253)

_SAN_MEMBERS: Final = {"Hostname": ("hostname", HOSTNAME), "URI": ("uri", URI)}


class PolicyTarget(NamedTuple):
    """LocalPolicyTargetReferenceWithSectionName."""

    group: str
    kind: str
    name: str
    section_name: str | None  # of a Service: a port's name; None = every port


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendTLSPolicy:
    """BackendTLSPolicy.spec.targetRefs."""

    meta: Meta
    targets: tuple[PolicyTarget, ...] = ()


def read(meta: Meta, root: Fields, version: str) -> BackendTLSPolicy:
    """Read a BackendTLSPolicy."""
    spec = root.required_child("spec")
    targets = tuple(_read_target(item) for item in spec.items("targetRefs", least=1, most=16))
    _check_distinct(spec, targets)
    _read_validation(spec.required_child("validation"))
    spec.text_map("options", OPTION, most=16)
    return BackendTLSPolicy(meta=meta, targets=targets)


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


def _read_validation(fields: Fields) -> None:
    fields.text("hostname", PRECISE_HOSTNAME)
    well_known = fields.text("wellKnownCACertificates", WELL_KNOWN, None)
    references = fields.items("caCertificateRefs", most=8)
    for item in references:
        item.text("group", GROUP)
        item.text("kind", KIND)
        item.text("name", OBJECT_NAME)
    if references and well_known is not None:
        fields.error("wellKnownCACertificates", "cannot go with caCertificateRefs", "keep one of the two")
    if not references and well_known is None:
        fields.error("caCertificateRefs", "are required", "name a ConfigMap, or write wellKnownCACertificates: System")
    for item in fields.items("subjectAltNames", most=5):
        _read_alternative_name(item)


def _read_alternative_name(fields: Fields) -> None:
    kind = fields.choice("type", {name: name for name in _SAN_MEMBERS})
    for name, (member, rule) in _SAN_MEMBERS.items():
        if name == kind:
            fields.text(member, rule)
        elif fields.text(member, rule, None) is not None:
            fields.error(member, f"does not go with type {kind}", f"remove it, or write type: {name}")
