"""Which entry of a table takes a request: port, server name, host, rule, as the data plane asks for them. Pure.

`PortTable` finds the ports that a client could mean; `decide_entry` asks `routing.dispatch`, `routing.server_names` and
`routing.match`, which are all there is to matching. What a client does not say (a log line knows no port) is tried
until something takes the request. `ByTarget` does the same for many requests of one client, host and method: replays
of logs ask it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import chain
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
from gatewayproxy.wire.target import PLAIN_PATH, QUERY, check_authority, is_origin_form, odd_path

__all__ = [
    "HTTP_INSIDE", "NO_PORT", "UNMET", "WRONG_PROTOCOL", "ByTarget", "PortTable", "Routed", "decide_entry", "read_head",
    "route_on",
]  # fmt: skip

# Reasons that no log has: no gateway heard of the request, or not what it was meant to be.
NO_PORT: Final = "no_port"
WRONG_PROTOCOL: Final = "wrong_protocol"
HTTP_INSIDE: Final = "http_inside"  # TLS ends here, and HTTP is to follow
UNMET: Final = frozenset(("unknown_sni", "no_sni", "no_certificate"))  # a server name ends the handshake

_NOTHING: Final = HostIndex()
_LIMITS: Final = Limits()
_ORDINARY: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE"))
_SHORT: Final = 2_048  # bytes of a target that no limit is near to
_HARMLESS: Final = frozenset((b"referer", b"user-agent", b"x-request-id"))  # what logs know of a head
_ENDS_WORD: Final = re.compile(rb"[\x00-\x20]")
_ENDS_LINE: Final = re.compile(rb"[\r\n]")
_VALUE: Final = re.compile(rb"[!-~](?:[ !-~]*[!-~])?")
_PLAIN: Final = re.compile(rb"(" + PLAIN_PATH + rb")(?:\?(" + QUERY + rb"))?+")
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
        routed = _nearer(routed, found)
    return routed if routed is not None else _nowhere(ports, request)


def _nearer(routed: Routed | None, found: Routed) -> Routed:
    """Return which of two answers to tell, of ports that do not take the request: the first that has its host."""
    return found if routed is None or (routed.vhost is None and found.vhost is not None) else routed


def _nowhere(ports: PortTable, request: Request) -> Routed:
    return Routed(None, reason=WRONG_PROTOCOL if ports.bound(request) else NO_PORT)


class ByTarget:
    """`decide_entry` for requests that are *request* but for their targets.

    PERF: ports, server name, host and field values are looked at once, so that a target costs 1.1 instead of 2.6 us.
    """

    __slots__ = ("_ask", "_declined", "_places", "_ports", "_request")

    def __init__(self, ports: PortTable, request: Request) -> None:
        self._ports, self._request = ports, request.with_target(b"/")
        self._ask = _ask_for(self._request)  # None: all depends on the target
        self._places: list[_Place] = []
        self._declined = self._look() if self._ask is not None else _nowhere(ports, request)

    def decide(self, target: bytes) -> Routed:
        """Return what becomes of the request for *target*; answers that are equal are mostly one object."""
        ask = self._ask
        parts = _path_and_query(target) if ask is not None else None
        if ask is None or parts is None:
            return decide_entry(self._ports, self._request.with_target(target))
        ask.path, query = parts
        ask.query = query or b""
        for place in self._places:
            entry = find_entry(place.vhost, ask)
            if entry is not None:
                return place.taken(entry)
        return self._declined

    def _look(self) -> Routed:
        """Find the places where rules are asked; return what becomes of a request if they all decline."""
        declined = None
        for port in self._ports.of(self._request):
            found = route_on(port, self._request)
            vhost = found.vhost
            if vhost is not None and found.reason in ("", unmatched(vhost)):
                found = found._replace(entry=None, reason=unmatched(vhost))
                self._places.append(_Place(vhost, found))
            elif found.entry is not None:  # a stream's, which takes whatever comes
                return found
            declined = _nearer(declined, found)
        return declined if declined is not None else _nowhere(self._ports, self._request)


class _Ask:
    """A request as rules see it, for one target after another."""

    __slots__ = ("field", "method", "path", "query")

    def __init__(self, request: Request, field: Callable[[bytes], bytes | None]) -> None:
        self.method, self.path, self.query = request.method, request.path, request.query
        self.field = field


def _ask_for(request: Request) -> _Ask | None:
    """Return what rules are asked of *request*; None where more than they depends on its target."""
    if request.kind is not Kind.HTTP or request.scheme is not None or request.method not in _ORDINARY:
        return None
    if _is_usual(request):
        return _Ask(request, request.field)
    try:
        head = read_head(request)
    except RemoteProtocolError:
        return None
    return _Ask(request, head.field) if head.end + _SHORT <= _LIMITS.head_bytes else None


def _path_and_query(target: bytes) -> tuple[bytes, bytes | None] | None:
    """Return path and query of *target*; None unless it has one reading, and rules are all there is to ask."""
    if len(target) > _SHORT:
        return None
    plain = _PLAIN.fullmatch(target)
    if plain is not None:
        return plain[1], plain[2]
    path, _, query = target.partition(b"?")
    try:
        return (path, query) if is_origin_form(target) and not odd_path(path) else None
    except RemoteProtocolError:
        return None


class _Place:
    """A virtual host of a port whose rules a request is held to."""

    __slots__ = ("_declined", "_taken", "vhost")

    def __init__(self, vhost: VirtualHost, declined: Routed) -> None:
        self.vhost = vhost
        self._declined = declined
        self._taken: dict[RouteEntry, Routed] = {}

    def taken(self, entry: RouteEntry) -> Routed:
        """Return that *entry* takes it here."""
        routed = self._taken.get(entry)
        if routed is None:
            routed = self._taken[entry] = self._declined._replace(entry=entry, reason="")
        return routed


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
        detail = f"listener {target.listener.name} has this name, but cannot serve: see its status"
        return Routed(port, target.listener, None, "no_certificate", detail, target)
    if target.action is not SniAction.HTTP:
        reason = "" if target.entry is not None else "no_route"
        return Routed(port, target.listener, target.entry, reason, target=target)
    if request.kind is Kind.TLS:
        return Routed(port, target.listener, None, HTTP_INSIDE, target=target)
    return _http(port, request, target, b"https")


def read_head(request: Request) -> RequestHead:
    """Return *request*, of kind HTTP, as the data plane reads it; raise RemoteProtocolError as it does.

    What would end a word or a line of the head is refused before it is written there: a log says it in escapes.
    """
    if _ENDS_WORD.search(request.method + request.target):
        raise RemoteProtocolError("malformed request line", reason="bad_request_line")
    if any(_ENDS_LINE.search(text) for text in (request.authority, *chain.from_iterable(request.headers))):
        raise RemoteProtocolError("malformed header line", reason="bad_header")
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
