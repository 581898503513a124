"""Kinds of other proxies, and what stands for them here: hints for those who bring their manifests along. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["advice"]

_INSTEAD: Final[Mapping[str, str]] = {
    "ApisixRoute": "HTTPRoute",
    "HTTPProxy": "HTTPRoute",
    "Ingress": "HTTPRoute",
    "IngressRoute": "HTTPRoute",
    "IngressRouteTCP": "TCPRoute",
    "IngressRouteUDP": "UDPRoute",
    "ProxyBackend": "Service",
    "ProxyGateway": "Gateway",
    "ProxyRoute": "HTTPRoute",
    "TCPIngress": "TCPRoute",
    "TransportServer": "TCPRoute",
    "UDPIngress": "UDPRoute",
    "VirtualServer": "HTTPRoute",
    "VirtualService": "HTTPRoute",
}
_POLICIES: Final = frozenset((
    "AuthorizationPolicy", "BackendTrafficPolicy", "ClientTrafficPolicy", "DestinationRule", "EnvoyPatchPolicy",
    "HTTPRouteFilter", "Middleware", "ProxyPolicy", "RateLimitPolicy", "SecurityPolicy", "SnippetsFilter",
))  # fmt: skip


def advice(kind: str) -> str:
    """Return what to write in the place of an object of *kind*, "" where nothing is known of it."""
    if kind in _INSTEAD:
        return f"write kind: {_INSTEAD[kind]} of the Gateway API in its place"
    if kind == "Kustomization":
        return "it is no manifest: render it first (kustomize build FOLDER)"
    if kind == "ProxyVIP":
        return "write its address in spec.addresses of the Gateway; the network announces it"
    if kind in _POLICIES:
        return "nothing that it asks for is done here: see filters, timeouts and BackendTLSPolicy"
    return ""
