"""Server names of TLS: which target of a port one leads to, and which certificates are shown for it. Pure."""

from __future__ import annotations

from gatewayproxy.model.plan import Certificate
from gatewayproxy.routing.match import find_host
from gatewayproxy.routing.table import SniIndex, SniTarget

__all__ = ["certificates_for", "find_target"]


def find_target(index: SniIndex | None, name: bytes | None) -> SniTarget | None:
    """Return what *name* leads to; None = nothing, or there is no name and no listener takes clients without."""
    if index is None:
        return None
    return index.default if name is None else find_host(index, name)


def certificates_for(certificates: tuple[Certificate, ...], server_name: bytes | None) -> tuple[Certificate, ...]:
    """Return those of a listener's *certificates* that name *server_name*, or all where none does."""
    if len(certificates) < 2 or server_name is None:
        return certificates
    name = server_name.decode("ascii", "replace")
    wildcard = "*" + name[name.find(".") :] if "." in name else ""
    return tuple(c for c in certificates if name in c.names or wildcard in c.names) or certificates
