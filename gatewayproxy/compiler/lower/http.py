"""Lower the HTTP or HTTPS listeners of a port to a HostIndex. Pure.

Each hostname gets its owner's layers: the route hostnames that cover it, most specific first (`host_rank`), each a
PathIndex of all the matches behind it. Layers are shared between hostnames that have the same routes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gatewayproxy.compiler.lower.entries import Entries
from gatewayproxy.compiler.lower.hosts import by_wire_form, owners, widening
from gatewayproxy.compiler.lower.paths import Claimed, path_index
from gatewayproxy.compiler.lower.precedence import Claim, host_rank
from gatewayproxy.model.names import ListenerKey, ResourceKey
from gatewayproxy.model.plan import Listener, Route
from gatewayproxy.routing.table import HostIndex, ListenerLabel, PathIndex, VirtualHost

__all__ = ["host_index"]


def host_index(
    listeners: Sequence[Listener], labels: Mapping[ListenerKey, ListenerLabel], entries: Entries
) -> HostIndex:
    """Return the hosts of a port that *listeners* share."""
    layers = {listener.key: _layers(listener, entries) for listener in listeners}
    virtual_hosts: dict[tuple[ListenerKey, tuple[str, ...]], VirtualHost] = {}
    targets: dict[str, VirtualHost] = {}
    for hostname, owner in owners(listeners).items():
        own = layers[owner.key]
        covering = tuple(sorted((name for name in widening(hostname) if name in own), key=host_rank))
        target = virtual_hosts.get((owner.key, covering))
        if target is None:
            target = VirtualHost(listener=labels[owner.key], layers=tuple(own[name] for name in covering))
            virtual_hosts[owner.key, covering] = target
        targets[hostname] = target
    exact, wildcard, default = by_wire_form(targets)
    return HostIndex(exact=exact, wildcard=wildcard, default=default)


def _layers(listener: Listener, entries: Entries) -> dict[str, PathIndex]:
    """Return a PathIndex for every route hostname on *listener* ("" for routes without one)."""
    claims: dict[ResourceKey, list[Claimed]] = {}
    routes: dict[str, dict[ResourceKey, None]] = {}
    for route, hostnames in listener.attachments:
        claims[route.key] = _claims(listener, route, entries)
        for _, own in hostnames:
            routes.setdefault(own, {})[route.key] = None
    shared: dict[tuple[ResourceKey, ...], PathIndex] = {}
    layers: dict[str, PathIndex] = {}
    for own, keyed in routes.items():
        keys = tuple(keyed)
        if keys not in shared:
            shared[keys] = path_index(claimed for key in keys for claimed in claims[key])
        layers[own] = shared[keys]
    return layers


def _claims(listener: Listener, route: Route, entries: Entries) -> list[Claimed]:
    claimed: list[Claimed] = []
    for rule in route.rules:
        made = entries.rule(listener, route, rule)
        for index, match in enumerate(rule.matches):
            claim = Claim(match, route.created, route.key.full_name, rule.index, index)
            claimed.append(Claimed(claim, made.entry(match)))
    return claimed
