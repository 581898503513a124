"""Lower the HTTP or HTTPS listeners of a port to a HostIndex, with TLS listeners beside them. Pure.

Each hostname gets its owner's layers: the route hostnames that cover it, most specific first (`host_rank`), each a
PathIndex of all the matches behind it (or two, see `calls`). Layers are shared between hostnames that have the same
routes. A name of a TLS listener, or of one that cannot serve, is there without any: requests for it are for another
connection, or lead nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gatewayproxy.compiler.lower.calls import call_layers
from gatewayproxy.compiler.lower.entries import Entries
from gatewayproxy.compiler.lower.hosts import by_wire_form, owners
from gatewayproxy.compiler.lower.paths import Claimed, path_index
from gatewayproxy.compiler.lower.precedence import Claim, host_rank
from gatewayproxy.model.names import ListenerKey, ResourceKey, widening
from gatewayproxy.model.plan import GRPCMatch, Listener, Match, Route
from gatewayproxy.model.protocols import Protocol
from gatewayproxy.routing.table import HostIndex, ListenerLabel, PathIndex, VirtualHost

__all__ = ["host_index"]


def host_index(
    listeners: Sequence[Listener], withheld: Sequence[Listener], labels: Mapping[ListenerKey, ListenerLabel],
    entries: Entries,
) -> HostIndex:  # fmt: skip
    """Return the hosts of a port that *listeners* share; those of *withheld* are there without layers."""
    layers = {each.key: _layers(each, entries) if each.protocol is not Protocol.TLS else {} for each in listeners}
    layers |= {each.key: {} for each in withheld}
    virtual_hosts: dict[tuple[ListenerKey, tuple[str, ...]], VirtualHost] = {}
    targets: dict[str, VirtualHost] = {}
    for hostname, owner in owners((*listeners, *withheld)).items():
        own = layers[owner.key]
        covering = tuple(sorted((name for name in widening(hostname) if name in own), key=host_rank))
        target = virtual_hosts.get((owner.key, covering))
        if target is None:
            found = tuple(layer for name in covering for layer in own[name])
            target = VirtualHost(listener=labels[owner.key], layers=found)
            virtual_hosts[owner.key, covering] = target
        targets[hostname] = target
    exact, wildcard, default = by_wire_form(targets)
    return HostIndex(exact=exact, wildcard=wildcard, default=default)


class _Claims(NamedTuple):
    """The matches of some routes: those of HTTPRoutes and those of GRPCRoutes do not mix."""

    http: list[Claimed[Match]]
    calls: list[Claimed[GRPCMatch]]


def _layers(listener: Listener, entries: Entries) -> dict[str, tuple[PathIndex, ...]]:
    """Return the layers of every route hostname on *listener* ("" for routes without one)."""
    claims: dict[ResourceKey, _Claims] = {}
    routes: dict[str, dict[ResourceKey, None]] = {}
    for route, hostnames in listener.attachments:
        claims[route.key] = _claims(listener, route, entries)
        for _, own in hostnames:
            routes.setdefault(own, {})[route.key] = None
    shared: dict[tuple[ResourceKey, ...], tuple[PathIndex, ...]] = {}
    layers: dict[str, tuple[PathIndex, ...]] = {}
    for own, keyed in routes.items():
        keys = tuple(keyed)
        if keys not in shared:
            http = [claimed for key in keys for claimed in claims[key].http]
            calls = [claimed for key in keys for claimed in claims[key].calls]
            shared[keys] = (*((path_index(http),) if http else ()), *call_layers(calls))
        layers[own] = shared[keys]
    return layers


def _claims(listener: Listener, route: Route, entries: Entries) -> _Claims:
    claims = _Claims([], [])
    for rule in route.rules:
        made = entries.rule(listener, route, rule)
        for index, match in enumerate(rule.matches):
            ties = (route.created, route.key.full_name, rule.index, index)
            if isinstance(match, GRPCMatch):
                claims.calls.append(Claimed(Claim(match, *ties), made.entry(match)))
            else:
                claims.http.append(Claimed(Claim(match, *ties), made.entry(match)))
    return claims
