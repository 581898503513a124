"""A shadow finds what differs, and nothing else, for any two tables; and traffic is what it is without one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.protocols.http1 import Http1Connection
from gatewayproxy.dataplane.protocols.http2 import Http2Connection
from gatewayproxy.dataplane.protocols.site import Site
from gatewayproxy.dataplane.shadow import Shadow
from gatewayproxy.dataplane.stats import AccessRecord
from gatewayproxy.dataplane.upstream.registry import Registry
from gatewayproxy.insight.ports import Routed, route_on
from gatewayproxy.insight.requests import Request
from gatewayproxy.model.plan import Plan, Refusal, Rule
from gatewayproxy.routing.table import Port
from tests.properties.crowds import CLEAR, SEEDS, crowd
from tests.properties.test_diff import mapped, tables_of
from tests.properties.test_explain import configurations, port_of, requests, sent
from tests.support.memory import MemoryTransport


def served(runner: asyncio.Runner, port: Port, request: Request, shadow: Shadow | None) -> tuple[AccessRecord, bytes]:
    """Return what is logged and answered."""

    async def serve() -> tuple[AccessRecord, bytes]:
        records: list[AccessRecord] = []
        context = Context(registry=Registry(), access=records.append)
        context.shadow = shadow
        site = Site(port, context, scheme=b"http")
        connection = (Http2Connection if request.version == "2" else Http1Connection)(site)
        transport = MemoryTransport()
        connection.connection_made(transport)
        connection.data_received(sent(request))
        connection.connection_lost(None)
        context.registry.close()
        return records[0]._replace(started_at=0.0, duration_s=0.0, upstream_s=0.0), transport.take()

    return runner.run(serve())


def same(one: Routed, other: Routed) -> bool:
    if one.entry is None or other.entry is None:
        return one.entry is other.entry and one.reason == other.reason
    return one.entry.fingerprint == other.entry.fingerprint


@st.composite
def two_plans(draw: st.DrawFn) -> tuple[Plan, Plan]:
    """Return two plans without backends, mostly one and what becomes of it when some of its rules change."""
    plan = draw(configurations())

    def changed(rule: Rule) -> Rule:
        how = draw(st.integers(0, 5))
        if how == 0:
            return replace(rule, refusal=Refusal(503, "other", "so that it differs"))
        return replace(rule, matches=rule.matches[1:] or rule.matches) if how == 1 else rule

    return plan, draw(configurations()) if draw(st.integers(0, 3)) == 0 else mapped(plan, changed)


@settings(max_examples=50, deadline=None)
@given(two_plans(), st.lists(requests(), max_size=6), SEEDS, st.sampled_from(["1.1", "2"]))
def test_a_shadow_counts_exactly_what_differs(
    plans: tuple[Plan, Plan], asked: Sequence[Request], seed: int, version: str
) -> None:
    table, other = tables_of(plans)
    there = {port.bound: port for port in other.ports}
    with asyncio.Runner() as runner:
        for each in (*asked, *crowd(plans[0], seed, 40)):
            request = each._replace(port=CLEAR, tls=False, server_name=None, version=version)
            if version == "2":
                request = request._replace(scheme=None)
            port = port_of(table, request)
            if port is None:
                continue
            shadow = Shadow(other)
            plain = served(runner, port, request, None)
            assert served(runner, port, request, shadow) == plain
            told = shadow.told()
            if not told["requests"]:  # the head is refused before anything is decided
                assert plain[0].reason not in ("no_rule", "no_route", "")
                continue
            beside = there.get(port.bound)
            found = route_on(beside, request) if beside is not None else Routed(None, reason="no_port")
            assert told["failed"] == 0
            assert told["different"] == int(not same(route_on(port, request), found))
