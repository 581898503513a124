"""What regions say of requests is what the matching of a table says, for any matches and any request."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayproxy.insight.expressions import NotRead, read_pattern
from gatewayproxy.insight.languages import Language, TooLarge
from gatewayproxy.insight.regions import EMPTY, UNKNOWN, Nothing, Region, example_of, region_of
from gatewayproxy.insight.requests import Request
from gatewayproxy.model.plan import GRPCMatch, Match, Plan
from gatewayproxy.routing.match import host_key
from gatewayproxy.routing.patterns import matches as pattern_matches
from gatewayproxy.routing.patterns import pattern_error
from tests.properties import test_match as worlds
from tests.support.plans import Ask, covers, found, listener, route, rule, table_of


def asked(ask: Ask) -> Request:
    """Return *ask* as tools know it."""
    request = Request(method=ask.method, authority=ask.host, headers=tuple(ask.headers.items()))
    return request.with_target(ask.path + (b"?" + ask.query if ask.query else b""))


def plan_of(*matches: tuple[Match | GRPCMatch, str]) -> Plan:
    """Return a plan of a route for each of *matches*, with its hostname."""
    attached = [
        (route(f"a/x{at}", rule(match), kind="GRPCRoute" if isinstance(match, GRPCMatch) else "HTTPRoute"), [hostname])  # type: ignore[arg-type]
        for at, (match, hostname) in enumerate(matches)
    ]
    return Plan(listeners=(listener("a", *attached),))


def taken(match: Match | GRPCMatch, hostname: str, ask: Ask) -> bool:
    """Return whether a table of *match* alone takes *ask*."""
    (port,) = table_of(*plan_of((match, hostname)).listeners).ports
    return found(port, ask) is not None


any_match = st.one_of(worlds.MATCHES, worlds.CALLS)
hostnames = st.sampled_from(["", *worlds.HOSTNAMES])


@settings(max_examples=150, deadline=None)
@given(any_match, hostnames, st.lists(worlds.ASKS, max_size=6), worlds.SEEDS)
def test_the_region_of_a_match_has_the_requests_that_the_match_takes(
    match: Match, hostname: str, asks: list[Ask], seed: int
) -> None:
    region = region_of(match, hostname)
    for ask in (*asks, *worlds.wanted(plan_of((match, hostname)), seed, 12)):
        assert (region is not None and region.has(asked(ask))) is taken(match, hostname, ask)


@settings(max_examples=300, deadline=None)
@given(any_match, hostnames, any_match, hostnames, st.lists(worlds.ASKS, max_size=6), worlds.SEEDS)
def test_meet_and_minus_are_those_of_sets_of_requests(
    match: Match, hostname: str, other: Match, other_hostname: str, asks: list[Ask], seed: int
) -> None:
    one, two = region_of(match, hostname), region_of(other, other_hostname)
    if one is None or two is None:
        return
    both, parts = one.meet(two), one.minus(two)
    for ask in (*asks, *worlds.wanted(plan_of((match, hostname), (other, other_hostname)), seed, 20)):
        request = asked(ask)
        assert (both is not None and both.has(request)) is (one.has(request) and two.has(request))
        assert sum(part.has(request) for part in parts) == (one.has(request) and not two.has(request))


@settings(max_examples=300, deadline=None)
@given(any_match, hostnames, st.lists(st.tuples(any_match, hostnames), max_size=3), st.lists(worlds.ASKS))
def test_an_example_is_of_its_region_and_an_empty_region_has_no_request(
    match: Match, hostname: str, others: list[tuple[Match, str]], asks: list[Ask]
) -> None:
    one = region_of(match, hostname)
    left: list[Region] = [one] if one is not None else []
    for other, name in others:
        two = region_of(other, name)
        left = [part for each in left for part in (each.minus(two) if two is not None else [each])]
    for part in left:
        example = example_of(part)
        assert example is not UNKNOWN
        if not isinstance(example, Nothing):
            assert part.has(example)
            ask = Ask(
                host=example.authority, path=example.path, method=example.method, query=example.query,
                headers=dict(example.headers),
            )  # fmt: skip
            assert taken(match, hostname, ask)
            assert not any(taken(other, name, ask) for other, name in others)
        else:
            assert example is EMPTY
            assert not any(part.has(asked(ask)) for ask in asks if sendable(ask))


def sendable(ask: Ask) -> bool:
    return not any(value != value.strip() for value in ask.headers.values())


PIECES = [
    b"a", b"b", b"/", b".", b"[ab]", b"[^a]", b"\\d", b"^", b"$", b"\\W", b"(?i:B)", b"\\x61", b"[[:alpha:]]", b"a{2}",
    b"\\Qa.b\\E", b"\\.", b"[a-c]", b"{", b"\\141", b"",
]  # fmt: skip


@st.composite
def patterns(draw: st.DrawFn, depth: int = 3) -> bytes:
    how = draw(st.integers(0, 3)) if depth else 0
    if how == 0:
        return draw(st.sampled_from(PIECES))
    if how == 1:
        return draw(patterns(depth - 1)) + draw(patterns(depth - 1))
    if how == 2:
        return b"(%b|%b)" % (draw(patterns(depth - 1)), draw(patterns(depth - 1)))
    times = draw(st.sampled_from([b"*", b"+", b"?", b"{1,2}", b"{0}", b"{2,}?", b"*?"]))
    return b"(?:%b)%b" % (draw(patterns(depth - 1)), times)


@settings(max_examples=400, deadline=None)
@given(patterns(), patterns(), st.lists(st.text("aB/1.", max_size=5), max_size=10))
def test_a_pattern_is_read_as_re2_reads_it(one: bytes, other: bytes, texts: list[str]) -> None:
    if pattern_error(one) or pattern_error(other):
        return
    language = Language()
    try:
        wanted, unwanted = read_pattern(language, one), read_pattern(language, other)
        example = language.shortest(language.both(wanted, language.no(unwanted)))
    except (NotRead, TooLarge):
        return
    fitting = [text for text in map(str.encode, texts) if pattern_matches(one, text)]
    for text in map(str.encode, texts):
        left = wanted
        for byte in text:
            left = language.after(left, byte)
        assert language.takes_nothing(left) is (text in fitting)
    if example is None:
        assert all(pattern_matches(other, text) for text in fitting)
    else:
        assert pattern_matches(one, example)
        assert not pattern_matches(other, example)


@pytest.mark.parametrize(
    ("hostname", "host", "inside"),
    [("*.a", b"b.a", True), ("*.a", b"a", False), ("a", b"A.:80", True), ("", b"a", True)],
)
def test_hosts_of_a_region_are_those_of_the_hostname(hostname: str, host: bytes, inside: bool) -> None:
    region = region_of(Match(), hostname)
    assert region is not None
    assert region.has(Request(authority=host)) is inside
    assert covers(hostname, host_key(host).decode()) is inside
