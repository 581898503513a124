"""GatewaySpec.tls: certificates of clients (GEP-91), and our own towards backends (GEP-3155). Pure."""

from __future__ import annotations

from typing import NamedTuple

from gatewayproxy.compiler.manifests.frontend_tls import FrontendTls, read_frontend_tls
from gatewayproxy.compiler.manifests.references import ObjectReference, read_secret_reference
from gatewayproxy.fields import Fields

__all__ = ["GatewayTls", "read_gateway_tls"]


class GatewayTls(NamedTuple):
    """GatewayTLSConfig."""

    frontend: FrontendTls
    certificate_ref: ObjectReference | None  # backend.clientCertificateRef


def read_gateway_tls(spec: Fields) -> GatewayTls:
    """Read spec.tls of a Gateway."""
    fields = spec.child("tls")
    if fields is None:
        return GatewayTls(FrontendTls(), None)
    frontend, backend = fields.child("frontend"), fields.child("backend")
    reference = backend.child("clientCertificateRef") if backend is not None else None
    return GatewayTls(
        FrontendTls() if frontend is None else read_frontend_tls(frontend),
        None if reference is None else read_secret_reference(reference),
    )
