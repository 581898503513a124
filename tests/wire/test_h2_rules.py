"""Every MUST of RFC 9113 §3-§8 that a peer can break, and the code and scope of what it gets for it."""

from __future__ import annotations

import struct

import pytest

from gatewayproxy.errors import H2Error
from gatewayproxy.model.limits import Limits
from gatewayproxy.wire import h2events as events
from gatewayproxy.wire.h2 import H2Client, H2Server
from gatewayproxy.wire.h2frames import ErrorCode
from tests.support.h2peer import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GET,
    GOAWAY,
    HEADERS,
    LIMITS,
    OK,
    PADDED,
    PING,
    POST,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    block,
    data,
    frame,
    goaways,
    headers,
    number,
    reset,
    resets,
    settings_frame,
    to_client,
    to_server,
    window,
)  # fmt: skip

PROTOCOL = ErrorCode.PROTOCOL_ERROR
FLOW = ErrorCode.FLOW_CONTROL_ERROR
CLOSED = ErrorCode.STREAM_CLOSED
SIZE = ErrorCode.FRAME_SIZE_ERROR
COMPRESSION = ErrorCode.COMPRESSION_ERROR
CALM = ErrorCode.ENHANCE_YOUR_CALM
REFUSED = ErrorCode.REFUSED_STREAM
OPEN = headers(1, POST, end=False)
DONE = headers(1)
PING_8 = frame(PING, 0, 0, b"12345678")
BLOCK = block(GET)


def case(name: str, *parts: bytes, code: ErrorCode, stream: int = 0) -> object:
    return pytest.param(b"".join(parts), stream, code, id=name)


