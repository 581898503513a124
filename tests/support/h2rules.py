"""The rules of RFC 9113 §4-§8 that a peer can break, as bytes: for our server, and for our client where it has asked.

A rule's bytes come behind the greetings. On the client's side stream 1 is there already: a POST whose body goes on.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from gatewayproxy.wire.h2frames import ErrorCode
from tests.support.h2peer import (
    ACK,
    CONTINUATION,
    DATA,
    GET,
    GOAWAY,
    HEADERS,
    LIMITS,
    OK,
    PADDED,
    PING,
    POST,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    block,
    data,
    frame,
    headers,
    length,
    literal,
    number,
    reset,
    settings_frame,
    window,
)  # fmt: skip

__all__ = ["CLIENT_RULES", "SERVER_RULES", "Rule", "params"]

PROTOCOL = ErrorCode.PROTOCOL_ERROR
FLOW = ErrorCode.FLOW_CONTROL_ERROR
CLOSED = ErrorCode.STREAM_CLOSED
SIZE = ErrorCode.FRAME_SIZE_ERROR
COMPRESSION = ErrorCode.COMPRESSION_ERROR
REFUSED = ErrorCode.REFUSED_STREAM
PING_8 = frame(PING, 0, 0, b"12345678")
MORE = ((b"x", b"y"),)  # trailers
IDLE = 3
UNKNOWN = 0xBE
LARGE = bytes(16_385)
FULL = bytes(16_384)


class Rule(NamedTuple):
    """What breaks a rule, and what it must be answered with: RST_STREAM of *stream*, or GOAWAY where that is 0."""

    clause: str
    raw: bytes
    code: ErrorCode
    stream: int


def rule(clause: str, *parts: bytes, code: ErrorCode, stream: int = 0) -> Rule:
    return Rule(clause, b"".join(parts), code, stream)


def params(rules: tuple[Rule, ...]) -> list[object]:
    """Return *rules* as parameters of a test, named by their clauses."""
    return [pytest.param(each, id=each.clause) for each in rules]


def _sizes() -> list[Rule]:
    wrong = [
        ("RST_STREAM", RST_STREAM, 1, (0, 3, 5)),
        ("SETTINGS", SETTINGS, 0, (1, 5, 7)),
        ("PING", PING, 0, (0, 7, 9)),
        ("GOAWAY", GOAWAY, 0, (0, 7)),
        ("WINDOW_UPDATE", WINDOW_UPDATE, 0, (0, 3, 5)),
    ]
    clauses = {RST_STREAM: "6.4", SETTINGS: "6.5", PING: "6.7", GOAWAY: "6.8", WINDOW_UPDATE: "6.9"}
    kinds = (DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION)
    return [
        *[
            rule(f"§{clauses[kind]} {name} of {n} bytes", frame(kind, 0, stream, bytes(n)), code=SIZE)
            for name, kind, stream, sizes in wrong
            for n in sizes
        ],
        *[rule(f"§4.2 type {kind} above MAX_FRAME_SIZE", frame(kind, 0, 1, LARGE), code=SIZE) for kind in kinds],
        rule("§4.2 frame of unknown type above MAX_FRAME_SIZE", frame(UNKNOWN, 0, 0, LARGE), code=SIZE),
    ]  # fmt: skip


def _of_both(opened: bytes, head: bytes) -> list[Rule]:
    """Return the rules of both roles; *opened*: bytes that begin a message on stream 1, *head*: a block that does."""
    cut = frame(HEADERS, 1, 1, head)  # and goes on
    stream_settings = [
        ("ENABLE_PUSH 2", (2, 2), PROTOCOL),
        ("INITIAL_WINDOW_SIZE 2^31", (4, 1 << 31), FLOW),
        ("MAX_FRAME_SIZE 0", (5, 0), PROTOCOL),
        ("MAX_FRAME_SIZE 16383", (5, 16_383), PROTOCOL),
        ("MAX_FRAME_SIZE 2^24", (5, 1 << 24), PROTOCOL),
    ]
    return [
        *_sizes(),
        rule("§4.3 PING within a header block", cut, PING_8, code=PROTOCOL),
        rule("§4.3 DATA within a header block", cut, data(1, b"x"), code=PROTOCOL),
        rule("§4.3 RST_STREAM within a header block", cut, reset(1), code=PROTOCOL),
        rule("§4.3 SETTINGS within a header block", cut, settings_frame(), code=PROTOCOL),
        rule("§4.3 a second HEADERS within a header block", cut, cut, code=PROTOCOL),
        rule("§4.3 another stream's HEADERS within", cut, headers(IDLE), code=PROTOCOL),
        rule("§5.5 unknown frame within a header block", cut, frame(UNKNOWN, 0, 0), code=PROTOCOL),
        rule("§5.1 DATA on an idle stream", data(IDLE, b"x"), code=PROTOCOL),
        rule("§5.1 RST_STREAM on an idle stream", reset(IDLE), code=PROTOCOL),
        rule("§5.1 WINDOW_UPDATE on an idle stream", window(IDLE, 1), code=PROTOCOL),
        rule("§5.1 WINDOW_UPDATE by 0 on an idle stream", window(IDLE, 0), code=PROTOCOL),
        rule("§5.1 DATA on a stream of the other side's", data(2, b"x"), code=PROTOCOL),
        rule("§5.1 RST_STREAM on a stream of the other side's", reset(2), code=PROTOCOL),
        rule("§5.1 WINDOW_UPDATE on a stream of the other side's", window(2, 1), code=PROTOCOL),
        rule("§5.1 half-closed (remote): DATA", opened, data(1, b"", end=True), data(1, b"x"), code=CLOSED, stream=1),
        rule("§5.1 half-closed (remote): HEADERS", opened, data(1, b"", end=True), headers(1, MORE), code=CLOSED,
             stream=1),
        rule("§5.1 half-closed (remote): CONTINUATION", opened, data(1, b"", end=True), frame(CONTINUATION, 4, 1, head),
             code=PROTOCOL),
        rule("§5.1 reset by the peer: DATA", opened, reset(1), data(1, b"x"), code=CLOSED, stream=1),
        rule("§5.1 reset by the peer: HEADERS", opened, reset(1), headers(1, MORE), code=CLOSED),
        rule("§5.1.1 HEADERS on a stream of the other side's", headers(2), code=PROTOCOL),
        rule("§6.1 DATA on stream 0", data(0, b"x"), code=PROTOCOL),
        rule("§6.1 padding as long as DATA", opened, frame(DATA, PADDED, 1, b"\x04abc"), code=PROTOCOL),
        rule("§6.1 padding longer than DATA", opened, frame(DATA, PADDED, 1, b"\xffabc"), code=PROTOCOL),
        rule("§6.1 padded DATA without pad length", opened, frame(DATA, PADDED, 1), code=SIZE),
        rule("§6.2 HEADERS on stream 0", headers(0), code=PROTOCOL),
        rule("§6.2 padding longer than the block", frame(HEADERS, 5 | PADDED, 1, b"\xff" + head), code=PROTOCOL),
        rule("§6.2 padding that reaches into the priority",
             frame(HEADERS, 5 | PADDED | WITH_PRIORITY, 1, b"\x03" + number(0) + b"\x10" + b"ab"), code=PROTOCOL),
        rule("§6.2 padded HEADERS without pad length", frame(HEADERS, 5 | PADDED, 1), code=SIZE),
        rule("§6.2 HEADERS too short for their priority", frame(HEADERS, 5 | WITH_PRIORITY, 1, bytes(4)), code=SIZE),
        rule("§6.2 the same, padded", frame(HEADERS, 5 | PADDED | WITH_PRIORITY, 1, bytes(5)), code=SIZE),
        rule("§6.3 PRIORITY on stream 0", frame(PRIORITY, 0, 0, number(1) + b"\0"), code=PROTOCOL),
        *[rule(f"§6.3 PRIORITY of {n} bytes", opened, frame(PRIORITY, 0, 1, bytes(n)), code=SIZE, stream=1)
          for n in (0, 4, 6)],
        rule("§6.3 PRIORITY of 4 bytes on an idle stream", frame(PRIORITY, 0, IDLE, bytes(4)), code=SIZE),
        rule("RFC 7540 §5.3.1 PRIORITY depends on itself", opened, frame(PRIORITY, 0, 1, number(1) + b"\0"),
             code=PROTOCOL, stream=1),
        rule("RFC 7540 §5.3.1 HEADERS depend on themselves", frame(HEADERS, 4 | WITH_PRIORITY, 1,
             number(0x80000001) + b"\0" + head), code=PROTOCOL, stream=1),
        rule("§6.4 RST_STREAM on stream 0", reset(0), code=PROTOCOL),
        rule("§6.5 SETTINGS on a stream", frame(SETTINGS, 0, 1), code=PROTOCOL),
        rule("§6.5 SETTINGS ACK with payload", frame(SETTINGS, ACK, 0, b"123456"), code=SIZE),
        *[rule(f"§6.5.2 {name}", settings_frame(pair), code=code) for name, pair, code in stream_settings],
        rule("RFC 8441 §3 ENABLE_CONNECT_PROTOCOL 2", settings_frame((8, 2)), code=PROTOCOL),
        rule("RFC 8441 §3 ENABLE_CONNECT_PROTOCOL taken back", settings_frame((8, 1)), settings_frame((8, 0)),
             code=PROTOCOL),
        rule("RFC 9218 §2.1 NO_RFC7540_PRIORITIES 2", settings_frame((9, 2)), code=PROTOCOL),
        rule("§6.6 PUSH_PROMISE", opened, frame(PUSH_PROMISE, 4, 1, number(2) + head), code=PROTOCOL),
        rule("§6.6 PUSH_PROMISE on stream 0", frame(PUSH_PROMISE, 4, 0, number(2) + head), code=PROTOCOL),
        rule("§6.7 PING on a stream", frame(PING, 0, 1, b"12345678"), code=PROTOCOL),
        rule("§6.8 GOAWAY on a stream", frame(GOAWAY, 0, 1, bytes(8)), code=PROTOCOL),
        rule("§6.8 GOAWAY that takes streams back", frame(GOAWAY, 0, 0, bytes(8)),
             frame(GOAWAY, 0, 0, number(2) + bytes(4)), code=PROTOCOL),
        rule("§6.9 WINDOW_UPDATE by 0", window(0, 0), code=PROTOCOL),
        rule("§6.9 WINDOW_UPDATE by 0, reserved bit set", window(0, 1 << 31), code=PROTOCOL),
        rule("§6.9 WINDOW_UPDATE by 0 on a stream", opened, window(1, 0), code=PROTOCOL, stream=1),
        rule("§6.9 WINDOW_UPDATE of 3 bytes on a stream", opened, frame(WINDOW_UPDATE, 0, 1, b"123"), code=SIZE),
        rule("§6.9.1 connection's window above 2^31-1", window(0, 0x7FFFFFFF), code=FLOW),
        rule("§6.9.1 connection's window above 2^31-1 in two steps", window(0, 1 << 30) * 2, code=FLOW),
        rule("§6.9.1 stream's window above 2^31-1", opened, window(1, 0x7FFFFFFF), code=FLOW, stream=1),
        rule("§6.9.1 DATA beyond the stream's window", opened, data(1, FULL) * 4, code=FLOW, stream=1),
        rule("§6.9.2 INITIAL_WINDOW_SIZE lifts a window above 2^31-1", opened, window(1, 0x7FFFFFFF - 65_535),
             settings_frame((4, 70_000)), code=FLOW),
        rule("§6.10 CONTINUATION without HEADERS", frame(CONTINUATION, 4, 1, head), code=PROTOCOL),
        rule("§6.10 CONTINUATION on an idle stream", frame(CONTINUATION, 4, IDLE, head), code=PROTOCOL),
        rule("§6.10 CONTINUATION behind END_HEADERS", opened, frame(CONTINUATION, 4, 1, head), code=PROTOCOL),
        rule("§6.10 CONTINUATION behind DATA", opened, data(1, b"x"), frame(CONTINUATION, 4, 1, head), code=PROTOCOL),
        rule("§6.10 CONTINUATION of another stream", cut, frame(CONTINUATION, 4, IDLE), code=PROTOCOL),
        rule("§6.10 CONTINUATION on stream 0", cut, frame(CONTINUATION, 4, 0), code=PROTOCOL),
        rule("§8.1 trailers without END_STREAM", opened, headers(1, MORE, end=False), code=PROTOCOL, stream=1),
        rule("§8.1 pseudo-header field in trailers", opened, headers(1, ((b":path", b"/"),)), code=PROTOCOL, stream=1),
        rule("§8.1 :status in trailers", opened, headers(1, OK), code=PROTOCOL, stream=1),
        rule("§8.2.1 upper case in trailers", opened, headers(1, ((b"X", b"y"),)), code=PROTOCOL, stream=1),
        rule("§8.2.1 CR and LF in trailers", opened, headers(1, ((b"x", b"y\r\nz: 1"),)), code=PROTOCOL, stream=1),
        rule("§8.2.2 connection-specific field in trailers", opened, headers(1, ((b"transfer-encoding", b"chunked"),)),
             code=PROTOCOL, stream=1),
        *_hpack(opened, head),
    ]  # fmt: skip


def _hpack(opened: bytes, head: bytes) -> list[Rule]:
    blocks = [
        ("§2.3.3 index 0", b"\x80"),
        ("§2.3.3 index behind both tables", length(62, 0x80, 7)),
        ("§2.3.3 name index behind both tables", length(62, 0x40, 6) + b"\0"),
        ("§4.2 size update behind a field", head + b"\x20"),
        ("§4.2 three size updates", b"\x20\x20\x20" + head),
        ("§5.1 integer without end", b"\xff" * 12),
        ("§5.1 integer of more than 31 bits", b"\xff\xff\xff\xff\xff\x0f"),
        ("§5.1 integer cut off", head + b"\xff"),
        ("§5.2 string longer than the block", b"\x00\x7f\x20abc"),
        ("§5.2 EOS within", head + b"\x00\x01x\x84\xff\xff\xff\xff"),
        ("§5.2 padding of more than 7 bits", head + b"\x00\x01x\x83\x1f\xff\xff"),
        ("§5.2 padding of zeros", head + b"\x00\x01x\x81\x00"),
        ("§6.3 size update above ours", length(4097, 0x20, 5) + head),
    ]
    return [
        *[rule(f"RFC 7541 {name}", frame(HEADERS, 5, 1, raw), code=COMPRESSION) for name, raw in blocks],
        rule("§4.3 trailers that break HPACK", opened, frame(HEADERS, 5, 1, b"\xff\xff"), code=COMPRESSION),
        rule("§4.3 a block that breaks HPACK in CONTINUATION", frame(HEADERS, 1, 1, head),
             frame(CONTINUATION, 4, 1, b"\x80"), code=COMPRESSION),
        rule("§4.3 a block that breaks HPACK on a half-closed stream", opened, data(1, b"", end=True),
             frame(HEADERS, 5, 1, b"\x80"), code=COMPRESSION),
    ]  # fmt: skip


def _lengths(head: tuple[tuple[bytes, bytes], ...]) -> list[Rule]:
    """Return the rules of content-length and DATA, RFC 9113 §8.1.1."""

    def of(n: bytes, *, end: bool = False) -> bytes:
        return headers(1, (*head, (b"content-length", n)), end=end)

    broken = [
        ("END_STREAM before content-length", of(b"1", end=True)),
        ("body shorter than content-length", of(b"3") + data(1, b"ab", end=True)),
        ("body longer than content-length", of(b"1") + data(1, b"ab")),
        ("body where content-length is 0", of(b"0") + data(1, b"a")),
        ("body longer than content-length by its last frame", of(b"2") + data(1, b"ab") + data(1, b"c", end=True)),
        ("trailers before the body is whole", of(b"3") + data(1, b"ab") + headers(1, MORE)),
        ("content-length that is no number", of(b"1x")),
        ("content-length with a sign", of(b"+1")),
        ("two content-lengths", headers(1, (*head, (b"content-length", b"1"), (b"content-length", b"2")))),
    ]
    return [rule(f"§8.1.1 {name}", raw, code=PROTOCOL, stream=1) for name, raw in broken]


def _heads(head: tuple[tuple[bytes, bytes], ...]) -> list[Rule]:
    """Return the rules of field lists, RFC 9113 §8.2, §8.3, that requests and responses share."""
    fields = [
        ("§8.2.1 upper-case name", (b"X-A", b"1")),
        ("§8.2.1 empty name", (b"", b"1")),
        ("§8.2.1 space in a name", (b"x a", b"1")),
        ("§8.2.1 colon in a name", (b"x:a", b"1")),
        ("§8.2.1 control in a name", (b"x\x7f", b"1")),
        ("§8.2.1 name above 0x7f", (b"x\xe9", b"1")),
        ("§8.2.1 CR in a value", (b"x", b"a\rb")),
        ("§8.2.1 LF in a value", (b"x", b"a\nb")),
        ("§8.2.1 NUL in a value", (b"x", b"a\0b")),
        ("§8.2.1 leading space in a value", (b"x", b" a")),
        ("§8.2.1 trailing tab in a value", (b"x", b"a\t")),
        ("§8.2.2 connection", (b"connection", b"x")),
        ("§8.2.2 keep-alive", (b"keep-alive", b"5")),
        ("§8.2.2 proxy-connection", (b"proxy-connection", b"close")),
        ("§8.2.2 transfer-encoding", (b"transfer-encoding", b"chunked")),
        ("§8.2.2 upgrade", (b"upgrade", b"h2c")),
        ("§8.2.2 te other than trailers", (b"te", b"trailers, deflate")),
        ("§8.3 unknown pseudo-header field", (b":foo", b"1")),
        ("§8.3 pseudo-header field behind a regular one", head[0]),
        ("§8.3 :protocol that was not offered", (b":protocol", b"websocket")),
    ]
    return [rule(clause, headers(1, (*head, (b"x-first", b"1"), field)), code=PROTOCOL, stream=1)
            for clause, field in fields]  # fmt: skip


def _changed(name: bytes, value: bytes | None) -> bytes:
    fields = [(key, value if key == name else old) for key, old in GET]
    return headers(1, [(key, new) for key, new in fields if new is not None])


def _requests() -> list[Rule]:
    """Return the rules of requests' pseudo-header fields, RFC 9113 §8.3.1, §8.5."""
    connect = (b":method", b"CONNECT")
    broken = [
        *[(f"§8.3.1 {name.decode()} missing", _changed(name, None)) for name, _ in GET],
        *[(f"§8.3.1 {field[0].decode()} twice", headers(1, (*GET, field))) for field in GET],
        *[(f"§8.3.1 {name.decode()} empty", _changed(name, b"")) for name, _ in GET],
        ("§8.3.1 :path without a slash", _changed(b":path", b"x")),
        ("§8.3.1 :path with a space", _changed(b":path", b"/x HTTP/1.1")),
        ("§8.3.1 :path in absolute form", _changed(b":path", b"http://b.test/")),
        ("§8.3.1 * without OPTIONS", _changed(b":path", b"*")),
        ("§8.3.1 :authority with userinfo", _changed(b":authority", b"u@a.test")),
        ("§8.3.1 host is not :authority", headers(1, (*GET, (b"host", b"b.test")))),
        ("§8.3 :status in a request", headers(1, (*GET, OK[0]))),
        ("§8.5 CONNECT with :scheme and :path", headers(1, (connect, *GET[1:]))),
        ("§8.5 CONNECT with :path", headers(1, (connect, GET[2], GET[3]))),
        ("§8.5 CONNECT without :authority", headers(1, (connect,))),
    ]
    return [rule(clause, raw, code=PROTOCOL, stream=1) for clause, raw in broken]


