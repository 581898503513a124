"""Clusters as the traffic of one listener reaches them: with the certificate that its Gateway presents. Pure."""

from __future__ import annotations

from dataclasses import replace

from gatewayproxy.model.plan import Cluster, Listener, Refusal

__all__ = ["present"]


def present(cluster: Cluster, listener: Listener) -> Cluster | Refusal:
    """Return *cluster* for *listener*; a refusal where the certificate that should be presented cannot be had."""
    tls = cluster.tls
    if tls is None or not tls.of_gateway:
        return cluster
    certificate = listener.backend_certificate
    if isinstance(certificate, Refusal):
        return certificate
    return replace(cluster, tls=replace(tls, certificate=certificate, of_gateway=False))
