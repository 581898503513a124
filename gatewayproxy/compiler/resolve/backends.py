"""A backendRef to what serves it: a Cluster, or the refusal its share of the traffic gets. Pure.

Checks run in the order the API gives them: kind, ReferenceGrant, Service, port, protocol, endpoints
(HTTPBackendRef, BackendObjectReference, GEP-1911).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
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
from gatewayproxy.compiler.resolve.policies import BackendTls
from gatewayproxy.compiler.resolve.references import Grants, Subject
from gatewayproxy.fields import BackendObjectReference
from gatewayproxy.model.plan import Cluster, Refusal
from gatewayproxy.model.protocols import AppProtocol
from gatewayproxy.model.refusals import (
    BACKEND_NOT_FOUND,
    BACKEND_TLS_UNSUPPORTED,
    INVALID_KIND,
    NO_ENDPOINTS,
    REF_NOT_PERMITTED,
    UNSUPPORTED_PROTOCOL,
    refuse,
)
from gatewayproxy.model.status import Condition, Reason

__all__ = ["Backends", "Target"]

# NO_ENDPOINTS and BACKEND_TLS_UNSUPPORTED are missing on purpose: the reference itself is resolved.
_CONDITION: Final[dict[str, Reason]] = {
    BACKEND_NOT_FOUND: Reason.BACKEND_NOT_FOUND,
    INVALID_KIND: Reason.INVALID_KIND,
    REF_NOT_PERMITTED: Reason.REF_NOT_PERMITTED,
    UNSUPPORTED_PROTOCOL: Reason.UNSUPPORTED_PROTOCOL,
}
_HINTS: Final[dict[str, str]] = {
    BACKEND_NOT_FOUND: "add or mend the Service, or correct name, namespace and port",
    BACKEND_TLS_UNSUPPORTED: "remove the policy where plain text to the Service is acceptable",
    INVALID_KIND: "name a Service and one of its ports",
    NO_ENDPOINTS: "list ready endpoints in an EndpointSlice, or in the annotation gatewayproxy.io/endpoints",
    REF_NOT_PERMITTED: "add that ReferenceGrant, or use a Service of the route's own namespace",
    UNSUPPORTED_PROTOCOL: "correct appProtocol, or remove it where the backend speaks plain HTTP",
}
# Only the names Kubernetes reserves change how we speak; others ("http", "postgres") are hints for people.
_APP_PROTOCOLS: Final[Mapping[str, AppProtocol]] = {each.value: each for each in (AppProtocol.WS, AppProtocol.H2C)}
_RESERVED: Final = "kubernetes.io/"
_STREAMS: Final = frozenset({"TCPRoute", "TLSRoute", "UDPRoute"})
_NO_TLS_OF_OURS: Final = frozenset({"TLSRoute", "UDPRoute"})  # passed through, or none: TLS runs over TCP


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
        self._tls = BackendTls(resources, findings)
        self._broken = {(m.namespace, m.name) for m in resources.fenced if m.key.kind == "Service"}
        self._slices: dict[tuple[str, str], list[EndpointSlice]] = defaultdict(list)
        for part in resources.of(EndpointSlice):
            service = part.meta.labels.get(SERVICE_NAME_LABEL)
            if service:
                self._slices[part.meta.namespace, service].append(part)
        self._grants = grants
        self._cluster_domain = cluster_domain
        self._findings = findings
        self._targets: dict[tuple[str, str, int, str], Target] = {}
        self._blamed: set[tuple[str, str]] = set()

    def target(self, ref: BackendObjectReference, subject: Subject) -> Target:
        """Resolve *ref* of a route, the *subject*."""
        namespace = ref.namespace or subject.namespace
        if ref.group or ref.kind != "Service" or ref.port is None:
            name = f"{namespace}/{ref.name}"
            kind = f"{ref.group}/{ref.kind}" if ref.group else ref.kind
            return _refused(name, INVALID_KIND, f"backendRef {name} has kind {kind}; a Service with a port is needed")
        allowed = self._grants.permits(subject, group="", kind="Service", namespace=namespace, name=ref.name)
        if not allowed:
            name = f"{namespace}/{ref.name}:{ref.port}"
            needed = f"a ReferenceGrant in namespace {namespace} from {subject.kind} of {subject.namespace} to Service"
            return _refused(name, REF_NOT_PERMITTED, f"Service {namespace}/{ref.name} needs {needed}")
        key = (namespace, ref.name, ref.port, subject.kind)
        if (target := self._targets.get(key)) is None:
            target = self._targets[key] = self._service_target(*key)
        return target

    def _service_target(self, namespace: str, service_name: str, number: int, route_kind: str) -> Target:
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
        policy = None if route_kind in _NO_TLS_OF_OURS else self._tls.policy_of(namespace, service_name, port.name)
        if policy is not None:  # all else would be plain text
            detail = f"{policy} asks for TLS to Service {namespace}/{service_name}, which is not implemented yet"
            return _refused(name, BACKEND_TLS_UNSUPPORTED, detail)
        protocol = _protocol(port.app_protocol, route_kind)
        if protocol is None:
            detail = f"Service {namespace}/{service_name} port {number} has appProtocol {port.app_protocol}"
            return _refused(name, UNSUPPORTED_PROTOCOL, f"{detail}, which {route_kind}s do not support")
        return self._cluster_target(name, service, port, protocol)

    def _cluster_target(self, name: str, service: Service, port: ServicePort, protocol: AppProtocol) -> Target:
        slices = self._slices.get((service.meta.namespace, service.meta.name))
        annotation = service.meta.annotations.get(ENDPOINTS_ANNOTATION)
        if slices is None and annotation is None:
            dns = fallback_name(service, port, self._cluster_domain)
            return Target(name, Cluster(name=name, protocol=protocol, dns=dns), None)
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
        return Target(name, Cluster(name=name, protocol=protocol, endpoints=endpoints), None)

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


def _protocol(name: str | None, route_kind: str) -> AppProtocol | None:
    """Return what a port with appProtocol *name* is spoken to in, for a kind of route; None where that cannot be."""
    if route_kind in _STREAMS:  # a stream only carries bytes: whatever they mean will do
        return AppProtocol.HTTP
    reserved = name if name and name.startswith(_RESERVED) else ""
    if route_kind == "GRPCRoute":  # GEP-1911: "MAY infer the protocol from the Route type", and gRPC is HTTP/2
        return AppProtocol.H2C if reserved in ("", AppProtocol.H2C.value) else None
    return _APP_PROTOCOLS.get(reserved) if reserved else AppProtocol.HTTP


def _refused(name: str, reason: str, detail: str) -> Target:
    return Target(name, None, refuse(reason, detail))
