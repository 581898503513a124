"""Lower TLS, TCP and UDP listeners: server names to certificates and entries, connections and datagrams. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gatewayproxy.compiler.lower.entries import Entries
from gatewayproxy.compiler.lower.hosts import by_wire_form, owners
from gatewayproxy.model.names import ListenerKey, widening
from gatewayproxy.model.plan import Listener, Route
from gatewayproxy.model.protocols import Protocol, TlsMode
from gatewayproxy.routing.table import ListenerLabel, RouteEntry, SniAction, SniIndex, SniTarget

__all__ = ["certificate_index", "first_entry", "server_name_index"]


def certificate_index(
    listeners: Sequence[Listener], withheld: Sequence[Listener], labels: Mapping[ListenerKey, ListenerLabel]
) -> SniIndex:
    """Return the certificates of HTTPS *listeners*; one without hostname serves unknown names and no name.

    Names of *withheld* are not served, whoever else could take them: refused, or answered without a route.
    """
    targets: dict[str, SniTarget] = {}
    for each in (*listeners, *withheld):
        targets.setdefault(each.hostname, _target(each, _ended(each), labels))
    return _index(targets)


def server_name_index(
    listeners: Sequence[Listener], withheld: Sequence[Listener], labels: Mapping[ListenerKey, ListenerLabel],
    entries: Entries,
) -> SniIndex:  # fmt: skip
    """Return where connections go by server name: the longest TLSRoute hostname of the listener that owns it.

    HTTPS *listeners* beside those of TLS have the names that no other listener owns, whatever their routes. Names of
    *withheld* are not served.
    """
    all_of_port = (*listeners, *withheld)
    streams = (each for each in all_of_port if each.protocol is Protocol.TLS and not each.withheld)
    routed = {each.key: _by_hostname(each, entries) for each in streams}
    targets: dict[str, SniTarget] = {}
    for hostname, owner in owners(all_of_port).items():
        own = routed.get(owner.key)
        if own is None and hostname == owner.hostname:
            targets[hostname] = _target(owner, _ended(owner), labels)
        elif own is not None:
            action = SniAction.PASSTHROUGH if owner.tls_mode is TlsMode.PASSTHROUGH else SniAction.STREAM
            entry = next((own[name] for name in widening(hostname) if name in own), None)
            targets[hostname] = _target(owner, action, labels, entry)
    return _index(targets)


def first_entry(listener: Listener, entries: Entries) -> RouteEntry | None:
    """Return what a TCP or UDP *listener* does with traffic: the first route's rule; the others wait, oldest first."""
    for route, _ in listener.attachments:
        return _first_rule(listener, route, entries)
    return None


def _by_hostname(listener: Listener, entries: Entries) -> dict[str, RouteEntry]:
    """Return the entry of every route hostname; of several routes the oldest, then the first by namespace/name."""
    found: dict[str, RouteEntry] = {}
    for route, hostnames in sorted(listener.attachments, key=lambda each: _age(each.route)):
        entry = _first_rule(listener, route, entries)
        for _, own in hostnames:
            if entry is not None:
                found.setdefault(own, entry)
    return found


def _age(route: Route) -> tuple[float, str]:
    return route.created, route.key.full_name


def _first_rule(listener: Listener, route: Route, entries: Entries) -> RouteEntry | None:
    """Return the entry of the one rule that routes of these kinds have."""
    return entries.rule(listener, route, route.rules[0]).entry() if route.rules else None


def _ended(listener: Listener) -> SniAction:
    """Return what becomes of connections to a listener where TLS is to end, without a route having its say."""
    return SniAction.HTTP if listener.protocol is Protocol.HTTPS and listener.certificates else SniAction.REFUSE


def _target(
    listener: Listener, action: SniAction, labels: Mapping[ListenerKey, ListenerLabel], entry: RouteEntry | None = None
) -> SniTarget:
    return SniTarget(
        listener=labels[listener.key],
        action=action,
        certificates=listener.certificates,
        validation=listener.client_validation,
        entry=entry,
    )


def _index(targets: Mapping[str, SniTarget]) -> SniIndex:
    exact, wildcard, default = by_wire_form(targets)
    return SniIndex(exact=exact, wildcard=wildcard, default=default)
