"""Claims: what every match of every rule asks for, in the order in which they are asked, per listener. Pure.

A claim stands before another if its route hostname is narrower, and of one hostname if its match ranks higher: the
order of `compiler.lower`. A rule is dead where claims before its own take all it matches. One claim is enough to look
at each time: without patterns, sets of requests of this form are never covered by several of which none covers it
alone, since paths, methods, values and names have no end.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from gatewayproxy.compiler.lower.hosts import owners
from gatewayproxy.compiler.lower.precedence import Claim as Ranked
from gatewayproxy.compiler.lower.precedence import call_rank, host_rank, prefix_key, rank
from gatewayproxy.insight.lint.config import Config
from gatewayproxy.insight.regions import EMPTY, Region, example_of, region_of
from gatewayproxy.insight.requests import Request
from gatewayproxy.model.names import ResourceKey, widening
from gatewayproxy.model.plan import Attachment, GRPCMatch, Listener, Match, PathKind, Route, Rule
from gatewayproxy.model.protocols import Protocol
from gatewayproxy.routing.match import host_key

__all__ = ["MAX_COMPARED", "Claim", "ListenerClaims", "Place", "claims_of", "covers"]

MAX_COMPARED: Final = 200  # claims of one hostname and path that a claim is held against; more are passed over

_PLAIN: Final = re.compile(rb"[A-Za-z0-9/_~%-]*")
_Rank = tuple[bool | int | float | str, ...]


class Place(NamedTuple):
    """A rule of a route."""

    route: ResourceKey
    rule: int

    @property
    def title(self) -> str:
        """How messages name it."""
        return f"rules[{self.rule}] of {self.route}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Claim:
    """A match of a rule, for one hostname of its route, on one listener."""

    listener: Listener
    route: Route
    rule: Rule
    index: int  # of the match in its rule
    match: Match | GRPCMatch
    hostname: str  # route's ∩ listener's
    own: str  # the route's
    order: _Rank  # lower wins
    n_ties: int  # how many at the end of *order* only break ties

    @property
    def place(self) -> Place:
        """The rule."""
        return Place(self.route.key, self.rule.index)

    @property
    def specificity(self) -> _Rank:
        """*order* without what breaks ties."""
        return self.order[: -self.n_ties]

    @cached_property
    def region(self) -> Region | None:
        """What it asks for; None: nothing can be that."""
        return region_of(self.match, self.hostname)

    @cached_property
    def asked(self) -> Region | None:
        """What it asks for, for all of the route's own hostname."""
        return region_of(self.match, self.own)

    @cached_property
    def literal(self) -> bytes:
        """What every path that it asks for begins with, as far as that is plain to see."""
        match = self.match
        if isinstance(match, GRPCMatch):
            return b""
        return _literal(match.path) if match.path_kind is PathKind.REGEX else prefix_key(match.path)

    def is_apart(self, other: Claim) -> bool:
        """Return whether the paths of the two are plainly different."""
        return not (self.literal.startswith(other.literal) or other.literal.startswith(self.literal))

    @cached_property
    def example(self) -> Request | None:
        """One request that it asks for; None: there is none, or none is known."""
        found = example_of(self.region) if self.region is not None else None
        return found if isinstance(found, Request) else None

    @property
    def where(self) -> str:
        """How messages name host and listener."""
        return f"{self.hostname or 'any host'} on listener {self.listener.key.name}"


class ListenerClaims:
    """The claims of one listener, first come first."""

    def __init__(self, listener: Listener, taken: Mapping[str, Listener]) -> None:
        self.listener = listener
        self._taken = taken
        self.claims = sorted(_claims(listener), key=lambda claim: claim.order)
        self._buckets: defaultdict[tuple[str, bytes | None], list[Claim]] = defaultdict(list)
        for claim in self.claims:
            self._buckets[claim.own, _bucket(claim.match)].append(claim)

    def owner(self, claim: Claim) -> Listener:
        """Return the listener of the port that has the hostname of *claim*."""
        return self._taken.get(claim.hostname, self.listener)

    def above(self, claim: Claim, *, same_host: bool = False) -> Iterator[Claim]:
        """Yield claims before *claim* whose paths and hostnames leave room for it (*same_host*: its own hostname)."""
        hosts = (claim.own,) if same_host else _hosts(claim)
        for own in hosts:
            for bucket in _buckets(claim.match):
                for other in self._buckets.get((own, bucket), ())[:MAX_COMPARED]:
                    if other.order < claim.order and not other.is_apart(claim):
                        yield other

    def takers(self, request: Request, claim: Claim) -> Iterator[Region]:
        """Yield what claims before *claim* ask for, of those that ask for *request*: one that *claim* asks for."""
        for own in widening(host_key(request.authority).decode("latin-1")):
            for bucket in _buckets(_narrowest(request, claim.match)):
                for other in self._buckets.get((own, bucket), ())[:MAX_COMPARED]:
                    if other.order < claim.order and other.asked is not None and other.asked.has(request):
                        yield other.asked

    def beside(self, claim: Claim) -> Sequence[Claim]:
        """Return the claims of the same hostname and path."""
        return self._buckets[claim.own, _bucket(claim.match)][:MAX_COMPARED]


