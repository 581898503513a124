"""Which listener owns a hostname, and which hostnames cover it. Pure.

Of all listeners on a port, a name belongs to the most specific one, and to that one only: a request that none of its
routes match is not offered to a wider listener (Gateway API, listener isolation). Settled here, once, by giving every
name that any listener or route of the port mentions its owner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from gatewayproxy.model.names import widening
from gatewayproxy.model.plan import Listener

__all__ = ["by_wire_form", "owners"]

T = TypeVar("T")


def owners(listeners: Sequence[Listener]) -> dict[str, Listener]:
    """Return every hostname mentioned on a port and the listener it belongs to, in sorted order."""
    by_hostname: dict[str, Listener] = {}
    for listener in listeners:
        by_hostname.setdefault(listener.hostname, listener)
    names = set(by_hostname)
    for listener in listeners:
        names.update(effective for _, pairs in listener.attachments for effective, _ in pairs)
    owned: dict[str, Listener] = {}
    for name in sorted(names):
        owner = next((by_hostname[wider] for wider in widening(name) if wider in by_hostname), None)
        if owner is not None:
            owned[name] = owner
    return owned


def by_wire_form(targets: Mapping[str, T]) -> tuple[dict[bytes, T], dict[bytes, T], T | None]:
    """Return (exact, wildcard, default) maps as HostIndex and SniIndex hold them."""
    exact: dict[bytes, T] = {}
    wildcard: dict[bytes, T] = {}
    for name, target in targets.items():
        if name.startswith("*."):
            wildcard[name[1:].encode("ascii")] = target
        elif name:
            exact[name.encode("ascii")] = target
    return exact, wildcard, targets.get("")
