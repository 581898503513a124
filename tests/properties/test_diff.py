"""Regions of a diff, for any two tables: each witness differs, and no request outside of all regions does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayproxy.compiler.lower import lower
from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.insight.diff_regions import Difference, Tables, differences, pairs
from gatewayproxy.insight.requests import Request
from gatewayproxy.model.plan import FilterChain, Plan, Rule
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.routing.match import host_key
from gatewayproxy.routing.table import RoutingTable
from tests.properties import test_explain as worlds
from tests.support.plans import backend

BACKENDS = ["a/one:80", "a/two:80"]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Return a plan of clear text and TLS whose rules lead to one of two backends, or refuse."""
    plan = draw(worlds.configurations())

    def ruled(rule: Rule) -> Rule:
        to = draw(st.sampled_from([*BACKENDS, ""]))
        kept = FilterChain(cors=rule.filters.cors)
        return rule if not to else replace(rule, refusal=None, backends=(backend(to),), filters=kept)

    return mapped(plan, ruled)


def mapped(plan: Plan, change: object) -> Plan:
    assert callable(change)
    listeners = []
    for listener in plan.listeners:
        attachments = tuple(
            each._replace(route=replace(each.route, rules=tuple(map(change, each.route.rules))))
            for each in listener.attachments
        )
        listeners.append(replace(listener, attachments=attachments))
    return Plan(listeners=tuple(listeners))


@st.composite
def two_plans(draw: st.DrawFn) -> tuple[Plan, Plan]:
    """Return two plans, mostly one and what becomes of it when some of its rules, or listeners, change."""
    old = draw(plans())
    if draw(st.integers(0, 3)) == 0:
        return old, draw(plans())

    def changed(rule: Rule) -> Rule:
        how = draw(st.integers(0, 5))
        if how == 0:
            return replace(rule, refusal=None, backends=(backend(draw(st.sampled_from(BACKENDS))),))
        if how == 1:
            return replace(rule, matches=rule.matches[1:] or rule.matches)
        return rule

    new = mapped(old, changed)
    if draw(st.integers(0, 4)) == 0:
        new = Plan(listeners=tuple(each for each in new.listeners if draw(st.integers(0, 3))))
    return old, new


def tables_of(plans: tuple[Plan, Plan]) -> tuple[RoutingTable, RoutingTable]:
    return lower(plans[0], CompileOptions()), lower(plans[1], CompileOptions())


def compared(old: RoutingTable, new: RoutingTable) -> tuple[Tables, list[Difference]]:
    tables = Tables(old, new)
    return tables, [each for pair in pairs(old, new) for each in differences(pair, tables)]


@settings(max_examples=25, deadline=None)
@given(two_plans())
def test_every_witness_is_in_its_region_and_is_decided_otherwise(plans: tuple[Plan, Plan]) -> None:
    old, new = tables_of(plans)
    tables, found = compared(old, new)
    for each in found:
        if each.witness is not None:
            assert each.has(each.witness)
            before, after = tables.ask(each.witness)
            assert tables.outcome(before, each.witness).facts != tables.outcome(after, each.witness).facts
        assert each.witness is not None


@settings(max_examples=30, deadline=None)
@given(two_plans(), st.lists(worlds.requests(), min_size=1, max_size=40))
def test_no_request_outside_of_all_regions_is_decided_otherwise(
    plans: tuple[Plan, Plan], asked: Sequence[Request]
) -> None:
    old, new = tables_of(plans)
    tables, found = compared(old, new)
    for request in filter(is_usual, asked):
        before, after = tables.ask(request)
        if tables.outcome(before, request).facts != tables.outcome(after, request).facts:
            assert any(covers(each, request) for each in found), (request, before, after)


def is_usual(request: Request) -> bool:
    """Return whether a diff speaks of *request*: one reading of its path, and server name and scheme as they come."""
    name = host_key(request.authority)
    if request.scheme not in (None, b"https" if request.tls else b"http"):
        return False
    try:
        return not (request.odd or request.path == b"*" or request.max_forwards == 0) and (
            not request.tls or request.server_name == name
        )
    except RemoteProtocolError:
        return False


def covers(difference: Difference, request: Request) -> bool:
    """Return whether *request* is in the region of *difference*, or the one that it announces, a preflight, is."""
    if request.port != (difference.pair.new or difference.pair.old).port:  # type: ignore[union-attr]
        return False
    announced = request.field(b"access-control-request-method")
    return difference.has(request) or (announced is not None and difference.has(request._replace(method=announced)))


@settings(max_examples=25, deadline=None)
@given(plans())
def test_a_table_does_not_differ_from_itself(plan: Plan) -> None:
    assert compared(*tables_of((plan, plan)))[1] == []
