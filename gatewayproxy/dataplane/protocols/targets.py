"""Targets: what requests of one route entry and one of its choices have in common, looked up once per table.

`EntryState` deals them out in turn. Where the answer depends on more than that, on the request's origin (CORS) or on
the session it belongs to, `TunedState` deals out variants of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.protocols import grpc_web, retries
from gatewayproxy.dataplane.protocols.sessions import Pinned, Place, Sessions
from gatewayproxy.dataplane.stats import RuleStats
from gatewayproxy.dataplane.upstream.budget import BudgetState
from gatewayproxy.dataplane.upstream.connection import Sink, Upstream
from gatewayproxy.dataplane.upstream.pool import ClusterState, EndpointPool
from gatewayproxy.model.headops import HeadEdit
from gatewayproxy.routing.pick import pick
from gatewayproxy.routing.table import Auth, BackendChoice, BackendGroup, RouteEntry
from gatewayproxy.wire.edit import edited_lines, line_starts, request_starts
from gatewayproxy.wire.origins import actual_lines

if TYPE_CHECKING:
    from gatewayproxy.dataplane.protocols.exchange import Exchange

__all__ = ["EntryState", "Guard", "GuardedState", "Target", "TunedState"]

MAX_VARIANTS: Final = 1024  # kept per entry: origins times endpoints; more are made again

Servers = tuple[tuple[Auth, ClusterState], ...]
Dress = Callable[["Exchange", Upstream], tuple[Upstream, Sink]]


class Target:
    """Where requests of one (entry, choice) go, looked up once per table."""

    __slots__ = (
        "_base", "budget", "choice", "cluster", "dress", "entry", "guard", "mirror_turns", "mirrors", "request",
        "request_starts", "response", "response_starts", "response_tail", "row", "told",
    )  # fmt: skip

    def __init__(self, entry: RouteEntry, choice: BackendChoice, context: Context) -> None:
        self.entry = entry
        self.choice = choice
        self._base: Target | None = None  # not itself: no cycle may keep the tables that have gone
        self.request = choice.request
        self.response = choice.response
        # What the edits come to for heads that have none of the fields they drop, see `wire.edit.edited_lines`.
        self.request_starts = request_starts(choice.request)
        self.response_starts = line_starts(choice.response)
        self.response_tail = edited_lines(b"", choice.response) + b"\r\n"
        self.row: RuleStats = context.stats.row(entry.label, choice.name)
        self.cluster: ClusterState | None = None
        self.budget: BudgetState | None = None
        if choice.cluster is not None:
            self.cluster = context.registry.cluster(choice.cluster)
            if choice.cluster.retry_budget is not None:
                self.budget = context.registry.budget(choice.cluster.retry_budget)
        self.dress: Dress | None = _dress(entry, self.budget)  # who comes between exchange and upstream; None: nobody
        self.mirrors = tuple((mirror, context.registry.cluster(mirror.cluster)) for mirror in choice.mirrors)
        self.mirror_turns = 0
        self.guard: Guard | None = None
        # Lines for this request's answer alone, whatever target it has in the end, and names that they stand for.
        self.told: tuple[bytes, frozenset[bytes]] | None = None

    @property
    def base(self) -> Target:
        """Return what this is a variant of, itself if of nothing."""
        return self._base or self

    def variant(self, lines: bytes, cluster: ClusterState | None) -> Target:
        """Return a target of *cluster* that adds *lines* to answers, and else is as this one, which has no base."""
        made = object.__new__(Target)
        made.entry, made.choice, made._base, made.row = self.entry, self.choice, self, self.row
        made.request, made.request_starts = self.request, self.request_starts
        made.response, made.response_starts = self.response, self.response_starts
        made.response_tail = self.response_tail
        if lines:
            edit = self.response or _NOTHING
            made.response = replace(edit, append=edit.append + lines)
            made.response_tail = lines + self.response_tail
        made.cluster, made.budget, made.dress = cluster, self.budget, self.dress
        made.mirrors, made.mirror_turns = self.mirrors, 0
        made.guard = made.told = None
        return made

    def telling(self, lines: bytes, instead: frozenset[bytes]) -> Target:
        """Return this target for one request, whose answer gets *lines* and loses the backend's fields *instead*."""
        made = self.variant(lines, self.cluster)
        made._base, made.told = self.base, (lines, instead)
        if instead:
            edit = made.response or _NOTHING
            made.response = replace(edit, cut=edit.cut | instead)
            made.response_starts = line_starts(made.response)
        return made


