"""What the linter says of rules and their requests is what becomes of requests, over random tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gatewayproxy.compiler.lower import lower
from gatewayproxy.compiler.manifests import Resources
from gatewayproxy.insight.lint import Config
from gatewayproxy.insight.lint.claims import Claim, Place, claims_of
from gatewayproxy.insight.lint.shadows import by_method, dead_rules, lost, tied
from gatewayproxy.insight.ports import PortTable, decide_entry
from gatewayproxy.insight.regions import HOST, Condition, Region, example_of, host_test, region_where
from gatewayproxy.insight.requests import Request, server_name_for
from gatewayproxy.model.names import ResourceKey
from gatewayproxy.model.plan import Attachment, GRPCMatch, Listener, Match, PathKind, Plan
from gatewayproxy.model.protocols import Protocol
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.model.status import StatusReport
from gatewayproxy.routing.table import RouteEntry
from tests.properties.crowds import SEEDS, crowd
from tests.properties.test_explain import configurations
from tests.support.plans import EXACT, listener, match, route, rule

MAX_TRIES = 24
MAX_PARTS = 64


def with_matches(change: Callable[[Match | GRPCMatch], Match | GRPCMatch], plan: Plan) -> Plan:
    """Return *plan* with every match as *change* has it."""

    def of_route(attachment: Attachment) -> Attachment:
        rules = tuple(replace(rule, matches=tuple(map(change, rule.matches))) for rule in attachment.route.rules)
        return attachment._replace(route=replace(attachment.route, rules=rules))

    return Plan(
        listeners=tuple(replace(each, attachments=tuple(map(of_route, each.attachments))) for each in plan.listeners)
    )


def plain(match: Match | GRPCMatch) -> Match | GRPCMatch:
    """Return *match* without patterns, and with one of few paths: more matches meet."""
    headers = tuple(each._replace(regex=False) for each in match.headers)
    if isinstance(match, GRPCMatch):
        return GRPCMatch(headers=headers)
    query = tuple(each._replace(regex=False) for each in match.query)
    kind, path = (match.path_kind, match.path) if match.path_kind is PathKind.EXACT else (PathKind.PREFIX, b"/a")
    return replace(match, path_kind=kind, path=path, headers=headers, query=query)


def valid(match: Match | GRPCMatch) -> Match | GRPCMatch:
    """Return *match* without empty segments in its path: no manifest has one, and requests with one are refused."""
    return match if isinstance(match, GRPCMatch) else replace(match, path=match.path.replace(b"//", b"/"))


def crowded(plan: Plan) -> Plan:
    """Return *plan* with routes of one kind per listener, all for any host, and one path for all matches."""
    listeners = []
    for each in plan.listeners:
        kinds = [attachment.route.key.kind for attachment in each.attachments]
        alike = [attachment.route for attachment, kind in zip(each.attachments, kinds, strict=True) if kind == kinds[0]]
        attachments = tuple(Attachment(route, ((each.hostname, ""),)) for route in alike)
        listeners.append(replace(each, attachments=attachments))
    return with_matches(
        lambda match: match if isinstance(match, GRPCMatch) else replace(match, path_kind=PathKind.PREFIX, path=b"/a"),
        Plan(listeners=tuple(listeners)),
    )


valid_configurations = configurations().map(partial(with_matches, valid))
plain_configurations = valid_configurations.map(partial(with_matches, plain))
crowded_configurations = plain_configurations.map(crowded)
# A match by header that a method beats, and two of two routes that are as specific.
ONE_OF_EACH = Plan(
    listeners=(
        listener("l0", route("x", rule(match(method=b"GET")), rule(match(headers=[(b"x", b"1")]))), hostname="a"),
        listener(
            "l1",
            route("x", rule(match(headers=[(b"x", b"1")]))),
            route("y", rule(match(headers=[(b"y", b"1")]))),
            hostname="b",
        ),
    )
)
# The same, where a third match takes the requests that come to mind first: for the shortest path, and one host.
WITH_EXCEPTIONS = Plan(
    listeners=tuple(
        replace(
            each,
            attachments=(
                *each.attachments,
                Attachment(route("z", rule(match(b"/", EXACT))), ((each.hostname, each.hostname),)),
                Attachment(route("zz", rule(match(b"/a"))), ((each.hostname, each.hostname),)),
            ),
        )
        for each in ONE_OF_EACH.listeners
    )
)


def config_of(plan: Plan) -> Config:
    table = lower(plan, CompileOptions())
    return Config(plan=plan, table=table, status=StatusReport(), resources=Resources(), sources=())


def place_of(entry: RouteEntry | None) -> Place | None:
    if entry is None:
        return None
    namespace, _, name = entry.label.route.partition("/")
    return Place(ResourceKey(entry.label.kind, namespace, name), entry.label.rule)


def sent_to(listener: Listener, request: Request) -> Request:
    """Return *request* as it comes to the port of *listener*."""
    over_tls = listener.protocol is Protocol.HTTPS
    authority = request.authority or b"any.example"
    name = server_name_for(authority) if over_tls else None
    return request._replace(
        port=listener.port, address=listener.addresses[0], tls=over_tls, server_name=name, authority=authority
    )


def dead(config: Config) -> set[Place]:
    return {Place(each.key, int(each.field.partition("[")[2].partition("]")[0])) for each in dead_rules(config)}


@settings(max_examples=60, deadline=None)
@given(st.one_of(valid_configurations, plain_configurations, crowded_configurations), SEEDS)
def test_no_request_comes_to_a_rule_that_is_told_to_be_dead(plan: Plan, seed: int) -> None:
    config = config_of(plan)
    told = dead(config)
    ports = PortTable(config.table)
    for request in crowd(plan, seed):
        assert place_of(decide_entry(ports, request).entry) not in told


@settings(max_examples=40, deadline=None)
@given(st.one_of(plain_configurations, crowded_configurations))
def test_a_rule_that_is_not_told_to_be_dead_gets_a_request(plan: Plan) -> None:
    config = config_of(plan)
    told = dead(config)
    living: dict[Place, list[Claim]] = {}
    for claims in config.once(claims_of):
        for claim in claims.claims:
            living.setdefault(claim.place, []).append(claim)
    for place, own in living.items():
        if place not in told:
            assert any(gets_some(config, claim) for claim in own), f"nothing comes to {place.title}"


def gets_some(config: Config, claim: Claim) -> bool:
    """Return whether a request comes to the rule of *claim*: what others take is taken off until one does.

    Where there are more than MAX_TRIES of those, or too much is left, nothing is known against it.
    """
    ports = PortTable(config.table)
    left = [claim.region] if claim.region is not None else []
    for _ in range(MAX_TRIES):
        found = next((each for each in map(example_of, left) if isinstance(each, Request)), None)
        if found is None:
            return False
        request = sent_to(claim.listener, found)
        routed = decide_entry(ports, request)
        if place_of(routed.entry) == claim.place:
            return True
        takers = list(takers_of(config, claim, found, routed.listener.name if routed.listener else ""))
        if not takers:
            return False
        left = [part for each in left for part in each.minus(takers[0])]
        if len(left) > MAX_PARTS:
            return True
    return True


def takers_of(config: Config, claim: Claim, request: Request, listener: str) -> Iterator[Region]:
    for claims in config.once(claims_of):
        if claims.listener.key != claim.listener.key:
            if str(claims.listener.key) == listener and (test := host_test(claims.listener.hostname)) is not None:
                yield region_where([Condition(HOST, test)]) or Region()
            continue
        for other in claims.claims:
            if other.order < claim.order and other.asked is not None and other.asked.has(request):
                yield other.asked


@pytest.mark.parametrize("kind", [tied, by_method])
def test_the_request_that_is_shown_goes_where_it_is_said_to_go(kind) -> None:  # type: ignore[no-untyped-def]
    seen: list[Request] = []

    @settings(max_examples=60, deadline=None)
    @example(ONE_OF_EACH)
    @example(WITH_EXCEPTIONS)
    @given(st.one_of(valid_configurations, plain_configurations, crowded_configurations))
    def check(plan: Plan) -> None:
        config = config_of(plan)
        ports = PortTable(config.table)
        for claim, winner, request in lost(config, kind):
            routed = decide_entry(ports, sent_to(claim.listener, request))
            if routed.listener is not None and routed.listener.name != str(claim.listener.key):
                continue  # a narrower listener of the port has the host that the example came by
            seen.append(request)
            assert place_of(routed.entry) == winner.place
            assert claim.asked is not None
            assert claim.asked.has(request)

    check()
    assert seen
