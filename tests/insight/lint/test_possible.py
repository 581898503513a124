"""Patterns that match nothing: "no" is certain, and the plain mistakes are found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayproxy.insight.lint.possible import ANY_TEXT, FIELD_VALUE, GRPC_NAME, PATH, Alphabet, may_match
from gatewayproxy.routing.patterns import matches, pattern_error
from gatewayproxy.wire.target import is_origin_form

ATOMS = [
    "/",
    "a",
    "b",
    "-",
    "^",
    "$",
    ".",
    "\\d",
    "[ab]",
    "[^a]",
    "[^/]",
    "\\?",
    "\\A",
    "\\z",
    "\\b",
    "(?i:A)",
    "\\Qa/\\E",
]
PATTERNS = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,}", "*?"])).map(
            lambda p: f"(?:{p[0]}){p[1]}"
        ),
    ),
    max_leaves=8,
).map(str.encode)
TEXTS = st.text("/ab-2A?", max_size=5).map(str.encode)


@pytest.mark.parametrize(
    ("pattern", "alphabet"),
    [
        pytest.param(rb"api/.*", PATH, id="no slash first"),
        pytest.param(rb"^api$", PATH, id="no slash first, anchored"),
        pytest.param(rb"[^/].*", PATH, id="anything but a slash first"),
        pytest.param(rb"/a$/b", PATH, id="an end in the middle"),
        pytest.param(rb"/a^b", PATH, id="a start in the middle"),
        pytest.param(rb"/(a$|b^)c", PATH, id="in each alternative"),
        pytest.param(rb"/a\z.", PATH, id="an end by another name"),
        pytest.param(rb"(^/a){2}", PATH, id="a start, twice"),
        pytest.param(rb"/search\?q=.*", PATH, id="a query"),
        pytest.param("/é".encode(), PATH, id="a letter that is encoded"),
        pytest.param(rb"/a b", PATH, id="a space"),
        pytest.param(rb"", PATH, id="nothing"),
        pytest.param(rb"(^$)?", PATH, id="nothing, in other words"),
        pytest.param(rb"/\Qa?b\E", PATH, id="a quoted query"),
        pytest.param(rb"/[?#[:space:]]x", PATH, id="a class of what is never there"),
        pytest.param(rb"a\nb", FIELD_VALUE, id="a line break in a header"),
        pytest.param(rb"\s+x", FIELD_VALUE, id="a header that begins with a space"),
        pytest.param(rb"a$b", ANY_TEXT, id="an end in the middle of a parameter"),
        pytest.param(rb"/shop.Cart", GRPC_NAME, id="a service with a slash"),
    ],
)
def test_what_matches_nothing_is_found(pattern: bytes, alphabet: Alphabet) -> None:
    assert pattern_error(pattern) == ""
    assert not may_match(pattern, alphabet)


@pytest.mark.parametrize(
    ("pattern", "alphabet", "text"),
    [
        pytest.param(rb"/api/v[0-9]+/.*", PATH, b"/api/v1/x", id="plain"),
        pytest.param(rb"^/a$", PATH, b"/a", id="anchors at the ends"),
        pytest.param(rb"(?:^/a|^/b$)", PATH, b"/b", id="anchors in alternatives"),
        pytest.param(rb"/(a|b$)c", PATH, b"/ac", id="one alternative is enough"),
        pytest.param(rb"(/v1)?/users(/.*)?", PATH, b"/users", id="optional parts"),
        pytest.param(rb"(b$)?/a", PATH, b"/a", id="an optional dead end"),
        pytest.param(rb"(b$){0}/a", PATH, b"/a", id="a dead end no times"),
        pytest.param(rb"(?i)/API", PATH, b"/api", id="whatever the case"),
        pytest.param(rb"/(?i:A)b", PATH, b"/ab", id="whatever the case, of a group"),
        pytest.param(rb"/[^?]+", PATH, b"/a", id="a negated class"),
        pytest.param(rb"/[]a]", PATH, b"/]", id="a bracket first in a class"),
        pytest.param(rb"/[a\-z]", PATH, b"/-", id="an escape in a class"),
        pytest.param(rb"/\x61\x{62}\143", PATH, b"/abc", id="numbers"),
        pytest.param(rb"/\pL", PATH, b"/a", id="a class that is not looked into"),
        pytest.param(rb"(?s).*(?-s)", PATH, b"/", id="flags"),
        pytest.param(rb"(?P<v>/a)", PATH, b"/a", id="a named group"),
        pytest.param(rb"canary|beta", FIELD_VALUE, b"beta", id="a header"),
        pytest.param(rb".*", FIELD_VALUE, b"", id="an empty header"),
        pytest.param(b"/" + b"(" * 60 + b"a" + b")" * 60, PATH, b"/a", id="too deep to be looked into"),
        pytest.param(rb"/((((a*)*)*)*)*", PATH, b"/aaa", id="repeats of repeats"),
    ],
)
def test_what_matches_something_is_let_be(pattern: bytes, alphabet: Alphabet, text: bytes) -> None:
    assert pattern_error(pattern) == ""
    assert matches(pattern, text)
    assert may_match(pattern, alphabet)


@given(PATTERNS, TEXTS)
def test_no_text_matches_a_pattern_of_which_none_is_said_to(pattern: bytes, text: bytes) -> None:
    if not pattern_error(pattern) and matches(pattern, text):
        assert may_match(pattern, ANY_TEXT)
        if is_origin_form(text) and b"?" not in text:
            assert may_match(pattern, PATH)


@pytest.mark.parametrize("octet", range(256))
def test_paths_hold_what_the_grammar_takes(octet: int) -> None:
    taken = is_origin_form(b"/" + bytes((octet,)))
    assert (octet in PATH.rest) == (taken and octet != ord("?"))
