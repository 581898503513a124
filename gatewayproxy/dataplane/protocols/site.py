"""Site: what the connections of one HTTP(S) port share, and the per-entry state of the table in force.

`update` swaps the index and forgets the entries; exchanges under way keep the `Target` they began with. Where some
clients are trusted with more than others (`disclosure`), theirs is a site of its own beside this one.
"""

from __future__ import annotations

import asyncio
import os
from itertools import count
from time import monotonic
from typing import Final, Protocol

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.deadlines import Deadlines
from gatewayproxy.dataplane.protocols.disclosure import Disclosure, is_within
from gatewayproxy.dataplane.protocols.shadowed import ShadowedState
from gatewayproxy.dataplane.protocols.targets import EntryState, GuardedState, TunedState
from gatewayproxy.routing.nearest import Nearest
from gatewayproxy.routing.table import HostIndex, Port, RouteEntry

__all__ = ["Site", "Watched"]

_SWEEP_S: Final = 0.25  # resolution of connection deadlines


class Watched(Protocol):
    """A connection, as its site sees it."""

    deadline_at: float  # monotonic, 0 = none

    def on_deadline(self) -> None:
        """Act: the deadline has passed."""

    def drain(self) -> None:
        """Close now if idle, else after the exchange in flight."""

    def abort(self) -> None:
        """Close at once."""


class Site:
    """One port as its connections see it. *scheme* is that of the port's clients."""

    def __init__(self, port: Port, context: Context, *, scheme: bytes) -> None:
        self.context = context
        self.limits = context.limits
        self.scheme = scheme
        self.connections: set[Watched] = set()
        self.draining = False
        self.port = port
        self.index: HostIndex = port.http or HostIndex()
        self.nearest = Nearest(self.index)
        self.entries: dict[RouteEntry, EntryState] = {}
        self.label = port.label
        self.ids = count(1 << 44)  # twelve hexadecimal digits each
        self.id_prefix = os.urandom(10).hex().encode("ascii")
        self.loop = asyncio.get_running_loop()
        self.deadlines = Deadlines(self.loop)
        self._timer: asyncio.TimerHandle | None = None
        self.disclosure: Disclosure | None = None
        self.trusted: Site | None = None  # of clients that are told what took their requests
        if context.explain_from:
            self.disclosure = Disclosure(generous=False)
            self.trusted = _TrustedSite(self)

    def of(self, peer: bytes) -> Site:
        """Return the site of a client whose address is *peer*."""
        trusted = self.trusted
        return trusted if trusted is not None and is_within(peer, self.context.explain_from) else self

    def update(self, port: Port) -> None:
        """Serve new requests by *port*."""
        self.port = port
        self.index = port.http or HostIndex()
        self.nearest = Nearest(self.index)
        self.entries = {}
        self.label = port.label
        if self.trusted is not None:
            self.trusted.update(port)

    def open_entry(self, entry: RouteEntry) -> EntryState:
        """Return the state of *entry*, made at its first request."""
        asked = entry
        if self.disclosure is not None:
            entry = self.disclosure.dressed(entry, self.context.generation)
        if entry.session is not None or (entry.cors is not None and not entry.cors.uniform):
            state: EntryState = TunedState(entry, self.context, secure=self.scheme == b"https")
        else:
            state = EntryState(entry, self.context)
        if entry.auths:
            state = GuardedState(entry, self.context, state)
        if self.context.shadow is not None:
            state = ShadowedState(asked, self.context, self.context.shadow, state)
        self.entries[asked] = state
        return state

    def add(self, connection: Watched) -> None:
        """Watch the deadlines of *connection* until it is removed."""
        self.connections.add(connection)
        if self._timer is None:
            self._timer = self.loop.call_later(_SWEEP_S, self._sweep)

    def remove(self, connection: Watched) -> None:
        """Let go of a closed connection."""
        self.connections.discard(connection)

    def drain(self) -> None:
        """Close idle connections now and the others after their exchange."""
        self.draining = True
        if self.trusted is not None:
            self.trusted.draining = True
        for connection in list(self.connections):
            connection.drain()

    def abort(self) -> None:
        """Close everything at once."""
        for connection in list(self.connections):
            connection.abort()

    def _sweep(self) -> None:
        """Let connections whose deadline has passed act on it: one timer for all of them."""
        now = monotonic()
        late = [each for each in self.connections if 0.0 < each.deadline_at < now]
        # First: what one connection may raise must not end the time of all.
        self._timer = self.loop.call_later(_SWEEP_S, self._sweep) if self.connections else None
        for connection in late:
            connection.on_deadline()


class _TrustedSite(Site):
    """The same port for clients that are trusted. Its connections are counted, watched and ended with all others."""

    def __init__(self, site: Site) -> None:
        vars(self).update(vars(site))  # what is the port's is the same
        self._site = site
        self.entries = {}
        self.disclosure = Disclosure(generous=True)
        self.trusted = None

    def add(self, connection: Watched) -> None:
        """Watch the deadlines of *connection* until it is removed."""
        self._site.add(connection)
