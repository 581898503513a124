"""What is explained is what happens: `decide` and `decide_entry` beside connections of the data plane, in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayproxy.compiler.lower import lower
from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.protocols.http1 import Http1Connection
from gatewayproxy.dataplane.protocols.http2 import Http2Connection
from gatewayproxy.dataplane.protocols.site import Site
from gatewayproxy.dataplane.stats import AccessRecord
from gatewayproxy.dataplane.upstream.registry import Registry
from gatewayproxy.insight.decision import Decision, decide
from gatewayproxy.insight.ports import PortTable, decide_entry
from gatewayproxy.insight.requests import Request, head_bytes
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import Certificate, FilterChain, Plan, Refusal, Rule
from gatewayproxy.model.protocols import Protocol
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.model.traffic import Cors
from gatewayproxy.routing.server_names import find_target
from gatewayproxy.routing.table import Port, RoutingTable
from gatewayproxy.wire.h2 import H2Client
from tests.properties.crowds import CLEAR, HOSTS, PATHS, SECURE, SEEDS, VALUES, crowd
from tests.properties.test_match import plans
from tests.support.memory import MemoryTransport

REFUSED = Refusal(500, "no_backends", "so that nothing is dialled")
ODD = [
    b"//",
    b"/a;v=1",
    b"/a//b",
    b"/%61",
    b"/a/%2e",
    b"/a/../b",
    b"/a%2fb",
    b"/a\\b",
    b"*",
    b"/a b",
    b"/%",
    b'/a?x="y"',
]
CERTIFICATE = Certificate(chain_pem=b"", key_pem=b"", digest="a")  # without one TLS would not be ended
CORS = st.sampled_from([None, None, Cors(origins=(b"https://x.a",), methods=(b"GET",)), Cors(origins=(b"*",))])


@st.composite
def configurations(draw: st.DrawFn) -> Plan:
    """Return a plan in which no rule leads to a backend, one port speaks TLS, and some rules have a CORS filter."""
    plan = draw(plans())

    def ruled(rule: Rule) -> Rule:
        cors = draw(CORS)
        return replace(rule, refusal=REFUSED, filters=FilterChain(cors=cors))

    listeners = []
    for listener in plan.listeners:
        attachments = tuple(
            each._replace(route=replace(each.route, rules=tuple(map(ruled, each.route.rules))))
            for each in listener.attachments
        )
        secure = listener.port == SECURE
        protocol, certificates = (Protocol.HTTPS, (CERTIFICATE,)) if secure else (Protocol.HTTP, ())
        listeners.append(replace(listener, attachments=attachments, protocol=protocol, certificates=certificates))
    return Plan(listeners=tuple(listeners))


HOST_NAMES = st.sampled_from([host.encode() for host in HOSTS])
SPELLINGS = st.sampled_from([
    lambda host: host, lambda host: host, bytes.upper, lambda host: host + b":80", lambda host: host.upper() + b".",
    lambda host: b"a b",
])  # fmt: skip
FIELDS = st.lists(st.tuples(st.sampled_from([b"X", b"y"]), st.sampled_from(VALUES)), max_size=2)
MORE_FIELDS = st.sampled_from([
    [], [], [(b"Origin", b"https://x.a"), (b"Access-Control-Request-Method", b"GET")], [(b"Max-Forwards", b"0")],
    [(b"Origin", b"https://y"), (b"Access-Control-Request-Method", b"POST")],
])  # fmt: skip
ADDRESSES = st.sampled_from(["127.0.0.9", "127.0.0.2"])
METHODS = st.sampled_from([b"GET", b"GET", b"POST", b"OPTIONS", b"get", b"TRACE"])
SCHEMES = st.sampled_from([None, None, None, b"http", b"https"])
TARGETS = st.builds(
    bytes.__add__,
    st.sampled_from(PATHS * 2 + ODD),
    st.sampled_from([b"", b"", b"?p=1", b"?q+q=a%20b&p=2", b"?"]),
)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    tls, host = draw(st.booleans()), draw(HOST_NAMES)
    server_name = draw(st.sampled_from([host, host, draw(HOST_NAMES), None])) if tls else None
    request = Request(
        port=SECURE if tls else CLEAR,
        address=draw(ADDRESSES),
        tls=tls,
        server_name=server_name,
        method=draw(METHODS),
        authority=draw(SPELLINGS)(host),
        headers=(*draw(FIELDS), *draw(MORE_FIELDS)),
        scheme=draw(SCHEMES),
    )
    return request.with_target(draw(TARGETS))


def port_of(table: RoutingTable, request: Request) -> Port | None:
    """Return the port whose socket gets what is sent to the address of *request*."""
    here = {port.address: port for port in table.ports if port.bind_port == request.port}
    return here.get(request.address) or here.get("")


def served(runner: asyncio.Runner, port: Port, request: Request) -> AccessRecord | None:
    """Return what the data plane logs of *request* on *port*; None where its ClientHello is refused."""
    target = find_target(port.sni, request.server_name) if port.sni is not None else None
    if port.sni is not None and target is None:
        return None

    async def serve() -> AccessRecord:
        records: list[AccessRecord] = []
        context = Context(registry=Registry(), access=records.append)
        site = Site(port, context, scheme=b"https" if target is not None else b"http")
        listener = target.listener if target is not None else None
        kind = Http2Connection if request.version == "2" else Http1Connection
        connection = kind(site, listener)
        connection.connection_made(MemoryTransport())
        connection.data_received(sent(request))
        connection.connection_lost(None)
        context.registry.close()
        assert len(records) == 1
        return records[0]

    return runner.run(serve())


def sent(request: Request) -> bytes:
    if request.version != "2":
        return head_bytes(request)
    client = H2Client(Limits(), 0.0)
    fields = [
        (b":method", request.method), (b":scheme", b"https" if request.tls else b"http"),
        (b":authority", request.authority), (b":path", request.target),
    ]  # fmt: skip
    client.request([*fields, *((name.lower(), value) for name, value in request.headers)])
    return client.take_output()


def agree(decision: Decision, record: AccessRecord | None) -> None:
    entry = decision.entry
    said = "" if entry is None else entry.label.route_text, "" if entry is None else entry.label.rule_text
    if record is None:
        assert entry is None
        assert decision.answer is not None
        assert decision.answer.reason in ("unknown_sni", "no_sni")
        return
    assert said == (record.route, record.rule)
    answer = decision.answer or decision.outcomes[0].answer
    assert answer is not None
    assert (answer.status, answer.reason) == (record.status, record.reason)
    if decision.routed.vhost is not None:
        assert decision.listener == record.listener


@settings(max_examples=60, deadline=None)
@given(configurations(), st.lists(requests(), max_size=8), SEEDS)
def test_what_is_explained_is_what_http1_connections_do(plan: Plan, asked: Sequence[Request], seed: int) -> None:
    table = lower(plan, CompileOptions())
    ports = PortTable(table)
    with asyncio.Runner() as runner:
        for request in (*asked, *crowd(plan, seed, 40)):
            port = port_of(table, request)
            decision = decide(ports, request, plan)
            if port is None:
                assert decision.answer is not None
                assert decision.answer.reason in ("no_port", "wrong_protocol")
            else:
                agree(decision, served(runner, port, request))


@settings(max_examples=40, deadline=None)
@given(configurations(), st.lists(requests(), max_size=8), SEEDS)
def test_what_is_explained_is_what_http2_connections_do(plan: Plan, asked: Sequence[Request], seed: int) -> None:
    table = lower(plan, CompileOptions())
    ports = PortTable(table)
    with asyncio.Runner() as runner:
        for each in (*asked, *crowd(plan, seed, 40)):
            request = each._replace(version="2", scheme=None)
            port = port_of(table, request)
            decision = decide(ports, request, plan)
            if port is not None and decision.head is not None:  # what is malformed in HTTP/2 is reset, not answered
                agree(decision, served(runner, port, request))


@settings(max_examples=60, deadline=None)
@given(configurations(), st.lists(requests(), max_size=8), SEEDS)
def test_the_match_that_is_named_is_of_the_rule_that_takes_the_request(
    plan: Plan, asked: Sequence[Request], seed: int
) -> None:
    ports = PortTable(lower(plan, CompileOptions()))
    for request in (*asked, *crowd(plan, seed)):
        decision = decide(ports, request, plan)
        assert decision.routed == decide_entry(ports, request)
        if decision.entry is not None and not decision.routed.reason:
            assert decision.winner is not None
            label = decision.entry.label
            assert decision.winner.is_of == (label.kind, label.route, label.rule)
        else:
            assert decision.winner is None or decision.entry is not None
