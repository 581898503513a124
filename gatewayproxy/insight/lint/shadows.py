"""GW101 to GW104: rules, matches and overlaps that others take the requests of. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from gatewayproxy.insight.lint.claims import Claim, ListenerClaims, Place, claims_of, covers
from gatewayproxy.insight.lint.config import Config
from gatewayproxy.insight.lint.rule import Finding
from gatewayproxy.insight.regions import example_of
from gatewayproxy.insight.requests import Request
from gatewayproxy.model.plan import Match

__all__ = ["by_method", "dead_matches", "dead_rules", "lost", "method_before_headers", "tied", "tied_overlaps"]

_MAX_TRIES: Final = 8  # examples of what two matches share that are looked at: others may take them first


class _Fate(NamedTuple):
    """A claim, and who takes all of its requests: another claim, or another listener; "" = it gets some."""

    claim: Claim
    taker: str
    by: Claim | None = None  # the claim that takes them


def _fates(config: Config) -> dict[Place, list[_Fate]]:
    fates: defaultdict[Place, list[_Fate]] = defaultdict(list)
    for claims in config.once(claims_of):
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
    for place, fates in config.once(_fates).items():
        if all(fate.taker for fate in fates):
            takers = _listed(fate.taker for fate in fates)
            message = f"never gets a request: all it matches goes to {takers}"
            hint = "remove it, or tell its matches or hostnames apart from what comes before"
            yield Finding(place.route, f"spec.rules[{place.rule}]", message, hint)


def dead_matches(config: Config) -> Iterator[Finding]:
    """Yield matches of living rules, and hostnames of them, all of whose requests go to an equal hostname's rule."""
    for place, fates in config.once(_fates).items():
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
    for claim, other, request in lost(config, tied):
        why = f"its route is {_first(other, claim)}"
        message = f"as specific as {other.place.title}, which gets {_shown(request)}: {why}"
        hint = "say in one of the two what becomes of such requests, with a match that has the conditions of both"
        yield Finding(claim.route.key, _field(claim), message, hint)


def method_before_headers(config: Config) -> Iterator[Finding]:
    """Yield matches by header or query that lose requests to one by method."""
    for claim, other, request in lost(config, by_method):
        message = f"does not get {_shown(request)}: {other.place.title} names a method, which counts for more"
        yield Finding(claim.route.key, _field(claim), message, "add the method to this match too, or to a copy of it")


# --- requests that two ask for


def lost(config: Config, applies: Callable[[Claim, Claim], bool]) -> Iterator[tuple[Claim, Claim, Request]]:
    """Yield each match that loses requests to another for which *applies*(match, other) holds, and one of those.

    The first such is told: of a hundred equal ones, every pair would be thousands.
    """
    told: set[tuple[Place, int]] = set()
    for claims in config.once(claims_of):
        for claim in claims.claims:
            if (claim.place, claim.index) in told:
                continue
            others = (
                each
                for each in claims.beside(claim)
                if each.order < claim.order and applies(claim, each) and not claim.is_apart(each)
            )
            found = ((other, request) for other in others if (request := _taken(claims, other, claim)) is not None)
            for other, request in islice(found, 1):
                told.add((claim.place, claim.index))
                yield claim, other, request


def _taken(claims: ListenerClaims, winner: Claim, loser: Claim) -> Request | None:
    """Return a request that both ask for and *winner* gets; None: there is none, or none is known.

    Where one has all that the other asks for, it is the exception to a rule, or dead.
    """
    if winner.region is None or loser.region is None or covers(winner, loser) or covers(loser, winner):
        return None
    both = winner.region.meet(loser.region)
    left = [both] if both is not None else []
    for _ in range(_MAX_TRIES):
        found = next((each for each in map(example_of, left) if isinstance(each, Request)), None)
        if found is None:
            return None
        taker = next(claims.takers(found, winner), None)
        if taker is None:
            return found
        left = [part for each in left for part in each.minus(taker)]
    return None


def tied(claim: Claim, other: Claim) -> bool:
    return other.specificity == claim.specificity and other.route.key != claim.route.key


def by_method(claim: Claim, other: Claim) -> bool:
    """Return whether *other* has a method, and asks for fewer fields and parameters than *claim* without one."""
    own, match = claim.match, other.match
    if not (isinstance(match, Match) and isinstance(own, Match)) or other.place == claim.place:
        return False
    fewer = len(match.headers) + len(match.query) < len(own.headers) + len(own.query)
    return own.method is None and match.method is not None and fewer


def _first(winner: Claim, loser: Claim) -> str:
    return "older" if winner.route.created < loser.route.created else "first by namespace/name"


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
