"""Who takes whose requests: dead rules, dead matches, overlaps, and plain text before a redirect."""

from __future__ import annotations

import pytest

from tests.support.lints import HTTP, HTTPS, gateway, route, secret, service, told

NARROW = '{name: narrow, port: 80, protocol: HTTP, hostname: "*.eu.example"}'
WIDE = '{name: wide, port: 80, protocol: HTTP, hostname: "*.example"}'
TO_HTTPS = "{filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]}"
REF = "backendRefs: [{name: a, port: 80}]"


def rule(*matches: str) -> str:
    return f"{{matches: [{', '.join(f'{{{each}}}' for each in matches)}], {REF}}}"


def path(value: str, kind: str = "PathPrefix", rest: str = "") -> str:
    return f'path: {{type: {kind}, value: "{value}"}}{rest}'


def header(name: str) -> str:
    return f', headers: [{{name: {name}, value: "1"}}]'


@pytest.mark.parametrize(
    ("rules", "dead"),
    [
        pytest.param([path("/a"), path("/a/")], [1], id="one prefix twice"),
        pytest.param([path("/a"), path("/a/b")], [], id="a longer prefix comes first"),
        pytest.param([path("/a", "Exact"), path("/a")], [], id="an exact path leaves those below"),
        pytest.param([path("/a.*", "RegularExpression"), path("/a")], [1], id="a pattern takes a whole prefix"),
        pytest.param([path("/a/.*", "RegularExpression"), path("/a")], [], id="a pattern leaves the prefix itself"),
        pytest.param([path("/a.*", "RegularExpression"), path("/ab", "Exact")], [], id="exact paths come before it"),
        pytest.param([path("/a"), path("/a", rest=header("x"))], [], id="a header comes first"),
        pytest.param([path("/.*", "RegularExpression", ", method: GET"), path("/a")], [], id="another method is left"),
    ],
)
def test_rules_that_never_get_a_request_are_told(rules: list[str], dead: list[int]) -> None:
    found = told("GW101", gateway(), route(*map(rule, rules)), service())
    assert [field for _, field, _ in found] == [f"spec.rules[{index}]" for index in dead]


def test_a_hostname_that_a_narrower_listener_has_never_comes_to_the_wider_one() -> None:
    lost = route(parents="{name: gw, sectionName: wide}", hosts="a.eu.example")
    kept = route(name="kept", hosts='"*.eu.example"', parents="{name: gw, sectionName: narrow}")
    ((key, field, message),) = told("GW101", gateway(NARROW, WIDE), lost, kept, service())
    assert (key, field) == ("HTTPRoute default/r", "spec.rules[0]")
    assert "listener narrow, which has a.eu.example" in message
    assert not told("GW101", gateway(NARROW, WIDE), lost.replace("wide", "narrow"), kept, service())


def test_a_rule_that_loses_one_of_its_hostnames_is_told_which() -> None:
    first = route(rule(path("/")), name="first", hosts="a.example")
    second = route(rule(path("/")), name="second", hosts="a.example, b.example")
    ((key, field, message),) = told("GW102", gateway(), first, second, service())
    assert (key, field) == ("HTTPRoute default/second", "spec.rules[0].matches[0]")
    assert message == (
        "gets no request for a.example on listener http: all it matches goes to rules[0] of HTTPRoute default/first"
    )
    assert not told("GW101", gateway(), first, second, service())


def test_a_wider_hostname_that_a_narrower_one_has_a_part_of_is_no_matter() -> None:
    routes = (route(name="narrow", hosts="a.example"), route(name="wide", hosts='"*.example"'), route(name="any"))
    assert not told("GW101", gateway(), *routes, service())
    assert not told("GW102", gateway(), *routes, service())


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        pytest.param(header("x"), header("y"), "GET a.example/ with x: 1, y: 1", id="two headers"),
        pytest.param(header("x"), header("x").replace("1", "2"), "", id="two values of a header"),
        pytest.param(", method: GET", ", method: POST", "", id="two methods"),
        pytest.param(header("x"), "", "", id="one more specific than the other"),
    ],
)
def test_matches_as_specific_as_another_routes_are_told_with_a_request(first: str, second: str, shared: str) -> None:
    routes = [
        route(rule(path("/", rest=rest)), name=name, hosts="a.example")
        for name, rest in (("one", first), ("two", second))
    ]
    found = told("GW103", gateway(), *routes, service())
    assert [(key, shared in message) for key, _, message in found] == (
        [("HTTPRoute default/two", True)] if shared else []
    )


def test_of_one_route_the_order_of_rules_is_meant() -> None:
    assert not told("GW103", gateway(), route(*(rule(path("/", rest=header(name))) for name in "xy")), service())


def test_of_many_equal_matches_each_is_told_once() -> None:
    routes = [route(rule(path("/", rest=header(f"x{n}"))), name=f"r{n}") for n in range(6)]
    assert len(told("GW103", gateway(), *routes, service())) == 5


@pytest.mark.parametrize(
    ("clear", "n"),
    [
        pytest.param(route(hosts="a.example"), 1, id="a narrower hostname"),
        pytest.param(route(rule(path("/api")), hosts='"*.example"'), 1, id="a longer path"),
        pytest.param(route(hosts="a.example", parents="{name: gw, sectionName: https}"), 0, id="over TLS only"),
        pytest.param(route(hosts="a.test"), 0, id="another host"),
        pytest.param(
            route(rule(path("/.well-known/acme-challenge/x", "Exact")), hosts="a.example"), 0, id="an ACME challenge"
        ),
        pytest.param(route(TO_HTTPS, hosts="a.example", parents="{name: gw, sectionName: http}"), 0, id="a redirect"),
    ],
)
def test_plain_text_before_a_redirect_to_https_is_told(clear: str, n: int) -> None:
    upwards = route(TO_HTTPS, name="upwards", hosts='"*.example"', parents="{name: gw, sectionName: http}")
    found = told("GW109", gateway(HTTP, HTTPS), secret("*.example"), upwards, clear, service())
    assert len(found) == n
