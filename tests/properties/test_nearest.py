"""The nearest match that a worker names is the nearest that `explain` names, over random tables and requests."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayproxy.compiler.lower import lower
from gatewayproxy.insight.decision import decide
from gatewayproxy.insight.ports import PortTable
from gatewayproxy.insight.requests import Request
from gatewayproxy.model.plan import Plan
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.routing.nearest import Nearest, Predicate
from gatewayproxy.routing.table import HostIndex
from tests.properties.crowds import SEEDS, crowd
from tests.properties.test_explain import configurations, requests


@settings(max_examples=50, deadline=None)
@given(configurations(), st.lists(requests(), max_size=8), SEEDS)
def test_a_worker_names_the_match_that_explain_names_first(plan: Plan, asked: Sequence[Request], seed: int) -> None:
    ports = PortTable(lower(plan, CompileOptions()))
    for request in (*asked, *crowd(plan, seed)):
        decision = decide(ports, request, plan)
        if decision.routed.reason != "no_rule":
            continue
        assert decision.head is not None
        assert decision.routed.vhost is not None
        assert decision.port is not None
        near = Nearest(decision.port.http or HostIndex()).match(decision.routed.vhost, decision.head)
        first = decision.missed[0]
        assert near is not None
        assert (near.failure.failed, near.failure.nearness) == (first.failed, first.nearness)
        assert near.failure.failed >= Predicate.PATH
        label = near.placed.candidate.entry.label
        tied = [each for each in decision.missed if (each.failed, each.nearness) == (first.failed, first.nearness)]
        assert (label.kind, label.route, label.rule) in [each.contender.is_of for each in tied]
