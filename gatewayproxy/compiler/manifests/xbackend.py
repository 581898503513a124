"""XBackend: a host outside, and how it is to be spoken to (GEP-4894, experimental). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from re import compile as regex
from typing import Final

from gatewayproxy.compiler.manifests.backend_validation import BackendValidation, read_backend_validation
from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.compiler.manifests.references import ObjectReference, read_secret_reference
from gatewayproxy.fields import Fields, Text
from gatewayproxy.fields.shapes import PORT, PRECISE_HOSTNAME
from gatewayproxy.model.codes import Code

__all__ = ["BackendProtocol", "XBackend", "XBackendTls", "read"]

PORT_NAME: Final = Text(
    "empty, or a label of lower-case letters, digits and inner hyphens", r"([a-z0-9]([-a-z0-9]*[a-z0-9])?)?", longest=63
)
_INTERNAL: Final = ".cluster.local"
# What ends in a number is an address to a resolver, however it is written: 127.0.0.1, 127.1, 0x7f000001.
_ADDRESS: Final = regex(r"(.*\.)?([0-9]+|0x[0-9a-f]*)")


class BackendProtocol(Enum):
    """BackendSpec.protocol."""

    TCP = "TCP"
    HTTP = "HTTP"
    HTTP2 = "HTTP2"
    HTTP11 = "HTTP11"
    H2C = "H2C"
    MCP = "MCP"


@dataclass(frozen=True, slots=True, kw_only=True)
class XBackendTls:
    """BackendTLS of mode ServerOnly or ClientAndServer."""

    validation: BackendValidation | None  # None: its host by the system's authorities
    certificate_ref: ObjectReference | None  # ClientAndServer


@dataclass(frozen=True, slots=True, kw_only=True)
class XBackend:
    """XBackend.spec."""

    meta: Meta
    hostname: str
    port: int
    protocol: BackendProtocol | None = None  # None: as the route says
    tls: XBackendTls | None = None  # None: plain text


def read(meta: Meta, root: Fields, version: str) -> XBackend:
    """Read an XBackend."""
    spec = root.required_child("spec")
    spec.choice("type", {"ExternalHostname": True})
    external = spec.required_child("externalHostname")
    hostname = external.text("hostname", PRECISE_HOSTNAME)
    if hostname.endswith(_INTERNAL):
        external.error(
            "hostname", f"{hostname} is inside a cluster ({_INTERNAL})", "name its Service in routes instead"
        )
    elif _ADDRESS.fullmatch(hostname):
        external.error("hostname", f"{hostname} is an address, not a DNS name", "write a DNS name")
    port = spec.required_child("port")
    port.text("name", PORT_NAME, "")
    tls = spec.child("tls")
    if tls is None:  # "the lack of TLS for external hostnames should be considered insecure"
        hint = "add tls, if with mode: None"
        spec.warn("tls", "is missing: this host outside is reached in plain text", hint, Code.PLAIN_TEXT)
    return XBackend(
        meta=meta,
        hostname=hostname,
        port=port.integer("port", *PORT),
        protocol=spec.choice("protocol", {each.value: each for each in BackendProtocol}, None),
        tls=_read_tls(tls) if tls is not None else None,
    )


def _read_tls(fields: Fields) -> XBackendTls | None:
    mode = fields.choice("mode", {name: name for name in ("None", "ServerOnly", "ClientAndServer")})
    validation = fields.child("validation")
    found = read_backend_validation(validation) if validation is not None else None
    reference = fields.child("clientCertificateRef")
    certificate_ref = read_secret_reference(reference) if reference is not None else None
    if mode == "None" and found is not None:
        fields.warn("validation", "is not used with mode None", "remove it, or write mode: ServerOnly")
    if mode == "ClientAndServer" and certificate_ref is None:
        fields.error(
            "clientCertificateRef", "is required for mode ClientAndServer", "name a Secret of type kubernetes.io/tls"
        )
    elif mode != "ClientAndServer" and certificate_ref is not None:
        fields.error(
            "clientCertificateRef", f"does not go with mode {mode}", "remove it, or write mode: ClientAndServer"
        )
    return None if mode == "None" else XBackendTls(validation=found, certificate_ref=certificate_ref)
