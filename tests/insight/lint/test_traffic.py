"""Lints of what rules do: each at its edges, where it holds and where it just does not."""

from __future__ import annotations

import pytest

from tests.support.lints import HTTP, HTTPS, backends, codes, gateway, route, secret, service, told

SERVICES = (service(), service("b"))


def found(*rules: str, kind: str = "HTTPRoute") -> set[str]:
    return codes(gateway(), route(*rules, kind=kind), *SERVICES)


def header_filter(text: str, way: str = "request") -> str:
    return f"{{type: {way.title()}HeaderModifier, {way}HeaderModifier: {text}}}"


def filtered(outer: str, *inner: str) -> str:
    refs = (f"{{name: {name}, port: 80, filters: [{each}]}}" for name, each in zip("ab", inner, strict=False))
    return f"{{filters: [{outer}], backendRefs: [{', '.join(refs)}]}}"


SET = header_filter("{set: [{name: x-tier, value: free}]}")
SET_AGAIN = header_filter("{set: [{name: X-Tier, value: paid}]}")
ADD = header_filter("{add: [{name: x-tier, value: free}]}")
ADD_OTHER = header_filter("{add: [{name: x-tier, value: paid}]}")
REMOVE = header_filter("{remove: [x-tier]}")
CORS = "{type: CORS, cors: {allowOrigins: ['*']}}"
REDIRECT = "{filters: [{type: RequestRedirect, requestRedirect: {%s}}]}"
REST_A = "{backendRefs: [{name: a, port: 80, weight: 0}, {name: b, port: 80}]}"
LATE = "{} of {} retries begin before request (1s) runs out: backoff"
FULL = "a try that takes backendRequest (5s) leaves nothing of request (5s)"
ORIGIN = header_filter("{set: [{name: access-control-allow-origin, value: '*'}]}", "response")


@pytest.mark.parametrize(
    ("rule", "fires"),
    [
        pytest.param(filtered(SET, SET_AGAIN), True, id="set, then set"),
        pytest.param(filtered(ADD, REMOVE), True, id="added, then removed"),
        pytest.param(filtered(ADD, ADD), True, id="added twice, with one value"),
        pytest.param(filtered(REMOVE, REMOVE), True, id="removed twice"),
        pytest.param(filtered(SET, SET_AGAIN, REMOVE), True, id="undone by each backend"),
        pytest.param(filtered(SET, SET_AGAIN, ORIGIN), False, id="undone by one backend, for another to have"),
        pytest.param(filtered(ADD, ADD_OTHER), False, id="added twice, with two values"),
        pytest.param(filtered(REMOVE, ADD), False, id="the client's removed, ours added"),
        pytest.param(
            filtered(SET, header_filter("{set: [{name: x-tier, value: a}]}", "response")), False, id="two ways"
        ),
        pytest.param(filtered(f"{CORS}, {ORIGIN}", SET), True, id="beside CORS"),
        pytest.param(filtered(CORS, ORIGIN), True, id="of a backend, beside CORS"),
        pytest.param(filtered(ORIGIN, SET), False, id="without CORS"),
    ],
)
def test_operations_that_come_to_nothing(rule: str, fires: bool) -> None:
    assert found(rule) == ({"GW402"} if fires else set())


@pytest.mark.parametrize(
    ("rule", "kind", "fires"),
    [
        pytest.param(f"{{{backends('a', 'b', weight=0)}}}", "HTTPRoute", True, id="HTTP"),
        pytest.param(f"{{{backends('a', weight=0)}}}", "GRPCRoute", True, id="gRPC"),
        pytest.param(REST_A, "HTTPRoute", False, id="one has some"),
        pytest.param(REDIRECT % "port: 81", "HTTPRoute", False, id="a redirect needs none"),
    ],
)
def test_weights_that_are_all_0(rule: str, kind: str, fires: bool) -> None:
    assert ("GW403" in found(rule, kind=kind)) is fires


def test_weights_of_streams_count_as_well() -> None:
    tcp = gateway("{name: tcp, port: 5432, protocol: TCP}")
    rule = f"{{{backends('a', weight=0)}}}"
    ((_, field, message),) = told("GW403", tcp, route(rule, kind="TCPRoute"), service())
    assert (field, message) == ("spec.rules[0].backendRefs", "weight 0 everywhere: connections end at once")


@pytest.mark.parametrize(
    ("match", "fires"),
    [
        pytest.param("path: {type: RegularExpression, value: '/a$/b'}", True, id="a path"),
        pytest.param("headers: [{name: x-a, type: RegularExpression, value: 'b^c'}]", True, id="a header"),
        pytest.param("queryParams: [{name: q, type: RegularExpression, value: 'b$c'}]", True, id="a parameter"),
        pytest.param("method: TRACE", True, id="a method that is refused"),
        pytest.param("path: {type: RegularExpression, value: '/a/b$'}", False, id="an anchor at the end"),
        pytest.param(
            "queryParams: [{name: q, type: RegularExpression, value: '[?/ ]+'}]", False, id="anything, decoded"
        ),
        pytest.param("method: PATCH", False, id="a method that is served"),
    ],
)
def test_matches_that_no_request_can_meet(match: str, fires: bool) -> None:
    assert ("GW404" in found(f"{{matches: [{{{match}}}], {backends('a')}}}")) is fires


