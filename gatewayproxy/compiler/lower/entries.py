"""Make RouteEntries: what a rule does with a request or a connection, bound to one listener. Pure.

A rule becomes one entry per listener, shared by all its matches and hostnames; where a filter replaces the matched
prefix, one per prefix. Entries and groups are numbered densely, in the order they are made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from hashlib import blake2b
from itertools import accumulate
from math import gcd

from gatewayproxy.compiler.lower.edits import NO_CORS_FIELDS, bind_redirect, cors_fields, fold
from gatewayproxy.compiler.lower.presented import present
from gatewayproxy.model.headops import HeadEdit, HeadOp, Prefix, Remove
from gatewayproxy.model.plan import (
    Backend,
    FilterChain,
    GRPCMatch,
    Listener,
    Match,
    PathKind,
    Refusal,
    Route,
    Rule,
)
from gatewayproxy.model.refusals import FILTER_UNSUPPORTED, NO_BACKENDS, refuse
from gatewayproxy.routing.pick import step_for
from gatewayproxy.routing.table import Auth, BackendChoice, BackendGroup, Mirror, RouteEntry, RuleLabel

__all__ = ["Entries", "RuleEntries"]


class Entries:
    """Numbers the entries and groups of one table."""

    __slots__ = ("n_entries", "n_groups")

    def __init__(self) -> None:
        self.n_entries = 0
        self.n_groups = 0

    def rule(self, listener: Listener, route: Route, rule: Rule) -> RuleEntries:
        """Return the maker of the entries of *rule* on *listener*."""
        return RuleEntries(self, listener, route, rule)

    def next_entry(self) -> int:
        """Return the next entry's index."""
        self.n_entries += 1
        return self.n_entries - 1

    def group(self, choices: list[tuple[int, BackendChoice]]) -> BackendGroup:
        """Return the group of (weight, choice) pairs, weights > 0, reduced to their smallest integers."""
        unit = reduce(gcd, (weight for weight, _ in choices))
        bounds = tuple(accumulate(weight // unit for weight, _ in choices))
        self.n_groups += 1
        return BackendGroup(
            index=self.n_groups - 1,
            choices=tuple(choice for _, choice in choices),
            bounds=bounds,
            step=step_for(bounds[-1]),
        )


class RuleEntries:
    """Makes the entries of one rule on one listener, each once."""

    __slots__ = ("_by_prefix", "_entries", "_label", "_listener", "_rule")

    def __init__(self, entries: Entries, listener: Listener, route: Route, rule: Rule) -> None:
        self._entries = entries
        self._listener = listener
        self._rule = rule
        self._label = RuleLabel(str(listener.key), route.key.kind, route.key.full_name, rule.index, rule.name)
        self._by_prefix: dict[bytes | None, RouteEntry] = {}

    def entry(self, match: Match | GRPCMatch | None = None) -> RouteEntry:
        """Return the entry for requests taken by *match* (None: a connection)."""
        prefix = None
        if isinstance(match, Match) and match.path_kind is PathKind.PREFIX and _replaces_prefix(self._rule):
            prefix = match.path
        entry = self._by_prefix.get(prefix)
        if entry is None:
            entry = self._by_prefix[prefix] = self._make(prefix)
        return entry

    def _make(self, prefix: bytes | None) -> RouteEntry:
        rule, chain = self._rule, self._rule.filters
        refusal = rule.refusal or chain.refusal or _unbound(rule, prefix)
        auths = tuple(self._auths(chain))
        refusal = refusal or next((each for each in auths if isinstance(each, Refusal)), None)
        respond = group = None
        if refusal is None and chain.redirect is not None:
            respond = bind_redirect(chain.redirect, self._listener, prefix or b"")
        elif refusal is None:
            group = self._group(prefix or b"")
            refusal = refuse(NO_BACKENDS) if group is None else None
        return RouteEntry(
            index=self._entries.next_entry(),
            label=self._label,
            fingerprint=self._fingerprint(prefix),
            group=group,
            respond=respond,
            refusal=refusal,
            response=self._answer_edit(chain.response) if respond is not None else None,
            request_timeout_s=rule.request_timeout_s,
            backend_timeout_s=rule.backend_timeout_s,
            grpc=self._label.kind == "GRPCRoute",
            auths=tuple(each for each in auths if isinstance(each, Auth)) if refusal is None else (),
            cors=chain.cors,
            retry=rule.retry if group is not None else None,
            session=rule.session if group is not None else None,
            resting=self._resting(prefix or b"") if group is not None and rule.session is not None else (),
        )

    def _group(self, prefix: bytes) -> BackendGroup | None:
        weighted = [(each.weight, self._choice(each, prefix)) for each in self._rule.backends if each.weight > 0]
        return self._entries.group(weighted) if weighted else None

    def _resting(self, prefix: bytes) -> tuple[BackendChoice, ...]:
        """Return the choices of weight 0, where sessions may still lead."""
        unweighted = (self._choice(each, prefix) for each in self._rule.backends if each.weight == 0)
        return tuple(choice for choice in unweighted if choice.cluster is not None)

    def _choice(self, backend: Backend, prefix: bytes) -> BackendChoice:
        outer, inner = self._rule.filters, backend.filters
        refusal = backend.refusal or inner.refusal
        if refusal is not None:
            return BackendChoice(name=backend.name, refusal=refusal)
        if inner.redirect is not None:
            respond = bind_redirect(inner.redirect, self._listener, prefix)
            response = self._answer_edit(outer.response + inner.response)
            return BackendChoice(name=backend.name, respond=respond, response=response)
        cluster = present(backend.cluster, self._listener) if backend.cluster is not None else None
        if isinstance(cluster, Refusal):
            return BackendChoice(name=backend.name, refusal=cluster)
        return BackendChoice(
            name=backend.name,
            cluster=cluster,
            request=fold(outer.request + inner.request, prefix),
            response=fold(outer.response + inner.response + self._own_fields()),
            mirrors=(*self._mirrors(outer, FilterChain(), prefix), *self._mirrors(inner, outer, prefix)),
        )

    def _mirrors(self, chain: FilterChain, outer: FilterChain, prefix: bytes) -> Iterator[Mirror]:
        """Yield the mirrors of *chain*; copies carry the edits made up to it, the rule's (*outer*) included."""
        for to in chain.mirrors:
            cluster = present(to.cluster, self._listener)
            if not isinstance(cluster, Refusal):  # a mirror that cannot be reached leaves the requests alone
                edit = fold(outer.request + chain.request, prefix)
                yield Mirror(cluster=cluster, numerator=to.numerator, denominator=to.denominator, request=edit)

    def _auths(self, chain: FilterChain) -> Iterator[Auth | Refusal]:
        """Yield the servers that *chain* asks; a refusal for one that cannot be spoken to."""
        for each in chain.auths:
            cluster = present(each.cluster, self._listener)
            if isinstance(cluster, Refusal):
                yield cluster
            else:
                yield Auth(server=replace(each, cluster=cluster), before=fold(each.before))

    def _answer_edit(self, ops: tuple[HeadOp, ...]) -> HeadEdit | None:
        """Return the edit of an answer of our own by *ops*; what it says of CORS is put in when it is made."""
        return fold(ops if self._rule.filters.cors is None else ops + NO_CORS_FIELDS)

    def _own_fields(self) -> tuple[HeadOp, ...]:
        """Return the edits of an answer that leave the fields of CORS and sessions to us, whatever a backend says."""
        rule = self._rule
        ops: tuple[HeadOp, ...] = ()
        if rule.filters.cors is not None:
            ops += cors_fields(rule.filters.cors)
        if rule.session is not None and rule.session.header:
            ops += (Remove(rule.session.name),)
        return ops

    def _fingerprint(self, prefix: bytes | None) -> bytes:
        # The plan's values, not the table's: their repr has one order, that of a frozenset changes with the process.
        rule, listener = self._rule, self._listener
        timeouts = (rule.request_timeout_s, rule.backend_timeout_s)
        behaviour = (rule.filters, rule.backends, timeouts, rule.retry, rule.session, rule.refusal)
        where = (listener.protocol.value, listener.port, prefix, listener.backend_certificate)
        text = repr((self._label, *where, behaviour))
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _replaces_prefix(rule: Rule) -> bool:
    return any(_chain_replaces_prefix(chain) for chain in (rule.filters, *(each.filters for each in rule.backends)))


def _chain_replaces_prefix(chain: FilterChain) -> bool:
    if chain.redirect is not None and isinstance(chain.redirect.path, Prefix):
        return True
    return any(isinstance(op, Prefix) for op in chain.request)


def _unbound(rule: Rule, prefix: bytes | None) -> Refusal | None:
    """Return a refusal where a prefix is to be replaced and none was matched (HTTPRouteRule's CEL forbids it)."""
    if prefix is None and _replaces_prefix(rule):
        return refuse(FILTER_UNSUPPORTED, "ReplacePrefixMatch needs a PathPrefix match")
    return None
