"""What a reload does to connections that are open: which end, which go on otherwise than they began. Pure.

It is said of tables what `dataplane.server` and `dataplane.upstream.registry` do with them: a port keeps its
connections as long as its address, number and kind stay; a pool keeps them as long as a cluster names its endpoint,
protocol and TLS.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gatewayproxy.insight.diff.rules import entries_of, targets_of
from gatewayproxy.model.names import BindKey
from gatewayproxy.model.plan import BackendTls, Certificate, Cluster, Endpoint
from gatewayproxy.model.protocols import AppProtocol
from gatewayproxy.routing.table import Port, PortKind, RouteEntry, RoutingTable, SniAction

__all__ = ["Effect", "certificates_of", "clusters_of", "effects_of"]


class Effect(NamedTuple):
    """What becomes of some connections; *ends*: they do."""

    what: str  # "HTTP *:8080"
    text: str
    ends: bool = False


class _Pool(NamedTuple):
    """What connections to an endpoint are shared by (`registry._PoolKey`)."""

    endpoint: Endpoint
    multiplexed: bool
    tls: BackendTls | None
    offered: AppProtocol | None  # over TLS


def effects_of(old: RoutingTable, new: RoutingTable) -> tuple[Effect, ...]:
    """Return what becomes of connections when *new* takes the place of *old*."""
    before, after = ({port.bound: port for port in table.ports} for table in (old, new))
    return (
        *(_gone(port, after.get(bound)) for bound, port in before.items() if not _stays(port, after.get(bound))),
        *(Effect(_spoken(port), "opens") for bound, port in after.items() if not _stays(port, before.get(bound))),
        *(effect for bound, port in before.items() for effect in _kept(port, after.get(bound))),
        *_pools(old, new),
    )


def _stays(port: Port, other: Port | None) -> bool:
    return other is not None and other.kind is port.kind


def _spoken(port: Port) -> str:
    return f"{port.kind.value} {_place(port.bound)}"


def _place(bound: BindKey) -> str:
    return str(bound)


_ENDS = {
    PortKind.TCP: "streams have --drain seconds to end by themselves, and are cut then",
    PortKind.TLS: "HTTP ends after the exchange in flight, streams have --drain seconds, and are cut then",
    PortKind.UDP: "flows end when they fall silent, after --drain seconds at the latest",
}


def _gone(port: Port, other: Port | None) -> Effect:
    usual = "idle connections close at once, the others after the exchange in flight, within --drain seconds"
    why = "closes" if other is None else f"becomes {other.kind.value}"
    return Effect(_spoken(port), f"{why}: {_ENDS.get(port.kind, usual)}", ends=True)


def _kept(port: Port, other: Port | None) -> Iterator[Effect]:
    """Yield what becomes of the connections of a port that stays."""
    if other is None or other.kind is not port.kind:
        return
    for before, after in ((port.tcp, other.tcp), (port.udp, other.udp)):
        if before is not None and not _same(before, after):
            streams = "open flows move to a new endpoint when theirs is gone" if port.udp else _GO_ON
            yield Effect(_spoken(port), streams)
    if port.sni is not None and other.sni is not None:
        yield from _names(port, other)


_GO_ON = "streams that are open go on to the endpoints they have; new ones go by the new table"


def _names(port: Port, other: Port) -> Iterator[Effect]:
    """Yield what becomes of TLS connections, by what their server names lead to."""
    scopes = {target.listener.scope for target in targets_of(other.sni)}
    moved = {each.listener.name for each in targets_of(port.sni) if each.listener.scope not in scopes}
    for name in sorted(moved):
        told = "open connections stay, and their next requests are answered 421 or 404: clients connect anew"
        yield Effect(f"{_spoken(port)}, {name}", told)
    before, after = _contexts(port), _contexts(other)
    for name in sorted({name for name, _ in before - after} - moved):
        yield Effect(f"{_spoken(port)}, {name}", "TLS sessions of certificates that are gone are not resumed")
    if any(
        target.action is not SniAction.HTTP and target.entry is not None and not _led_alike(target.entry, other)
        for target in targets_of(port.sni)
    ):
        yield Effect(_spoken(port), _GO_ON)


def _contexts(port: Port) -> set[tuple[str, str]]:
    return {(target.listener.name, each.digest) for target in targets_of(port.sni) for each in target.certificates}


def _led_alike(entry: RouteEntry, other: Port) -> bool:
    return any(each.entry is not None and each.entry.fingerprint == entry.fingerprint for each in targets_of(other.sni))


def _same(entry: RouteEntry, other: RouteEntry | None) -> bool:
    return other is not None and entry.fingerprint == other.fingerprint


# --- towards backends


def _pools(old: RoutingTable, new: RoutingTable) -> Iterator[Effect]:
    before, after = clusters_of(old), clusters_of(new)
    named = {pool for cluster in after for pool in _pools_of(cluster)}
    gone: dict[_Pool, set[str]] = {}
    for cluster in before:
        for pool in _pools_of(cluster):
            if pool not in named:
                gone.setdefault(pool, set()).add(cluster.name)
    for pool, names in gone.items():
        where = pool.endpoint.address
        told = "idle connections to it close at once, the others after the exchange in flight"
        if any(each.endpoint == pool.endpoint for each in named):
            told += ", as another protocol or TLS is asked for"
        yield Effect(f"endpoint {where} of {', '.join(sorted(names))}", told, ends=True)


def _pools_of(cluster: Cluster) -> Iterator[_Pool]:
    """Yield the pools of *cluster*; those of a DNS name by the name."""
    for endpoint in (*cluster.endpoints, *((cluster.dns,) if cluster.dns is not None else ())):
        offered = cluster.protocol if cluster.tls is not None else None
        plain = AppProtocol.HTTP if offered is AppProtocol.WS else offered
        yield _Pool(endpoint, cluster.protocol is AppProtocol.H2C, cluster.tls, plain)


def clusters_of(table: RoutingTable) -> dict[Cluster, None]:
    """Return every cluster that *table* names, once."""
    found: dict[Cluster, None] = {}
    for entry in entries_of(table):
        found.update(dict.fromkeys(auth.server.cluster for auth in entry.auths))
        for choice in (*(entry.group.choices if entry.group is not None else ()), *entry.resting):
            named = (choice.cluster, *(mirror.cluster for mirror in choice.mirrors))
            found.update(dict.fromkeys(cluster for cluster in named if cluster is not None))
    return found


def certificates_of(table: RoutingTable) -> dict[str, tuple[Certificate, tuple[str, ...]]]:
    """Return the certificates that *table* shows to clients, by digest, each with the listeners that show it."""
    found: dict[str, tuple[Certificate, dict[str, None]]] = {}
    for port in table.ports:
        for target in targets_of(port.sni):
            for certificate in target.certificates:
                found.setdefault(certificate.digest, (certificate, {}))[1][target.listener.name] = None
    return {digest: (certificate, tuple(names)) for digest, (certificate, names) in found.items()}
