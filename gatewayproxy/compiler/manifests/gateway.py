"""Gateway: listeners, and the addresses they bind. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from re import compile as regex
from typing import Final

from gatewayproxy.compiler.manifests.frontend_tls import FrontendTls
from gatewayproxy.compiler.manifests.gateway_tls import read_gateway_tls
from gatewayproxy.compiler.manifests.meta import LABEL_VALUE, Meta, check_label_keys
from gatewayproxy.compiler.manifests.references import (
    ObjectReference,
    read_object_reference,
    read_secret_reference,
)
from gatewayproxy.compiler.manifests.selectors import LabelSelector, read_selector
from gatewayproxy.compiler.manifests.unserved import not_served
from gatewayproxy.fields import Fields, Text
from gatewayproxy.fields.shapes import (
    GATEWAY_GROUP,
    GROUP,
    HOSTNAME,
    HOSTNAME_PATTERN,
    KIND,
    OBJECT_NAME,
    OPTION,
    PORT,
    SECTION_NAME,
    SUBDOMAIN_PATTERN,
)
from gatewayproxy.model.codes import Code
from gatewayproxy.model.names import Origin
from gatewayproxy.model.protocols import TlsMode

__all__ = [
    "AllowedRoutes", "FromNamespaces", "Gateway", "GatewayAddress", "Listener", "ListenerTls", "RouteGroupKind", "read",
    "read_listeners",
]  # fmt: skip

PROTOCOL: Final = Text(
    "a protocol such as HTTP, HTTPS, TLS, TCP or example.com/bar",
    rf"[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?|(?s:.*?){SUBDOMAIN_PATTERN}/[A-Za-z0-9]+",
    shortest=1,
    longest=255,
)
ADDRESS: Final = Text("an address", longest=253)
# The official expression anchors only its first and last alternative, and so do we.
_ADDRESS_TYPE: Final = regex(rf"^Hostname|IPAddress|NamedAddress|{SUBDOMAIN_PATTERN}/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+\Z")
_HOSTNAME_ADDRESS: Final = regex(HOSTNAME_PATTERN)
_FROM: Final = {word: word for word in ("Same", "All", "Selector")}
_NOBODY: Final = "None"
_TLS_MODES: Final = {mode.value: mode for mode in TlsMode}


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayAddress:
    """GatewaySpecAddress; value "" = any address of the type."""

    type: str
    value: str
    at: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteGroupKind:
    """RouteGroupKind."""

    group: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FromNamespaces:
    """RouteNamespaces, ListenerNamespaces: where routes or ListenerSets may come from."""

    from_: str = "Same"  # Same, All, Selector or (ListenerSets) None
    selector: LabelSelector | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedRoutes:
    """AllowedRoutes; kinds () = all kinds of the listener's protocol."""

    namespaces: FromNamespaces = FromNamespaces()
    kinds: tuple[RouteGroupKind, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerTls:
    """ListenerTLSConfig."""

    mode: TlsMode = TlsMode.TERMINATE
    certificate_refs: tuple[ObjectReference, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    at: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Listener; *protocol* may be one we do not know."""

    name: str
    hostname: str  # "" = any
    port: int
    protocol: str
    tls: ListenerTls | None = None
    allowed_routes: AllowedRoutes = AllowedRoutes()
    at: Origin
    path: str  # "spec.listeners[0]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Gateway.spec."""

    meta: Meta
    gateway_class_name: str
    listeners: tuple[Listener, ...] = ()
    allowed_listeners: FromNamespaces = FromNamespaces(from_=_NOBODY)
    addresses: tuple[GatewayAddress, ...] = ()
    parameters_ref: ObjectReference | None = None  # infrastructure.parametersRef
    frontend_tls: FrontendTls = field(default_factory=FrontendTls)
    client_certificate_ref: ObjectReference | None = None  # tls.backend: what we present to backends over TLS


def read(meta: Meta, root: Fields, version: str) -> Gateway:
    """Read a Gateway."""
    spec = root.required_child("spec")
    if spec.choice("defaultScope", {"All": True, "None": False}, False):
        not_served(spec, "defaultScope")
    frontend_tls, client_certificate_ref = read_gateway_tls(spec)
    return Gateway(
        meta=meta,
        gateway_class_name=spec.text("gatewayClassName", OBJECT_NAME),
        listeners=read_listeners(spec),
        allowed_listeners=_read_allowed_listeners(spec),
        addresses=_read_addresses(spec),
        parameters_ref=_read_infrastructure(spec),
        frontend_tls=frontend_tls,
        client_certificate_ref=client_certificate_ref,
    )


def read_listeners(spec: Fields) -> tuple[Listener, ...]:
    """Read the listeners of a Gateway or a ListenerSet: names are unique, and so are (port, protocol, hostname)."""
    listeners = tuple(_read_listener(item) for item in spec.items("listeners", least=1, most=64))
    _check_listeners(spec, listeners)
    return listeners


def _read_listener(fields: Fields) -> Listener:
    protocol = fields.text("protocol", PROTOCOL)
    hostname = fields.text("hostname", HOSTNAME, "")
    tls = fields.child("tls")
    if protocol in ("HTTP", "TCP", "UDP") and tls is not None:
        fields.error("tls", f"must not be set for protocol {protocol}", "remove tls, or write protocol: HTTPS or TLS")
    if protocol == "TLS" and (tls is None or not tls.has("mode")):
        fields.error("tls", "needs a mode for protocol TLS", "add tls: {mode: Passthrough}")
    if protocol in ("TCP", "UDP") and hostname:
        fields.error(
            "hostname", f"must not be set for protocol {protocol}", "remove it: all traffic of the port is taken"
        )
    return Listener(
        name=fields.text("name", SECTION_NAME),
        hostname=hostname,
        port=fields.integer("port", *PORT),
        protocol=protocol,
        tls=_read_tls(tls, protocol) if tls is not None else None,
        allowed_routes=_read_allowed_routes(fields),
        at=fields.at,
        path=fields.path_text,
    )


def _read_tls(fields: Fields, protocol: str) -> ListenerTls:
    tls = ListenerTls(
        mode=fields.choice("mode", _TLS_MODES, TlsMode.TERMINATE),
        certificate_refs=tuple(read_secret_reference(item) for item in fields.items("certificateRefs", most=64)),
        options=fields.text_map("options", OPTION, most=16),
        at=fields.at,
    )
    if protocol == "HTTPS" and tls.mode is not TlsMode.TERMINATE:
        fields.error("mode", "must be Terminate for protocol HTTPS", "write mode: Terminate, or protocol: TLS")
    if tls.mode is TlsMode.TERMINATE and not tls.certificate_refs and not tls.options:
        hint = "add certificateRefs with the name of a Secret, or write mode: Passthrough"
        fields.error("certificateRefs", "are required to terminate TLS", hint)
    return tls


def _read_allowed_routes(listener: Fields) -> AllowedRoutes:
    fields = listener.child("allowedRoutes")
    if fields is None:
        return AllowedRoutes()
    kinds = tuple(
        RouteGroupKind(group=item.text("group", GROUP, GATEWAY_GROUP), kind=item.text("kind", KIND))
        for item in fields.items("kinds", most=8)
    )
    namespaces = fields.child("namespaces")
    if namespaces is None:
        return AllowedRoutes(kinds=kinds)
    return AllowedRoutes(
        namespaces=FromNamespaces(
            from_=namespaces.choice("from", _FROM, "Same"),
            selector=read_selector(namespaces),
        ),
        kinds=kinds,
    )


def _read_allowed_listeners(spec: Fields) -> FromNamespaces:
    """Read spec.allowedListeners; without any, no ListenerSet may add listeners."""
    fields = spec.child("allowedListeners")
    namespaces = fields.child("namespaces") if fields is not None else None
    if namespaces is None:
        return FromNamespaces(from_=_NOBODY)
    from_ = namespaces.choice("from", {**_FROM, _NOBODY: _NOBODY}, _NOBODY)
    return FromNamespaces(from_=from_, selector=read_selector(namespaces))


def _check_listeners(spec: Fields, listeners: tuple[Listener, ...]) -> None:
    names: set[str] = set()
    places: dict[tuple[int, str, str], str] = {}
    for index, listener in enumerate(listeners):
        if listener.name in names:
            message = f'the name "{listener.name}" is taken by another listener'
            spec.error_at("listeners", index, message, "rename one", Code.LISTENER_TWICE)
        names.add(listener.name)
        place = (listener.port, listener.protocol, listener.hostname)
        if place in places:
            message = f'has the port, protocol and hostname of listener "{places[place]}"'
            hint = "give it another hostname or port, or remove it"
            spec.error_at("listeners", index, message, hint, Code.LISTENER_TWICE)
        places.setdefault(place, listener.name)


def _read_addresses(spec: Fields) -> tuple[GatewayAddress, ...]:
    out: list[GatewayAddress] = []
    for index, fields in enumerate(spec.items("addresses", most=16)):
        address = _read_address(fields)
        twins = (other for other in out if address.value and address.type in ("IPAddress", "Hostname"))
        if any((other.type, other.value) == (address.type, address.value) for other in twins):
            spec.error_at("addresses", index, f"{address.value} is listed twice", "remove one of the two")
        out.append(address)
    return tuple(out)


def _read_address(fields: Fields) -> GatewayAddress:
    kind = fields.text("type", Text("an address type", shortest=1, longest=253), "IPAddress")
    value = fields.text("value", ADDRESS, "")
    if not _ADDRESS_TYPE.search(kind):
        fields.error("type", f'"{kind[:80]}" is not an address type', "write IPAddress")
    if kind == "IPAddress" and fields.has("value") and not _is_ip(value):
        fields.error("value", f'"{value[:80]}" is not an IP address', "write an IPv4 or IPv6 address, without a port")
    if kind == "Hostname" and fields.has("value") and not _HOSTNAME_ADDRESS.fullmatch(value):
        fields.error("value", f'"{value[:80]}" is not a DNS name', "write a lower-case DNS name")
    return GatewayAddress(type=kind, value=value, at=fields.at)


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def _read_infrastructure(spec: Fields) -> ObjectReference | None:
    """Read spec.infrastructure: labels and annotations of what a cluster would generate, and parameters."""
    fields = spec.child("infrastructure")
    if fields is None:
        return None
    check_label_keys(fields, "labels", fields.text_map("labels", LABEL_VALUE, most=8))
    check_label_keys(fields, "annotations", fields.text_map("annotations", OPTION, most=16))
    parameters = fields.child("parametersRef")
    return read_object_reference(parameters, namespaced=False) if parameters is not None else None
