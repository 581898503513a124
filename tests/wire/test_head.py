"""Request heads: what is read, what is refused, and with which status."""

from __future__ import annotations

from functools import partial

import pytest

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.model.limits import Limits
from gatewayproxy.wire.grammar import join_kept
from gatewayproxy.wire.head import CHUNKED, RequestHead, parse_request
from tests.support.calls import cpu_s

LIMITS = Limits(head_bytes=8192, head_fields=20, target_bytes=1000, body_bytes=5000)


def head_of(*lines: bytes, start: bytes = b"GET /a/b?c=d HTTP/1.1", host: bytes = b"Host: a.test\r\n") -> RequestHead:
    head = parse_request(start + b"\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n", LIMITS)
    assert head is not None
    return head


def kept(head: RequestHead) -> bytes:
    return join_kept(head.buf, head.fields_start, head.fields_end, head.cuts)


def test_the_parts_of_a_plain_head_are_found() -> None:
    head = head_of(b"X-A: 1")
    assert (head.method, head.path, head.query, head.target) == (b"GET", b"/a/b", b"c=d", b"/a/b?c=d")
    assert (head.authority, head.length, head.keep_alive, head.cuts) == (b"a.test", 0, True, ())
    assert head.end == len(head.buf)


def test_repeated_fields_are_joined_and_names_compare_without_case() -> None:
    head = head_of(b"X-A: 1", b"x-a:\t2 ")
    assert head.field(b"x-a") == b"1,2"
    assert head.field(b"x-b") is None


@pytest.mark.parametrize("at", range(1, 40))
def test_an_incomplete_head_waits(at: int) -> None:
    raw = b"GET / HTTP/1.1\r\nHost: a.test\r\nX: 1\r\n\r\n"
    assert parse_request(raw[: min(at, len(raw) - 1)], LIMITS) is None


@pytest.mark.parametrize(
    ("lines", "length", "keep_alive"),
    [
        pytest.param([b"Content-Length: 12"], 12, True, id="content-length"),
        pytest.param([b"Transfer-Encoding: \tChunked "], CHUNKED, True, id="chunked"),
        pytest.param([b"Connection: Close"], 0, False, id="close"),
        pytest.param([b"Connection: x, close"], 0, False, id="close in a list"),
    ],
)
def test_framing_and_persistence_are_read(lines: list[bytes], length: int, keep_alive: bool) -> None:
    head = head_of(*lines)
    assert (head.length, head.keep_alive) == (length, keep_alive)


@pytest.mark.parametrize(
    "line",
    [
        b"Connection: keep-alive", b"Keep-Alive: timeout=5", b"Proxy-Connection: x", b"TE: trailers", b"Upgrade: h2c",
        b"HTTP2-Settings: AAA", b"X-Forwarded-For: 6.6.6.6", b"X_Forwarded_For: 6.6.6.6", b"X-Real-IP: 6.6.6.6",
        b"x-forwarded-anything: 1", b"Forwarded: for=6.6.6.6", b"X-Request-Id: spoof", b"Transfer_Encoding: chunked",
        b"Content_Length: 5",
    ],
)  # fmt: skip
def test_lines_that_end_here_are_cut(line: bytes) -> None:
    head = head_of(b"X-Keep: 1", line, b"X-Too: 2")
    assert kept(head) == b"Host: a.test\r\nX-Keep: 1\r\nX-Too: 2\r\n"


