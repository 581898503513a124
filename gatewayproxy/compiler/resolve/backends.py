"""A backendRef to what serves it: a Cluster, or the refusal its share of the traffic gets. Pure.

Checks run in the order the API gives them: kind, ReferenceGrant, Service, port, protocol, endpoints
(HTTPBackendRef, BackendObjectReference, GEP-1911).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from gatewayproxy.compiler.manifests import Resources
from gatewayproxy.compiler.manifests.endpointslice import SERVICE_NAME_LABEL, EndpointSlice
from gatewayproxy.compiler.manifests.service import ENDPOINTS_ANNOTATION, Service, ServicePort
from gatewayproxy.compiler.resolve.conditions import Findings
from gatewayproxy.compiler.resolve.endpoints import (
    EndpointsError,
    fallback_name,
    from_annotation,
    from_slices,
)
from gatewayproxy.compiler.resolve.policies import Policies, ServiceTls
from gatewayproxy.compiler.resolve.references import Grants, Subject
from gatewayproxy.compiler.resolve.traffic import TrafficPolicies
from gatewayproxy.fields import BackendObjectReference
from gatewayproxy.model.plan import Cluster, Refusal
from gatewayproxy.model.protocols import AppProtocol
from gatewayproxy.model.refusals import (
    BACKEND_NOT_FOUND,
    BACKEND_TLS_INVALID,
    BACKEND_TLS_UNSUPPORTED,
    INVALID_KIND,
    NO_ENDPOINTS,
    REF_NOT_PERMITTED,
    UNSUPPORTED_PROTOCOL,
    refuse,
)
from gatewayproxy.model.status import Condition, Reason

__all__ = ["Backends", "Target"]

# NO_ENDPOINTS and those of TLS are missing on purpose: the reference itself is resolved.
_CONDITION: Final[dict[str, Reason]] = {
    BACKEND_NOT_FOUND: Reason.BACKEND_NOT_FOUND,
    INVALID_KIND: Reason.INVALID_KIND,
    REF_NOT_PERMITTED: Reason.REF_NOT_PERMITTED,
    UNSUPPORTED_PROTOCOL: Reason.UNSUPPORTED_PROTOCOL,
}
_HINTS: Final[dict[str, str]] = {
    BACKEND_NOT_FOUND: "add or mend the Service, or correct name, namespace and port",
    BACKEND_TLS_INVALID: "correct the policy, or remove it where plain text to the Service is acceptable",
    BACKEND_TLS_UNSUPPORTED: "use a TLSRoute on a listener that terminates TLS, or remove the policy",
    INVALID_KIND: "name a Service and one of its ports",
    NO_ENDPOINTS: "list ready endpoints in an EndpointSlice, or in the annotation gatewayproxy.io/endpoints",
    REF_NOT_PERMITTED: "add that ReferenceGrant, or use a Service of the route's own namespace",
    UNSUPPORTED_PROTOCOL: "correct or remove appProtocol; kubernetes.io/wss needs a BackendTLSPolicy",
}
# Only the names Kubernetes reserves change how we speak; others ("http", "postgres") are hints for people.
_APP_PROTOCOLS: Final[Mapping[str, AppProtocol]] = {each.value: each for each in (AppProtocol.WS, AppProtocol.H2C)}
_RESERVED: Final = "kubernetes.io/"
_WSS: Final = "kubernetes.io/wss"  # WebSockets over TLS: only with a BackendTLSPolicy (GEP-1911)
_RETRIED: Final = frozenset({"HTTPRoute", "GRPCRoute"})
_STREAMS: Final = frozenset({"TCPRoute", "TLSRoute", "UDPRoute"})


class Target(NamedTuple):
    """What a backendRef comes to: exactly one of *cluster* and *refusal*."""

    name: str
    cluster: Cluster | None
    refusal: Refusal | None

    @property
    def condition(self) -> Condition | None:
        """Return ResolvedRefs=False where the reference does not resolve."""
        reason = _CONDITION.get(self.refusal.reason) if self.refusal else None
        if reason is None or self.refusal is None:
            return None
        return Condition("ResolvedRefs", False, reason, self.refusal.detail)

    @property
    def hint(self) -> str:
        """Return what to do about a refusal, "" where there is none."""
        return _HINTS[self.refusal.reason] if self.refusal else ""


class Backends:
    """All Services, looked up by backendRefs of all routes; equal references share one Cluster."""

    def __init__(self, resources: Resources, grants: Grants, cluster_domain: str, findings: Findings) -> None:
        self._services = {(s.meta.namespace, s.meta.name): s for s in resources.of(Service)}
        self.traffic = TrafficPolicies(resources, self._services, findings)
        self.policies = Policies(resources, self._services, findings)
        self._broken = {(m.namespace, m.name) for m in resources.fenced if m.key.kind == "Service"}
        self._slices: dict[tuple[str, str], list[EndpointSlice]] = defaultdict(list)
        for part in resources.of(EndpointSlice):
            service = part.meta.labels.get(SERVICE_NAME_LABEL)
            if service:
                self._slices[part.meta.namespace, service].append(part)
        self._grants = grants
        self._cluster_domain = cluster_domain
        self._findings = findings
        self._targets: dict[tuple[str, str, int, str, bool], Target] = {}
        self._blamed: set[tuple[str, str]] = set()

    def target(self, ref: BackendObjectReference, subject: Subject, *, passed_through: bool = False) -> Target:
        """Resolve *ref* of a route, the *subject*; *passed_through*: what goes there is the client's own TLS."""
        namespace = ref.namespace or subject.namespace
        if ref.group or ref.kind != "Service" or ref.port is None:
            name = f"{namespace}/{ref.name}"
            kind = f"{ref.group}/{ref.kind}" if ref.group else ref.kind
            return _refused(name, INVALID_KIND, f"backendRef {name} has kind {kind}; a Service with a port is needed")
        if not self._permits(ref, subject):
            name = f"{namespace}/{ref.name}:{ref.port}"
            needed = f"a ReferenceGrant in namespace {namespace} from {subject.kind} of {subject.namespace} to Service"
            return _refused(name, REF_NOT_PERMITTED, f"Service {namespace}/{ref.name} needs {needed}")
        key = (namespace, ref.name, ref.port, subject.kind, passed_through)
        if (target := self._targets.get(key)) is None:
            target = self._targets[key] = self._service_target(*key)
        return target

    def service_of(self, ref: BackendObjectReference, subject: Subject) -> tuple[str, str] | None:
        """Return namespace and name of the Service that *ref* names, there or not; None where *subject* may not."""
        if ref.group or ref.kind != "Service" or not self._permits(ref, subject):
            return None
        return ref.namespace or subject.namespace, ref.name

    def _permits(self, ref: BackendObjectReference, subject: Subject) -> bool:
        namespace = ref.namespace or subject.namespace
        return self._grants.permits(subject, group="", kind="Service", namespace=namespace, name=ref.name)

    def _service_target(
        self, namespace: str, service_name: str, number: int, route_kind: str, passed_through: bool
    ) -> Target:
        name = f"{namespace}/{service_name}:{number}"
        service = self._services.get((namespace, service_name))
        if service is None:
            state = "has errors" if (namespace, service_name) in self._broken else "does not exist"
            return _refused(name, BACKEND_NOT_FOUND, f"Service {namespace}/{service_name} {state}")
        transport = "UDP" if route_kind == "UDPRoute" else "TCP"
        port = _find_port(service, number, transport)
        if port is None:
            known = ", ".join(str(p.port) for p in service.ports if p.protocol == transport) or "none"
            detail = f"Service {namespace}/{service_name} has no {transport} port {number}; it has {known}"
            return _refused(name, BACKEND_NOT_FOUND, detail)
        tls = None  # TLS runs over TCP, and not inside the client's own
        if transport == "TCP" and not passed_through:
            found = self.policies.tls_of(namespace, service_name, port.name)
            if found is not None and (refused := _unusable(name, found, route_kind)):
                return refused
            tls = found.tls if found is not None else None
        protocol = _protocol(port.app_protocol, route_kind, tls is not None)
        if protocol is None:
            detail = f"Service {namespace}/{service_name} port {number} has appProtocol {port.app_protocol}"
            return _refused(name, UNSUPPORTED_PROTOCOL, f"{detail}, which {route_kind}s do not support")
        budget = self.traffic.budget_of(namespace, service_name) if route_kind in _RETRIED else None
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
        self._findings.error(service.meta.origin, service.meta.key, field, message)


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
    if route_kind in _STREAMS:  # a stream only carries bytes: whatever they mean will do
        return AppProtocol.HTTP
    reserved = name if name and name.startswith(_RESERVED) else ""
    if route_kind == "GRPCRoute":  # GEP-1911: "MAY infer the protocol from the Route type", and gRPC is HTTP/2
        return AppProtocol.H2C if reserved in ("", AppProtocol.H2C.value) else None
    if reserved == _WSS:
        return AppProtocol.WS if over_tls else None
    return _APP_PROTOCOLS.get(reserved) if reserved else AppProtocol.HTTP


def _refused(name: str, reason: str, detail: str) -> Target:
    return Target(name, None, refuse(reason, detail))
