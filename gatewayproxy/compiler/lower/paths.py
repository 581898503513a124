"""Lower competing matches of HTTPRoutes to a PathIndex, every tuple in precedence order. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, NamedTuple

from gatewayproxy.compiler.lower.precedence import Claim, M, prefix_key, rank
from gatewayproxy.model.plan import Match, PathKind
from gatewayproxy.routing.table import Candidate, PathIndex, RouteEntry

__all__ = ["Claimed", "path_index", "reachable"]


class Claimed(NamedTuple, Generic[M]):
    """A match in competition, and the entry it leads to."""

    claim: Claim[M]
    entry: RouteEntry


def path_index(claimed: Iterable[Claimed[Match]]) -> PathIndex:
    """Return the index of all matches of one hostname of a listener."""
    exact: dict[bytes, list[Candidate]] = {}
    regexes: list[Candidate] = []
    prefix: dict[bytes, list[Candidate]] = {}
    for claim, entry in sorted(claimed, key=lambda each: rank(each.claim)):
        candidate = _candidate(claim, entry)
        path = claim.match.path
        match claim.match.path_kind:
            case PathKind.EXACT:
                exact.setdefault(path, []).append(candidate)
            case PathKind.REGEX:
                regexes.append(candidate)
            case PathKind.PREFIX:
                prefix.setdefault(prefix_key(path), []).append(candidate)
    return PathIndex(
        exact=reachable(exact),
        regexes=tuple(regexes),
        prefix=reachable(prefix),
        depth=max((key.count(b"/") for key in prefix), default=0),
    )


def _candidate(claim: Claim[Match], entry: RouteEntry) -> Candidate:
    match = claim.match
    return Candidate(
        entry=entry,
        method=match.method,
        headers=match.headers,
        query=match.query,
        regex=match.path if match.path_kind is PathKind.REGEX else None,
        bare=match.method is None and not match.headers and not match.query,
    )


def reachable(paths: dict[bytes, list[Candidate]]) -> dict[bytes, tuple[Candidate, ...]]:
    """Return *paths* with tuples, without what can never win: all behind a candidate that takes any request."""
    return {path: tuple(_to_the_first_bare(candidates)) for path, candidates in paths.items()}


def _to_the_first_bare(candidates: list[Candidate]) -> Iterable[Candidate]:
    for candidate in candidates:
        yield candidate
        if candidate.bare:
            return
