"""The compiled table answers as a naive reading of the specification does, for any plan and any request."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayproxy.compiler.lower import lower
from gatewayproxy.model.plan import GRPCMatch, HeaderTest, Listener, Match, Plan, QueryTest, Route, Rule
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.routing.handover import Assembler, slices
from gatewayproxy.routing.match import find_entry, find_host, host_key
from gatewayproxy.routing.table import RoutingTable
from tests.properties.crowds import HOSTS, PATHS, SEEDS, VALUES, crowd
from tests.properties.oracle import Winner, answer
from tests.support.plans import EXACT, PREFIX, REGEX, Ask, backend, listener, narrower, route

ADDRESSES = ("", "127.0.0.2")
PORTS = (80, 8080)
HOSTNAMES = ["a", "b.a", "a.b.a", "*.a", "*.b.a", "*.b"]
REGEXES = [b"/a.*", b"/(a|b)/?", b".*", b"/a/b", b"/.*b"]
TESTS = [b"12?", b".*", b"[^1]*"]
NAMES = [b"", b"a", b"b", b"ab", b"a.b"]
PATTERNS = [b"", b"a", b"^a$", b"a|b", b".*", b"[^/]*", b"a.*", b"(?i)B"]

HEADER_NAMES, PARAM_NAMES = st.sampled_from([b"x", b"y"]), st.sampled_from([b"p", b"q q"])
TEST_VALUES, TEST_PATTERNS = st.sampled_from(VALUES), st.sampled_from(TESTS)
HEADER_TESTS = st.lists(
    st.one_of(
        st.builds(HeaderTest, HEADER_NAMES, TEST_VALUES),
        st.builds(HeaderTest, HEADER_NAMES, TEST_PATTERNS, st.just(True)),
    ),
    max_size=2,
    unique_by=lambda each: each.name,
).map(tuple)
QUERY_TESTS = st.lists(
    st.one_of(
        st.builds(QueryTest, PARAM_NAMES, TEST_VALUES),
        st.builds(QueryTest, PARAM_NAMES, TEST_PATTERNS, st.just(True)),
    ),
    max_size=2,
    unique_by=lambda each: each.name,
).map(tuple)
MATCHES = st.builds(
    lambda path, method, headers, query: Match(
        path_kind=path[0], path=path[1], method=method, headers=headers, query=query
    ),
    st.one_of(
        st.tuples(st.just(EXACT), st.sampled_from(PATHS)),
        st.tuples(st.just(PREFIX), st.one_of(st.just(b"/"), st.sampled_from(PATHS))),
        st.tuples(st.just(REGEX), st.sampled_from(REGEXES)),
    ),
    st.sampled_from([None, b"GET", b"POST"]),
    HEADER_TESTS,
    QUERY_TESTS,
)
EXACT_CALLS = st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES), st.just(False))
CALLS = st.builds(
    lambda names, headers: GRPCMatch(service=names[0], method=names[1], regex=names[2], headers=headers),
    st.one_of(EXACT_CALLS, EXACT_CALLS, st.tuples(st.sampled_from(PATTERNS), st.sampled_from(PATTERNS), st.just(True))),
    HEADER_TESTS,
)


def rules_of(matches: st.SearchStrategy[Match] | st.SearchStrategy[GRPCMatch]) -> st.SearchStrategy[list[Rule]]:
    def ruled(each: list[Match]) -> Rule:
        return Rule(index=0, matches=tuple(each), backends=(backend(),))

    return st.lists(st.lists(matches, min_size=1, max_size=3).map(ruled), min_size=1, max_size=3)


# Made once: to make a strategy costs more than to draw from it.
KINDS_AND_RULES = st.one_of(
    st.tuples(st.just("HTTPRoute"), rules_of(MATCHES)), st.tuples(st.just("GRPCRoute"), rules_of(CALLS))
)
ROUTE_NAMES = st.lists(st.sampled_from(["a/x", "a-b/x", "a/y", "b/x"]), min_size=1, max_size=4, unique=True)
TIMES = st.sampled_from([0.0, 0.0, 1.0])
OWN_HOSTNAMES = st.lists(st.sampled_from(HOSTNAMES), max_size=3, unique=True)
LISTENER_HOSTNAMES = st.lists(st.sampled_from(["", *HOSTNAMES]), unique=True, min_size=1, max_size=3)
MOSTLY = st.integers(0, 4).map(bool)


@st.composite
def routes(draw: st.DrawFn) -> list[Route]:
    made = []
    for name in draw(ROUTE_NAMES):
        kind, rules = draw(KINDS_AND_RULES)
        made.append(route(name, *rules, created=draw(TIMES), kind=kind))
    return made


def apart(attached: list[tuple[Route, list[str]]]) -> list[tuple[Route, list[str]]]:
    """Return *attached* without the routes that want a hostname of an earlier one of the other kind."""
    kept: list[tuple[Route, list[str]]] = []
    for each, own in attached:
        others = [name for other, names in kept if other.key.kind != each.key.kind for name in names]
        if all(narrower(one, name) is None for one in own for name in others):
            kept.append((each, own))
    return kept


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    pool = draw(routes())
    hosts = [draw(OWN_HOSTNAMES) for _ in pool]
    listeners: list[Listener] = []
    for port in PORTS:
        for hostname in draw(LISTENER_HOSTNAMES):
            attached = [(each, own or [""]) for each, own in zip(pool, hosts, strict=True) if draw(MOSTLY)]
            name = f"l{len(listeners)}"
            listeners.append(listener(name, *apart(attached), hostname=hostname, port=port, addresses=ADDRESSES[:1]))
    if listeners and draw(st.booleans()):
        listeners.append(listener("other", *apart([(each, [""]) for each in pool[:2]]), addresses=ADDRESSES[1:]))
    return Plan(listeners=tuple(listeners))


ASKS = st.builds(
    lambda host, spelling, path, method, pairs, headers: Ask(
        host=spelling.format(host).encode(),
        path=path,
        method=method,
        query=b"&".join(f"{name}={value}".encode() for name, value in pairs),
        headers=headers,
    ),
    st.sampled_from([*HOSTS, *map(str.upper, HOSTS)]),
    st.sampled_from(["{}", "{}:80", "{}.", "{}.:8080"]),
    st.sampled_from(PATHS),
    st.sampled_from([b"GET", b"GET", b"POST", b"get"]),
    st.lists(st.tuples(st.sampled_from(["p", "q+q", "%70", "P"]), st.sampled_from(["1", "1", "%31", "a+b", ""]))),
    st.dictionaries(st.sampled_from([b"x", b"y"]), st.sampled_from(VALUES)),
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


def wanted(plan: Plan, seed: int, n: int) -> list[Ask]:
    """Return asks, most of which the matches of *plan* want."""
    return [
        Ask(
            host=each.authority, path=each.path, method=each.method, query=each.query,
            headers={name.lower(): value for name, value in each.headers},
        )
        for each in crowd(plan, seed, n)
    ]  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(plans(), st.lists(ASKS, max_size=10), SEEDS)
def test_the_table_and_the_naive_reading_give_one_answer(plan: Plan, asks: list[Ask], seed: int) -> None:
    table = lower(plan, CompileOptions())
    for ask in (*asks, *wanted(plan, seed, 80)):
        for address, port in [("", 80), ("", 8080), ("127.0.0.2", 80)]:
            owner, winner = answer(plan, address, port, ask)
            expected = (None if owner is None else str(owner), winner)
            assert ask_table(table, address, port, ask) == expected


@settings(max_examples=40, deadline=None)
@given(plans(), st.lists(ASKS, max_size=6), SEEDS)
def test_a_table_that_was_handed_over_gives_the_same_answers(plan: Plan, asks: list[Ask], seed: int) -> None:
    table = lower(plan, CompileOptions())
    assembler = Assembler()
    for chunk in slices(table):
        assembler.feed(chunk)
    for ask in (*asks, *wanted(plan, seed, 40)):
        for port in PORTS:
            assert ask_table(assembler.table, "", port, ask) == ask_table(table, "", port, ask)