BROKEN = [
    case("§4.2 frame above SETTINGS_MAX_FRAME_SIZE", OPEN, data(1, bytes(16385)), code=SIZE),
    case("§4.2 the same of HEADERS", frame(HEADERS, 5, 1, bytes(16385)), code=SIZE),
    case("§4.3 header block that breaks HPACK", frame(HEADERS, 5, 1, b"\x80"), code=COMPRESSION),
    case("§4.3 the same in trailers", OPEN, frame(HEADERS, 5, 1, b"\xff\xff"), code=COMPRESSION),
    case("§4.3 the same on a stream that is refused", *(headers(i, end=False) for i in range(1, 201, 2)),
         frame(HEADERS, 5, 201, b"\x80"), code=COMPRESSION),
    case("§4.3 PING within a header block", frame(HEADERS, 1, 1, BLOCK), PING_8, code=PROTOCOL),
    case("§4.3 another stream's HEADERS within", frame(HEADERS, 1, 1, BLOCK), headers(3), code=PROTOCOL),
    case("§5.5 unknown frame within a header block", frame(HEADERS, 1, 1, BLOCK), frame(0xBE, 0, 0), code=PROTOCOL),
    case("§5.1 DATA on an idle stream", data(1, b"x"), code=PROTOCOL),
    case("§5.1 RST_STREAM on an idle stream", reset(1), code=PROTOCOL),
    case("§5.1 WINDOW_UPDATE on an idle stream", window(1, 1), code=PROTOCOL),
    case("§5.1 WINDOW_UPDATE by 0 on an idle stream", window(1, 0), code=PROTOCOL),
    case("§5.1 CONTINUATION on an idle stream", frame(CONTINUATION, 4, 1, BLOCK), code=PROTOCOL),
    case("§5.1 half-closed (remote): DATA", DONE, data(1, b"x"), code=CLOSED, stream=1),
    case("§5.1 half-closed (remote): HEADERS", DONE, headers(1), code=CLOSED, stream=1),
    case("§5.1 half-closed (remote): CONTINUATION", DONE, frame(CONTINUATION, 4, 1, BLOCK), code=PROTOCOL),
    case("§5.1 reset by the peer: DATA", OPEN, reset(1), data(1, b"x"), code=CLOSED, stream=1),
    case("§5.1 reset by the peer: HEADERS", OPEN, reset(1), headers(1), code=CLOSED),
    case("§5.1.1 even id", headers(2), code=PROTOCOL),
    case("§5.1.1 id below an earlier one", headers(5), headers(3), code=PROTOCOL),
    case("§5.1.2 more streams than offered", *(headers(i, end=False) for i in range(1, 203, 2)),
         code=REFUSED, stream=201),
    case("RFC 7540 §5.3.1 HEADERS depend on themselves", frame(HEADERS, 4 | WITH_PRIORITY, 1,
         number(1) + b"\0" + BLOCK),
         code=PROTOCOL, stream=1),
    case("RFC 7540 §5.3.1 PRIORITY depends on itself", OPEN, frame(PRIORITY, 0, 1, number(1) + b"\0"),
         code=PROTOCOL, stream=1),
    case("§6.1 DATA on stream 0", data(0, b"x"), code=PROTOCOL),
    case("§6.1 padding as long as DATA", OPEN, frame(DATA, PADDED, 1, b"\x04abc"), code=PROTOCOL),
    case("§6.1 padded DATA without pad length", OPEN, frame(DATA, PADDED, 1), code=SIZE),
    case("§6.2 HEADERS on stream 0", headers(0), code=PROTOCOL),
    case("§6.2 padding longer than the block", frame(HEADERS, 5 | PADDED, 1, b"\xff" + BLOCK), code=PROTOCOL),
    case("§6.2 HEADERS too short for their priority", frame(HEADERS, 5 | WITH_PRIORITY, 1, b"\0\0\0"), code=SIZE),
    case("§6.3 PRIORITY on stream 0", frame(PRIORITY, 0, 0, number(1) + b"\0"), code=PROTOCOL),
    case("§6.3 PRIORITY of 4 bytes", OPEN, frame(PRIORITY, 0, 1, b"1234"), code=SIZE, stream=1),
    case("§6.4 RST_STREAM on stream 0", reset(0), code=PROTOCOL),
    case("§6.4 RST_STREAM of 3 bytes", OPEN, frame(RST_STREAM, 0, 1, b"123"), code=SIZE),
    case("§6.5 SETTINGS on a stream", frame(SETTINGS, 0, 1), code=PROTOCOL),
    case("§6.5 SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, b"12345"), code=SIZE),
    case("§6.5 SETTINGS ACK with payload", frame(SETTINGS, ACK, 0, b"123456"), code=SIZE),
    case("§6.5.2 ENABLE_PUSH 2", settings_frame((2, 2)), code=PROTOCOL),
    case("§6.5.2 INITIAL_WINDOW_SIZE 2^31", settings_frame((4, 1 << 31)), code=FLOW),
    case("§6.5.2 MAX_FRAME_SIZE 16383", settings_frame((5, 16383)), code=PROTOCOL),
    case("§6.5.2 MAX_FRAME_SIZE 2^24", settings_frame((5, 1 << 24)), code=PROTOCOL),
    case("RFC 8441 §3 ENABLE_CONNECT_PROTOCOL 2", settings_frame((8, 2)), code=PROTOCOL),
    case("RFC 8441 §3 ENABLE_CONNECT_PROTOCOL taken back", settings_frame((8, 1)), settings_frame((8, 0)),
         code=PROTOCOL),
    case("RFC 9218 §2.1 NO_RFC7540_PRIORITIES 2", settings_frame((9, 2)), code=PROTOCOL),
    case("§6.6 PUSH_PROMISE", OPEN, frame(PUSH_PROMISE, 4, 1, number(2) + BLOCK), code=PROTOCOL),
    case("§6.7 PING on a stream", frame(PING, 0, 1, b"12345678"), code=PROTOCOL),
    case("§6.7 PING of 7 bytes", frame(PING, 0, 0, b"1234567"), code=SIZE),
    case("§6.8 GOAWAY on a stream", frame(GOAWAY, 0, 1, bytes(8)), code=PROTOCOL),
    case("§6.8 GOAWAY of 7 bytes", frame(GOAWAY, 0, 0, bytes(7)), code=SIZE),
    case("§6.8 GOAWAY that takes streams back", frame(GOAWAY, 0, 0, bytes(8)), frame(GOAWAY, 0, 0,
         number(2) + bytes(4)),
         code=PROTOCOL),
    case("§6.9 WINDOW_UPDATE by 0", window(0, 0), code=PROTOCOL),
    case("§6.9 WINDOW_UPDATE by 0 on a stream", OPEN, window(1, 0), code=PROTOCOL, stream=1),
    case("§6.9 WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, b"123"), code=SIZE),
    case("§6.9.1 connection's window above 2^31-1", window(0, 0x7FFFFFFF), code=FLOW),
    case("§6.9.1 stream's window above 2^31-1", OPEN, window(1, 0x7FFFFFFF), code=FLOW, stream=1),
    case("§6.9.1 DATA beyond the stream's window", OPEN, data(1, bytes(16384)) * 17, code=FLOW, stream=1),
    case("§6.9.1 DATA beyond the connection's window", *(headers(i, POST, end=False) for i in (1, 3, 5, 7, 9)),
         *(data(i, bytes(16384)) * 16 for i in (1, 3, 5, 7)), data(9, b"x"), code=FLOW),
    case("§6.9.2 INITIAL_WINDOW_SIZE lifts a window above 2^31-1", OPEN, window(1, 0x7FFFFFFF - 65535),
         settings_frame((4, 65536)), code=FLOW),
    case("§6.10 CONTINUATION without HEADERS", frame(CONTINUATION, 4, 1, BLOCK), code=PROTOCOL),
    case("§6.10 CONTINUATION behind END_HEADERS", OPEN, frame(CONTINUATION, 4, 1, BLOCK), code=PROTOCOL),
    case("§6.10 CONTINUATION of another stream", frame(HEADERS, 1, 1, BLOCK), frame(CONTINUATION, 4, 3), code=PROTOCOL),
    case("§6.10 CONTINUATION on stream 0", frame(HEADERS, 1, 1, BLOCK), frame(CONTINUATION, 4, 0), code=PROTOCOL),
    case("§8.1 second head without END_STREAM", OPEN, headers(1, ((b"x", b"y"),), end=False), code=PROTOCOL, stream=1),
    case("§8.1 pseudo-header field in trailers", OPEN, headers(1, ((b":path", b"/"),)), code=PROTOCOL, stream=1),
    case("§8.2.2 connection-specific field in trailers", OPEN, headers(1, ((b"transfer-encoding", b"chunked"),)),
         code=PROTOCOL, stream=1),
    case("§8.1.1 END_STREAM before content-length", headers(1, (*POST, (b"content-length", b"1"))),
         code=PROTOCOL, stream=1),
    case("§8.1.1 body shorter than content-length", headers(1, (*POST, (b"content-length", b"3")), end=False),
         data(1, b"ab", end=True), code=PROTOCOL, stream=1),
    case("§8.1.1 body longer than content-length", headers(1, (*POST, (b"content-length", b"1")), end=False),
         data(1, b"ab"), code=PROTOCOL, stream=1),
    case("§8.1.1 trailers before the body is whole", headers(1, (*POST, (b"content-length", b"3")), end=False),
         data(1, b"ab"), headers(1, ((b"x", b"y"),)), code=PROTOCOL, stream=1),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "stream", "code"), BROKEN)
def test_a_server_answers_a_broken_rule_with_its_code_and_scope(raw: bytes, stream: int, code: ErrorCode) -> None:
    peer, server = to_server()
    told = peer.say(raw)
    sent = peer.hear()
    if stream:
        assert (resets(sent), goaways(sent)) == ([(stream, code)], [])
        assert not server.failed
        peer.say(headers(301))  # the connection goes on
        assert 301 in server.streams or len(server.streams) == LIMITS.h2_streams
    else:
        assert goaways(sent) == [code]
        assert server.failed
        assert told[-1][0] == events.FAILED
        assert peer.say(headers(301)) == []
        assert peer.hear() == []


@pytest.mark.parametrize(("raw", "stream", "code"), BROKEN)
def test_it_does_so_byte_by_byte_too(raw: bytes, stream: int, code: ErrorCode) -> None:
    whole, _ = to_server()
    whole.say(raw)
    bytewise, _ = to_server()
    for at in range(len(raw)):
        bytewise.say(raw[at : at + 1])
    assert bytewise.hear() == whole.hear()


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(frame(0xBE, 0xFF, 0, b"xyz") + DONE, id="§4.1 unknown frame type"),
        pytest.param(frame(0xBE, 0xFF, 77, b"xyz") + DONE, id="§4.1 unknown frame type on an idle stream"),
        pytest.param(frame(PING, 0xFE, 0, b"12345678") + DONE, id="§4.1 undefined flags"),
        pytest.param(frame(HEADERS, 5, 0x80000001, BLOCK), id="§4.1 reserved bit"),
        pytest.param(settings_frame((0xFEED, 7)) + DONE, id="§6.5.2 unknown setting"),
        pytest.param(settings_frame((5, 16384), (5, 0xFFFFFF), (4, 0x7FFFFFFF)) + DONE, id="§6.5.2 extreme settings"),
        pytest.param(frame(PRIORITY, 0, 3, number(1) + b"\x0a") + DONE, id="§5.1 PRIORITY on an idle stream"),
        pytest.param(frame(HEADERS, 5 | WITH_PRIORITY, 1, number(0) + b"\x0a" + BLOCK), id="§6.2 priority"),
        pytest.param(frame(HEADERS, 5 | PADDED, 1, b"\x05" + BLOCK + bytes(5)), id="§6.2 padding"),
        pytest.param(frame(HEADERS, 1, 1) + frame(CONTINUATION, 4, 1, BLOCK), id="§6.10 empty HEADERS, CONTINUATION"),
        pytest.param(
            frame(HEADERS, 1, 1, BLOCK[:9]) + frame(CONTINUATION, 0, 1, BLOCK[9:20])
            + frame(CONTINUATION, 4, 1, BLOCK[20:]),
            id="§6.10 a block cut anywhere",
        ),
        pytest.param(window(0, 1) + frame(GOAWAY, 0, 0, bytes(8) + b"debug") + DONE, id="§6.8 a client's GOAWAY"),
        pytest.param(frame(GOAWAY, 0, 0, number(0) + number(0xFF)) + DONE, id="§7 unknown error code"),
    ],
)  # fmt: skip
def test_what_is_allowed_is_taken(raw: bytes) -> None:
    peer, server = to_server()
    told = peer.say(raw)
    heads = [event for event in told if event[0] == events.HEADERS]
    assert [(head[1].id, head[2].path, head[3]) for head in heads] == [(1, b"/x", True)]
    assert not server.failed
    assert goaways(sent := peer.hear()) == []
    assert resets(sent) == []


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(window(1, 5), id="WINDOW_UPDATE"),
        pytest.param(reset(1), id="RST_STREAM"),
        pytest.param(frame(PRIORITY, 0, 1, number(3) + b"\0"), id="PRIORITY"),
        pytest.param(data(1, b"late"), id="DATA"),
        pytest.param(headers(1, ((b"x-late", b"1"),)), id="trailers"),
    ],
)
def test_frames_that_cross_our_reset_are_ignored(raw: bytes) -> None:
    peer, server = to_server()
    peer.say(OPEN)
    server.reset(server.streams[1], ErrorCode.CANCEL)
    peer.hear()
    assert peer.say(raw) == []
    assert peer.hear() == []
    assert [event[0] for event in peer.say(headers(3))] == [events.HEADERS]


