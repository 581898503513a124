"""GW101 to GW104: rules, matches and overlaps that others take the requests of. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from gatewayproxy.insight.lint.claims import Claim, ListenerClaims, Place, claims_of, covers
from gatewayproxy.insight.lint.config import Config
from gatewayproxy.insight.lint.rule import Finding
from gatewayproxy.insight.regions import example_of
from gatewayproxy.insight.requests import Request
from gatewayproxy.model.plan import Match

__all__ = ["dead_matches", "dead_rules", "method_before_headers", "tied_overlaps"]

_MAX_PARTS: Final = 32  # of what is left of two matches, earlier ones taken off; more are not taken off


class _Fate(NamedTuple):
    """A claim, and who takes all of its requests: another claim, or another listener; "" = it gets some."""

    claim: Claim
    taker: str
    by: Claim | None = None  # the claim that takes them


def _fates(config: Config) -> dict[Place, list[_Fate]]:
    fates: defaultdict[Place, list[_Fate]] = defaultdict(list)
    for claims in claims_of(config):
        for claim in claims.claims:
            fates[claim.place].append(_fate(claims, claim))
    return fates


def _fate(claims: ListenerClaims, claim: Claim) -> _Fate:
    owner = claims.owner(claim)
    if owner is not claims.listener:
        return _Fate(claim, f"listener {owner.key.name}, which has {claim.hostname}")
    for above in claims.above(claim):
        if above.place != claim.place and covers(above, claim):
            return _Fate(claim, above.place.title, above)
    return _Fate(claim, "")


def dead_rules(config: Config) -> Iterator[Finding]:
    """Yield rules all of whose requests are taken by others."""
    for place, fates in _fates(config).items():
        if all(fate.taker for fate in fates):
            takers = _listed(fate.taker for fate in fates)
            message = f"never gets a request: all it matches goes to {takers}"
            hint = "remove it, or tell its matches or hostnames apart from what comes before"
            yield Finding(place.route, f"spec.rules[{place.rule}]", message, hint)


def dead_matches(config: Config) -> Iterator[Finding]:
    """Yield matches of living rules, and hostnames of them, all of whose requests go to an equal hostname's rule."""
    for place, fates in _fates(config).items():
        lost = [fate for fate in fates if fate.by is not None and fate.by.own == fate.claim.own]
        if not lost or all(fate.taker for fate in fates):
            continue
        hint = "remove the match, or tell it apart from what comes before"
        for index in dict.fromkeys(fate.claim.index for fate in lost):
            own = [fate for fate in lost if fate.claim.index == index]
            everywhere = all(fate.taker for fate in fates if fate.claim.index == index)
            where = "" if everywhere else f" for {_listed(fate.claim.where for fate in own)}"
            message = f"gets no request{where}: all it matches goes to {_listed(fate.taker for fate in own)}"
            yield Finding(place.route, f"spec.rules[{place.rule}].matches[{index}]", message, hint)


def tied_overlaps(config: Config) -> Iterator[Finding]:
    """Yield matches that share requests with one of another route that is exactly as specific."""
    for claims, claim, other in _pairs(config):
        if other.specificity != claim.specificity or other.route.key == claim.route.key:
            continue
        request = _lost(claims, other, claim)
        if request is not None:
            why = f"its route is {_first(other, claim)}"
            message = f"as specific as {other.place.title}, which gets {_shown(request)}: {why}"
            hint = "say in one of the two what becomes of such requests, with a match that has the conditions of both"
            yield Finding(claim.route.key, _field(claim), message, hint)


def method_before_headers(config: Config) -> Iterator[Finding]:
    """Yield matches by header or query that lose requests to one by method."""
    for claims, claim, other in _pairs(config):
        if not (_by_fields(claim) and _by_method_alone(other, claim)):
            continue
        request = _lost(claims, other, claim)
        if request is not None:
            message = f"does not get {_shown(request)}: {other.place.title} names a method, which counts for more"
            hint = "add the method to this match too, or to a copy of it"
            yield Finding(claim.route.key, _field(claim), message, hint)


# --- pairs of claims


def _pairs(config: Config) -> Iterator[tuple[ListenerClaims, Claim, Claim]]:
    """Yield (.., claim, other) where *other*, of another rule, stands before *claim* at one hostname and path."""
    seen: set[tuple[Place, int, Place, int]] = set()
    for claims in claims_of(config):
        for claim in claims.claims:
            for other in claims.beside(claim):
                key = (claim.place, claim.index, other.place, other.index)
                if other.order < claim.order and other.place != claim.place and key not in seen:
                    seen.add(key)
                    yield claims, claim, other


def _lost(claims: ListenerClaims, winner: Claim, loser: Claim) -> Request | None:
    """Return a request that both ask for and *winner* gets; None: there is none, or none is known.

    Where one has all that the other asks for, it is the exception to a rule, or dead.
    """
    if winner.region is None or loser.region is None or covers(winner, loser) or covers(loser, winner):
        return None
    both = winner.region.meet(loser.region)
    left = [both] if both is not None else []
    for earlier in claims.beside(winner):
        if earlier.order < winner.order and earlier.asked is not None and len(left) <= _MAX_PARTS:
            left = [part for each in left for part in each.minus(earlier.asked)]
    found = (example_of(each) for each in left)
    return next((each for each in found if isinstance(each, Request)), None)


def _first(winner: Claim, loser: Claim) -> str:
    return "older" if winner.route.created < loser.route.created else "first by namespace/name"


def _by_fields(claim: Claim) -> bool:
    match = claim.match
    return isinstance(match, Match) and match.method is None and bool(match.headers or match.query)


def _by_method_alone(other: Claim, claim: Claim) -> bool:
    """Return whether *other* has a method, and nothing of the fields that *claim* asks for."""
    match, own = other.match, claim.match
    if not (isinstance(match, Match) and isinstance(own, Match)):
        return False
    return match.method is not None and len(match.headers) + len(match.query) < len(own.headers) + len(own.query)


# --- words


def _field(claim: Claim) -> str:
    return f"spec.rules[{claim.rule.index}].matches[{claim.index}]"


def _shown(request: Request) -> str:
    host = request.authority.decode("latin-1") or "any host"
    fields = ", ".join(f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in request.headers)
    asked = f"{request.method.decode('latin-1')} {host}{request.target.decode('latin-1')}"
    return f"{asked} with {fields}" if fields else asked


def _listed(names: Iterable[str], most: int = 4) -> str:
    kept: Sequence[str] = list(dict.fromkeys(names))
    shown = ", ".join(kept[:most])
    return shown if len(kept) <= most else f"{shown} and {len(kept) - most} more"
