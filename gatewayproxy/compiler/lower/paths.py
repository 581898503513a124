"""Lower competing matches to a PathIndex, every tuple in precedence order. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gatewayproxy.compiler.lower.precedence import Claim, prefix_key, rank
from gatewayproxy.model.plan import PathKind
from gatewayproxy.routing.table import Candidate, PathIndex, RouteEntry

__all__ = ["Claimed", "path_index"]


class Claimed(NamedTuple):
    """A match in competition, and the entry it leads to."""

    claim: Claim
    entry: RouteEntry


def path_index(claimed: Iterable[Claimed]) -> PathIndex:
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
        exact=_frozen(exact),
        regexes=tuple(regexes),
        prefix=_frozen(prefix),
        depth=max((key.count(b"/") for key in prefix), default=0),
    )


def _candidate(claim: Claim, entry: RouteEntry) -> Candidate:
    match = claim.match
    return Candidate(
        entry=entry,
        method=match.method,
        headers=match.headers,
        query=match.query,
        regex=match.path if match.path_kind is PathKind.REGEX else None,
        bare=match.method is None and not match.headers and not match.query,
    )


def _frozen(paths: dict[bytes, list[Candidate]]) -> dict[bytes, tuple[Candidate, ...]]:
    """Return *paths* with tuples, without what can never win: all behind a candidate that takes any request."""
    return {path: tuple(_reachable(candidates)) for path, candidates in paths.items()}


def _reachable(candidates: list[Candidate]) -> Iterable[Candidate]:
    for candidate in candidates:
        yield candidate
        if candidate.bare:
            return
