"""Services as backends: port, BackendTLSPolicy, protocol and endpoints, in this order (GEP-1911, GEP-1897). Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from gatewayproxy.compiler.manifests.endpointslice import SERVICE_NAME_LABEL, EndpointSlice
from gatewayproxy.compiler.manifests.service import ENDPOINTS_ANNOTATION, Service, ServicePort
from gatewayproxy.compiler.resolve.backends.target import STREAMS, BackendDraft, Sought, Surroundings, Target, refused
from gatewayproxy.compiler.resolve.endpoints import EndpointsError, fallback_name, from_annotation, from_slices
from gatewayproxy.compiler.resolve.policies import ServiceTls
from gatewayproxy.model.codes import Code
from gatewayproxy.model.plan import Cluster
from gatewayproxy.model.protocols import AppProtocol
from gatewayproxy.model.refusals import (
    BACKEND_NOT_FOUND,
    BACKEND_TLS_INVALID,
    BACKEND_TLS_UNSUPPORTED,
    INVALID_KIND,
    NO_ENDPOINTS,
    UNSUPPORTED_PROTOCOL,
)

__all__ = ["Services"]

_HINTS: Final[Mapping[str, str]] = {
    BACKEND_NOT_FOUND: "add or mend the Service, or correct name, namespace and port",
    BACKEND_TLS_INVALID: "correct the policy, or remove it where plain text to the Service is acceptable",
    BACKEND_TLS_UNSUPPORTED: "use a TLSRoute on a listener that terminates TLS, or remove the policy",
    INVALID_KIND: "name one of the Service's ports",
    NO_ENDPOINTS: "list ready endpoints in an EndpointSlice, or in the annotation gatewayproxy.io/endpoints",
    UNSUPPORTED_PROTOCOL: "correct or remove appProtocol; kubernetes.io/wss needs a BackendTLSPolicy",
}
# Only the names Kubernetes reserves change how we speak; others ("http", "postgres") are hints for people.
_APP_PROTOCOLS: Final[Mapping[str, AppProtocol]] = {each.value: each for each in (AppProtocol.WS, AppProtocol.H2C)}
_RESERVED: Final = "kubernetes.io/"
_WSS: Final = "kubernetes.io/wss"  # WebSockets over TLS: only with a BackendTLSPolicy (GEP-1911)
_RETRIED: Final = frozenset({"HTTPRoute", "GRPCRoute"})


class Services:
    """All Services."""

    def __init__(self, around: Surroundings) -> None:
        resources = around.resources
        self._services = {(s.meta.namespace, s.meta.name): s for s in resources.of(Service)}
        self._broken = {(m.namespace, m.name) for m in resources.fenced if m.key.kind == "Service"}
        self._slices: dict[tuple[str, str], list[EndpointSlice]] = defaultdict(list)
        for part in resources.of(EndpointSlice):
            service = part.meta.labels.get(SERVICE_NAME_LABEL)
            if service:
                self._slices[part.meta.namespace, service].append(part)
        self._policies = around.policies
        self._traffic = around.traffic
        self._cluster_domain = around.cluster_domain
        self._findings = around.findings
        self._blamed: set[tuple[str, str]] = set()

    @property
    def drafts(self) -> tuple[BackendDraft, ...]:
        """Return none: what is to be said of a Service is said of routes and policies."""
        return ()

    def target(self, sought: Sought) -> Target:
        """Return what *sought* comes to."""
        namespace, service_name, number, route_kind, passed_through = sought
        title = f"Service {namespace}/{service_name}"
        if number is None:
            return _refused(f"{namespace}/{service_name}", INVALID_KIND, f"{title} needs a port")
        name = f"{namespace}/{service_name}:{number}"
        service = self._services.get((namespace, service_name))
        if service is None:
            state = "has errors" if (namespace, service_name) in self._broken else "does not exist"
            return _refused(name, BACKEND_NOT_FOUND, f"{title} {state}")
        transport = "UDP" if route_kind == "UDPRoute" else "TCP"
        port = _find_port(service, number, transport)
        if port is None:
            known = ", ".join(str(p.port) for p in service.ports if p.protocol == transport) or "none"
            return _refused(name, BACKEND_NOT_FOUND, f"{title} has no {transport} port {number}; it has {known}")
        tls = None  # TLS runs over TCP, and not inside the client's own
        if transport == "TCP" and not passed_through:
            found = self._policies.tls_of(namespace, service_name, port.name)
            if found is not None and (unusable := _unusable(name, found, route_kind)):
                return unusable
            tls = found.tls if found is not None else None
        protocol = _protocol(port.app_protocol, route_kind, tls is not None)
        if protocol is None:
            detail = f"{title} port {number} has appProtocol {port.app_protocol}"
            return _refused(name, UNSUPPORTED_PROTOCOL, f"{detail}, which {route_kind}s do not support")
        budget = self._traffic.budget_of(namespace, service_name) if route_kind in _RETRIED else None
        return self._cluster_target(service, port, Cluster(name=name, protocol=protocol, tls=tls, retry_budget=budget))

    def _cluster_target(self, service: Service, port: ServicePort, cluster: Cluster) -> Target:
        """Return *cluster* with the endpoints of *port*."""
        name = cluster.name
        slices = self._slices.get((service.meta.namespace, service.meta.name))
        annotation = service.meta.annotations.get(ENDPOINTS_ANNOTATION)
        if slices is None and annotation is None:
            dns = fallback_name(service, port, self._cluster_domain)
            return Target(name, replace(cluster, dns=dns), None)
        if slices is not None:
            endpoints = from_slices(slices, port)
        else:
            try:
                endpoints = from_annotation(annotation or "", port)
            except EndpointsError as error:
                self._blame(service, str(error))
                endpoints = ()
        if not endpoints:
            return _refused(name, NO_ENDPOINTS, f"Service {name} has no ready endpoints")
        return Target(name, replace(cluster, endpoints=endpoints), None)

    def _blame(self, service: Service, message: str) -> None:
        if (service.meta.namespace, service.meta.name) in self._blamed:
            return
        self._blamed.add((service.meta.namespace, service.meta.name))
        field = f"metadata.annotations[{ENDPOINTS_ANNOTATION}]"
        self._findings.error(service.meta.origin, service.meta.key, field, message, code=Code.MALFORMED)


def _find_port(service: Service, number: int, transport: str) -> ServicePort | None:
    if service.type == "ExternalName" and not service.ports:  # it needs none: the name is all there is
        return ServicePort(
            name="", port=number, target_port=number, protocol=transport, at=service.meta.origin, path="spec.ports"
        )
    return next((port for port in service.ports if port.port == number and port.protocol == transport), None)


def _unusable(name: str, found: ServiceTls, route_kind: str) -> Target | None:
    """Return the refusal where the TLS that a policy asks for cannot be spoken: all else would be plain text."""
    if found.tls is None:
        return _refused(name, BACKEND_TLS_INVALID, found.flaw)
    if route_kind == "TCPRoute":
        detail = f"{found.policy} asks for TLS to {name}, and TCPRoutes carry bytes as they come"
        return _refused(name, BACKEND_TLS_UNSUPPORTED, detail)
    return None


def _protocol(name: str | None, route_kind: str, over_tls: bool) -> AppProtocol | None:
    """Return what a port with appProtocol *name* is spoken to in, for a kind of route; None where that cannot be.

    Over TLS the names mean the same versions of HTTP, and ALPN offers them: "h2c" is h2 there.
    """
    if route_kind in STREAMS:  # a stream only carries bytes: whatever they mean will do
        return AppProtocol.OPAQUE
    reserved = name if name and name.startswith(_RESERVED) else ""
    if route_kind == "GRPCRoute":  # GEP-1911: "MAY infer the protocol from the Route type", and gRPC is HTTP/2
        return AppProtocol.H2C if reserved in ("", AppProtocol.H2C.value) else None
    if reserved == _WSS:
        return AppProtocol.WS if over_tls else None
    return _APP_PROTOCOLS.get(reserved) if reserved else AppProtocol.HTTP


def _refused(name: str, reason: str, detail: str) -> Target:
    return refused(name, reason, detail, _HINTS[reason])