@pytest.mark.parametrize(("late", "code"), [(data(1, b"x"), CLOSED), (headers(1), CLOSED)], ids=["DATA", "HEADERS"])
def test_a_stream_that_ended_both_ways_takes_nothing_more(late: bytes, code: ErrorCode) -> None:
    peer, server = to_server()
    peer.say(DONE)
    server.send_headers(server.streams[1], OK, end=True)
    peer.hear()
    peer.say(late)
    assert goaways(peer.hear()) == [code]


@pytest.mark.parametrize("late", [window(1, 5), reset(1), frame(PRIORITY, 0, 1, number(3) + b"\0")])
def test_a_stream_that_ended_both_ways_ignores_what_may_have_crossed(late: bytes) -> None:
    peer, server = to_server()
    peer.say(DONE)
    server.send_headers(server.streams[1], OK, end=True)
    peer.hear()
    assert peer.say(late) == []
    assert peer.hear() == []


PREFACES = [
    pytest.param(b"PRI * HTTP/9.0\r\n\r\nSM\r\n\r\n", id="another version"),
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="HTTP/1.1"),
    pytest.param(PREFACE + headers(1), id="HEADERS before SETTINGS"),
    pytest.param(PREFACE + frame(SETTINGS, ACK, 0), id="an acknowledgement before SETTINGS"),
    pytest.param(PREFACE + frame(0xBE, 0, 0), id="an unknown frame before SETTINGS"),
]