def _server_rules() -> list[Rule]:
    opened, many = headers(1, POST, end=False), LIMITS.h2_streams
    full = b"".join(headers(at, end=False) for at in range(1, 2 * many + 1, 2))
    beyond = 2 * many + 1
    return [
        *_of_both(opened, block(POST)),
        *_lengths(POST),
        *_heads(GET),
        *_requests(),
        rule("§4.3 a block that breaks HPACK on a stream that is refused", full, frame(HEADERS, 5, beyond, b"\x80"),
             code=COMPRESSION),
        rule("§5.1 half-closed (remote): a second request", headers(1), headers(1), code=CLOSED, stream=1),
        rule("§5.1 PRIORITY opens no stream: DATA", frame(PRIORITY, 0, 1, number(0) + b"\0"), data(1, b"x"),
             code=PROTOCOL),
        rule("§5.1.1 id below an earlier one", headers(5), headers(3), code=PROTOCOL),
        rule("§5.1.2 more streams than offered", full, headers(beyond, end=False), code=REFUSED, stream=beyond),
        rule("§8.1 a request behind a request", opened, headers(1), code=PROTOCOL, stream=1),
    ]  # fmt: skip


def _client_rules() -> list[Rule]:
    def status(value: bytes, *, end: bool = False) -> bytes:
        return headers(1, ((b":status", value),), end=end)

    malformed = [
        ("§8.1 DATA before a head", data(1, b"x")),
        ("§8.1 END_STREAM before a head", data(1, b"", end=True)),
        ("§8.1 DATA before a final head", status(b"103") + data(1, b"x")),
        ("§8.1 interim response with END_STREAM", status(b"100", end=True)),
        ("§8.1 second final head", status(b"200") + status(b"200")),
        ("§8.1 interim response behind the final one", status(b"200") + status(b"103")),
        ("§8.1 body with 204", status(b"204") + data(1, b"x")),
        ("§8.1 body with 304", status(b"304") + data(1, b"x")),
        ("§8.6 101", status(b"101")),
        ("§8.3.2 no :status", headers(1, MORE)),
        ("§8.3.2 two :status", headers(1, (*OK, *OK))),
        *[(f"§8.3.2 :status {value!r}", status(value)) for value in (b"", b"20", b"2000", b"abc", b"099", b"+20")],
        *[(f"§8.3 {field[0].decode()} in a response", headers(1, (*OK, field))) for field in GET],
        ("§8.3 a request for an answer", headers(1, GET)),
    ]
    return [
        *_of_both(headers(1, OK, end=False), block(OK)),
        *_lengths(OK),
        *_heads(OK),
        *[rule(clause, raw, code=PROTOCOL, stream=1) for clause, raw in malformed],
        rule("§5.1.1 HEADERS on an idle stream", headers(IDLE, OK), code=PROTOCOL),
        rule("§6.5.2 ENABLE_PUSH 1 of a server", settings_frame((2, 1)), code=PROTOCOL),
        rule("§8.4 PUSH_PROMISE for a stream of the client's", frame(PUSH_PROMISE, 4, 1, number(5) + block(GET)),
             code=PROTOCOL),
        rule("RFC 7541 §6.2.1 an entry that was evicted", frame(HEADERS, 4, 1, block(OK) + literal(b"x", b"y", 0x40)),
             frame(HEADERS, 5, 1, b"\x20\xbe"), code=COMPRESSION),
    ]  # fmt: skip


SERVER_RULES = tuple(_server_rules())
CLIENT_RULES = tuple(_client_rules())
