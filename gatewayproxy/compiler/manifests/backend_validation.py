"""BackendTLSPolicyValidation: whose certificates a backend may show (GEP-1897, GEP-3875). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gatewayproxy.compiler.manifests.references import ObjectReference, read_object_reference
from gatewayproxy.fields import Fields, Text
from gatewayproxy.fields.shapes import HOSTNAME, PRECISE_HOSTNAME, SUBDOMAIN_PATTERN

__all__ = ["SYSTEM", "BackendValidation", "read_backend_validation"]

SYSTEM: Final = "System"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendValidation:
    """BackendTLSPolicyValidation."""

    hostname: str  # SNI; and the name to verify where there are neither names nor uris
    ca_refs: tuple[ObjectReference, ...] = ()  # of the same namespace
    well_known: str | None = None  # "System", or a name of someone's own; None: ca_refs it is
    names: tuple[str, ...] = ()  # subjectAltNames of type Hostname
    uris: tuple[str, ...] = ()  # subjectAltNames of type URI


def read_backend_validation(fields: Fields) -> BackendValidation:
    """Read a BackendTLSPolicyValidation."""
    hostname = fields.text("hostname", PRECISE_HOSTNAME)
    well_known = fields.text("wellKnownCACertificates", WELL_KNOWN, None)
    refs = fields.items("caCertificateRefs", most=8)
    references = tuple(read_object_reference(item, namespaced=False) for item in refs)
    if references and well_known is not None:
        fields.error("wellKnownCACertificates", "cannot go with caCertificateRefs", "keep one of the two")
    if not references and well_known is None:
        fields.error("caCertificateRefs", "are required", "name a ConfigMap, or write wellKnownCACertificates: System")
    names = [_read_alternative_name(item) for item in fields.items("subjectAltNames", most=5)]
    return BackendValidation(
        hostname=hostname,
        ca_refs=references,
        well_known=well_known,
        names=tuple(name for kind, name in names if kind == "Hostname"),
        uris=tuple(name for kind, name in names if kind == "URI"),
    )


def _read_alternative_name(fields: Fields) -> tuple[str, str]:
    kind = fields.choice("type", {name: name for name in _SAN_MEMBERS})
    found = ""
    for name, (member, rule) in _SAN_MEMBERS.items():
        if name == kind:
            found = fields.text(member, rule)
        elif fields.text(member, rule, None) is not None:
            fields.error(member, f"does not go with type {kind}", f"remove it, or write type: {name}")
    return kind, found
