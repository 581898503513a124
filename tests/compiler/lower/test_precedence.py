"""HTTPRouteRule.matches, "precedence": a clause a case."""

from __future__ import annotations

import pytest

from gatewayproxy.compiler.lower.precedence import Claim, host_rank, rank
from gatewayproxy.model.plan import Match
from tests.support.plans import EXACT, REGEX, match

TWO = [(b"a", b"1"), (b"b", b"2")]


def claim(
    of: Match | None = None, *, created: float = 0.0, route: str = "a/x", rule: int = 0, position: int = 0
) -> Claim:
    return Claim(of or match(), created, route, rule, position)


@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        pytest.param(claim(match(b"/a", EXACT)), claim(match(b"/a/b/c")), id="exact beats a longer prefix"),
        pytest.param(claim(match(b"/a", EXACT)), claim(match(b"/a.*", REGEX)), id="exact beats a longer regex"),
        pytest.param(claim(match(b".*", REGEX)), claim(match(b"/a/b/c")), id="regex beats a longer prefix"),
        pytest.param(claim(match(b"/aa.*", REGEX)), claim(match(b"/a.*", REGEX)), id="the longer regex"),
        pytest.param(claim(match(b"/a/b")), claim(match(b"/a", method=b"GET")), id="a longer prefix beats a method"),
        pytest.param(claim(match(b"/a", headers=TWO)), claim(match(b"/a/")), id="a trailing slash adds nothing"),
        pytest.param(claim(match(method=b"GET")), claim(match(headers=TWO)), id="method beats any number of headers"),
        pytest.param(claim(match(headers=TWO)), claim(match(headers=TWO[:1], query=TWO)), id="most headers"),
        pytest.param(claim(match(query=TWO)), claim(match(query=TWO[:1]), created=-1), id="most query parameters"),
        pytest.param(claim(created=1), claim(created=2, route="a/a"), id="the oldest route"),
        pytest.param(claim(route="a-b/x", rule=1), claim(route="a/y"), id="names compare as one string"),
        pytest.param(claim(rule=1, position=1), claim(rule=2), id="the first rule"),
        pytest.param(claim(position=0), claim(position=1), id="the first match"),
    ],
)
def test_the_more_specific_match_wins(winner: Claim, loser: Claim) -> None:
    assert sorted([loser, winner], key=rank) == [winner, loser]


def test_hostnames_rank_without_wildcard_first_then_by_length() -> None:
    names = ["", "*.b", "*.aaaaaaaaaaaa.b", "a.b", "aa.b"]
    assert sorted(names, key=host_rank) == ["aa.b", "a.b", "*.aaaaaaaaaaaa.b", "*.b", ""]
