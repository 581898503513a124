"""Where Gateways bind: spec.addresses, and a choice from the pool for those that leave it to us. Pure.

A Gateway without spec.addresses binds all interfaces. An address without a value is one of the pool that no Gateway
names, and no other Gateway has got; it follows from the Gateway's name, so that it stays while others come and go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from ipaddress import ip_address
from typing import Final

from gatewayproxy.compiler.resolve.conditions import Findings
from gatewayproxy.compiler.resolve.drafts import GatewayDraft
from gatewayproxy.model.codes import Code
from gatewayproxy.model.status import Reason

__all__ = ["assign_addresses", "bound_addresses"]

_ANY: Final = ("0.0.0.0", "::")  # what "" stands for


def assign_addresses(gateways: Sequence[GatewayDraft], pool: Sequence[str], findings: Findings) -> None:
    """Give *gateways*, which come in order of precedence, their addresses."""
    for gateway in gateways:
        _judge_types(gateway)
    ours = [gateway for gateway in gateways if gateway.accepted.status and gateway.spec.addresses]
    for gateway in ours:
        gateway.addresses = tuple(_written(gateway))
    taken = {address for gateway in ours for address in gateway.addresses}
    for gateway in ours:
        wanting = [index for index, address in enumerate(gateway.spec.addresses) if not address.value]
        for index in wanting:
            found = _choose(f"{gateway.spec.meta.key.full_name} {index}", pool, taken)
            if found is None:
                _leave_unassigned(gateway, index, pool, findings)
                break
            taken.add(found)
            gateway.addresses += (found,)


def bound_addresses(gateway: GatewayDraft) -> tuple[str, ...]:
    """Return status.addresses: what serving listeners are bound to; "all interfaces" in both families."""
    if not any(gateway.serving()):
        return ()
    return tuple(one for address in gateway.usable for one in ((address,) if address else _ANY))


def _judge_types(gateway: GatewayDraft) -> None:
    for index, address in enumerate(gateway.spec.addresses):
        if address.type != "IPAddress":
            message = f"addresses[{index}] has type {address.type}; write one of type IPAddress"
            gateway.reject(Reason.UNSUPPORTED_ADDRESS, message)


def _written(gateway: GatewayDraft) -> Iterator[str]:
    yield from dict.fromkeys(str(ip_address(each.value)) for each in gateway.spec.addresses if each.value)


def _choose(name: str, pool: Sequence[str], taken: Iterable[str]) -> str | None:
    """Return the first free address of *pool*, beginning where *name* points to."""
    if not pool:
        return None
    first = int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) % len(pool)
    return next((address for address in (*pool[first:], *pool[:first]) if address not in taken), None)


def _leave_unassigned(gateway: GatewayDraft, index: int, pool: Sequence[str], findings: Findings) -> None:
    lacks = f"the pool has no other than {', '.join(pool[:4])}" if pool else "there is no pool to choose one from"
    gateway.unassigned = f"addresses[{index}] has no value, and {lacks}; write an IP, or widen --address-pool"
    told = f"{Reason.ADDRESS_NOT_ASSIGNED}: {gateway.unassigned}"
    findings.warn(gateway.spec.meta.origin, gateway.spec.meta.key, "spec.addresses", told, code=Code.GATEWAY)
