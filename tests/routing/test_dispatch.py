"""Paths with several readings: what a rule spells out is read as it stands, all else must lead to one rule."""

from __future__ import annotations

import pytest

from gatewayproxy.model.limits import Limits
from gatewayproxy.routing.dispatch import dispatch
from gatewayproxy.routing.match import find_host
from gatewayproxy.wire.head import parse_request
from tests.support.plans import EXACT, listener, match, route, rule, table_of

RULES = {
    "scope": (b"/%40scope", EXACT),
    "home": (b"/%7Eme", None),
    "deep": (b"/%7Eme/%61/b", None),
    "keys": (b"/%7Eme/keys", None),
    "version": (b"/doc;v=1", None),
    "latest": (b"/doc", None),
    "admin": (b"/admin", None),
    "of me": (b"/~me/secret", None),
    "posts": (b"/%70osts", None),
}


def taken(target: bytes) -> str:
    """Return which of RULES takes a GET of *target*, else why none does; "" is the rule for all paths."""
    matches = [match(path, kind) if kind else match(path) for path, kind in RULES.values()]
    matches[-1] = match(RULES["posts"][0], method=b"POST")
    rules = [rule(each, index=index) for index, each in enumerate((*matches, match(b"/")))]
    http = table_of(listener("http", route("r", *rules))).ports[0].http
    assert http is not None
    head = parse_request(b"GET %b HTTP/1.1\r\nhost: a.test\r\n\r\n" % target, Limits())
    assert head is not None
    found = dispatch(find_host(http, b"a.test"), head, None, b"http")
    return found.reason or "" if found.entry is None else (*RULES, "")[found.entry.label.rule]


@pytest.mark.parametrize(
    ("target", "outcome"),
    [
        pytest.param(b"/%40scope", "scope", id="an exact path as the rule has it"),
        pytest.param(b"/@scope", "", id="the rule means its own spelling only"),
        pytest.param(b"/%7Eme", "home", id="a prefix as the rule has it"),
        pytest.param(b"/%7Eme/x", "home", id="more segments after it"),
        pytest.param(b"/%7Eme/x%20y", "home", id="an encoding that must be"),
        pytest.param(b"/%7Eme/%78", "home", id="another encoding, of one meaning"),
        pytest.param(b"/%7Eme/%61/b", "deep", id="the longest prefix"),
        pytest.param(b"/%7Eme/a/%62", "home", id="readings of the rest lead to one rule"),
        pytest.param(b"/%7Eme/%6beys", "ambiguous_path", id="readings of the rest lead to two rules"),
        pytest.param(b"/%7Eme//keys", "ambiguous_path", id="slashes doubled in the rest"),
        pytest.param(b"/%7eme", "", id="the rule means its own letters only"),
        pytest.param(b"/%7Eme/secret", "home", id="the rule for the other spelling is another one"),
        pytest.param(b"/~me/x", "", id="the plain spelling is nobody's"),
        pytest.param(b"/~me/secret", "of me", id="the plain spelling of a rule"),
        pytest.param(b"/doc;v=1", "version", id="a parameter as the rule has it"),
        pytest.param(b"/doc;v=1/x", "version", id="segments after a parameter"),
        pytest.param(b"/doc;v=2", "ambiguous_path", id="another parameter"),
        pytest.param(b"/%61dmin", "ambiguous_path", id="a spelling that no rule has"),
        pytest.param(b"/%41dmin", "", id="a spelling of nothing"),
        pytest.param(b"//admin", "ambiguous_path", id="doubled slashes"),
        pytest.param(b"/%70osts", "", id="a rule that does not take it spells nothing out"),
    ],
)
def test_what_a_rule_spells_out_is_read_as_it_stands(target: bytes, outcome: str) -> None:
    assert taken(target) == outcome


def test_a_long_odd_path_is_asked_for_no_more_segments_than_rules_have() -> None:
    assert taken(b"/%7Eme" + b"/x" * 2_000 + b"/%78") == "home"