def test_fields_named_by_connection_are_cut_but_never_those_that_frame_or_route() -> None:
    head = head_of(b"Connection: X-Foo, host, content-length", b"X-Foo: 1", b"Content-Length: 3", b"x-foo: 2")
    assert kept(head) == b"Host: a.test\r\nContent-Length: 3\r\n"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, id="no host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, id="two hosts"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, id="space in host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", 400, id="port out of range"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, id="open bracket"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: [1:::2]\r\n\r\n", 400, id="no IPv6 address"),
        pytest.param(b"GET / HTTP/1.1\nHost: a\n\n", 400, id="bare LF"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400, id="bare CR"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b", 400, id="NUL, head incomplete"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400, id="obs-fold"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", 400, id="space before colon"),
        pytest.param(b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="two spaces"),
        pytest.param(b"GET /\r\n\r\n", 400, id="HTTP/0.9"),
        pytest.param(b"GET / HTTP/2.0\r\nHost: a\r\n", 505, id="HTTP/2.0"),
        pytest.param(b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="fragment"),
        pytest.param(b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="bad percent-encoding"),
        pytest.param(b"GET /a%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="encoded NUL"),
        pytest.param(b"GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="backslash"),
        pytest.param(b"GET foo HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="no slash"),
        pytest.param(b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="scheme ftp"),
        pytest.param(b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="userinfo"),
        pytest.param(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405, id="CONNECT"),
        pytest.param(b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405, id="TRACE"),
        pytest.param(b"M" * 65 + b" / HTTP/1.1\r\nHost: a\r\n\r\n", 501, id="long method"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            id="CL and TE",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400, id="CL twice"
        ),
        pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400, id="CL signed"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\n", 400, id="CL overflow"
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400, id="gzip, chunked"
        ),
        pytest.param(b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400, id="TE in 1.0"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5001\r\n\r\n", 413, id="body over the limit"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417, id="unknown expectation"),
        pytest.param(b"GET /" + b"a" * 1000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, id="long target"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 20 + b"\r\n", 431, id="many fields"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000, 431, id="large, incomplete"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431, id="large, complete"),
    ],
)
def test_what_two_readers_could_read_differently_is_refused(raw: bytes, status: int) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        parse_request(raw, LIMITS)
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("target", "odd"),
    [
        (b"/", False), (b"/a/b/", False), (b"/a.b/.well-known/c?%zz;//", False), (b"/a%20b?x", False),
        (b"/a/..b", False), (b"//a", True), (b"/a//", True), (b"/a;b", True), (b"/%61?q", True), (b"/a%2Fb", True),
    ],
)  # fmt: skip
def test_a_target_goes_on_as_it_came_and_says_whether_it_is_odd(target: bytes, odd: bool) -> None:
    head = head_of(start=b"GET " + target + b" HTTP/1.1")
    path, _, query = target.partition(b"?")
    assert (head.target, head.path, head.query, head.odd) == (target, path, query, odd)


def test_an_absolute_target_replaces_host() -> None:
    head = head_of(start=b"GET http://B.test:81?x HTTP/1.1")
    assert (head.authority, head.target, head.scheme) == (b"B.test:81", b"/?x", b"http")
    assert kept(head) == b""


def test_only_a_websocket_upgrade_of_a_bodiless_get_counts() -> None:
    assert head_of(b"Connection: Upgrade", b"Upgrade: WebSocket").upgrade
    assert not head_of(b"Connection: Upgrade", b"Upgrade: foo/1").upgrade
    assert not head_of(b"Upgrade: websocket").upgrade
    post = head_of(b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 1", start=b"POST / HTTP/1.1")
    assert not post.upgrade


def test_a_1_0_client_expects_nothing_and_keeps_alive_only_when_it_says_so() -> None:
    head = head_of(b"Expect: 100-continue", start=b"GET / HTTP/1.0")
    assert kept(head) == b"Host: a.test\r\n"
    assert not head.keep_alive
    assert head_of(b"Connection: keep-alive", start=b"GET / HTTP/1.0").keep_alive


def test_names_that_a_client_lists_cost_no_more_than_its_lines() -> None:
    """A pattern of 8,000 names took 80 ms to make, and was kept with its 2 MB."""
    listed = b",".join(b"x%d" % n for n in range(8_000))
    raw = b"GET / HTTP/1.1\r\nHost: a\r\nX7: 1\r\nConnection: %b\r\nX-Kept: 2\r\nx7999: 3\r\n\r\n" % listed
    others = [raw.replace(b"x5", b"x5%d-" % n) for n in range(10)]  # another list each time: none is known already
    assert min(cpu_s(partial(parse_request, other, Limits())) for other in others) < 0.04
    head = parse_request(raw, Limits())
    assert head is not None
    assert [raw[first:behind] for first, behind in sorted(head.cuts)] == [
        b"X7: 1\r\n", b"Connection: %b\r\n" % listed, b"x7999: 3\r\n",
    ]  # fmt: skip
