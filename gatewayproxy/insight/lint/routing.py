"""GW1: rules, matches and hostnames that do not get the requests that their author sees in them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from gatewayproxy.insight.lint.claims import Claim, claims_of
from gatewayproxy.insight.lint.config import Config
from gatewayproxy.insight.lint.rule import Finding, Lint
from gatewayproxy.insight.lint.shadows import dead_matches, dead_rules, method_before_headers, tied_overlaps
from gatewayproxy.insight.regions import EMPTY, example_of
from gatewayproxy.model.names import ResourceKey
from gatewayproxy.model.plan import Match
from gatewayproxy.model.protocols import Protocol

__all__ = ["LINTS"]

_ACME: Final = b"/.well-known/acme-challenge"  # RFC 8555 §8.3: asked for in plain text


def plain_text_before_redirect(config: Config) -> Iterator[Finding]:
    """Yield rules that forward requests of a plain-text listener which a redirect to https would get without them."""
    found: dict[tuple[ResourceKey, int], Finding] = {}
    for claims in config.once(claims_of):
        if claims.listener.protocol is not Protocol.HTTP:
            continue
        upwards = [claim for claim in claims.claims if _to_https(claim)]
        for claim in claims.claims:
            taken = next((each for each in upwards if each.order > claim.order and _meet(claim, each)), None)
            key = (claim.route.key, claim.rule.index)
            if taken is not None and key not in found and claim.rule.backends and not _is_solver(claim):
                message = (
                    f"serves {claim.hostname or 'any host'} in plain text on listener {claim.listener.key.name}, "
                    f"before the redirect to https in {taken.place.title}"
                )
                hint = "name the HTTPS listener in sectionName of the parentRef"
                found[key] = Finding(key[0], f"spec.rules[{key[1]}]", message, hint)
    yield from found.values()


def _to_https(claim: Claim) -> bool:
    redirect = claim.rule.filters.redirect
    return redirect is not None and redirect.scheme == "https" and redirect.host is None


def _meet(claim: Claim, other: Claim) -> bool:
    if claim.region is None or other.asked is None or claim.place == other.place:
        return False
    both = claim.region.meet(other.asked)
    return both is not None and not (both.is_open and example_of(both) is EMPTY)


def _is_solver(claim: Claim) -> bool:
    return isinstance(claim.match, Match) and claim.match.path.startswith(_ACME)


LINTS: Final[Mapping[str, Lint]] = {
    "GW101": Lint(
        title="rule that never gets a request",
        meaning="Rules of higher precedence take every request that it matches.",
        fix="Remove the rule, merge the two, or tell their matches or hostnames apart.",
        find=dead_rules,
    ),
    "GW102": Lint(
        title="match that never gets a request",
        meaning="The rule gets requests, and none through this match, or none for some of its hostnames: rules of "
        "higher precedence take them all.",
        fix="Remove the match, or tell it apart from what comes before.",
        find=dead_matches,
    ),
    "GW103": Lint(
        title="matches of two routes that overlap and are equally specific",
        meaning="Some requests fit both. The older route gets them, then the first by namespace/name; without "
        "creationTimestamp, a new name changes who that is.",
        fix="Add a match with the conditions of both to the rule that is to have such requests.",
        find=tied_overlaps,
    ),
    "GW104": Lint(
        title="match by header that loses requests to one by method",
        meaning="Of matches with one path, a method counts for more than any number of headers or query parameters. "
        "Requests that fit both go to the rule with the method.",
        fix="Name the method in the match with the headers, too.",
        find=method_before_headers,
    ),
    "GW105": Lint(
        title="hostname outside the listeners",
        meaning="No listener that the route is attached to has the hostname. Requests for it never reach the route.",
        fix="Correct the hostname, or add a listener for it.",
    ),
    "GW106": Lint(
        title="hostname that a route of another kind has",
        meaning="A listener gives a hostname to HTTPRoutes or to GRPCRoutes: the older route has it.",
        fix="Give the two routes different hostnames, or one of them a listener of its own.",
    ),
    "GW108": Lint(
        title="redirect to https that leads nowhere, or back",
        meaning="No listener of the Gateway answers https for the host. Where a load balancer in front ends TLS, the "
        "request comes back to this rule for ever; with --trusted-hops it is answered 508 (redirect_loop) instead.",
        fix="Add an HTTPS listener for the host, or have the load balancer redirect and remove the rule.",
    ),
    "GW109": Lint(
        title="plain text in front of a redirect to https",
        meaning="A listener for plain text redirects to https, and a rule with a narrower hostname or path takes "
        "requests before that: their cookies and passwords can be read on the way.",
        fix="Write sectionName with the name of the HTTPS listener in the route's parentRef.",
        find=plain_text_before_redirect,
    ),
}
