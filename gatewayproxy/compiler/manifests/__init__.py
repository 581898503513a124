"""Manifests: one file per kind, from located trees to frozen, checked values. `KINDS` is the whole registry. Pure.

A reader checks all that an API server would: types, enums, patterns, lengths, defaults, unknown fields and the
cross-field rules of the CustomResourceDefinitions. What an object *means* beside others is `resolve`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gatewayproxy.compiler.manifests import (
    backendtlspolicy,
    configmap,
    endpointslice,
    gateway,
    gatewayclass,
    grpcroute,
    httproute,
    listenerset,
    namespace,
    patch,
    referencegrant,
    routetest,
    secret,
    service,
    tcproute,
    tlsroute,
    udproute,
    xbackend,
    xbackendtrafficpolicy,
)
from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.compiler.manifests.resources import ReadObject, Resource, Resources, gather
from gatewayproxy.fields import Fields, Text
from gatewayproxy.fields.shapes import EXPERIMENTAL_GROUP, GATEWAY_GROUP, LABEL, SUBDOMAIN

__all__ = ["KINDS", "Kind", "ReadObject", "Resource", "Resources", "gather"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A resource kind: its versions, and who reads it."""

    read: Callable[[Meta, Fields, str], Resource]  # metadata, the whole object, version
    versions: tuple[str, ...] = ("v1",)
    deprecated: tuple[str, ...] = ()  # of the versions: served still, with a warning
    namespaced: bool = True
    name: Text = SUBDOMAIN
    annotations: tuple[str, ...] = ()  # those of ours that it may carry


KINDS: Final[dict[tuple[str, str], Kind]] = {  # by (API group, kind)
    (GATEWAY_GROUP, "GatewayClass"): Kind(read=gatewayclass.read, versions=("v1", "v1beta1"), namespaced=False),
    (GATEWAY_GROUP, "Gateway"): Kind(read=gateway.read, versions=("v1", "v1beta1")),
    (GATEWAY_GROUP, "ListenerSet"): Kind(read=listenerset.read),
    (GATEWAY_GROUP, "HTTPRoute"): Kind(read=httproute.read, versions=("v1", "v1beta1")),
    (GATEWAY_GROUP, "GRPCRoute"): Kind(read=grpcroute.read, versions=("v1", "v1alpha2"), deprecated=("v1alpha2",)),
    (GATEWAY_GROUP, "TCPRoute"): Kind(read=tcproute.read, versions=("v1", "v1alpha2"), deprecated=("v1alpha2",)),
    (GATEWAY_GROUP, "TLSRoute"): Kind(
        read=tlsroute.read, versions=("v1", "v1alpha3", "v1alpha2"), deprecated=("v1alpha3", "v1alpha2")
    ),
    (GATEWAY_GROUP, "UDPRoute"): Kind(read=udproute.read, versions=("v1", "v1alpha2"), deprecated=("v1alpha2",)),
    (GATEWAY_GROUP, "ReferenceGrant"): Kind(read=referencegrant.read, versions=("v1", "v1beta1")),
    (GATEWAY_GROUP, "BackendTLSPolicy"): Kind(
        read=backendtlspolicy.read, versions=("v1", "v1alpha3"), deprecated=("v1alpha3",)
    ),
    (EXPERIMENTAL_GROUP, "XBackendTrafficPolicy"): Kind(read=xbackendtrafficpolicy.read, versions=("v1alpha1",)),
    (EXPERIMENTAL_GROUP, "XBackend"): Kind(read=xbackend.read, versions=("v1alpha1",)),
    ("", "Service"): Kind(read=service.read, name=LABEL, annotations=(service.ENDPOINTS_ANNOTATION,)),
    ("discovery.k8s.io", "EndpointSlice"): Kind(read=endpointslice.read),
    ("", "Secret"): Kind(read=secret.read, annotations=(secret.CERT_FILE, secret.KEY_FILE)),
    ("", "ConfigMap"): Kind(read=configmap.read),
    ("gatewayproxy.io", "Patch"): Kind(read=patch.read, versions=("v1alpha1",)),
    ("gatewayproxy.io", "RouteTest"): Kind(read=routetest.read, versions=("v1alpha1",)),
    ("", "Namespace"): Kind(read=namespace.read, namespaced=False, name=LABEL),
}
