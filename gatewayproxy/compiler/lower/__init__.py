"""lower(): a Plan to the RoutingTable that workers run. Pure.

Everything that does not depend on the request is decided here: who owns a hostname, which match comes first, what a
rule's filters come to, when which backend's turn is. A Plan is lowered the same way every time: equal plans give
tables with equal digests, whatever the process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, assert_never

from gatewayproxy.compiler.lower.entries import Entries
from gatewayproxy.compiler.lower.http import host_index
from gatewayproxy.compiler.lower.l4 import certificate_index, first_entry, server_name_index
from gatewayproxy.model.names import BindKey, ListenerKey
from gatewayproxy.model.plan import Listener, Plan
from gatewayproxy.model.protocols import PROTOCOLS, Protocol
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.routing.show import digest
from gatewayproxy.routing.table import ListenerLabel, Port, PortKind, RoutingTable

__all__ = ["lower"]

_KINDS: Final = {
    Protocol.HTTP: PortKind.HTTP,
    Protocol.HTTPS: PortKind.HTTPS,
    Protocol.TLS: PortKind.TLS,
    Protocol.TCP: PortKind.TCP,
    Protocol.UDP: PortKind.UDP,
}


def lower(plan: Plan, options: CompileOptions) -> RoutingTable:
    """Return the table of *plan*. Its listeners do not conflict: those that do are in the status report instead."""
    labels = {each.key: _label(index, each) for index, each in enumerate((*plan.listeners, *plan.withheld))}
    withheld = _binds(plan.withheld)
    entries = Entries()
    lowered: dict[tuple[ListenerKey, ...], Port] = {}  # a port bound on several addresses is lowered once
    ports: list[Port] = []
    for bind, listeners in _binds(plan.listeners).items():
        address, bind_port, _ = bind
        refused = withheld.get(bind, [])
        keys = tuple(each.key for each in (*listeners, *refused))
        if keys not in lowered:
            lowered[keys] = _lower_port(listeners, refused, labels, entries)
        ports.append(replace(lowered[keys], address=address, bind_port=bind_port))
    return RoutingTable(
        generation=options.generation,
        digest=digest(ports),
        ports=tuple(ports),
        n_entries=entries.n_entries,
        n_groups=entries.n_groups,
    )


def _label(index: int, listener: Listener) -> ListenerLabel:
    name = str(listener.key)
    if listener.withheld:
        return ListenerLabel(index, name, f"{name} withheld")  # no connection that it had may be used for it any more
    validation = listener.client_validation
    return ListenerLabel(index, name, f"{name} {validation.scope}" if validation else name)


def _binds(listeners: Iterable[Listener]) -> dict[BindKey, list[Listener]]:
    """Return those of *listeners* of every bound address and port, in their order."""
    binds: dict[BindKey, list[Listener]] = {}
    for listener in listeners:
        for address in listener.addresses:
            key = BindKey(address, listener.bind_port, PROTOCOLS[listener.protocol].udp)
            binds.setdefault(key, []).append(listener)
    return binds


def _lower_port(
    listeners: Sequence[Listener], withheld: Sequence[Listener], labels: Mapping[ListenerKey, ListenerLabel],
    entries: Entries,
) -> Port:  # fmt: skip
    """Return the port that *listeners* share: all of one protocol, or of HTTPS and TLS; *withheld*: see Plan."""
    first = listeners[0]
    protocols = {each.protocol for each in listeners}
    kind = PortKind.TLS if len(protocols) > 1 else _KINDS[first.protocol]
    http = sni = tcp = udp = None
    match kind:
        case PortKind.HTTP:
            http = host_index(listeners, withheld, labels, entries)
        case PortKind.HTTPS:
            http = host_index(listeners, withheld, labels, entries)
            sni = certificate_index(listeners, withheld, labels)
        case PortKind.TLS:
            ends_http = any(each.protocol is Protocol.HTTPS and each.certificates for each in (*listeners, *withheld))
            http = host_index(listeners, withheld, labels, entries) if ends_http else None
            sni = server_name_index(listeners, withheld, labels, entries)
        case PortKind.TCP:
            tcp = first_entry(first, entries)
        case PortKind.UDP:
            udp = first_entry(first, entries)
        case _:
            assert_never(kind)
    return Port(
        kind=kind,
        address="",
        bind_port=first.bind_port,
        port=first.port,
        listeners=tuple(labels[each.key] for each in listeners),
        http=http,
        sni=sni,
        tcp=tcp,
        udp=udp,
    )