class EntryState:
    """A route entry at work: its turn counter and targets."""

    __slots__ = ("_context", "_group", "_own", "_targets", "_turn", "entry", "only")

    def __init__(self, entry: RouteEntry, context: Context) -> None:
        self.entry = entry
        self._context = context
        self._targets: dict[BackendChoice, Target] = {}
        self._own: Target | None = None
        self._turn = -1
        # An entry that answers by itself behaves as a group of one such choice.
        self._group = entry.group or BackendGroup(
            index=-1,
            choices=(BackendChoice(name="", refusal=entry.refusal, respond=entry.respond, response=entry.response),),
            bounds=(1,),
            step=1,
        )
        choices = self._group.choices
        self.only = self._target(choices[0]) if len(choices) == 1 else None

    @property
    def own(self) -> Target:
        """Return the target of requests that the gateway answers in the entry's name."""
        if self._own is None:
            self._own = Target(self.entry, BackendChoice(name=""), self._context)
        return self._own

    def pick(self, exchange: Exchange) -> Target:
        """Return the target of *exchange*, which is the next request."""
        return self._turned()

    def move(self, exchange: Exchange, pool: EndpointPool) -> None:
        """Have *exchange* know that it goes to *pool* now."""

    def _turned(self) -> Target:
        choices = self._group.choices
        if len(choices) == 1:
            return self._target(choices[0])
        self._turn += 1
        return self._target(pick(self._group, self._turn))

    def _target(self, choice: BackendChoice) -> Target:
        target = self._targets.get(choice)
        if target is None:
            target = self._targets[choice] = Target(self.entry, choice, self._context)
        return target


class TunedState(EntryState):
    """See the module: `only` is None, so that every request comes by."""

    __slots__ = ("_sessions", "_variants")

    def __init__(self, entry: RouteEntry, context: Context, *, secure: bool) -> None:
        super().__init__(entry, context)
        self.only = None
        self._sessions: Sessions | None = None
        if entry.session is not None and entry.group is not None:
            self._sessions = Sessions(entry, context, secure=secure)
        self._variants: dict[tuple[Target, EndpointPool | None, bytes], Target] = {}

    def pick(self, exchange: Exchange) -> Target:
        """Return the target of *exchange*: that of its session, or the next in turn, with what it is told."""
        sessions = self._sessions
        lines = self._cors_lines(exchange)
        place = sessions.place_of(exchange.head) if sessions is not None else None
        if place is not None:
            return self._kept(self._target(place.choice), place.pool, lines)
        target = self._turned()
        cluster = target.cluster
        if sessions is None or cluster is None:
            return self._kept(target, None, lines)
        pool = cluster.pick()
        return self._begun(exchange, target, pool, lines) if pool is not None else target.variant(lines, cluster)

    def move(self, exchange: Exchange, pool: EndpointPool) -> None:
        """Begin a new session of *exchange* if *pool* is not where its own one leads."""
        sessions, target = self._sessions, exchange.target
        if sessions is None or target is None or (isinstance(target.cluster, Pinned) and pool is target.cluster.only):
            return
        place = sessions.place_of(exchange.head)
        lines = self._cors_lines(exchange)
        if place == (target.choice, pool):
            exchange.target = self._kept(target.base, pool, lines)
        else:
            exchange.target = self._begun(exchange, target.base, pool, lines)

    def _begun(self, exchange: Exchange, base: Target, pool: EndpointPool, lines: bytes) -> Target:
        """Return the target of a request that begins a session at *pool*."""
        assert self._sessions is not None
        assert base.cluster is not None
        lines += self._sessions.line(exchange.head, Place(base.choice, pool))
        return base.variant(lines, Pinned(base.cluster, pool, begun=True))

    def _kept(self, base: Target, pool: EndpointPool | None, lines: bytes) -> Target:
        """Return a variant of *base* that many requests have in common."""
        if pool is None and not lines:
            return base
        key = (base, pool, lines)
        made = self._variants.get(key)
        if made is None:
            cluster = base.cluster
            if pool is not None and cluster is not None:
                cluster = Pinned(cluster, pool)
            if len(self._variants) >= MAX_VARIANTS:
                self._variants.clear()
            made = self._variants[key] = base.variant(lines, cluster)
        return made

    def _cors_lines(self, exchange: Exchange) -> bytes:
        cors = self.entry.cors
        return b"" if cors is None or cors.uniform else actual_lines(cors, exchange.head.field(b"origin"))


class Guard(NamedTuple):
    """Whose consent requests need, one after another, and who deals out the targets of those that have it."""

    servers: Servers
    behind: EntryState


class GuardedState(EntryState):
    """An entry with external authorization: all requests meet one target without a cluster, which has the guard."""

    __slots__ = ("_behind",)

    def __init__(self, entry: RouteEntry, context: Context, behind: EntryState) -> None:
        super().__init__(entry, context)
        self._behind = behind
        servers = tuple((auth, context.registry.cluster(auth.server.cluster)) for auth in entry.auths)
        self.only = gate = Target(entry, BackendChoice(name=""), context)
        gate.guard = Guard(servers, behind)

    def move(self, exchange: Exchange, pool: EndpointPool) -> None:
        """Have *exchange* know that it goes to *pool* now."""
        target = exchange.target
        self._behind.move(exchange, pool)
        if target is not None and target.told and exchange.target is not None and exchange.target is not target:
            exchange.target = exchange.target.telling(*target.told)


def _dress(entry: RouteEntry, budget: BudgetState | None) -> Dress | None:
    if entry.grpc:
        return _counted_call if budget is not None else _call
    if entry.retry is not None:
        return retries.guarded
    return retries.counted if budget is not None else None


def _call(exchange: Exchange, upstream: Upstream) -> tuple[Upstream, Sink]:
    return grpc_web.translated(exchange, upstream), exchange


def _counted_call(exchange: Exchange, upstream: Upstream) -> tuple[Upstream, Sink]:
    retries.counted(exchange, upstream)
    return _call(exchange, upstream)


_NOTHING: Final = HeadEdit()
