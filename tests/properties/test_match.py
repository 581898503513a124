"""The compiled table answers as a naive reading of the specification does, for any plan and any request."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayproxy.compiler.lower import lower
from gatewayproxy.model.plan import HeaderTest, Listener, Match, Plan, QueryTest, Route, Rule
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.routing.handover import Assembler, slices
from gatewayproxy.routing.match import find_entry, find_host, host_key
from gatewayproxy.routing.table import RoutingTable
from tests.properties.oracle import Winner, answer
from tests.support.plans import EXACT, PREFIX, REGEX, Ask, backend, listener, route

ADDRESSES = ("", "127.0.0.2")
PORTS = (80, 8080)
LABELS = ["a", "b", "ab"]  # few, so that things meet


def hostnames() -> st.SearchStrategy[str]:
    names = st.lists(st.sampled_from(LABELS), min_size=1, max_size=3).map(".".join)
    return st.tuples(st.sampled_from(["", "*."]), names).map("".join)


def paths() -> st.SearchStrategy[bytes]:
    segments = st.lists(st.sampled_from([b"a", b"b", b"ab", b"c"]), max_size=4)
    return st.tuples(segments, st.sampled_from([b"", b"/"])).map(lambda it: b"/" + b"/".join(it[0]) + it[1])


REGEXES = [b"/a.*", b"/(a|b)/?", b"/[ab]+/.*", b".*", b"/a/b", b"/ab?"]
VALUES = [b"1", b"2", b"12", b"", b"a b", b"\xe9"]
TESTS = [b"1", b"12?", b".*", b"[^1]*"]


def matches() -> st.SearchStrategy[Match]:
    path = st.one_of(
        st.tuples(st.just(EXACT), paths()),
        st.tuples(st.just(PREFIX), paths()),
        st.tuples(st.just(REGEX), st.sampled_from(REGEXES)),
    )
    header = st.one_of(
        st.builds(HeaderTest, st.sampled_from([b"x", b"y"]), st.sampled_from(VALUES)),
        st.builds(HeaderTest, st.sampled_from([b"x", b"y"]), st.sampled_from(TESTS), st.just(True)),
    )
    param = st.one_of(
        st.builds(QueryTest, st.sampled_from([b"p", b"q q"]), st.sampled_from(VALUES)),
        st.builds(QueryTest, st.sampled_from([b"p", b"q q"]), st.sampled_from(TESTS), st.just(True)),
    )
    return st.builds(
        lambda path, method, headers, query: Match(
            path_kind=path[0], path=path[1], method=method, headers=tuple(headers), query=tuple(query)
        ),
        path,
        st.sampled_from([None, None, b"GET", b"POST"]),
        st.lists(header, max_size=2, unique_by=lambda each: each.name),
        st.lists(param, max_size=2, unique_by=lambda each: each.name),
    )


@st.composite
def routes(draw: st.DrawFn) -> list[Route]:
    names = draw(st.lists(st.sampled_from(["a/x", "a-b/x", "a/y", "b/x", "b/z"]), unique=True, max_size=5))
    made = []
    for name in names:
        wanted = draw(st.lists(st.lists(matches(), min_size=1, max_size=2), min_size=1, max_size=2))
        rules = [Rule(index=0, matches=tuple(each), backends=(backend(),)) for each in wanted]
        made.append(route(name, *rules, created=draw(st.sampled_from([0.0, 1.0]))))
    return made


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    pool = draw(routes())
    hosts = [draw(st.lists(hostnames(), max_size=3, unique=True)) for _ in pool]
    listeners: list[Listener] = []
    for port in PORTS:
        for hostname in draw(st.lists(st.one_of(st.just(""), hostnames()), unique=True, max_size=4)):
            attached = [(each, own or [""]) for each, own in zip(pool, hosts, strict=True) if draw(st.booleans())]
            name = f"l{len(listeners)}"
            listeners.append(listener(name, *attached, hostname=hostname, port=port, addresses=ADDRESSES[:1]))
    if listeners and draw(st.booleans()):
        listeners.append(listener("other", *[(each, [""]) for each in pool[:2]], addresses=ADDRESSES[1:]))
    return Plan(listeners=tuple(listeners))


@st.composite
def requests(draw: st.DrawFn) -> Ask:
    host = ".".join(draw(st.lists(st.sampled_from(LABELS), min_size=1, max_size=5)))
    spelling = draw(st.sampled_from(["{}", "{}:80", "{}.", "{}.:8080"])).format(
        draw(st.sampled_from([host, host.upper()]))
    )
    pairs = draw(
        st.lists(st.tuples(st.sampled_from(["p", "q+q", "%70", "P"]), st.sampled_from(["1", "2", "%31", "a+b", ""])))
    )
    headers = draw(st.dictionaries(st.sampled_from([b"x", b"y"]), st.sampled_from(VALUES)))
    return Ask(
        host=spelling.encode(),
        path=draw(paths()),
        method=draw(st.sampled_from([b"GET", b"POST", b"get"])),
        query=b"&".join(f"{name}={value}".encode() for name, value in pairs),
        headers=headers,
    )


def ask_table(table: RoutingTable, address: str, bind_port: int, ask: Ask) -> tuple[str | None, Winner | None]:
    for port in table.ports:
        if (port.address, port.bind_port) == (address, bind_port) and port.http is not None:
            vhost = find_host(port.http, host_key(ask.host))
            if vhost is None:
                return None, None
            entry = find_entry(vhost, ask)
            return vhost.listener.name, None if entry is None else (entry.label.route, entry.label.rule)
    return None, None


@settings(max_examples=400, deadline=None)
@given(plans(), st.lists(requests(), min_size=1, max_size=12))
def test_the_table_and_the_naive_reading_give_one_answer(plan: Plan, asks: list[Ask]) -> None:
    table = lower(plan, CompileOptions())
    for ask in asks:
        for address, port in [("", 80), ("", 8080), ("127.0.0.2", 80)]:
            owner, winner = answer(plan, address, port, ask)
            expected = (None if owner is None else str(owner), winner)
            assert ask_table(table, address, port, ask) == expected


@settings(max_examples=100, deadline=None)
@given(plans(), st.lists(requests(), min_size=1, max_size=12))
def test_a_table_that_was_handed_over_gives_the_same_answers(plan: Plan, asks: list[Ask]) -> None:
    table = lower(plan, CompileOptions())
    assembler = Assembler()
    for chunk in slices(table):
        assembler.feed(chunk)
    for ask in asks:
        for port in PORTS:
            assert ask_table(assembler.table, "", port, ask) == ask_table(table, "", port, ask)
