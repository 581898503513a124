"""Names, hosts and paths: what find_host and find_entry answer."""

from __future__ import annotations

import pytest

from gatewayproxy.routing.match import find_host, host_key
from gatewayproxy.routing.table import RouteEntry
from tests.support.plans import EXACT, REGEX, Ask, found, listener, match, route, rule, table_of


@pytest.mark.parametrize(
    ("host", "key"),
    [
        pytest.param(b"a.example", b"a.example", id="plain"),
        pytest.param(b"A.Example", b"a.example", id="upper case"),
        pytest.param(b"a.example:8080", b"a.example", id="port"),
        pytest.param(b"a.example.", b"a.example", id="trailing dot"),
        pytest.param(b"a.example.:80", b"a.example", id="trailing dot and port"),
        pytest.param(b"a.example..", b"a.example.", id="only one trailing dot"),
        pytest.param(b"[::1]", b"[::1]", id="IPv6"),
        pytest.param(b"[2001:DB8::1]:443", b"[2001:db8::1]", id="IPv6 with port"),
        pytest.param(b"", b"", id="empty"),
    ],
)
def test_a_host_is_spelled_as_the_index_spells_it(host: bytes, key: bytes) -> None:
    assert host_key(host) == key


@pytest.mark.parametrize(
    ("host", "name"),
    [
        pytest.param(b"a.b", "default/gw/exact", id="exact first"),
        pytest.param(b"x.a.b", "default/gw/wild", id="a wildcard covers one label"),
        pytest.param(b"y.x.a.b", "default/gw/wild", id="a wildcard covers several labels"),
        pytest.param(b"z.n.a.b", "default/gw/nested", id="the longer wildcard wins"),
        pytest.param(b"n.a.b", "default/gw/wild", id="a wildcard does not cover its own suffix"),
        pytest.param(b"xa.b", "default/gw/any", id="a suffix ends at a label"),
        pytest.param(b".a.b", "default/gw/any", id="an empty label is no label"),
        pytest.param(b"x" * 300 + b".a.b", "default/gw/any", id="longer than any name can be"),
        pytest.param(b"." * 16_000, "default/gw/any", id="only dots"),
    ],
)
def test_a_host_belongs_to_the_most_specific_listener(host: bytes, name: str) -> None:
    table = table_of(
        listener("any"),
        listener("wild", hostname="*.a.b"),
        listener("nested", hostname="*.n.a.b"),
        listener("exact", hostname="a.b"),
    )
    index = table.ports[0].http
    assert index is not None
    vhost = find_host(index, host)
    assert vhost is not None
    assert vhost.listener.name == name


def test_a_host_that_no_listener_covers_is_not_found() -> None:
    index = table_of(listener(hostname="a.b")).ports[0].http
    assert index is not None
    assert find_host(index, b"b.a") is None


def winner(entry: RouteEntry | None) -> str | None:
    return None if entry is None else entry.label.route.removeprefix("default/")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param(b"/api", "api", id="the prefix itself"),
        pytest.param(b"/api/", "api", id="with a slash"),
        pytest.param(b"/api/x", "api", id="an element below"),
        pytest.param(b"/apiary", "root", id="a prefix ends at an element"),
        pytest.param(b"/api/v1/keys", "deep", id="the longest prefix"),
        pytest.param(b"/API", "root", id="case counts"),
        pytest.param(b"//api", "root", id="an empty element is an element"),
        pytest.param(b"/one", "exact", id="exact"),
        pytest.param(b"/one/", "root", id="exact is not a prefix"),
        pytest.param(b"/r/12", "regex", id="a regex beats every prefix"),
        pytest.param(b"/r/12/x", "root", id="a regex matches in full"),
        pytest.param(b"/" * 8_000, "root", id="nothing but slashes"),
    ],
)
def test_the_most_specific_path_takes_the_request(path: bytes, expected: str) -> None:
    table = table_of(
        listener(
            "http",
            route("root"),
            route("api", rule(match(b"/api"))),
            route("deep", rule(match(b"/api/v1/"))),
            route("exact", rule(match(b"/one", EXACT))),
            route("regex", rule(match(rb"/r/\d+", REGEX))),
        )
    )
    assert winner(found(table.ports[0], Ask(path=path))) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param(b"v=2", "two", id="exact"),
        pytest.param(b"x=1&v=2", "two", id="not the first parameter"),
        pytest.param(b"%76=%32", "two", id="percent-encoded"),
        pytest.param(b"v=1&v=2", "root", id="the first occurrence counts"),
        pytest.param(b"V=2", "root", id="names are case-sensitive"),
        pytest.param(b"v=2;x", "root", id="a semicolon does not separate"),
        pytest.param(b"v=a+b", "space", id="plus is a space"),
        pytest.param(b"", "root", id="no query"),
        pytest.param(b"&" * 16_000, "root", id="nothing but separators"),
    ],
)
def test_query_parameters_compare_after_decoding(query: bytes, expected: str) -> None:
    table = table_of(
        listener(
            "http",
            route("root"),
            route("two", rule(match(query=[(b"v", b"2")]))),
            route("space", rule(match(query=[(b"v", b"a b")]))),
        )
    )
    assert winner(found(table.ports[0], Ask(query=query))) == expected


def test_an_exact_host_without_a_match_yields_to_the_wildcard_of_the_same_listener() -> None:
    solver = route("solver", rule(match(b"/.well-known/acme-challenge/t", EXACT)))
    redirect = route("redirect")
    table = table_of(listener("http", (solver, ["a.example"]), (redirect, ["*.example"])))
    assert winner(found(table.ports[0], Ask(path=b"/.well-known/acme-challenge/t"))) == "solver"
    assert winner(found(table.ports[0], Ask(path=b"/"))) == "redirect"


def test_a_request_never_falls_to_a_wider_listener() -> None:
    table = table_of(
        listener("wide", route("wide")),
        listener("narrow", route("narrow", rule(match(b"/only"))), hostname="a.example"),
    )
    assert winner(found(table.ports[0], Ask(path=b"/only"))) == "narrow"
    assert found(table.ports[0], Ask(path=b"/other")) is None
    assert winner(found(table.ports[0], Ask(host=b"b.example"))) == "wide"


def test_a_wide_route_hostname_does_not_reach_into_a_narrower_listener() -> None:
    table = table_of(
        listener("wide", (route("wide"), ["a.example", "*.example"])),
        listener("narrow", hostname="a.example"),
    )
    assert found(table.ports[0], Ask(host=b"a.example")) is None
    assert winner(found(table.ports[0], Ask(host=b"b.example"))) == "wide"
