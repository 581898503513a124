"""Rank the matches of one listener hostname, and hostnames among themselves, most specific first.

Gateway API picks the winning rule by comparing matches, not by file order (HTTPRouteRule.matches and
GRPCRouteRule.matches, "precedence"). `rank` and `call_rank` are those paragraphs, one line per clause; the paths of a
table are sorted by them, once. Pure. Ties end at the index of the match, so equal manifests give equal tables.
"""

from __future__ import annotations

from typing import Final, Generic, NamedTuple, TypeVar

from gatewayproxy.model.plan import GRPCMatch, Match, PathKind

__all__ = ["Claim", "call_rank", "host_rank", "prefix_key", "rank"]

M = TypeVar("M", Match, GRPCMatch)

# The spec leaves regexes to us: narrower than any prefix, never above an exact path.
_KIND: Final = {PathKind.EXACT: 0, PathKind.REGEX: 1, PathKind.PREFIX: 2}


class Claim(NamedTuple, Generic[M]):
    """A match with what breaks its ties."""

    match: M
    created: float  # as Route.created
    route: str  # "namespace/name"
    rule: int
    position: int  # of the match within its rule


def rank(claim: Claim[Match]) -> tuple[int, int, bool, int, int, float, str, int, int]:
    """Return the sort key of *claim*; lower wins."""
    match = claim.match
    path = prefix_key(match.path) if match.path_kind is PathKind.PREFIX else match.path
    return (
        _KIND[match.path_kind],  # "Exact" path match
        -len(path),  # "Prefix" path match with largest number of characters
        match.method is None,  # Method match
        -len(match.headers),  # largest number of header matches
        -len(match.query),  # largest number of query param matches
        claim.created,  # oldest Route
        claim.route,  # "{namespace}/{name}" as one string: '-' sorts before '/'
        claim.rule,  # first in list order
        claim.position,
    )


def call_rank(claim: Claim[GRPCMatch]) -> tuple[int, int, int, int, int, float, str, int, int]:
    """Return the sort key of *claim*; lower wins. As with paths, an exact name is narrower than any pattern."""
    match = claim.match
    return (
        _name_kind(match.service, match.regex),
        -len(match.service),  # characters in a matching service
        _name_kind(match.method, match.regex),
        -len(match.method),  # characters in a matching method
        -len(match.headers),  # header matches
        claim.created,  # oldest Route
        claim.route,  # "{namespace}/{name}"
        claim.rule,  # first matching rule
        claim.position,
    )


def _name_kind(name: bytes, regex: bool) -> int:
    if not name:
        return 2
    return 1 if regex else 0


def prefix_key(path: bytes) -> bytes:
    """Return a PathPrefix value as it compares: a trailing "/" is ignored (HTTPPathMatch.type), so "/" is b""."""
    return path.rstrip(b"/")


def host_rank(hostname: str) -> tuple[bool, int]:
    """Return the sort key of a route's own hostname; lower wins."""
    return (
        hostname == "" or hostname.startswith("*"),  # characters in a matching non-wildcard hostname
        -len(hostname),  # characters in a matching hostname
    )