@pytest.mark.parametrize("raw", PREFACES)
def test_a_server_wants_the_preface_and_settings_first(raw: bytes) -> None:
    server = H2Server(LIMITS, 0.0)
    server.take_output()
    told = server.receive(raw, 0.0)
    assert [event[0] for event in told] == [events.FAILED]
    error = told[0][1]  # type: ignore[misc]
    assert isinstance(error, H2Error)
    assert error.code == PROTOCOL


def test_a_client_wants_settings_first() -> None:
    client = H2Client(LIMITS, 0.0)
    told = client.receive(PING_8, 0.0)
    assert [event[0] for event in told] == [events.FAILED]


CLIENT_BROKEN = [
    case("§5.1 HEADERS on an idle stream", headers(3, OK), code=PROTOCOL),
    case("§5.1.1 HEADERS on a stream of the server's", headers(2, OK), code=PROTOCOL),
    case("§6.5.2 ENABLE_PUSH of a server", settings_frame((2, 1)), code=PROTOCOL),
    case("§6.6 PUSH_PROMISE although disabled", frame(PUSH_PROMISE, 4, 1, number(2) + BLOCK), code=PROTOCOL),
    case("§8.1 DATA before a head", data(1, b"x"), code=PROTOCOL, stream=1),
    case("§8.1 DATA before a final head", headers(1, ((b":status", b"103"),), end=False), data(1, b"x"), code=PROTOCOL,
         stream=1),
    case("§8.1 interim response with END_STREAM", headers(1, ((b":status", b"100"),)), code=PROTOCOL, stream=1),
    case("§8.6 101", headers(1, ((b":status", b"101"),), end=False), code=PROTOCOL, stream=1),
    case("§8.3.2 no :status", headers(1, ((b"x", b"y"),)), code=PROTOCOL, stream=1),
    case("§8.3.2 two :status", headers(1, (*OK, *OK)), code=PROTOCOL, stream=1),
    case("§8.3.2 :status of 2 digits", headers(1, ((b":status", b"20"),)), code=PROTOCOL, stream=1),
    case("§8.3 :path in a response", headers(1, (*OK, (b":path", b"/"))), code=PROTOCOL, stream=1),
    case("§8.1.1 body shorter than content-length", headers(1, (*OK, (b"content-length", b"2"))),
         code=PROTOCOL, stream=1),
    case("§8.1.1 body with 204", headers(1, ((b":status", b"204"),), end=False), data(1, b"x"),
         code=PROTOCOL, stream=1),
    case("§8.1 second final head", headers(1, OK, end=False), headers(1, OK, end=False), code=PROTOCOL, stream=1),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "stream", "code"), CLIENT_BROKEN)
