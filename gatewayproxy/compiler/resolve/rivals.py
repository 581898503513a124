"""HTTPRoutes and GRPCRoutes that want the same hostname of a listener: one of the two has it. Pure.

"The implementation MUST accept exactly one of these two routes" (GRPCRouteSpec.hostnames): the older one, then the one
whose namespace/name comes first. So routes ask in that order, and whoever asks first has the name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final, NamedTuple

from gatewayproxy.compiler.resolve.drafts import ListenerDraft
from gatewayproxy.model.names import ResourceKey, widening

__all__ = ["Rival", "Rivals"]

_OTHER: Final = {"HTTPRoute": "GRPCRoute", "GRPCRoute": "HTTPRoute"}


class Rival(NamedTuple):
    """Who has a hostname already, and which."""

    route: ResourceKey
    hostname: str


class _Taken:
    """The hostnames that routes of one kind have on one listener."""

    __slots__ = ("_below", "_names")

    def __init__(self) -> None:
        self._names: dict[str, Rival] = {}
        self._below: dict[str, Rival] = {}  # every name that covers one of them: the first such

    def add(self, hostname: str, route: ResourceKey) -> None:
        rival = Rival(route, hostname)
        self._names.setdefault(hostname, rival)
        for wider in widening(hostname):
            self._below.setdefault(wider, rival)

    def meets(self, hostname: str) -> Rival | None:
        """Return the holder of a name that *hostname* has a name in common with."""
        found = self._below.get(hostname)
        return found or next((self._names[wider] for wider in widening(hostname) if wider in self._names), None)


class Rivals:
    """What is taken, on all listeners."""

    def __init__(self) -> None:
        self._taken: defaultdict[tuple[ListenerDraft, str], _Taken] = defaultdict(_Taken)

    def rival(self, listener: ListenerDraft, kind: str, hostnames: Iterable[str]) -> Rival | None:
        """Return who of the other kind stands in the way of a route of *kind* on *listener*."""
        taken = self._taken.get((listener, _OTHER.get(kind, "")))
        if taken is None:
            return None
        return next((rival for hostname in hostnames if (rival := taken.meets(hostname)) is not None), None)

    def take(self, listener: ListenerDraft, route: ResourceKey, hostnames: Iterable[str]) -> None:
        """Give *hostnames* of *listener* to *route*."""
        if route.kind in _OTHER:
            for hostname in hostnames:
                self._taken[listener, route.kind].add(hostname, route)