def test_a_service_of_a_call_holds_no_slash_first() -> None:
    match = "method: {type: RegularExpression, service: '/shop.*', method: 'Get.*'}"
    gateway_and_route = (gateway(), route(f"{{matches: [{{{match}}}], {backends('a')}}}", kind="GRPCRoute"), service())
    assert [field for _, field, _ in told("GW404", *gateway_and_route)] == ["spec.rules[0].matches[0].method.service"]


def test_a_pattern_that_is_none_is_told_as_such_alone() -> None:
    assert found(f"{{matches: [{{path: {{type: RegularExpression, value: 'a(?!b)'}}}}], {backends('a')}}}") == {"GW406"}


def test_of_equal_names_the_message_says_whether_both_could_hold() -> None:
    headers = "headers: [{name: x-a, value: bob}, {name: X-A, type: RegularExpression, value: '[a-h]+'}]"
    rule = f"{{matches: [{{{headers}}}], {backends('a')}}}"
    ((_, field, message),) = told("GW411", gateway(), route(rule), service())
    assert field == "spec.rules[0].matches[0].headers[1]"
    assert message == "X-A is x-a again, which counts: this one is not asked, and 'bob' does not match '[a-h]+'"


def mirrored(name: str, weights: str = "{name: a, port: 80}", port: int = 80) -> str:
    mirror = f"{{type: RequestMirror, requestMirror: {{backendRef: {{name: {name}, port: {port}}}}}}}"
    return f"{{filters: [{mirror}], backendRefs: [{weights}]}}"


@pytest.mark.parametrize(
    ("rule", "fires"),
    [
        pytest.param(mirrored("a"), True, id="its own"),
        pytest.param(mirrored("b"), False, id="another"),
        pytest.param(mirrored("b", "{name: a, port: 80}, {name: b, port: 80, weight: 0}"), False, id="one that rests"),
    ],
)
def test_mirrors_to_the_rule_s_own_backend(rule: str, fires: bool) -> None:
    assert found(rule) == ({"GW409"} if fires else set())


@pytest.mark.parametrize(
    ("session", "weights", "fires"),
    [
        pytest.param("{cookie: {name: s}}", (1, 0), True, id="for ever, and one rests"),
        pytest.param("{cookie: {name: s}, absoluteTimeout: 1h}", (1, 0), False, id="for an hour"),
        pytest.param("{cookie: {name: s}}", (1, 1), False, id="none rests"),
    ],
)
def test_sessions_at_backends_of_weight_0(session: str, weights: tuple[int, int], fires: bool) -> None:
    refs = ", ".join(
        f"{{name: {name}, port: 80, weight: {weight}}}" for name, weight in zip("ab", weights, strict=True)
    )
    assert found(f"{{sessionPersistence: {session}, backendRefs: [{refs}]}}") == ({"GW410"} if fires else set())


@pytest.mark.parametrize(
    ("timeouts", "retry", "message"),
    [
        pytest.param("{request: 1s}", "{attempts: 3, backoff: 600ms}", LATE.format(1, 3), id="too far apart"),
        pytest.param("{request: 1s}", "{attempts: 1, backoff: 2s}", LATE.format(0, 1), id="too late"),
        pytest.param("{request: 5s, backendRequest: 5s}", "{attempts: 1}", FULL, id="the first try takes all"),
        pytest.param("{request: 1s}", "{attempts: 2, backoff: 100ms}", "", id="in time"),
        pytest.param("{backendRequest: 1s}", "{attempts: 9, backoff: 10s}", "", id="no limit"),
        pytest.param("{request: 0s}", "{attempts: 9, backoff: 10s}", "", id="a limit that is switched off"),
        pytest.param("{request: 10s, backendRequest: 2s}", "{attempts: 2}", "", id="time for three tries"),
        pytest.param(
            "{request: 1s}",
            "{attempts: 1000000000000, backoff: 1ms}",
            LATE.format(65, 10**12),
            id="more than anybody counts",
        ),
    ],
)
def test_retries_that_there_is_no_time_for(timeouts: str, retry: str, message: str) -> None:
    rule = f"{{timeouts: {timeouts}, retry: {retry}, {backends('a')}}}"
    assert [each[2] for each in told("GW412", gateway(), route(rule), service())] == ([message] if message else [])


PATH = REDIRECT.replace("{filters", "{matches: [{path: {value: /old}}], filters") % (
    "path: {type: ReplacePrefixMatch, replacePrefixMatch: %s}"
)


@pytest.mark.parametrize(
    ("rule", "parents", "fires"),
    [
        pytest.param(REDIRECT % "scheme: https", "{name: gw}", True, id="to https, on every listener"),
        pytest.param(REDIRECT % "scheme: https", "{name: gw, sectionName: http}", False, id="to https, on http alone"),
        pytest.param(REDIRECT % "statusCode: 301", "{name: gw}", True, id="to nowhere else"),
        pytest.param(REDIRECT % "hostname: www.a.test", "{name: gw}", False, id="to another host"),
        pytest.param(REDIRECT % "port: 8080", "{name: gw}", False, id="to another port"),
        pytest.param(REDIRECT % "port: 443", "{name: gw, sectionName: https}", True, id="to its own port"),
        pytest.param(PATH % "/new", "{name: gw}", False, id="to another path"),
        pytest.param(PATH % "/old/", "{name: gw}", True, id="to its own path"),
    ],
)
def test_redirects_to_themselves(rule: str, parents: str, fires: bool) -> None:
    manifests = (gateway(HTTP, HTTPS), secret("a.test"), route(rule, hosts="a.test", parents=parents))
    assert bool(told("GW413", *manifests)) is fires
