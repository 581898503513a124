"""HTTP/2 heads as HTTP/1.1's and back."""

from __future__ import annotations

import pytest

from gatewayproxy.model.limits import Limits
from gatewayproxy.wire.h2bridge import fields_of, request_bytes, response_fields
from gatewayproxy.wire.h2heads import HeadReader
from gatewayproxy.wire.head import CHUNKED, parse_request
from gatewayproxy.wire.hpack import Encoder
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
    assert response_fields(200, lines) == [(b":status", b"200"), (b"server", b"x"), (b"x-a", b"b c"), (b"x-empty", b"")]


@pytest.mark.parametrize(
    "name", [b"Connection", b"Keep-Alive", b"Proxy-Connection", b"Transfer-Encoding", b"Upgrade", b"TE"]
)
def test_connection_specific_fields_are_not_sent(name: bytes) -> None:
    assert fields_of([b"%b: x" % name, b"x-a: b"]) == [(b"x-a", b"b")]


def test_long_lines_are_read_like_short_ones() -> None:
    assert fields_of([b"X-A: " + b"b" * 10_000]) == [(b"x-a", b"b" * 10_000)]
