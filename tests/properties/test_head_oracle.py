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
from gatewayproxy.wire.head import CHUNKED, RequestHead, parse_request
from gatewayproxy.wire.plain import PlainFields
from gatewayproxy.wire.response import ResponseHead, parse_response, remembered

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
GOOD_LINES = [
    b"GET /a HTTP/1.1\r\n", b"POST /a?b=c HTTP/1.1\r\n", b"GET /%41;v=1 HTTP/1.1\r\n", b"OPTIONS * HTTP/1.1\r\n",
    b"GET http://a.test/x HTTP/1.1\r\n", b"GET /a HTTP/1.0\r\n", b"X-Y /'(!)@:~ HTTP/1.1\r\n",
]  # fmt: skip
GOOD_STATUSES = [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 204 \r\n", b"HTTP/1.0 500 X y\r\n", b"HTTP/1.1 103 Early\r\n"]
GOOD_FIELDS = [
    b"X: y\r\n", b"X:\r\n", b"x:  a\tb \t\r\n", b"Accept: */*\r\n", b"Cookie: a=\"b\"; c=\xff\r\n",
    b"!#$%&'*+-.^_`|~9: :\r\n",
    b"Connection: keep-alive, X\r\n", b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Max-Forwards: 3\r\n",
]  # fmt: skip
good_fields = st.lists(st.sampled_from(GOOD_FIELDS), max_size=3).map(b"".join)
one_odd = st.just(b"") | st.sampled_from(PIECES) | st.binary(max_size=3)


def near(lines: list[bytes]) -> st.SearchStrategy[bytes]:
    """Return heads, most of which are well-formed."""
    return st.tuples(st.sampled_from(lines), good_fields, one_odd, good_fields, st.just(b"\r\n")).map(b"".join)


near_heads = near([line + b"Host: a.test\r\n" for line in GOOD_LINES]) | anything.map(
    lambda tail: HEAD + tail + b"\r\n"
)
near_responses = near(GOOD_STATUSES)
CHUNKS = [
    b"5\r\nhello\r\n", b"a;x=y\r\n0123456789\r\n", b"1 ;x\r\n\n\r\n", b"0A\r\n0\r\n\r\n1\r\n\r\n\r\n", b"0\r\n\r\n",
    b"0\r\nX: y\r\n\r\n", b"00;a=\"b\"\r\nX: y\r\nZ:\r\n\r\n",
]  # fmt: skip
chunked = st.tuples(st.lists(st.sampled_from(CHUNKS), max_size=5).map(b"".join), one_odd, st.sampled_from(CHUNKS)).map(
    b"".join
)


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
    host = b"Host: a.test\r\n"
    before = ours(first + host + block + b"\r\n")
    last = before.plain if before is not None else None
    raw = line + host + (block if other is None else other) + b"\r\n"
    assert request_facts(raw, last) == request_facts(raw, None)


def request_facts(raw: bytes, last: PlainFields | None) -> object:
    try:
        head = parse_request(raw, LIMITS, 0, last)
    except RemoteProtocolError as error:
        return error.status, error.reason
    if head is None:
        return None
    found = {name: getattr(head, name) for name in FACTS}
    return found, head.plain and (head.plain.block, head.plain.authority), head.mentions(EDITED), head.field(b"x")


def answer_facts(raw: bytes, last: ResponseHead | None) -> object:
    try:
        head = parse_response(raw, LIMITS, last=last)
    except RemoteProtocolError as error:
        return error.status, error.reason
    if head is None:
        return None
    found = {name: getattr(head, name) for name in ANSWER_FACTS}
    return found, head.buf[: head.end], head.mentions(EDITED)


EDITED = (b"\ncookie:", b"\nx:")
ANSWER_FACTS = (
    "status", "keep_alive", "fields_start", "fields_end", "end", "length", "intact", "cuts", "plain_line", "upgrade",
)  # fmt: skip
VALUES = [
    b" 1", b" 2", b" 17", b"", b" ", b" a.test", b" close", b" a: b", b" \xff\t", b"1", b" 0", b" 5, 5", b"\r", b"\n",
    b"\0", b" 1\r\n", b"\r\n", b"\r\nHost: b", b"\r\n\r\n", b"\nContent-Length: 9", b"\r\nContent-Length: 9", b"\x7f",
]  # fmt: skip
values = st.sampled_from(VALUES[:4]) | st.sampled_from(VALUES) | st.binary(max_size=3)
NAMES = [b"A", b"X", b"Cookie", b"Date", b"a", b"Content-Length", b"Connection", b"host", b"X-Forwarded-For"]
names = st.lists(st.sampled_from(NAMES[:5]) | st.sampled_from(NAMES), min_size=1, max_size=5)


def filled(line: bytes, names: list[bytes], chosen: list[bytes]) -> bytes:
    """Return a head of *line* and fields of *names* with values in turn."""
    lines = [name + b":" + value for name, value in zip(names, chosen, strict=False)]
    return b"\r\n".join([line, *lines, b"", b""])


def put(one: bytes, among: list[bytes], at: int) -> list[bytes]:
    return [*among[:at], one, *among[at:]]


@settings(max_examples=600, deadline=None)
@given(names, st.lists(st.lists(values, min_size=5, max_size=5), min_size=2, max_size=5), st.sampled_from([0, 1, 5]))
def test_fields_whose_values_differ_are_read_as_if_nothing_had_come_before(
    names: list[bytes], heads: list[list[bytes]], host_at: int
) -> None:
    last = None
    for chosen in heads:
        raw = filled(b"GET /a HTTP/1.1", put(b"Host", names, host_at), put(b" a.test", chosen, host_at))
        assert request_facts(raw, last) == request_facts(raw, None)
        try:
            read = parse_request(raw, LIMITS, 0, last)
        except RemoteProtocolError:
            continue
        last = read.plain if read is not None and read.plain is not None else last


@settings(max_examples=600, deadline=None)
@given(anything | near_responses, anything | near_responses | st.none(), st.binary(max_size=2) | anything)
def test_an_answer_that_begins_as_one_before_is_read_the_same(first: bytes, second: bytes | None, rest: bytes) -> None:
    try:
        read = parse_response(first + rest, LIMITS)
    except RemoteProtocolError:
        read = None
    last = remembered(read) if read is not None else None
    raw = first if second is None else second
    for body in (b"", rest, b"\r\n"):
        assert answer_facts(raw + body, last) == answer_facts(raw + body, None)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | chunked, st.lists(st.integers(1, 9), max_size=20))
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