def test_a_client_answers_a_broken_rule_with_its_code_and_scope(raw: bytes, stream: int, code: ErrorCode) -> None:
    peer, client = to_client()
    ours = client.request(POST)
    peer.hear()
    told = peer.say(raw)
    sent = peer.hear()
    if stream:
        assert (resets(sent), goaways(sent)) == ([(stream, code)], [])
        assert told[-1][:2] == (events.BROKEN, ours)
    else:
        assert goaways(sent) == [code]
        assert told[-1][0] == events.FAILED


def test_a_broken_head_is_told_with_the_stream_it_ended() -> None:
    peer, server = to_server()
    told = peer.say(headers(1, (*GET, (b"X", b"y"))))
    assert [event[0] for event in told] == [events.BROKEN]
    assert not server.streams


@pytest.mark.parametrize(
    ("limits", "fields", "status"),
    [
        pytest.param(Limits(head_bytes=200), (*GET, (b"x", bytes(b"v" * 200))), 431, id="header list"),
        pytest.param(Limits(head_fields=3), (*GET, *[(b"x", b"y")] * 4), 431, id="fields"),
        pytest.param(Limits(target_bytes=9), (*GET[:3], (b":path", b"/123456789")), 414, id="target"),
        pytest.param(Limits(body_bytes=9), (*POST, (b"content-length", b"10")), 413, id="body"),
        pytest.param(LIMITS, ((b":method", b"TRACE"), *GET[1:]), 405, id="TRACE"),
        pytest.param(LIMITS, ((b":method", b"M" * 65), *GET[1:]), 501, id="long method"),
        pytest.param(LIMITS, ((b":method", b"CONNECT"), (b":authority", b"a:1")), 405, id="CONNECT"),
    ],
)
def test_what_is_valid_but_too_much_awaits_an_answer(
    limits: Limits, fields: tuple[tuple[bytes, bytes], ...], status: int
) -> None:
    peer, server = to_server(limits)
    (event,) = peer.say(headers(1, fields, end=False))
    assert event[0] == events.REFUSED
    assert (event[2].status, event[3]) == (status, False)
    server.send_headers(event[1], ((b":status", b"%d" % status),), end=True)
    server.reset(event[1], ErrorCode.NO_ERROR)
    assert [each[0] for each in peer.hear()] == [HEADERS, RST_STREAM]
    assert [each[0] for each in peer.say(headers(3))] == [events.HEADERS]


