"""Response heads of backends."""

from __future__ import annotations

import pytest

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.model.headops import HeadEdit
from gatewayproxy.model.limits import Limits
from gatewayproxy.wire.edit import rewrite_response
from gatewayproxy.wire.head import CHUNKED
from gatewayproxy.wire.response import UNTIL_CLOSE, ResponseHead, parse_response, remembered

LIMITS = Limits(head_bytes=4096, head_fields=10)


def parsed(raw: bytes, *, bodiless: bool = False) -> ResponseHead:
    head = parse_response(raw, LIMITS, bodiless=bodiless)
    assert head is not None
    return head


@pytest.mark.parametrize(
    ("raw", "length", "keep_alive"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", 2, True, id="length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNKED, True, id="chunked"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", UNTIL_CLOSE, True, id="until close"),
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", 2, False, id="1.0"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", 0, True, id="204"),
        pytest.param(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 0, True, id="204 of no bytes"),
        pytest.param(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 0, False, id="204 that tells of some"),
        pytest.param(
            b"HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
            0,
            False,
            id="204 that tells of chunks",
        ),
        pytest.param(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 0, True, id="304"),
        pytest.param(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 0, False, id="close"),
    ],
)
def test_framing_is_read(raw: bytes, length: int, keep_alive: bool) -> None:
    head = parsed(raw)
    assert (head.length, head.keep_alive) == (length, keep_alive)


def test_an_answer_to_head_has_no_body() -> None:
    assert parsed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", bodiless=True).length == 0


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 99 X\r\n\r\n", b"HTTP/1.1 999 X\r\n\r\n", b"HTTP/2.0 200 OK\r\n\r\n", b"ICY 200", b"<html>",
        b"HTTP/1.1 200 OK\nA: b\n\n", b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: foo\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 5000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 11 + b"\r\n",
    ],
)  # fmt: skip
def test_what_cannot_be_read_strictly_is_a_502(raw: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        parse_response(raw, LIMITS)
    assert refused.value.status == 502


def test_hop_by_hop_fields_and_what_connection_names_go() -> None:
    head = parsed(
        b"HTTP/1.1 200 OK\r\nA: 1\r\nKeep-Alive: 5\r\nConnection: X-S, close\r\nX-S: 1\r\nUpgrade: h2c\r\n"
        b"Proxy-Connection: x\r\nContent-Length: 0\r\n\r\n"
    )
    assert rewrite_response(head, b"", None) == b"HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("line", [b"HTTP/1.0 200 Fine", b"HTTP/1.1 200"])
def test_the_status_line_is_made_ours_where_it_must(line: bytes) -> None:
    head = parsed(line + b"\r\nContent-Length: 0\r\n\r\n")
    assert rewrite_response(head, b"", None).startswith(b"HTTP/1.1 200 ")


def test_an_edit_cannot_change_the_framing() -> None:
    head = parsed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: x\r\n\r\n")
    edit = HeadEdit(cut=frozenset((b"content-length", b"server")), append=b"Content-Length: 9\r\nX-A: 1\r\n")
    assert rewrite_response(head, b"", edit) == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\n\r\n"


RAW = b"HTTP/1.1 200 OK\r\nDate: 1\r\nContent-Length: 2\r\n\r\n"


def test_an_answer_that_begins_as_one_before_has_its_head_and_no_byte_of_its_body() -> None:
    last = remembered(parsed(RAW + b"ok"))
    assert last is not None
    assert last.buf == RAW
    assert parse_response(RAW + b"no", LIMITS, last=last) is last
    assert parse_response(RAW, LIMITS, last=last) is last


@pytest.mark.parametrize(
    "raw",
    [RAW.replace(b"1\r", b"2\r"), RAW.replace(b"OK", b"O"), RAW[:-2] + b"Connection: close\r\n\r\n", RAW[:-1]],
    ids=["another date", "another reason", "a line more", "not all of it yet"],
)
def test_any_other_answer_is_read(raw: bytes) -> None:
    last = remembered(parsed(RAW))
    assert last is not None
    assert parse_response(raw, LIMITS, last=last) is not last


def test_an_answer_to_head_is_read_whatever_came_before() -> None:
    last = remembered(parsed(RAW))
    head = parse_response(RAW, LIMITS, bodiless=True, last=last)
    assert head is not None
    assert head is not last
    assert head.length == 0


def test_no_head_of_an_answer_is_remembered_beyond_2_kib() -> None:
    fixed = len(RAW) + len(b"X: \r\n")
    for n, kept in ((2048, True), (2049, False)):
        head = parsed(RAW[:-2] + b"X: " + b"y" * (n - fixed) + b"\r\n\r\n")
        assert head.end == n
        assert (remembered(head) is head) is kept


def test_an_edit_finds_what_it_drops_whatever_it_did_not_find_before() -> None:
    absent, present = (b"\nx-served-by:",), (b"\ndate:",)
    head = parsed(RAW)
    for _ in range(2):
        assert not head.mentions(absent)
        assert head.mentions(present)
