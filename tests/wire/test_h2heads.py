"""Field lists of HTTP/2: what they become, and every way in which one is malformed (RFC 9113 §8)."""

from __future__ import annotations

import pytest

from gatewayproxy.errors import H2Error, RemoteProtocolError
from gatewayproxy.model.limits import Limits
from gatewayproxy.wire.h2heads import Head, HeadReader
from gatewayproxy.wire.head import parse_request
from tests.support.h2peer import GET, POST, block, literal

LIMITS = Limits()


def without(name: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(field for field in GET if field[0] != name)


def put(name: bytes, value: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((key, value if key == name else old) for key, old in GET)


def request(*fields: tuple[bytes, bytes], connect: bool = False) -> Head:
    return HeadReader(LIMITS, connect=connect).request(block(fields), 1)


SMUGGLED = b"GET /smug HTTP/1.1\r\nhost: a.test\r\n\r\n"
MALFORMED = [
    *[
        pytest.param((*GET, (b"x-a", value)), id=f"value {value!r}")
        for value in (b"b\r\nx: 1", b"b\n", b"b\rc", b"b\0c", b" b", b"b\t", b"\x7f", b"\x01", b"b\r\n\r\n" + SMUGGLED)
    ],
    *[
        pytest.param((*GET, (name, b"1")), id=f"name {name!r}")
        for name in (b"", b"X-Upper", b"x a", b"x:a", b"x-a: b\r\nx-b", b"x\0", b"\xc3\xa4", b"x\0y\r\nz", b":foo")
    ],
    pytest.param((*GET, (b"a", b"b\r\nc\0d"), (b"e", b"f")), id="separators of the check within a value"),
    pytest.param((*GET, (b"a\0b\r\nc", b"d")), id="separators of the check within a name"),
    *[
        pytest.param((*GET, (name, b"x")), id=name.decode())
        for name in (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
    ],
    pytest.param((*GET, (b"te", b"gzip")), id="te: gzip"),
    pytest.param((*GET, (b"te", b"trailers"), (b"te", b"gzip")), id="te twice"),
    *[
        pytest.param((*POST, (b"content-length", value)), id=f"content-length {value!r}")
        for value in (b"+5", b"5, 5", b"", b"-1", b"0x5", b"5 5", b"9" * 19)
    ],
    pytest.param((*POST, (b"content-length", b"5"), (b"content-length", b"5")), id="content-length twice"),
    *[
        pytest.param(put(b":path", value), id=f":path {value!r}")
        for value in (
            b"",
            b"x",
            b"/x y",
            b"/x HTTP/1.1",
            b"/\r\n",
            b"/a\0b",
            b"http://b.test/",
            b"*",
            b"/x#y",
            b"/\xff",
        )
    ],
    *[
        pytest.param(put(b":method", value), id=f":method {value!r}")
        for value in (b"", b"GET /admin", b"G\r\n", b"G:T", b"GET " + SMUGGLED)
    ],
    *[
        pytest.param(put(b":authority", value), id=f":authority {value!r}")
        for value in (b"", b"a.test\r\nx: 1", b"user@b.test", b"a.test/admin", b"a:80@b", b"a b", b"a:65536", b"[::1")
    ],
    *[
        pytest.param(put(b":scheme", value), id=f":scheme {value!r}")
        for value in (b"", b"http://b.test/?", b"HTTP", b"1")
    ],
    *[
        pytest.param(without(name), id=f"{name.decode()} missing")
        for name in (b":path", b":method", b":scheme", b":authority")
    ],
    *[pytest.param((*GET, field), id=f"{field[0].decode()} twice") for field in GET],
    pytest.param((*GET[:3], (b"x-a", b"1"), GET[3]), id="pseudo-header field behind a regular one"),
    pytest.param((*GET, (b":status", b"200")), id=":status in a request"),
    pytest.param((*GET, (b"host", b"b.test")), id="host differs from :authority"),
    pytest.param((*without(b":authority"), (b"host", b"a.test"), (b"host", b"b.test")), id="two hosts"),
    pytest.param((*GET, (b"host", b"")), id="empty host"),
    pytest.param(((b":method", b"CONNECT"), *GET[1:]), id="CONNECT with a path"),
    pytest.param(((b":method", b"CONNECT"),), id="CONNECT without authority"),
    pytest.param(((b":method", b"CONNECT"), *GET[1:], (b":protocol", b"websocket")), id="extended CONNECT not offered"),
    pytest.param((*GET, (b":protocol", b"websocket")), id=":protocol without CONNECT"),
    pytest.param(((b":method", b"PROPFIND"), *GET[1:], (b":protocol", b"websocket")), id="the same, rare method"),
]


@pytest.mark.parametrize("fields", MALFORMED)
def test_a_malformed_request_is_an_error_of_its_stream(fields: tuple[tuple[bytes, bytes], ...]) -> None:
    reader = HeadReader(LIMITS)
    for _ in range(2):  # the second time nothing must be remembered as good
        with pytest.raises(H2Error) as caught:
            reader.request(block(fields), 7)
        assert (caught.value.code, caught.value.stream_id) == (1, 7)


def test_a_request_is_taken_apart() -> None:
    head = request(*GET, (b"accept", b"*/*"), (b"content-length", b"5"), (b"x", b""), (b"te", b"trailers"))
    assert (head.method, head.scheme, head.authority, head.path) == (b"GET", b"http", b"a.test", b"/x")
    assert head.length == 5
    assert head.lines == b"accept: */*\r\ncontent-length: 5\r\nx: \r\nte: trailers\r\n"
    assert head.fields == [(b"accept", b"*/*"), (b"content-length", b"5"), (b"x", b""), (b"te", b"trailers")]
    assert head.protocol == b""


@pytest.mark.parametrize(
    ("fields", "authority", "kept"),
    [
        pytest.param(
            (*without(b":authority"), (b"host", b"h.test"), (b"a", b"b")), b"h.test", b"a: b\r\n", id="host alone"
        ),
        pytest.param((*GET, (b"host", b"a.test"), (b"a", b"b")), b"a.test", b"a: b\r\n", id="host equal"),
        pytest.param(
            (*GET, (b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2"), (b"cookie", b"c")),
            b"a.test",
            b"cookie: a=1; b=2; c\r\nx: y\r\n",
            id="cookie crumbs",
        ),
        pytest.param((*GET, (b"cookie", b"")), b"a.test", b"cookie: \r\n", id="an empty cookie"),
        pytest.param(
            (*GET, (b"cookie", b""), (b"cookie", b"a"), (b"cookie", b"")),
            b"a.test",
            b"cookie: a\r\n",
            id="empty crumbs",
        ),
        pytest.param((*GET, (b"cookie", b""), (b"cookie", b"")), b"a.test", b"", id="nothing but empty crumbs"),
    ],
)
def test_host_and_cookie_crumbs_become_one(
    fields: tuple[tuple[bytes, bytes], ...], authority: bytes, kept: bytes
) -> None:
    head = request(*fields)
    assert (head.authority, head.lines) == (authority, kept)
    assert b"".join(b"%b: %b\r\n" % field for field in head.fields) == kept


def test_asterisk_and_extended_connect_are_taken() -> None:
    assert request((b":method", b"OPTIONS"), *GET[1:3], (b":path", b"*")).path == b"*"
    head = request((b":method", b"CONNECT"), *GET[1:], (b":protocol", b"websocket"), connect=True)
    assert (head.method, head.protocol, head.path) == (b"CONNECT", b"websocket", b"/x")


def test_what_we_take_is_a_request_head_of_http_1_1() -> None:
    head = request(*GET, (b"x-a", b"\xe9 ,\t:"), (b"cookie", b"a=1"), (b"cookie", b"b=2"))
    text = b"%b %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (head.method, head.path, head.authority, head.lines)
    parsed = parse_request(text, LIMITS)
    assert parsed is not None
    assert parsed.end == len(text)
    assert parsed.field(b"cookie") == b"a=1; b=2"


def test_equal_blocks_share_a_head_until_the_table_changes() -> None:
    reader = HeadReader(LIMITS)
    raw = block((*GET, (b"a", b"b")))
    head = reader.request(raw, 1)
    assert reader.request(raw, 3) is head
    reader.request(block(GET) + literal(b"x", b"y", 0x40), 5)
    again = reader.request(raw, 7)
    assert again is not head
    assert again.lines == head.lines


def test_what_is_remembered_is_bounded() -> None:
    reader = HeadReader(LIMITS)
    for at in range(2000):
        fields = (*GET[:3], (b":path", b"/%d" % at), (b"x", b"%d" % at))
        assert reader.request(block(fields), 1).path == b"/%d" % at
    assert len(reader._heads) <= 16
    assert len(reader._sections) <= 16
    long = block((*GET, (b"x", b"y" * 3000)))
    assert reader.request(long, 1) is not reader.request(long, 3)


def test_a_field_that_must_not_be_indexed_is_named() -> None:
    raw = block(GET) + literal(b"x-key", b"k", 0x10)
    assert HeadReader(LIMITS).request(raw, 1).sensitive == {b"x-key"}


def test_crumbs_are_bounded_by_the_list_not_by_the_number_of_fields() -> None:
    crumbs = [(b"cookie", b"c%d=1" % at) for at in range(500)]
    assert request(*GET, *crumbs).fields[0][1].count(b"; ") == 499
    with pytest.raises(RemoteProtocolError) as caught:
        request(*GET, *crumbs * 5)
    assert caught.value.status == 431


@pytest.mark.parametrize(
    ("status", "length"), [(b"200", 5), (b"204", 0), (b"304", 0), (b"103", 0)], ids=["200", "204", "304", "103"]
)
def test_a_response_says_how_long_its_body_is(status: bytes, length: int) -> None:
    head = HeadReader(LIMITS).response(block(((b":status", status), (b"content-length", b"5"))), 1)
    assert (head.status, head.length) == (int(status), length)


def test_trailers_have_fields_alone() -> None:
    head = HeadReader(LIMITS).trailers(block(((b"grpc-status", b"0"), (b"x", b"y"))), 1)
    assert head.lines == b"grpc-status: 0\r\nx: y\r\n"
