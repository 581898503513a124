"""Settle which Gateway has which address and port, and take in what the system refused to bind. Pure.

The oldest Gateway (then namespace/name) keeps an address:port that two of them want; the listener of the other gets
Accepted=False/PortUnavailable. A specific address beside all interfaces is no conflict: the system prefers it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from gatewayproxy.compiler.resolve.conditions import Findings
from gatewayproxy.compiler.resolve.drafts import GatewayDraft, ListenerDraft
from gatewayproxy.model.codes import Code
from gatewayproxy.model.names import BindKey
from gatewayproxy.model.status import Reason

__all__ = ["claim_ports", "drop_unbindable"]

_Owner = tuple[GatewayDraft, int]


def claim_ports(gateways: Iterable[GatewayDraft], findings: Findings) -> None:
    """Give every (address, bind port) to one port of one Gateway; *gateways* come in order of precedence."""
    claims: dict[BindKey, _Owner] = {}
    for gateway in gateways:
        if not gateway.accepted.status:
            continue
        for listener in gateway.merged():
            if listener.accepted.status:
                _claim(gateway, listener, claims, findings)


def _claim(gateway: GatewayDraft, listener: ListenerDraft, claims: dict[BindKey, _Owner], findings: Findings) -> None:
    wanted = list(_places(gateway.addresses, listener))
    for place in wanted:
        winner, port = claims.get(place, (gateway, listener.spec.port))
        if winner is not gateway or port != listener.spec.port:
            whose = f"Gateway {winner.spec.meta.key.full_name} (port {port})"
            what = f"{place.address} {'UDP ' if place.udp else ''}port {place.bind_port}"
            message = f"{what} is taken by {whose}; use another port or spec.addresses"
            listener.reject(Reason.PORT_UNAVAILABLE, message)
            field = f"{listener.spec.path}.port"
            told = f"{Reason.PORT_UNAVAILABLE}: {message}"
            findings.error(listener.spec.at, listener.parent, field, told, code=Code.PORT_CLASH)
            return
    claims.update((place, (gateway, listener.spec.port)) for place in wanted)


def _places(addresses: Iterable[str], listener: ListenerDraft) -> Iterator[BindKey]:
    for address in addresses:
        yield from (listener.bind_key(each) for each in ((address,) if address else ("0.0.0.0", "::")))


def drop_unbindable(gateway: GatewayDraft, unbindable: Mapping[BindKey, str]) -> None:
    """Take addresses out of use that no port could be bound on, and listeners that were left without an address."""
    wanting = sorted((li for li in gateway.merged() if li.accepted.status), key=lambda li: li.bind_port)
    for address in gateway.addresses:
        reasons = [unbindable.get(listener.bind_key(address)) for listener in wanting]
        if reasons and None not in reasons:
            gateway.unusable[address] = reasons[0] or "cannot be bound"
    for listener in gateway.merged():
        left = [address for address in gateway.usable if listener.bind_key(address) not in unbindable]
        if gateway.usable and not left and listener.accepted.status:
            why = unbindable[listener.bind_key(gateway.usable[0])]
            listener.reject(Reason.PORT_UNAVAILABLE, f"port {listener.bind_port} cannot be bound: {why}")
