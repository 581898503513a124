"""What patterns are known to begin with; what begins otherwise has nothing in common with them."""

from __future__ import annotations

import pytest

from gatewayproxy.insight import texts
from gatewayproxy.insight.expressions import beginning
from gatewayproxy.insight.texts import How
from gatewayproxy.routing.patterns import matches


@pytest.mark.parametrize(
    ("pattern", "begins"),
    [
        pytest.param(rb"/v1/[0-9]+", b"/v1/", id="plain text before a class"),
        pytest.param(rb"/v1\.2/.*", b"/v1.2/", id="what is escaped is plain"),
        pytest.param(rb"/a|/b", b"", id="a choice begins in several ways"),
        pytest.param(rb"/(a|b)c", b"/", id="up to a choice"),
        pytest.param(rb"/(v1)/x", b"/v1/x", id="through a group"),
        pytest.param(rb"/ab*", b"/a", id="what may be missing is not counted"),
        pytest.param(rb"/ab?c", b"/a", id="nor what may be there"),
        pytest.param(rb"/ab+c", b"/ab", id="what is there at least once is"),
        pytest.param(rb"(/a){2}b", b"/a", id="and of a number of times the first"),
        pytest.param(rb"^/a$", b"/a", id="anchors are no text"),
        pytest.param(rb"(?i)/a", b"/", id="letters of either case are several"),
        pytest.param(rb"/a(?i)b", b"/a", id="from where it is said"),
        pytest.param(rb"\Q/a.b\E.*", b"/a.b", id="quoted text"),
        pytest.param(rb"[/]a", b"/a", id="a class of one"),
        pytest.param(rb"\b/a", b"", id="what is not read"),
        pytest.param(rb".*", b"", id="anything"),
    ],
)
def test_a_pattern_begins_with(pattern: bytes, begins: bytes) -> None:
    assert beginning(pattern) == begins


@pytest.mark.parametrize("pattern", [rb"/ab+c", rb"(/a){2}b", rb"/(v1)/x", rb"^/a$", rb"\Q/a.b\E.*", rb"/v1\.2/.*"])
@pytest.mark.parametrize("text", [b"/abbc", b"/a/ab", b"/v1/x", b"/a", b"/a.bc", b"/v1.2/"])
def test_what_a_pattern_matches_begins_so(pattern: bytes, text: bytes) -> None:
    assert not matches(pattern, text) or text.startswith(beginning(pattern))


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        pytest.param(texts.Test(How.MATCHES, b"/a/.*"), texts.Test(How.MATCHES, b"/b/.*"), True, id="two patterns"),
        pytest.param(
            texts.Test(How.MATCHES, b"/a.*"), texts.Test(How.MATCHES, b"/ab.*"), False, id="one goes on from the other"
        ),
        pytest.param(
            texts.Test(How.MATCHES, b"/a/.*"), texts.Test(How.UNDER, b"/b"), True, id="a pattern and a prefix"
        ),
        pytest.param(texts.Test(How.MATCHES, b"/a"), texts.Test(How.UNDER, b"/a"), False, id="the prefix itself"),
        pytest.param(
            texts.Test(How.MATCHES, b"/ab.*"), texts.Test(How.UNDER, b"/a"), True, id="a prefix ends with its segment"
        ),
        pytest.param(texts.Test(How.MATCHES, b"/a.*"), texts.Test(How.UNDER, b"/a/b"), False, id="a prefix below"),
        pytest.param(texts.Test(How.MATCHES, b"/a.*"), texts.Test(How.UNDER), False, id="every path"),
        pytest.param(texts.Test(How.UNDER, b"/a"), texts.Test(How.UNDER, b"/ab"), True, id="two prefixes"),
        pytest.param(
            texts.Test(How.UNDER, b"/a"), texts.Test(How.UNDER, b"/a/b"), False, id="one prefix below another"
        ),
        pytest.param(
            texts.Test(How.MATCHES, b"/a"), texts.Test(How.SERVICE, b"b"), False, id="calls are not looked into"
        ),
    ],
)
def test_tests_that_begin_otherwise_are_apart(one: texts.Test, other: texts.Test, apart: bool) -> None:
    assert one.apart(other) is other.apart(one) is apart
