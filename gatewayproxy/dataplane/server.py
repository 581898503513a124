"""DataPlane: the open listeners of one worker and the table they serve.

`apply` makes the listeners match a table: those that stay get their new `Port`, new ones are opened, the others retire:
they stop accepting and have `Limits.drain_s` to end what is in flight. All calls are plain and on the loop's thread.
A request keeps the entry it started with; the old table is taken apart a few objects a turn, once nothing routes by it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.listeners import LISTENERS, Listener
from gatewayproxy.dataplane.shadow import Shadow
from gatewayproxy.model.names import BindKey
from gatewayproxy.routing.handover import dismantle
from gatewayproxy.routing.table import Port, PortKind, RoutingTable

__all__ = ["Applied", "DataPlane", "Drained"]

log = logging.getLogger(__name__)

_WITH_HTTP: Final = frozenset((PortKind.HTTP, PortKind.HTTPS, PortKind.TLS))
_POLL_S: Final = 0.05  # how often a draining listener is looked at


class Applied(NamedTuple):
    """What one `apply` did: listeners opened, kept and retired; downstream connections on the latter two."""

    opened: int
    updated: int
    retired: int
    kept: int
    draining: int
    failed: tuple[tuple[BindKey, str], ...]  # ports that could not be opened, and why


class Drained(NamedTuple):
    """How retired connections ended: by themselves, or cut at the deadline."""

    finished: int
    cut: int


class _Open(NamedTuple):
    kind: PortKind
    listener: Listener


class DataPlane:
    """Serves one table at a time."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.table: RoutingTable | None = None
        self._loop = asyncio.get_running_loop()
        self._shadow: RoutingTable | None = None
        self._open: dict[BindKey, _Open] = {}
        self._retiring: list[Listener] = []

    @property
    def connections(self) -> int:
        """Return the number of downstream connections, retiring ones included."""
        return sum(o.listener.connections for o in self._open.values()) + sum(x.connections for x in self._retiring)

    def apply(
        self,
        table: RoutingTable,
        sockets: Mapping[BindKey, Sequence[socket.socket]],
        *,
        on_drained: Callable[[Drained], None] | None = None,
    ) -> Applied:
        """Serve *table* from now on. Each listener gets its own duplicates of its *sockets*; a port without is skipped.

        *on_drained* is called once, when the connections of the listeners retired here have ended.
        """
        old, self.table = self.table, table
        self.context.generation = table.generation
        ports = {port.bound: port for port in table.ports}
        gone = [key for key, o in self._open.items() if key not in ports or ports[key].kind is not o.kind]
        kept = [key for key in self._open if key not in gone]
        for key in kept:
            self._open[key].listener.update(ports[key])
        retired = [self._open.pop(key).listener for key in gone]

        def drained(result: Drained) -> None:
            if old is not None:
                self._dismantle(dismantle(old))
            if on_drained is not None:
                on_drained(result)

        draining = self._retire(retired, drained)
        failed = []
        opened = [key for key in ports if key not in self._open and sockets.get(key)]
        for key in opened:
            try:
                self._open[key] = self._open_port(ports[key], sockets[key])
            except Exception as error:
                log.exception("listener_failed address=%r port=%d", key.address, key.bind_port)
                failed.append((key, f"{type(error).__name__}: {error}"))
        self.context.registry.retain(table)
        n_kept = sum(self._open[key].listener.connections for key in kept)
        return Applied(len(opened) - len(failed), len(kept), len(retired), n_kept, draining, tuple(failed))

    def shadow(self, table: RoutingTable | None) -> None:
        """Decide each HTTP request on *table*, too, and count what differs; None: no longer. Traffic is not touched."""
        old, self._shadow = self._shadow, table
        self.context.shadow = Shadow(table) if table is not None else None
        for port in self.table.ports if self.table is not None else ():
            opened = self._open.get(port.bound)
            if opened is not None and port.kind in _WITH_HTTP:
                opened.listener.update(port)  # its entries are opened anew, with or without the way to the shadow
        if old is not None:
            self._dismantle(dismantle(old))

    def drain(self, on_drained: Callable[[Drained], None]) -> None:
        """Stop accepting, let exchanges and streams end within `Limits.drain_s`, then call *on_drained*."""
        self.context.draining = True
        listeners = [o.listener for o in self._open.values()]
        self._open.clear()
        everything = [*listeners, *self._retiring]
        self._retiring.clear()
        self._retire(everything, on_drained)

    def abort(self) -> None:
        """Close everything at once."""
        for listener in [*(o.listener for o in self._open.values()), *self._retiring]:
            listener.stop()
            listener.abort()
        self._open.clear()
        self._retiring.clear()
        self.context.registry.close()

    def _open_port(self, port: Port, sockets: Sequence[socket.socket]) -> _Open:
        # The listener closes its duplicates; ours stay for the next table, where the port may have another kind.
        listener = LISTENERS[port.kind](port, [s.dup() for s in sockets], self.context)
        return _Open(port.kind, listener)

    def _retire(self, listeners: Sequence[Listener], on_drained: Callable[[Drained], None]) -> int:
        for listener in listeners:
            listener.stop()
            listener.drain()
        self._retiring.extend(listeners)
        n_connections = sum(listener.connections for listener in listeners)
        if listeners:
            _Retirement(self, listeners, n_connections, on_drained).look()
        else:
            on_drained(Drained(0, 0))
        return n_connections

    def _dismantle(self, steps: Iterator[None]) -> None:
        # Freeing 10,000 routes at once would hold the loop for tens of milliseconds.
        for _ in steps:
            self._loop.call_soon(self._dismantle, steps)
            return

    def forget(self, listeners: Sequence[Listener]) -> None:
        """Let go of retired listeners that are empty."""
        self._retiring = [x for x in self._retiring if x not in listeners]


class _Retirement:
    """Watches retired listeners until they are empty or their time is over."""

    def __init__(
        self,
        plane: DataPlane,
        listeners: Sequence[Listener],
        n_connections: int,
        on_drained: Callable[[Drained], None],
    ) -> None:
        self._plane = plane
        self._listeners = listeners
        self._n_connections = n_connections
        self._on_drained = on_drained
        self._loop = asyncio.get_running_loop()
        self._deadline_at = self._loop.time() + plane.context.limits.drain_s

    def look(self) -> None:
        """Finish, or look again in a while."""
        left = sum(listener.connections for listener in self._listeners)
        if left and self._loop.time() < self._deadline_at:
            self._loop.call_later(_POLL_S, self.look)
            return
        if left:
            for listener in self._listeners:
                listener.abort()
        self._plane.forget(self._listeners)
        self._on_drained(Drained(max(0, self._n_connections - left), left))
