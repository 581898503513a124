"""HTTPRouteRule.matches and GRPCRouteRule.matches, "precedence": a clause a case."""

from __future__ import annotations

import pytest

from gatewayproxy.compiler.lower.precedence import Claim, call_rank, host_rank, rank
from gatewayproxy.model.plan import GRPCMatch, HeaderTest, Match
from tests.support.plans import EXACT, REGEX, match

TWO = [(b"a", b"1"), (b"b", b"2")]


def claim(
    of: Match | None = None, *, created: float = 0.0, route: str = "a/x", rule: int = 0, position: int = 0
) -> Claim[Match]:
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
def test_the_more_specific_match_wins(winner: Claim[Match], loser: Claim[Match]) -> None:
    assert sorted([loser, winner], key=rank) == [winner, loser]


def call(
    service: bytes = b"", method: bytes = b"", *, regex: bool = False, n_headers: int = 0, created: float = 0.0,
    route: str = "a/x", rule: int = 0, position: int = 0,
) -> Claim[GRPCMatch]:  # fmt: skip
    headers = tuple(HeaderTest(b"%d" % number, b"1") for number in range(n_headers))
    of = GRPCMatch(service=service, method=method, regex=regex, headers=headers)
    return Claim(of, created, route, rule, position)


@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        pytest.param(call(b"a.B", b"C", rule=9), call(b"a.B"), id="a method beats none, whatever the order"),
        pytest.param(call(b"a.Bcd"), call(b"a.B", b"LongMethod"), id="a longer service beats a method"),
        pytest.param(call(b"a"), call(b"", b"LongMethod"), id="a service beats a method of any service"),
        pytest.param(call(b"a", b"Get"), call(b"a", b"Go", n_headers=2), id="a longer method beats headers"),
        pytest.param(call(b"", b"G"), call(n_headers=2), id="a method of any service beats headers"),
        pytest.param(call(n_headers=2), call(n_headers=1, created=-1), id="most headers"),
        pytest.param(call(b"a"), call(b"a.*b", b"G", regex=True), id="an exact service beats a longer pattern"),
        pytest.param(call(b".*", regex=True), call(b"", b"Get"), id="a pattern for the service beats a method alone"),
        pytest.param(call(b"", b"G"), call(b"", b"G.*", regex=True), id="an exact method beats a longer pattern"),
        pytest.param(call(b"a.*", regex=True), call(b".*", regex=True), id="the longer pattern"),
        pytest.param(call(created=1), call(created=2, route="a/a"), id="the oldest route"),
        pytest.param(call(route="a-b/x", rule=1), call(route="a/y"), id="names compare as one string"),
        pytest.param(call(rule=1, position=1), call(rule=2), id="the first rule"),
        pytest.param(call(position=0), call(position=1), id="the first match"),
    ],
)
def test_the_more_specific_call_wins(winner: Claim[GRPCMatch], loser: Claim[GRPCMatch]) -> None:
    assert sorted([loser, winner], key=call_rank) == [winner, loser]


def test_hostnames_rank_without_wildcard_first_then_by_length() -> None:
    names = ["", "*.b", "*.aaaaaaaaaaaa.b", "a.b", "aa.b"]
    assert sorted(names, key=host_rank) == ["aa.b", "a.b", "*.aaaaaaaaaaaa.b", "*.b", ""]
