"""Regular expressions: RE2's, bounded."""

from __future__ import annotations

import pytest

from gatewayproxy.routing.patterns import MAX_PROGRAM, matches, pattern_error


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        pytest.param(rb"/a/\d+", b"/a/12", True, id="in full"),
        pytest.param(rb"/a/\d+", b"/a/12x", False, id="not a prefix"),
        pytest.param(b"a|ab", b"ab", True, id="any alternative, not the first"),
        pytest.param(b".", b"\xe9", True, id="one octet"),
        pytest.param("/caf\u00e9".encode(), "/caf\u00e9".encode(), True, id="the octets of UTF-8"),
        pytest.param(b"(?i)abc", b"aBC", True, id="flags"),
    ],
)
def test_a_pattern_matches_the_whole_text(pattern: bytes, text: bytes, expected: bool) -> None:
    assert pattern_error(pattern) == ""
    assert matches(pattern, text) is expected


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        pytest.param(b"(", "missing )", id="syntax"),
        pytest.param(rb"(a)\1", "invalid escape", id="back reference"),
        pytest.param(b"(?=a)", "invalid perl operator", id="look-ahead"),
        pytest.param(b"[a-z]{1000}", f"at most {MAX_PROGRAM}", id="too large"),
    ],
)
def test_a_pattern_we_cannot_bound_is_refused(pattern: bytes, says: str) -> None:
    assert says in pattern_error(pattern)
