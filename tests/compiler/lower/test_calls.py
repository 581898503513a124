"""GRPCRoutes in the table: where their matches go, and which call finds which."""

from __future__ import annotations

import pytest

from gatewayproxy.model.plan import GRPCMatch, HeaderTest, Rule
from gatewayproxy.routing.handover import Assembler, slices
from gatewayproxy.routing.show import show
from gatewayproxy.routing.table import Port, RoutingTable
from tests.support.plans import Ask, backend, found, listener, match, route, rule, table_of

CART = GRPCMatch(service=b"shop.Cart")
ADD = GRPCMatch(service=b"shop.Cart", method=b"Add")
GET = GRPCMatch(method=b"Get")
ANCHORED = GRPCMatch(service=b"^shop[.].*$", method=b"^L.*$", regex=True)
LISTS = GRPCMatch(method=b"(?i)list.*|all", regex=True)
TESTED = GRPCMatch(headers=(HeaderTest(b"x", b"1"),))


def calls(*matches: GRPCMatch) -> RoutingTable:
    """Return a table of one GRPCRoute, a rule for each of *matches*, in an order that must not matter."""
    rules = [Rule(index=0, matches=(each,), backends=(backend(),)) for each in matches]
    return table_of(listener("http", (route("calls", *rules, kind="GRPCRoute"), ["a.example"])))


def winner(port: Port, path: bytes, headers: dict[bytes, bytes] | None = None) -> int | None:
    entry = found(port, Ask(path=path, method=b"POST", headers=headers or {}))
    return None if entry is None else entry.label.rule


ALL = (GRPCMatch(), TESTED, LISTS, ANCHORED, GET, CART, ADD)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param(b"/shop.Cart/Add", ADD, id="service and method"),
        pytest.param(b"/shop.Cart/add", CART, id="names are case-sensitive"),
        pytest.param(b"/shop.Cart/Get", CART, id="the service beats a method of any service"),
        pytest.param(b"/shop.Cart/Add/", CART, id="nothing may follow an exact method"),
        pytest.param(b"/shop.Carts/Get", GET, id="a service is matched whole"),
        pytest.param(b"/shop.Other/List", ANCHORED, id="anchors in patterns are those of the name"),
        pytest.param(b"/other/LISTEN", LISTS, id="flags in a pattern stay in it"),
        pytest.param(b"/other/all", LISTS, id="an alternative in a pattern stays in it"),
        pytest.param(b"/other/allow", GRPCMatch(), id="patterns match in full"),
        pytest.param(b"/shop.x/y/List", GRPCMatch(), id="a service ends at the second slash"),
        pytest.param(b"/", GRPCMatch(), id="no service at all"),
    ],
)
@pytest.mark.parametrize("matches", [pytest.param(ALL, id="wide first"), pytest.param(ALL[::-1], id="narrow first")])
def test_a_call_goes_to_the_narrowest_match(matches: tuple[GRPCMatch, ...], path: bytes, expected: GRPCMatch) -> None:
    assert winner(calls(*matches).ports[0], path) == matches.index(expected)


def test_headers_decide_among_equal_names() -> None:
    table = calls(CART, GRPCMatch(service=b"shop.Cart", headers=TESTED.headers), GRPCMatch(), TESTED)
    port = table.ports[0]
    assert winner(port, b"/shop.Cart/Add") == 0
    assert winner(port, b"/shop.Cart/Add", {b"x": b"1"}) == 1
    assert winner(port, b"/shop.Other/Add") == 2
    assert winner(port, b"/shop.Other/Add", {b"x": b"1"}) == 3


def test_a_call_that_nothing_matches_finds_nothing() -> None:
    assert winner(calls(ADD).ports[0], b"/shop.Cart/Remove") is None
    assert winner(calls(GET, LISTS).ports[0], b"/shop.Cart/Remove") is None


def test_a_pattern_for_nothing_matches_every_call() -> None:
    everything = GRPCMatch(regex=True)
    port = calls(everything, TESTED).ports[0]
    assert winner(port, b"/a/b") == 0
    assert winner(port, b"/a/b", {b"x": b"1"}) == 1


def test_exact_names_are_found_without_a_test() -> None:
    index = calls(ADD, CART).ports[0].http
    assert index is not None
    (layer,) = index.exact[b"a.example"].layers
    assert list(layer.exact) == [b"/shop.Cart/Add"]
    assert list(layer.prefix) == [b"/shop.Cart"]
    assert layer.regexes == ()
    behind = [*layer.exact.values(), *layer.prefix.values()]
    assert all(candidate.bare for candidates in behind for candidate in candidates)


def test_entries_say_that_they_are_for_calls() -> None:
    table = table_of(
        listener(
            "http",
            (route("calls", Rule(index=0, matches=(CART,), backends=(backend(),)), kind="GRPCRoute"), ["a.example"]),
            (route("pages", rule(match())), ["b.example"]),
        )
    )
    entries = [found(table.ports[0], Ask(host=host, path=b"/shop.Cart/Add")) for host in (b"a.example", b"b.example")]
    assert [entry.grpc for entry in entries if entry is not None] == [True, False]


SHOWN = """\
port HTTP *:80 as 80
  listener 0 default/gw/http
  host a.example of default/gw/http
    layer 0, depth 1
      = /shop.Cart/Add -> entry 0
      ^ /shop.Cart/ -> entry 1
    layer 1, depth 0
      ~ call ~ ^shop[.].*$ ^L.*$ -> entry 2
      ~ call = * Get -> entry 3
      ^ / header x = 1 -> entry 4
"""


def test_a_table_prints_its_calls() -> None:
    assert show(calls(ADD, CART, ANCHORED, GET, TESTED)).startswith(SHOWN)


def test_a_table_that_was_handed_over_finds_the_same_calls() -> None:
    table = calls(*ALL)
    assembler = Assembler()
    for chunk in slices(table):
        assembler.feed(chunk)
    assert show(assembler.table) == show(table)
