"""The way to a shadow table: an entry whose requests come by, and what becomes of those that no entry takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayproxy.dataplane.protocols.targets import EntryState, Target
from gatewayproxy.dataplane.shadow import Came, Shadow

if TYPE_CHECKING:
    from gatewayproxy.dataplane.context import Context
    from gatewayproxy.dataplane.protocols.exchange import Exchange
    from gatewayproxy.dataplane.upstream.pool import EndpointPool
    from gatewayproxy.routing.table import RouteEntry

__all__ = ["ShadowedState", "compare_refused"]


class ShadowedState(EntryState):
    """An entry at work while there is a shadow: `only` is None, so that every request comes by."""

    __slots__ = ("_behind", "_shadow")

    def __init__(self, entry: RouteEntry, context: Context, shadow: Shadow, behind: EntryState) -> None:
        super().__init__(entry, context)
        self.only = None
        self._shadow = shadow
        self._behind = behind

    @property
    def own(self) -> Target:
        """Return the target of requests that the gateway answers in the entry's name."""
        return self._behind.own

    def pick(self, exchange: Exchange) -> Target:
        """Return the target of *exchange*, as if there were no shadow."""
        head = exchange.head
        self._shadow.compare(_came(exchange), head, head.authority, self.entry, "")
        return self._behind.only or self._behind.pick(exchange)

    def move(self, exchange: Exchange, pool: EndpointPool) -> None:
        """Have *exchange* know that it goes to *pool* now."""
        self._behind.move(exchange, pool)


def compare_refused(exchange: Exchange) -> None:
    """Compare *exchange*, answered without an entry or in the name of one (CORS), if there is a shadow."""
    shadow = exchange.connection.site.context.shadow
    if shadow is None:
        return
    target, head = exchange.target, exchange.head
    entry = target.entry if target is not None else None
    shadow.compare(_came(exchange), head, head.authority, entry, exchange.reason)


def _came(exchange: Exchange) -> Came:
    connection, vhost = exchange.connection, exchange.vhost
    site = connection.site
    label = vhost.listener.name if vhost is not None else site.label
    return Came(site.port.bound, site.scheme, connection.listener, label)
