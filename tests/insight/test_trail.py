"""Pages of a running gateway as tables, for people."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayproxy.insight.trail import misses_text, never_hit, rules_text

NOW = 1_800_000_000.0
AT = "2027-01-15T07:58:20.000Z"  # 100 s before


def rule(**changes: object) -> dict[str, Any]:
    told = {
        "listener": "ns/gw/http", "kind": "HTTPRoute", "route": "ns/r", "rule": 0, "name": "", "hits": 0, "active": 0,
        "last_hit": None, "generation": 1, "since": AT,
    }  # fmt: skip
    return {**told, **changes}


def miss(**changes: object) -> dict[str, Any]:
    told = {
        "count": 3, "over": 0, "listener": "ns/gw/http", "reason": "no_rule", "host": "a.test", "method": "GET",
        "path": "/x", "last": AT, "generation": 2, "cause": "host ok", "fix": "add a rule", "failed": "path",
    }  # fmt: skip
    return {**told, **changes}


def page(*misses: dict[str, Any], **answers: int) -> dict[str, Any]:
    return {"generation": 2, "answers": {"no_rule": 0, "no_route": 0, **answers}, "misses": list(misses)}


def test_rules_are_aligned_and_times_are_spans() -> None:
    rules = [rule(hits=12_345, last_hit=AT), rule(rule=10, name="beta", generation=7)]
    head, first, second = rules_text(rules, now=NOW).splitlines()
    assert head.index("HITS") == first.index("12345")
    assert head.index("LAST HIT") == first.index("100s ago") == second.index("never")
    assert first.split() == "HTTPRoute ns/r 0 ns/gw/http 12345 0 100s ago 100s ago 1".split()
    assert second.split() == "HTTPRoute ns/r 10 (beta) ns/gw/http 0 0 never 100s ago 7".split()
    assert rules_text([], now=NOW) == ""


def test_what_rules_answer_in_the_place_of_backends_has_a_column_where_one_does() -> None:
    head, first, second = rules_text(
        [rule(answers="500 ref_not_permitted"), rule(rule=1, answers="")], now=NOW
    ).splitlines()
    assert head.endswith("   ANSWERS")
    assert first[head.index("ANSWERS") :] == "500 ref_not_permitted"
    assert len(second) < head.index("ANSWERS")
    assert "ANSWERS" not in rules_text([rule(answers="")], now=NOW)


def test_the_command_that_tells_more_names_the_gateway_that_was_asked() -> None:
    text = misses_text(page(miss(), no_rule=1), now=NOW, server="10.0.0.1:9901")
    assert text.splitlines()[-1].startswith("gatewayproxy explain --server 10.0.0.1:9901 -- URL tells")


MORE = ("", "gatewayproxy explain -- URL tells the whole of one, and routes that no listener has")


def test_rules_that_nothing_has_hit_are_picked() -> None:
    assert [each["rule"] for each in never_hit([rule(hits=1), rule(rule=1)])] == [1]


@pytest.mark.parametrize(
    ("page", "lines"),
    [
        pytest.param(page(), [], id="nothing"),
        pytest.param(
            page(miss(), no_rule=1, no_route=2),
            [
                "1 request answered 404: no rule of the host matched",
                "2 without a route: requests are answered 404, connections end",
                "    -> connections are not listed below: gatewayproxy get tcproutes,tlsroutes,udproutes -A -o wide "
                "says which routes no listener has",
                "",
                "3x  GET a.test/x",
                "    no_rule: host ok",
                "    -> add a rule",
                "    on ns/gw/http, last 100s ago",
                *MORE,
            ],
            id="one",
        ),
        pytest.param(
            page(miss(count=20, over=6, generation=1), no_rule=20),
            [
                "20 requests answered 404: no rule of the host matched",
                "",
                "14-20x  GET a.test/x",
                "    no_rule: host ok",
                "    -> add a rule",
                "    on ns/gw/http, last 100s ago, by generation 1",
                *MORE,
            ],
            id="at least and at most, and not of the table in force",
        ),
        pytest.param(
            page(miss(cause="", fix="", path="/\x1b[2J"), no_rule=3),
            [
                "3 requests answered 404: no rule of the host matched",
                "",
                "3x  GET a.test/\\x1b[2J",
                "    no_rule: closest not looked for",
                "    on ns/gw/http, last 100s ago",
                *MORE,
            ],
            id="not looked for, and what a terminal would act on",
        ),
    ],
)
def test_misses_say_what_would_mend_them(page: dict[str, Any], lines: list[str]) -> None:
    assert misses_text(page, now=NOW).splitlines() == lines
