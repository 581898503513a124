"""Rules of TLSRoutes, TCPRoutes and UDPRoutes that a connection could have come to, and why it did not. Pure.

Nothing but the listener, and the server name of TLS, tells connections apart: so a miss is of the port, of the
hostnames, or of precedence. Rules are those of the plan, for a table leaves out what never gets traffic.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from gatewayproxy.insight.misses import Contender, Miss, Predicate, match_text
from gatewayproxy.insight.requests import Kind, Request
from gatewayproxy.model.names import widening
from gatewayproxy.model.plan import Plan, Route
from gatewayproxy.routing.match import host_key
from gatewayproxy.routing.nearest import n_common
from gatewayproxy.routing.table import RouteEntry

__all__ = ["Connection", "connection_of", "contender_text", "stream_kinds", "stream_misses"]

_TLS: Final = "TLSRoute"
_ANY: Final = {_TLS: "any server name", "TCPRoute": "any connection", "UDPRoute": "any datagram"}


class Connection(NamedTuple):
    """A connection as it was routed: the kinds of routes it may be for, its server name, and where it came."""

    kinds: frozenset[str]
    name: str | None  # None: there is none
    here: frozenset[str]  # names of the listeners of the port
    owner: str  # name of the listener of the server name, "" where there is none


def stream_kinds(request: Request) -> frozenset[str]:
    """Return the kinds of routes beside HTTPRoute and GRPCRoute that *request* may be for."""
    if request.kind in (Kind.TLS, Kind.HTTP):
        return frozenset() if request.tls is False else frozenset((_TLS,))
    return frozenset((f"{request.kind.value}Route",))


def connection_of(request: Request, here: frozenset[str], owner: str) -> Connection:
    """Return what is to be known of the connection of *request*."""
    name = None if request.server_name is None else host_key(request.server_name).decode("latin-1")
    return Connection(stream_kinds(request), name, here, owner)


def stream_misses(
    plan: Plan, connection: Connection, entry: RouteEntry | None
) -> tuple[Contender | None, tuple[Miss, ...]]:
    """Return the rule by which *entry* took the connection, and the misses of all others, nearest first."""
    found = list(_contenders(plan, connection.kinds))
    winner = next((each for each in found if entry is not None and each.became(entry)), None)
    missed = [_miss(each, connection, winner) for each in found if each is not winner]
    missed.sort(key=lambda miss: (miss.failed, miss.nearness), reverse=True)
    seen = {winner.is_of} if winner is not None else set()
    nearest = []
    for miss in missed:
        if miss.contender.is_of not in seen:
            seen.add(miss.contender.is_of)
            nearest.append(miss)
    return winner, tuple(nearest)


def contender_text(contender: Contender) -> str:
    """Return what *contender* takes, in one line."""
    if contender.match is not None:
        return match_text(contender.match)
    names = [effective for effective, _ in contender.hostnames if effective]
    kind = contender.route.key.kind
    return f"server name {', '.join(names)}" if kind == _TLS and names else _ANY[kind]


def _contenders(plan: Plan, kinds: frozenset[str]) -> Iterator[Contender]:
    for listener in plan.listeners:
        for route, hostnames in listener.attachments:
            if route.key.kind in kinds:
                for rule in route.rules:
                    yield Contender(listener, route, rule, 0, None, hostnames)


def _miss(contender: Contender, connection: Connection, winner: Contender | None) -> Miss:
    listener, name = contender.listener, str(contender.listener.key)
    fits = _fits(contender, connection.name)
    if name not in connection.here:
        return Miss(contender, Predicate.PORT, f"{name} is on port {listener.port}", (int(fits),))
    if not fits:
        return Miss(contender, Predicate.HOST, _names_text(contender, connection), _alike(contender, connection))
    if contender.route.key.kind == _TLS and connection.owner not in ("", name):
        return Miss(contender, Predicate.LISTENER, f"{connection.owner} has a narrower hostname", ())
    return Miss(contender, Predicate.PRECEDENCE, _why_beaten(contender, connection, winner), (-contender.rule.index,))


def _fits(contender: Contender, name: str | None) -> bool:
    if contender.route.key.kind != _TLS:
        return True
    if name is None:
        return any(not effective for effective, _ in contender.hostnames)
    covering = set(widening(name))
    return contender.listener.hostname in covering and any(own in covering for _, own in contender.hostnames)


def _names_text(contender: Contender, connection: Connection) -> str:
    names = ", ".join(effective or "any" for effective, _ in contender.hostnames)
    return f"its hostnames are {names}" + (", and the client asks for no server name" * (connection.name is None))


def _alike(contender: Contender, connection: Connection) -> tuple[int, ...]:
    reverse = (connection.name or "")[::-1]
    return (max((n_common(effective[::-1], reverse) for effective, _ in contender.hostnames), default=0),)


def _why_beaten(contender: Contender, connection: Connection, winner: Contender | None) -> str:
    if contender.rule.index:
        return "only the first rule of such a route is used: nothing tells its connections apart"
    if winner is None:
        return "it fits, but the connection ends before it"
    by = f"it fits, but {winner.route.key} goes before it"
    first, second = (_width(each, connection.name) for each in (winner, contender))
    if first != second:
        return f"{by}: the narrower hostname goes first"
    return f"{by}: {'the older route' if _older(winner.route, contender.route) else 'the first by name'} goes first"


def _width(contender: Contender, name: str | None) -> int:
    """Return how wide the hostname is by which *contender* has *name*."""
    order = list(widening(name)) if name is not None else [""]
    return min((order.index(own) for _, own in contender.hostnames if own in order), default=0)


def _older(one: Route, other: Route) -> bool:
    return one.created < other.created
