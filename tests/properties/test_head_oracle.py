"""Our head grammar beside h11's: what we take, h11 takes, and reads the same; and splitting changes nothing.

We are stricter on purpose: Host must be one valid host; obs-fold, bare CR or LF, empty lines and identical repeated
Content-Length are refused; paths must be RFC 3986; TRACE and CONNECT are not served. We are wider in one place: h11
refuses a `Transfer-Encoding` or `Content-Length` twin only by its exact name, and so do we.
"""

from __future__ import annotations

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.model.limits import Limits
from gatewayproxy.wire.chunked import ChunkedReader
from gatewayproxy.wire.head import CHUNKED, PlainFields, RequestHead, parse_request
from gatewayproxy.wire.response import ResponseHead, parse_response

LIMITS = Limits(head_bytes=4096)
PIECES = [
    b"GET", b"POST", b"get", b" ", b"  ", b"/", b"/a?b=c", b"/%41", b"//x", b"*", b"http://a/", b"HTTP/1.1",
    b"HTTP/1.0", b"HTTP/1.2", b"\r\n", b"\n", b"\r", b"\0", b"\t", b":", b"Host: a.test\r\n", b"Host: \r\n",
    b"host: b\r\n",
    b"X: y\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: 05\r\n", b"Content-Length: 5, 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"transfer-encoding:Chunked \r\n", b"Connection: close\r\n", b"X : y\r\n",
    b" folded\r\n", b"X(: y\r\n", b"Connection: x, upgrade\r\n", b"Upgrade: websocket\r\n", b"Expect: 100-continue\r\n",
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 204 \r\n", b"HTTP/1.1 304\r\n", b"HTTP/1.0 500 X\r\n", b"\xff", b"5;a=b", b"0",
]  # fmt: skip
FACTS = (
    "buf", "method", "target", "path", "query", "authority", "fields_start", "fields_end", "end", "minor", "scheme",
    "length", "keep_alive", "intact", "odd", "upgrade", "max_forwards", "cuts", "hot",
)  # fmt: skip
HEAD = b"GET /a HTTP/1.1\r\nHost: a.test\r\n"
anything = st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=12).map(b"".join)
near_heads = anything.map(lambda tail: HEAD + tail + b"\r\n")
near_responses = anything.map(lambda tail: b"HTTP/1.1 200 OK\r\n" + tail + b"\r\n")


def ours(raw: bytes) -> RequestHead | None:
    try:
        return parse_request(raw, LIMITS)
    except RemoteProtocolError:
        return None


@settings(max_examples=600, deadline=None)
@given(anything | near_heads)
def test_h11_takes_every_request_head_we_take_and_reads_the_same(raw: bytes) -> None:
    head = ours(raw)
    if head is None:
        return
    server = h11.Connection(h11.SERVER)
    server.receive_data(raw[: head.end])
    event = server.next_event()
    assert isinstance(event, h11.Request)
    assert event.method == head.method
    lengths = [value for name, value in event.headers if name == b"content-length"]
    assert (head.length > 0) == any(int(value) for value in lengths)
    assert (head.length == CHUNKED) == any(name == b"transfer-encoding" for name, _ in event.headers)
    for name, _ in event.headers:
        joined = b",".join(value for key, value in event.headers if key == name)
        if name != b"transfer-encoding":  # h11 makes it lower-case
            assert head.field(name) == joined


@settings(max_examples=400, deadline=None)
@given(anything | near_responses)
def test_h11_takes_every_response_head_we_take(raw: bytes) -> None:
    try:
        head: ResponseHead | None = parse_response(raw, LIMITS)
    except RemoteProtocolError:
        return
    if head is None or head.status == 101:
        return
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(raw[: head.end])
    event = client.next_event()
    assert isinstance(event, h11.Response | h11.InformationalResponse)
    assert event.status_code == head.status


@settings(max_examples=300, deadline=None)
@given(anything | near_heads)
def test_a_head_in_pieces_is_the_head_in_one(raw: bytes) -> None:
    whole = ours(raw)
    refused = False
    head = None
    for end in range(1, len(raw) + 1):
        try:
            head = parse_request(raw[:end], LIMITS, end - 1)
        except RemoteProtocolError:
            refused = True
            break
        if head is not None:
            break
    if whole is None:
        assert head is None or head.end < len(raw) or refused
    else:
        assert not refused
        assert head is not None
        assert (head.target, head.length, head.cuts, head.end) == (whole.target, whole.length, whole.cuts, whole.end)


LINES = [
    b"GET /a HTTP/1.1\r\n", b"POST /b?c=d HTTP/1.1\r\n", b"GET //x HTTP/1.1\r\n", b"GET http://b/ HTTP/1.1\r\n",
    b"GET /a HTTP/1.0\r\n", b"OPTIONS * HTTP/1.1\r\n", b"GET /a HTTP/1.1\r\nX: y\r\n", b"TRACE / HTTP/1.1\r\n", b"G",
    b"GET /a HTTP/1.1\r\nhost: b\r\n", b"GET /%zz HTTP/1.1\r\n", b"\r\n", b"GET /a HTTP/1.1\r\nX",
]  # fmt: skip
fields = st.lists(st.sampled_from([b"X: y\r\n", b"Accept: */*\r\n", *PIECES]), max_size=4).map(b"".join)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(LINES), st.sampled_from(LINES) | anything, fields, fields | st.none())
def test_fields_that_were_read_before_are_read_the_same(
    first: bytes, line: bytes, block: bytes, other: bytes | None
) -> None:
    def facts(raw: bytes, last: PlainFields | None) -> object:
        try:
            head = parse_request(raw, LIMITS, 0, last)
        except RemoteProtocolError as error:
            return error.status, error.reason
        return head and ({name: getattr(head, name) for name in FACTS}, head.plain and head.plain.block)

    host = b"Host: a.test\r\n"
    before = ours(first + host + block + b"\r\n")
    last = before.plain if before is not None else None
    raw = line + host + (block if other is None else other) + b"\r\n"
    assert facts(raw, last) == facts(raw, None)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | anything, st.lists(st.integers(1, 9), max_size=20))
def test_a_chunked_body_in_pieces_is_the_body_in_one(raw: bytes, sizes: list[int]) -> None:
    def run(pieces: list[bytes]) -> tuple[bytes, bool] | None:
        reader = ChunkedReader(LIMITS, payload_only=True)
        out = b""
        for piece in pieces:
            try:
                out += reader.feed(piece)[0]
            except RemoteProtocolError:
                return None
            if reader.done:
                break
        return out, reader.done

    pieces, at = [], 0
    for size in sizes:
        pieces.append(raw[at : at + size])
        at += size
    pieces.append(raw[at:])
    assert run([piece for piece in pieces if piece]) == run([raw] if raw else [])
