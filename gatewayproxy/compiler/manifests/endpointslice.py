"""EndpointSlice (discovery.k8s.io/v1): the endpoints of a Service, by port name. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.compiler.manifests.service import TRANSPORTS
from gatewayproxy.fields import ANY_TEXT, Fields, Text
from gatewayproxy.fields.shapes import PORT, PRECISE_HOSTNAME
from gatewayproxy.model.names import Origin

__all__ = ["SERVICE_NAME_LABEL", "EndpointSlice", "SliceEndpoint", "SlicePort", "read"]

SERVICE_NAME_LABEL: Final = "kubernetes.io/service-name"

_PORT_NAME: Final = Text("the name of a Service port", r"([a-z0-9]([-a-z0-9]*[a-z0-9])?)?", longest=63)
_ADDRESS_TYPES: Final = {name: name for name in ("IPv4", "IPv6", "FQDN")}


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceEndpoint:
    """Endpoint: all its addresses are the same server; the first is used."""

    addresses: tuple[str, ...]
    ready: bool = True  # conditions.ready; unknown counts as ready
    at: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class SlicePort:
    """EndpointPort: *name* is the Service port's."""

    name: str
    port: int | None  # None: not restricted to a port, of no use to us
    protocol: str = "TCP"
    app_protocol: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSlice:
    """EndpointSlice."""

    meta: Meta
    address_type: str  # IPv4, IPv6 or FQDN
    endpoints: tuple[SliceEndpoint, ...] = ()
    ports: tuple[SlicePort, ...] = ()

    @property
    def service(self) -> str:
        """The name of the Service (same namespace) this slice belongs to, "" if it names none."""
        return self.meta.labels.get(SERVICE_NAME_LABEL, "")


def read(meta: Meta, root: Fields, version: str) -> EndpointSlice:
    """Read an EndpointSlice."""
    if SERVICE_NAME_LABEL not in meta.labels:
        root.warn("metadata", "belongs to no Service, ignored", f"add the label {SERVICE_NAME_LABEL}")
    address_type = root.choice("addressType", _ADDRESS_TYPES)
    return EndpointSlice(
        meta=meta,
        address_type=address_type,
        endpoints=tuple(_read_endpoint(item, address_type) for item in root.items("endpoints", most=1000)),
        ports=tuple(_read_port(item) for item in root.items("ports", most=100)),
    )


def _read_endpoint(fields: Fields, address_type: str) -> SliceEndpoint:
    fields.ignore("deprecatedTopology", "hints", "hostname", "nodeName", "targetRef", "zone")
    addresses = fields.texts("addresses", least=1, most=100)
    for index, address in enumerate(addresses):
        if not _is_address(address, address_type):
            message = f'"{address[:80]}" is not of addressType {address_type}'
            fields.error_at("addresses", index, message, "correct it, or put it in a slice of its own type")
    ready = True
    conditions = fields.child("conditions")
    if conditions is not None:
        ready = conditions.boolean("ready", True)
        conditions.boolean("serving", None)
        conditions.boolean("terminating", None)
    return SliceEndpoint(addresses=addresses, ready=ready, at=fields.at)


def _read_port(fields: Fields) -> SlicePort:
    return SlicePort(
        name=fields.text("name", _PORT_NAME, ""),
        port=fields.integer("port", *PORT, None),
        protocol=fields.choice("protocol", TRANSPORTS, "TCP"),
        app_protocol=fields.text("appProtocol", ANY_TEXT, None),
    )


def _is_address(text: str, address_type: str) -> bool:
    if address_type == "FQDN":
        return not PRECISE_HOSTNAME.flaw(text)
    try:
        IPv4Address(text) if address_type == "IPv4" else IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text
