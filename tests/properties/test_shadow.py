"""A shadow finds what differs, and nothing else, for any two tables; and traffic is what it is without one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gatewayproxy.compiler.lower import lower
from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.protocols.http1 import Http1Connection
from gatewayproxy.dataplane.protocols.http2 import Http2Connection
from gatewayproxy.dataplane.protocols.site import Site
from gatewayproxy.dataplane.shadow import Shadow
from gatewayproxy.dataplane.stats import AccessRecord
from gatewayproxy.dataplane.upstream.registry import Registry
from gatewayproxy.insight.ports import Routed, route_on
from gatewayproxy.insight.requests import Request
from gatewayproxy.model.plan import Plan
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.routing.table import Port
from tests.properties.test_explain import CLEAR, configurations, port_of, requests, sent
from tests.support.memory import MemoryTransport


def served(port: Port, request: Request, shadow: Shadow | None) -> tuple[AccessRecord, bytes]:
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

    return asyncio.run(serve())


def same(one: Routed, other: Routed) -> bool:
    if one.entry is None or other.entry is None:
        return one.entry is other.entry and one.reason == other.reason
    return one.entry.fingerprint == other.entry.fingerprint


@settings(max_examples=60, deadline=None, phases=[Phase.generate])
@given(configurations(), configurations(), st.lists(requests(), min_size=1, max_size=6), st.sampled_from(["1.1", "2"]))
def test_a_shadow_counts_exactly_what_differs(
    plan: Plan, candidate: Plan, asked: Sequence[Request], version: str
) -> None:
    table, other = lower(plan, CompileOptions()), lower(candidate, CompileOptions())
    there = {port.bound: port for port in other.ports}
    for each in asked:
        request = each._replace(port=CLEAR, tls=False, server_name=None, version=version)
        if version == "2":
            request = request._replace(scheme=None)
        port = port_of(table, request)
        if port is None:
            continue
        shadow = Shadow(other)
        plain = served(port, request, None)
        assert served(port, request, shadow) == plain
        told = shadow.told()
        if not told["requests"]:  # the head is refused before anything is decided
            assert plain[0].reason not in ("no_rule", "no_route", "")
            continue
        beside = there.get(port.bound)
        found = route_on(beside, request) if beside is not None else Routed(None, reason="no_port")
        assert told["failed"] == 0
        assert told["different"] == int(not same(route_on(port, request), found))
