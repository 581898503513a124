"""Listener protocols: what each one admits, as one table (GatewaySpec `ProtocolType`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

__all__ = ["PROTOCOLS", "AppProtocol", "Protocol", "ProtocolTraits", "TlsMode"]


class Protocol(Enum):
    """`Listener.protocol`."""

    HTTP = "HTTP"
    HTTPS = "HTTPS"
    TLS = "TLS"
    TCP = "TCP"
    UDP = "UDP"


class TlsMode(Enum):
    """`ListenerTLSConfig.mode`."""

    TERMINATE = "Terminate"
    PASSTHROUGH = "Passthrough"


class AppProtocol(Enum):
    """What a backend port speaks (`Service.spec.ports[].appProtocol`, GEP-1911)."""

    OPAQUE = "opaque"  # bytes of a stream or datagrams, whatever they mean
    HTTP = "http"
    WS = "kubernetes.io/ws"
    H2C = "kubernetes.io/h2c"  # HTTP/2 by prior knowledge


@dataclass(frozen=True, slots=True)
class ProtocolTraits:
    """What listeners of one protocol admit."""

    route_kinds: tuple[str, ...]
    has_hostname: bool  # distinct listeners may share a port by hostname
    tls_modes: tuple[TlsMode, ...]  # () = `tls` must be absent
    udp: bool = False  # else over TCP; the two do not share port numbers


PROTOCOLS: Final[dict[Protocol, ProtocolTraits]] = {
    Protocol.HTTP: ProtocolTraits(("HTTPRoute", "GRPCRoute"), True, ()),
    Protocol.HTTPS: ProtocolTraits(("HTTPRoute", "GRPCRoute"), True, (TlsMode.TERMINATE,)),
    Protocol.TLS: ProtocolTraits(("TLSRoute",), True, (TlsMode.TERMINATE, TlsMode.PASSTHROUGH)),
    Protocol.TCP: ProtocolTraits(("TCPRoute",), False, ()),
    Protocol.UDP: ProtocolTraits(("UDPRoute",), False, (), udp=True),
}
