"""Service: backend ports, and where traffic for them goes when no EndpointSlice says so. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.fields import ANY_TEXT, Fields, Text
from gatewayproxy.fields.shapes import LABEL, PORT, PRECISE_HOSTNAME
from gatewayproxy.model.names import Origin

__all__ = ["ENDPOINTS_ANNOTATION", "PORT_NAME", "TRANSPORTS", "Service", "ServicePort", "read"]

ENDPOINTS_ANNOTATION: Final = "gatewayproxy.io/endpoints"
TRANSPORTS: Final = {"TCP": "TCP", "UDP": "UDP", "SCTP": "SCTP"}
PORT_NAME: Final = Text(
    "a port name: at most 15 lower-case letters, digits and inner hyphens, with a letter",
    r"(?=[-0-9]*[a-z])[a-z0-9](-?[a-z0-9])*",
    shortest=1,
    longest=15,
)

_TYPES: Final = {name: name for name in ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")}
# What a cluster needs of a Service, and file mode does not.
_CLUSTER_FIELDS: Final = (
    "allocateLoadBalancerNodePorts", "clusterIPs", "externalIPs", "externalTrafficPolicy", "healthCheckNodePort",
    "internalTrafficPolicy", "ipFamilies", "ipFamilyPolicy", "loadBalancerClass", "loadBalancerIP",
    "loadBalancerSourceRanges", "publishNotReadyAddresses", "selector", "sessionAffinity", "sessionAffinityConfig",
    "topologyKeys", "trafficDistribution",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    """ServicePort: *port* is what backendRefs name, *target_port* what endpoints listen on (a number, or a name)."""

    name: str  # "" only where it is the Service's one port
    port: int
    target_port: int | str
    protocol: str = "TCP"
    app_protocol: str | None = None
    at: Origin
    path: str  # "spec.ports[0]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Service.spec."""

    meta: Meta
    type: str = "ClusterIP"
    external_name: str = ""
    cluster_ip: str = ""  # "" where none is given, or headless
    ports: tuple[ServicePort, ...] = ()


def read(meta: Meta, root: Fields, version: str) -> Service:
    """Read a Service."""
    spec = root.required_child("spec")
    spec.ignore(*_CLUSTER_FIELDS)
    kind = spec.choice("type", _TYPES, "ClusterIP")
    external_name = spec.text("externalName", PRECISE_HOSTNAME, "")
    if kind == "ExternalName" and not external_name and not spec.has("externalName"):
        spec.error("externalName", "is required for type ExternalName", "add the DNS name the Service stands for")
    ports = tuple(_read_port(item) for item in spec.items("ports"))
    _check_ports(spec, ports)
    cluster_ip = spec.text("clusterIP", ANY_TEXT, "")
    return Service(
        meta=meta,
        type=kind,
        external_name=external_name,
        cluster_ip="" if cluster_ip == "None" else cluster_ip,
        ports=ports,
    )


def _read_port(fields: Fields) -> ServicePort:
    fields.ignore("nodePort")
    port = fields.integer("port", *PORT)
    return ServicePort(
        name=fields.text("name", LABEL, ""),
        port=port,
        target_port=_read_target_port(fields, port),
        protocol=fields.choice("protocol", TRANSPORTS, "TCP"),
        app_protocol=fields.text("appProtocol", ANY_TEXT, None),
        at=fields.at,
        path=fields.path_text,
    )


def _read_target_port(fields: Fields, port: int) -> int | str:
    """Read targetPort, a number or the name of a container port; the Service's own port by default."""
    if isinstance(fields.tree.get("targetPort"), str):
        return fields.text("targetPort", PORT_NAME)
    return fields.integer("targetPort", *PORT, port)


def _check_ports(spec: Fields, ports: tuple[ServicePort, ...]) -> None:
    """Ports of a Service differ in name, and in number per transport; several need names."""
    names: set[str] = set()
    numbers: set[tuple[int, str]] = set()
    for index, port in enumerate(ports):
        if len(ports) > 1 and not port.name:
            spec.error_at("ports", index, "a Service with several ports must name each", "add name")
        elif port.name in names:
            spec.error_at("ports", index, f'the name "{port.name}" is taken by another port', "name it differently")
        if (port.port, port.protocol) in numbers:
            spec.error_at("ports", index, f"{port.protocol} port {port.port} is listed twice", "remove one of the two")
        names.add(port.name)
        numbers.add((port.port, port.protocol))