def claims_of(config: Config) -> list[ListenerClaims]:
    """Return the claims of every listener that speaks HTTP."""
    by_port: defaultdict[tuple[tuple[str, ...], int], list[Listener]] = defaultdict(list)
    for listener in config.plan.listeners:
        if listener.protocol in (Protocol.HTTP, Protocol.HTTPS, Protocol.TLS):
            by_port[listener.addresses, listener.bind_port].append(listener)
    found: list[ListenerClaims] = []
    for sharing in by_port.values():
        taken = owners(sharing)
        found += [ListenerClaims(each, taken) for each in sharing if each.protocol is not Protocol.TLS]
    return found


def covers(above: Claim, claim: Claim) -> bool:
    """Return whether *above* takes every request that *claim* asks for."""
    if above.asked is None or claim.region is None:
        return False
    if claim.example is not None and not above.asked.has(claim.example):
        return False  # PERF: of 500 routes with patterns, 80 -> 1 s
    left = claim.region.minus(above.asked)
    return all(example_of(each) is EMPTY for each in left)


def _claims(listener: Listener) -> Iterator[Claim]:
    for attachment in listener.attachments:
        for rule in attachment.route.rules:
            for index, match in enumerate(rule.matches):
                yield from _claims_of_match(listener, attachment, rule, index, match)


def _claims_of_match(
    listener: Listener, attachment: Attachment, rule: Rule, index: int, match: Match | GRPCMatch
) -> Iterator[Claim]:
    route = attachment.route
    ties = (route.created, route.key.full_name, rule.index, index)
    order = call_rank(Ranked(match, *ties)) if isinstance(match, GRPCMatch) else rank(Ranked(match, *ties))
    kind = isinstance(match, GRPCMatch)  # of one hostname, HTTPRoutes are asked first
    for hostname, own in attachment.hostnames:
        yield Claim(
            listener=listener, route=route, rule=rule, index=index, match=match, hostname=hostname, own=own,
            order=(*host_rank(own), kind, *order), n_ties=len(ties),
        )  # fmt: skip


def _literal(pattern: bytes) -> bytes:
    """Return the plain characters that *pattern* begins with; a last one may be repeated, or missing."""
    if b"|" in pattern:
        return b""
    run = _PLAIN.match(pattern)
    assert run is not None, "it may match nothing"
    more = pattern[run.end() : run.end() + 1] in (b"?", b"*", b"{", b"+")
    return run.group()[:-1] if more else run.group()


# --- where a claim that covers another can stand


def _hosts(claim: Claim) -> Iterable[str]:
    return tuple(widening(claim.hostname))


def _bucket(match: Match | GRPCMatch) -> bytes | None:
    """Return the path of an exact match or prefix; None: it takes a look at each."""
    if isinstance(match, GRPCMatch):
        return None if match.regex else b"/".join((b"", match.service, match.method))
    return None if match.path_kind is PathKind.REGEX else prefix_key(match.path)


def _narrowest(request: Request, match: Match | GRPCMatch) -> Match | GRPCMatch:
    """Return a match of the kind of *match* for the path of *request* alone."""
    if isinstance(match, Match):
        return Match(path_kind=PathKind.EXACT, path=request.path)
    service, _, method = request.path[1:].partition(b"/")
    return GRPCMatch(service=service, method=method)


def _buckets(match: Match | GRPCMatch) -> Iterator[bytes | None]:
    """Yield the buckets where claims may stand that take all that *match* takes."""
    yield None
    if isinstance(match, GRPCMatch):
        names = {(match.service, match.method), (match.service, b""), (b"", match.method), (b"", b"")}
        yield from () if match.regex else (b"/".join((b"", *each)) for each in sorted(names))
    elif match.path_kind is not PathKind.REGEX:
        path = prefix_key(match.path)
        while path:
            yield path
            path = path[: path.rfind(b"/")]
        yield b""