def test_a_response_too_large_is_told_as_such() -> None:
    peer, client = to_client(Limits(head_bytes=200))
    stream = client.request(GET, end=True)
    (event,) = peer.say(headers(1, (*OK, (b"x", b"v" * 200))))
    assert event[:2] == (events.REFUSED, stream)
    assert client.room == 100


def test_settings_are_acknowledged_each_and_applied_in_order() -> None:
    peer, server = to_server()
    peer.say(OPEN, settings_frame((4, 10), (4, 3)), settings_frame((3, 7)))
    assert [each[:3] for each in peer.hear()] == [(SETTINGS, ACK, 0)] * 2
    assert server.peer_streams == 7
    assert server.send_data(server.streams[1], b"12345") == 3


def test_a_ping_is_answered_and_an_answer_is_told() -> None:
    peer, server = to_server()
    assert peer.say(PING_8) == []
    assert peer.hear() == [(PING, ACK, 0, b"12345678")]
    server.ping(b"abcdefgh")
    assert peer.hear() == [(PING, 0, 0, b"abcdefgh")]
    assert peer.say(frame(PING, ACK, 0, b"abcdefgh")) == [(events.PONG, b"abcdefgh")]
    assert peer.hear() == []


def test_what_is_offered_is_said_in_the_first_frame() -> None:
    server = H2Server(Limits(h2_streams=7, head_bytes=9000, h2_stream_window_bytes=70_000), 0.0, connect=True)
    first = server.take_output()
    payload = first[9 : 9 + int.from_bytes(first[:3], "big")]
    assert dict(struct.iter_unpack(">HL", payload)) == {3: 7, 4: 70_000, 6: 9000, 8: 1, 9: 1}
    client = H2Client(LIMITS, 0.0).take_output()
    assert client.startswith(PREFACE)
    assert b"\0\x02\0\0\0\0" in client  # ENABLE_PUSH 0


def test_the_rest_of_a_frame_is_awaited() -> None:
    peer, server = to_server()
    assert not server.partial
    for raw in (b"\0", frame(HEADERS, 1, 1, BLOCK), frame(HEADERS, 5, 1, BLOCK)[:-1]):
        peer, server = to_server()
        peer.say(raw)
        assert server.partial


def test_a_head_is_not_shared_once_the_table_has_changed() -> None:
    peer, _ = to_server()
    again = block(GET) + b"\xbe"  # the newest entry of the dynamic table
    assert END_HEADERS | END_STREAM == 5
    heads = []
    for at, value in enumerate((b"one", b"two")):
        indexed = block(GET) + b"\x40\x01x" + bytes((len(value),)) + value
        told = peer.say(frame(HEADERS, 5, 4 * at + 1, indexed), frame(HEADERS, 5, 4 * at + 3, again))
        heads += [event[2].fields for event in told if event[0] == events.HEADERS]
    assert heads == [[(b"x", b"one")], [(b"x", b"one")], [(b"x", b"two")], [(b"x", b"two")]]
