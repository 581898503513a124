"""What a verdict does to the head of a request."""

from __future__ import annotations

import pytest

from gatewayproxy.model.limits import Limits
from gatewayproxy.wire.auth import Action, Change, Verdict, apply, without_cors
from gatewayproxy.wire.edit import rewrite_request
from gatewayproxy.wire.head import RequestHead, parse_request

LINES = b"X-A: 1\r\nx_a: 2\r\nX-B: 3\r\nContent-Length: 2\r\n"
OWN = b"x-own: 1\r\nx-forwarded-for: 192.0.2.1\r\n"


def head() -> RequestHead:
    found = parse_request(b"POST / HTTP/1.1\r\nHost: a.test\r\n" + LINES + b"\r\n", Limits())
    assert isinstance(found, RequestHead)
    return found


@pytest.mark.parametrize(
    ("changes", "removed", "left"),
    [
        pytest.param([], [], b"X-A: 1|x_a: 2|X-B: 3|x-own: 1", id="nothing"),
        pytest.param([Change(b"x-a", b"9")], [], b"X-B: 3|x-own: 1|x-a: 9", id="set, with its twin"),
        pytest.param([Change(b"x-own", b"9")], [], b"X-A: 1|x_a: 2|X-B: 3|x-own: 9", id="one of ours"),
        pytest.param([Change(b"x-b", b"4", Action.ADD)], [], b"X-A: 1|x_a: 2|X-B: 3|x-own: 1|x-b: 4", id="add"),
        pytest.param([Change(b"x-b", b"4", Action.ADD)], [b"x-b"], b"X-A: 1|x_a: 2|x-own: 1|x-b: 4", id="remove first"),
        pytest.param([Change(b"x-a", b"9", Action.ADD_IF_ABSENT)], [], b"X-A: 1|x_a: 2|X-B: 3|x-own: 1", id="there"),
        pytest.param(
            [Change(b"x-a", b"9", Action.ADD_IF_ABSENT)], [b"x-a"], b"X-B: 3|x-own: 1|x-a: 9", id="no longer there"
        ),
        pytest.param([Change(b"x-c", b"9", Action.SET_IF_PRESENT)], [], b"X-A: 1|x_a: 2|X-B: 3|x-own: 1", id="absent"),
        pytest.param(
            [Change(b"x-c", b"8"), Change(b"x-c", b"9", Action.SET_IF_PRESENT)], [],
            b"X-A: 1|x_a: 2|X-B: 3|x-own: 1|x-c: 9", id="set just now",
        ),
        pytest.param(
            [Change(b"host", b"evil"), Change(b"content-length", b"9")], [b"host", b"content-length"],
            b"X-A: 1|x_a: 2|X-B: 3|x-own: 1", id="framing stays",
        ),
    ],
)  # fmt: skip
def test_a_verdict_changes_fields(changes: list[Change], removed: list[bytes], left: bytes) -> None:
    request = head()
    own = apply(Verdict(allowed=True, changes=tuple(changes), removed=frozenset(removed)), request, OWN)
    lines = rewrite_request(request, own, None).split(b"\r\n")[1:-2]
    kept = {b"Host: a.test", b"Content-Length: 2", b"x-forwarded-for: 192.0.2.1"}
    assert kept <= set(lines)
    assert b"|".join(line for line in lines if line not in kept) == left


def test_fields_of_cors_are_left_out() -> None:
    lines = b"Access-Control-Allow-Origin: *\r\nX-A: 1\r\naccess-control-max-age: 1\r\n"
    assert without_cors(lines) == b"X-A: 1\r\n"
