"""Persistent sessions of a rule (GEP-1619): which endpoint a client has been with, and telling it of a new one.

A session leads to its endpoint whatever the weights say, that of a backendRef of weight 0 included. One whose endpoint
is gone, or cannot be reached, is given another, and so is one that is too old or not of our making.
"""

from __future__ import annotations

from time import time  # noqa: TID251 - the age of a session counts in other processes, and machines
from typing import TYPE_CHECKING, NamedTuple

from gatewayproxy.dataplane.upstream.pool import ClusterState, EndpointPool
from gatewayproxy.wire.sessions import Mark, endpoint_digest, make_mark, marks_of, read_mark, session_line

if TYPE_CHECKING:
    from gatewayproxy.dataplane.context import Context
    from gatewayproxy.routing.table import BackendChoice, RouteEntry
    from gatewayproxy.wire.head import RequestHead

__all__ = ["Pinned", "Place", "Sessions"]


class Place(NamedTuple):
    """An endpoint of a rule."""

    choice: BackendChoice
    pool: EndpointPool


class Pinned(ClusterState):
    """A cluster as a session sees it: its own endpoint first, the others once that was tried."""

    __slots__ = ("_whole", "begun")

    def __init__(self, whole: ClusterState, pool: EndpointPool, *, begun: bool = False) -> None:
        super().__init__(whole.cluster, (pool,))
        self.begun = begun  # with this request: it has nothing to lose elsewhere
        self._whole = whole

    def pick(self, tried: tuple[EndpointPool, ...] = ()) -> EndpointPool | None:
        """Return the session's endpoint, or the next one of the cluster where it was *tried*."""
        pool = self.pools[0]
        return self._whole.pick(tried) if pool in tried else pool


class Sessions:
    """The sessions of one entry. It knows the endpoints of all its choices by what marks call them."""

    __slots__ = ("_choices", "_clusters", "_key", "_known", "_places", "_secure", "session")

    def __init__(self, entry: RouteEntry, context: Context, *, secure: bool) -> None:
        assert entry.session is not None
        assert entry.group is not None
        self.session = entry.session
        self._key = context.session_secret
        self._secure = secure
        self._choices = [each for each in (*entry.group.choices, *entry.resting) if each.cluster is not None]
        self._clusters = [context.registry.cluster(each.cluster) for each in self._choices if each.cluster is not None]
        self._known: list[tuple[EndpointPool, ...]] = []  # the endpoints that _places was made of
        self._places: dict[bytes, Place] = {}

    def place_of(self, head: RequestHead) -> Place | None:
        """Return where the session of a request leads, None where it has none that is good."""
        key, session = self._key, self.session
        for text in self._marks(head):
            mark = read_mark(key, session.rule, text)
            if mark is not None and self._lasts(mark):
                place = self._find(mark.endpoint)
                if place is not None:
                    return place
        return None

    def line(self, head: RequestHead, place: Place) -> bytes:
        """Return the response's field line that begins a session at *place*; marks of other rules are kept."""
        key, rule = self._key, self.session.rule
        others = (text for text in self._marks(head) if read_mark(key, rule, text) is None)
        mark = make_mark(key, rule, Mark(int(time()), self._digest(place)))
        return session_line(self.session, (mark, *others), secure=self._secure)

    def _marks(self, head: RequestHead) -> tuple[bytes, ...]:
        session = self.session
        return marks_of(session, head.field(session.name.lower() if session.header else b"cookie"))

    def _lasts(self, mark: Mark) -> bool:
        absolute_s = self.session.absolute_s
        return not absolute_s or time() - mark.begun < absolute_s

    def _find(self, digest: bytes) -> Place | None:
        pools = [cluster.pools for cluster in self._clusters]
        if pools != self._known:
            self._known = pools
            places: dict[bytes, Place] = {}
            for choice, own in zip(self._choices, pools, strict=True):
                for pool in own:
                    place = Place(choice, pool)
                    places.setdefault(self._digest(place), place)
            self._places = places
        return self._places.get(digest)

    def _digest(self, place: Place) -> bytes:
        return endpoint_digest(self._key, self.session.rule, place.choice.name, place.pool.name)
