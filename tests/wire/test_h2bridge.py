"""HTTP/2 heads as HTTP/1.1's and back."""

from __future__ import annotations

import pytest

from gatewayproxy.model.limits import Limits
from gatewayproxy.wire.h2bridge import (
    ResponseHeads,
    fields_of,
    interim_head,
    request_bytes,
    request_fields,
    response_fields,
)
from gatewayproxy.wire.h2heads import Head, HeadReader
from gatewayproxy.wire.head import CHUNKED, parse_request
from gatewayproxy.wire.hpack import Encoder
from gatewayproxy.wire.response import ENDED, parse_response
from tests.support.h2peer import GET


@pytest.mark.parametrize(
    ("chunked", "fields", "expected", "length"),
    [
        pytest.param(False, (), b"", 0, id="no body"),
        pytest.param(True, (), b"transfer-encoding: chunked\r\n", CHUNKED, id="a body of unknown length"),
        pytest.param(False, ((b"content-length", b"5"),), b"content-length: 5\r\n", 5, id="a body of known length"),
        pytest.param(
            False, ((b"cookie", b"a=1"), (b"cookie", b"b=2")), b"cookie: a=1; b=2\r\n", 0, id="crumbs become one cookie"
        ),
        pytest.param(False, ((b"host", b"a.test"),), b"", 0, id="host is said once"),
    ],
)
def test_a_request_head_reads_as_it_was_meant(
    chunked: bool, fields: tuple[tuple[bytes, bytes], ...], expected: bytes, length: int
) -> None:
    head = HeadReader(Limits()).request(Encoder().encode([*GET, *fields]), 1)
    text = request_bytes(head, chunked=chunked)
    assert text == b"GET /x HTTP/1.1\r\nHost: a.test\r\n%b\r\n" % expected
    parsed = parse_request(text, Limits())
    assert parsed is not None
    assert (parsed.authority, parsed.target, parsed.length, parsed.end) == (b"a.test", b"/x", length, len(text))


def test_a_response_has_its_status_first_and_names_in_lower_case() -> None:
    lines = b"Server: x\r\nX-A: \t b c \r\nx-empty:\r\n"
    fields = ((b":status", b"200"), (b"server", b"x"), (b"x-a", b"b c"), (b"x-empty", b""))
    assert response_fields(200, lines) == fields
    assert response_fields(200, lines + b"a: %b\r\n" % (b"b" * 2000)) == (*fields, (b"a", b"b" * 2000))


@pytest.mark.parametrize(
    "name", [b"Connection", b"Keep-Alive", b"Proxy-Connection", b"Transfer-Encoding", b"Upgrade", b"TE"]
)
def test_connection_specific_fields_are_not_sent(name: bytes) -> None:
    assert fields_of([b"%b: x" % name, b"x-a: b"]) == [(b"x-a", b"b")]


def test_long_lines_are_read_like_short_ones() -> None:
    assert fields_of([b"X-A: " + b"b" * 10_000]) == [(b"x-a", b"b" * 10_000)]


@pytest.mark.parametrize(
    ("lines", "fields"),
    [
        pytest.param(b"Host: a.test\r\nX-A: b", [(b"x-a", b"b")], id="a plain request"),
        pytest.param(b"X-A: b\r\nHost: a.test", [(b"x-a", b"b")], id="Host at the end"),
        pytest.param(b"Host: a.test\r\nTE: Trailers", [(b"te", b"Trailers")], id="te for trailers"),
        pytest.param(b"Host: a.test\r\nTE: gzip", [], id="another te"),
        pytest.param(
            b"Host: a.test\r\nTransfer-Encoding: chunked\r\nConnection: x\r\nupgrade: y\r\nX-A: b",
            [(b"x-a", b"b")],
            id="fields of the connection",
        ),
        pytest.param(b"Host: a.test\r\nX-A: " + b"b" * 5000, [(b"x-a", b"b" * 5000)], id="a long head"),
    ],
)
def test_a_request_becomes_a_list_with_pseudo_fields_first(lines: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    for _ in range(2):  # a kept list is the same
        first, rest = request_fields(b"GET /x?y=1 HTTP/1.1\r\n" + lines)
        pseudo = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", b"/x?y=1")]
        assert [*first, *rest] == pseudo + fields


def _head(*fields: tuple[bytes, bytes]) -> Head:
    return HeadReader(Limits()).response(Encoder().encode(fields), 1)


@pytest.mark.parametrize(
    ("fields", "end", "bodiless", "length", "lines"),
    [
        pytest.param([(b"content-length", b"5")], False, False, 5, b"content-length: 5\r\n", id="a known length"),
        pytest.param([(b"x-a", b"b")], False, False, CHUNKED, b"x-a: b\r\n", id="an unknown length"),
        pytest.param([(b"x-a", b"b")], True, False, ENDED, b"x-a: b\r\n", id="no body, and no length told"),
        pytest.param([(b"content-length", b"5")], True, True, 0, b"content-length: 5\r\n", id="an answer to HEAD"),
    ],
)
def test_a_response_head_is_as_if_it_had_come_by_http1(
    fields: list[tuple[bytes, bytes]], end: bool, bodiless: bool, length: int, lines: bytes
) -> None:
    heads = ResponseHeads()
    head = _head((b":status", b"200"), *fields)
    for _ in range(2):
        found = heads.head(head, end=end, bodiless=bodiless)
        assert (found.status, found.length, found.intact, found.keep_alive) == (200, length, True, True)
        assert found.buf == b"HTTP/1.1 200 OK\r\n%b\r\n" % lines
        parsed = parse_response(found.buf, Limits(), bodiless)
        assert parsed is not None
        assert (parsed.fields_start, parsed.fields_end, parsed.end, parsed.low) == (
            found.fields_start, found.fields_end, found.end, found.low,
        )  # fmt: skip


def test_answers_that_cannot_have_a_length_tell_none() -> None:
    told = ((b"content-length", b"0"), (b"x-a", b"b"))
    assert (
        b"content-length" not in ResponseHeads().head(_head((b":status", b"204"), *told), end=True, bodiless=False).buf
    )
    assert interim_head(_head((b":status", b"103"), *told)).buf == b"HTTP/1.1 103 Early Hints\r\nx-a: b\r\n\r\n"
