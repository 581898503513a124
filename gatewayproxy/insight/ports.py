"""Which entry of a table takes a request: port, server name, host, rule, as the data plane asks for them. Pure.

`PortTable` finds the ports that a client could mean; `decide_entry` asks `routing.dispatch`, `routing.server_names` and
`routing.match`, which are all there is to matching. What a client does not say (a log line knows no port) is tried
until something takes the request. Fast: what replays logs calls nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.insight.requests import Kind, Request, head_bytes
from gatewayproxy.model.limits import Limits
from gatewayproxy.routing.dispatch import dispatch, unmatched
from gatewayproxy.routing.match import find_entry, find_host, host_key
from gatewayproxy.routing.server_names import find_target
from gatewayproxy.routing.table import (
    HostIndex,
    ListenerLabel,
    Port,
    PortKind,
    RouteEntry,
    RoutingTable,
    SniAction,
    SniTarget,
    VirtualHost,
)
from gatewayproxy.wire.head import RequestHead, parse_request
from gatewayproxy.wire.target import PLAIN_PATH, QUERY, check_authority

__all__ = [
    "HTTP_INSIDE", "NO_PORT", "UNMET", "WRONG_PROTOCOL", "PortTable", "Routed", "decide_entry", "read_head", "route_on",
]  # fmt: skip

# Reasons that no log has: no gateway heard of the request, or not what it was meant to be.
NO_PORT: Final = "no_port"
WRONG_PROTOCOL: Final = "wrong_protocol"
HTTP_INSIDE: Final = "http_inside"  # TLS ends here, and HTTP is to follow
UNMET: Final = frozenset(("unknown_sni", "no_sni", "no_certificate"))  # a server name ends the handshake

_NOTHING: Final = HostIndex()
_LIMITS: Final = Limits()
_ORDINARY: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE"))
_HARMLESS: Final = frozenset((b"referer", b"user-agent", b"x-request-id"))  # what logs know of a head
_VALUE: Final = re.compile(rb"[!-~](?:[ !-~]*[!-~])?")
_PLAIN: Final = re.compile(PLAIN_PATH + rb"(?:\?" + QUERY + rb")?+")
_CLEAR: Final = (PortKind.HTTP,)
_SHAKING: Final = (PortKind.HTTPS, PortKind.TLS)
_SPOKEN: Final = {Kind.TLS: _SHAKING, Kind.TCP: (PortKind.TCP,), Kind.UDP: (PortKind.UDP,)}
_HTTP_SPOKEN: Final = {None: (*_SHAKING, *_CLEAR), True: _SHAKING, False: _CLEAR}


class Routed(NamedTuple):
    """What becomes of a request; *reason*, a code of the access log, where no entry takes it.

    An entry beside a reason answers in its own name: a CORS filter that answers a preflight.
    """

    port: Port | None
    listener: ListenerLabel | None = None  # of the host; of the server name where that is as far as it went
    entry: RouteEntry | None = None
    reason: str = ""
    detail: str = ""
    target: SniTarget | None = None  # what the server name led to
    vhost: VirtualHost | None = None


class PortTable:
    """The ports of a table, by number, and by the names of their listeners."""

    def __init__(self, table: RoutingTable) -> None:
        self.table = table
        self._found: dict[tuple[object, ...], tuple[Port, ...]] = {}

    def of(self, request: Request) -> tuple[Port, ...]:
        """Return the ports that *request* may have come to, and that speak its protocol; best first."""
        key = request[:5]
        found = self._found.get(key)
        if found is None:
            found = tuple(self._look(request))
            if len(self._found) >= _KEPT:
                self._found.clear()
            self._found[key] = found
        return found

    def bound(self, request: Request) -> list[Port]:
        """Return the ports that *request* may have come to, whatever they speak."""
        udp = request.kind is Kind.UDP
        ports = [port for port in self.table.ports if (port.kind is PortKind.UDP) is udp]
        if request.listener:
            return [port for port in ports if _is_of(port, request.listener)]
        if request.port:
            # As clients know them; --map-port makes that another number than the one that is bound.
            ports = [port for port in ports if port.port == request.port] or [
                port for port in ports if port.bind_port == request.port
            ]
        if request.address:  # a socket bound to the address gets what comes to it, before one of all addresses
            own = [port for port in ports if port.address == request.address]
            ports = own or [port for port in ports if not port.address]
        return ports

    def _look(self, request: Request) -> Sequence[Port]:
        spoken = _HTTP_SPOKEN[request.tls] if request.kind is Kind.HTTP else _SPOKEN[request.kind]
        return sorted(
            (port for port in self.bound(request) if port.kind in spoken), key=lambda port: spoken.index(port.kind)
        )


_KEPT: Final = 4_096  # of a log: listeners, or ports


def _is_of(port: Port, listener: str) -> bool:
    return port.label == listener or any(label.name == listener for label in port.listeners)


def decide_entry(ports: PortTable, request: Request) -> Routed:
    """Return what becomes of *request*: on the port it came to, or on the first of several that takes it."""
    routed = None
    for port in ports.of(request):
        found = route_on(port, request)
        if found.entry is not None:
            return found
        if routed is None or (routed.vhost is None and found.vhost is not None):
            routed = found
    if routed is not None:
        return routed
    return Routed(None, reason=WRONG_PROTOCOL if ports.bound(request) else NO_PORT)


def route_on(port: Port, request: Request) -> Routed:
    """Return what becomes of *request* on *port*, which speaks its protocol."""
    if port.kind is PortKind.HTTP:
        return _http(port, request, None, b"http")
    if port.sni is None:
        entry = port.tcp or port.udp
        label = port.listeners[0] if port.listeners else None
        return Routed(port, label, entry, "" if entry is not None else "no_route")
    target = find_target(port.sni, request.server_name)
    if target is None:
        return Routed(port, reason="unknown_sni" if request.server_name else "no_sni")
    if target.action is SniAction.REFUSE:
        detail = f"listener {target.listener.name} has this name, but no certificate"
        return Routed(port, target.listener, None, "no_certificate", detail, target)
    if target.action is not SniAction.HTTP:
        reason = "" if target.entry is not None else "no_route"
        return Routed(port, target.listener, target.entry, reason, target=target)
    if request.kind is Kind.TLS:
        return Routed(port, target.listener, None, HTTP_INSIDE, target=target)
    return _http(port, request, target, b"https")


def read_head(request: Request) -> RequestHead:
    """Return *request*, of kind HTTP, as the data plane reads it; raise RemoteProtocolError as it does."""
    head = parse_request(head_bytes(request), _LIMITS)
    if head is None:
        raise RemoteProtocolError("the head does not end", reason="bad_header")
    return head


def _http(port: Port, request: Request, target: SniTarget | None, scheme: bytes) -> Routed:
    own = target.listener if target is not None else None
    usual = _is_usual(request)
    try:
        head = request if usual else read_head(request)
        check_authority(head.authority)
    except RemoteProtocolError as error:
        return Routed(port, own, None, error.reason, str(error), target)
    vhost = find_host(port.http or _NOTHING, host_key(head.authority))
    if usual and vhost is not None and (own is None or own.scope == vhost.listener.scope):
        entry = find_entry(vhost, request)  # PERF: as the data plane does, 1 us less than by `dispatch`
        return Routed(port, vhost.listener, entry, "" if entry is not None else unmatched(vhost), "", target, vhost)
    entry, reason, detail = dispatch(vhost, head, own, scheme)
    return Routed(port, vhost.listener if vhost is not None else own, entry, reason, detail, target, vhost)


def _is_usual(request: Request) -> bool:
    """Return whether *request* can be routed as it is. PERF: reading most others takes 5 us."""
    if request.scheme is not None or request.method not in _ORDINARY or not _PLAIN.fullmatch(request.target):
        return False
    for name, value in request.headers:  # noqa: SIM110 - a generator costs more than the test
        if name not in _HARMLESS or not _VALUE.fullmatch(value):
            return False
    return True
