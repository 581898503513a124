"""Rewriting request heads."""

from __future__ import annotations

import tracemalloc

import pytest

from gatewayproxy.model.headops import HeadEdit, Respond
from gatewayproxy.model.limits import Limits
from gatewayproxy.wire.edit import edited_lines, edited_target, location, request_starts, rewrite_request
from gatewayproxy.wire.head import RequestHead, parse_request

OWN = b"x-forwarded-for: 10.0.0.1\r\nvia: 1.1 gatewayproxy\r\n"


def head_of(raw: bytes) -> RequestHead:
    head = parse_request(raw, Limits())
    assert head is not None
    return head


HEAD = b"GET /a?b HTTP/1.1\r\nHost: a.test:80\r\nX-Debug: 1\r\nx-debug: 2\r\nY: 3\r\nConnection: keep-alive\r\n\r\n"


def test_what_is_not_cut_goes_on_as_it_came() -> None:
    out = rewrite_request(head_of(HEAD), OWN, None)
    assert out == b"GET /a?b HTTP/1.1\r\nHost: a.test:80\r\nX-Debug: 1\r\nx-debug: 2\r\nY: 3\r\n" + OWN + b"\r\n"


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        pytest.param(
            HeadEdit(cut=frozenset((b"x-debug",)), append=b"X-New: 1\r\n"),
            b"GET /a?b HTTP/1.1\r\nHost: a.test:80\r\nY: 3\r\n" + OWN + b"X-New: 1\r\n\r\n",
            id="every line of a removed name",
        ),
        pytest.param(
            HeadEdit(cut=frozenset((b"y", b"x-debug", b"host")), host=b"b.test", path=b"/new"),
            b"GET /new?b HTTP/1.1\r\n" + OWN + b"host: b.test\r\n\r\n",
            id="host and path",
        ),
        pytest.param(
            HeadEdit(cut=frozenset((b"x-forwarded-for", b"x-debug", b"y")), append=b"X-Forwarded-For: z\r\n"),
            b"GET /a?b HTTP/1.1\r\nHost: a.test:80\r\nvia: 1.1 gatewayproxy\r\nX-Forwarded-For: z\r\n\r\n",
            id="our own lines can be replaced",
        ),
        pytest.param(
            HeadEdit(cut=frozenset((b"x-debug", b"y")), append=b"Transfer-Encoding: chunked\r\nHost: x\r\n"),
            b"GET /a?b HTTP/1.1\r\nHost: a.test:80\r\n" + OWN + b"\r\n",
            id="framing and routing cannot",
        ),
    ],
)
def test_edits_apply_to_the_head_as_we_would_send_it(edit: HeadEdit, expected: bytes) -> None:
    assert rewrite_request(head_of(HEAD), OWN, edit) == expected


@pytest.mark.parametrize("name", [b"content_length", b"Transfer_Encoding"])
def test_no_filter_frames_under_a_name_that_looks_alike(name: bytes) -> None:
    raw = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\n"
    edit = HeadEdit(cut=frozenset((name.lower(),)), append=b"%b: 0\r\n" % name)
    assert rewrite_request(head_of(raw), b"", edit) == raw


@pytest.mark.parametrize("name", [b"X-User-Id", b"x_user_id", b"X_User-Id", b"x-user_ID"])
@pytest.mark.parametrize("edited", [b"x-user-id", b"x_user_id", b"x-user_id"])
def test_what_a_filter_replaces_cannot_be_sent_with_another_dash(name: bytes, edited: bytes) -> None:
    head = head_of(b"GET / HTTP/1.1\r\nHost: a.test\r\n%b: mallory\r\nX-Us: 1\r\n\r\n" % name)
    edit = HeadEdit(cut=frozenset((edited,)), append=b"%b: ada\r\n" % edited)
    assert rewrite_request(head, b"", edit) == (
        b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Us: 1\r\n%b: ada\r\n\r\n" % edited
    )
    assert head.mentions(request_starts(edit))


@pytest.mark.parametrize(
    ("target", "prefix", "expected"),
    [
        (b"/foo/bar?q", (4, b"/xyz"), b"/xyz/bar?q"),
        (b"/foo", (4, b"/xyz"), b"/xyz"),
        (b"/foo/", (4, b"/xyz"), b"/xyz/"),
        (b"/foo", (4, b""), b"/"),
        (b"/foo?q", (4, b""), b"/?q"),
        (b"/foo/bar", (4, b""), b"/bar"),
    ],
)
def test_a_replaced_prefix_keeps_rest_and_query(target: bytes, prefix: tuple[int, bytes], expected: bytes) -> None:
    assert edited_target(target, None, prefix) == expected


@pytest.mark.parametrize(
    ("respond", "authority", "expected"),
    [
        (Respond(status=301, scheme=b"https", host=None, port=b""), b"a.test:80", b"https://a.test/x?y"),
        (Respond(status=301, scheme=b"https", host=None, port=b":8443"), b"[::1]:80", b"https://[::1]:8443/x?y"),
        (Respond(status=302, scheme=b"http", host=b"b.test", port=b"", path=b"/n"), b"a", b"http://b.test/n?y"),
    ],
)
def test_a_redirect_says_where(respond: Respond, authority: bytes, expected: bytes) -> None:
    assert location(respond, authority, b"/x?y") == expected


def test_what_one_answer_alone_is_told_is_not_kept() -> None:
    """It was, 4,096 times as much as a head may hold."""
    n, size = 50, 50_000
    tracemalloc.start()
    try:
        for i in range(n):
            lines = b"x-told: %d%b\r\n" % (i, b"x" * size)
            assert edited_lines(b"", HeadEdit(append=lines)) == lines
        assert tracemalloc.get_traced_memory()[0] < n * size / 2
    finally:
        tracemalloc.stop()
