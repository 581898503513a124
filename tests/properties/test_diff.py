"""Regions of a diff, for any two tables: each witness differs, and no request outside of all regions does."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayproxy.compiler.lower import lower
from gatewayproxy.insight.diff.differences import Difference, Tables, differences, pairs
from gatewayproxy.insight.requests import Request
from gatewayproxy.model.plan import FilterChain, Plan, Rule
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.routing.table import RoutingTable
from tests.properties import test_explain as worlds
from tests.properties.crowds import SEEDS, crowd
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
@given(two_plans(), SEEDS)
def test_witnesses_are_decided_otherwise_and_no_request_outside_of_all_regions_is(
    plans: tuple[Plan, Plan], seed: int
) -> None:
    tables, found = compared(*tables_of(plans))
    for each in found:
        assert each.witness is not None
        assert each.has(each.witness)
        before, after = tables.ask(each.witness)
        assert tables.outcome(before, each.witness).facts != tables.outcome(after, each.witness).facts
    for request in (*crowd(plans[0], seed), *crowd(plans[1], seed)):
        before, after = tables.ask(request)
        if tables.outcome(before, request).facts != tables.outcome(after, request).facts:
            assert any(covers(each, request) for each in found), (request, before, after)


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
