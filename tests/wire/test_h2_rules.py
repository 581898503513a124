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
    RST_STREAM,
    SETTINGS,
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
from tests.support.h2rules import CLIENT_RULES, SERVER_RULES, Rule, params

PROTOCOL = ErrorCode.PROTOCOL_ERROR
CLOSED = ErrorCode.STREAM_CLOSED
OPEN = headers(1, POST, end=False)
DONE = headers(1)
PING_8 = frame(PING, 0, 0, b"12345678")
BLOCK = block(GET)


@pytest.mark.parametrize("rule", params(SERVER_RULES))
def test_a_server_answers_a_broken_rule_with_its_code_and_scope(rule: Rule) -> None:
    peer, server = to_server()
    told = peer.say(rule.raw)
    sent = peer.hear()
    if rule.stream:
        assert (resets(sent), goaways(sent)) == ([(rule.stream, rule.code)], [])
        assert rule.stream not in server.streams
        again = peer.say(headers(301))  # the connection goes on
        assert [event[0] for event in again] == [events.HEADERS] or len(server.streams) == LIMITS.h2_streams
    else:
        assert goaways(sent) == [rule.code]
        assert server.failed
        assert told[-1][0] == events.FAILED
        assert peer.say(headers(301)) == []
        assert peer.hear() == []


@pytest.mark.parametrize("rule", params(CLIENT_RULES))
def test_a_client_answers_a_broken_rule_with_its_code_and_scope(rule: Rule) -> None:
    peer, client = to_client()
    ours = client.request(POST)
    peer.hear()
    told = peer.say(rule.raw)
    sent = peer.hear()
    if rule.stream:
        assert (resets(sent), goaways(sent)) == ([(1, rule.code)], [])
        assert next(event for event in told if event[0] in (events.BROKEN, events.RESET))[1] is ours
        other = client.request(GET, end=True)  # the connection goes on
        assert [event[:2] for event in peer.say(headers(other.id, OK))] == [(events.HEADERS, other)]
    else:
        assert goaways(sent) == [rule.code]
        assert client.failed
        assert told[-1][0] == events.FAILED
        assert client.room == 0
        assert peer.say(headers(1, OK)) == []
        assert peer.hear() == []


@pytest.mark.parametrize(
    ("role", "rule"),
    [
        pytest.param(role, each, id=f"{role.__name__} {each.clause}")
        for role, rules in ((H2Server, SERVER_RULES), (H2Client, CLIENT_RULES))
        for each in rules
        if len(each.raw) < 40_000
    ],
)
def test_they_do_so_byte_by_byte_too(role: type[H2Server | H2Client], rule: Rule) -> None:
    heard = []
    for step in (len(rule.raw), 1):
        peer, connection = to_server() if role is H2Server else to_client()
        if isinstance(connection, H2Client):
            connection.request(POST)
        for at in range(0, len(rule.raw), step):
            peer.say(rule.raw[at : at + step])
        heard.append(peer.hear())
    assert heard[0] == heard[1]


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
        pytest.param(DONE + window(1, 5), id="§5.1 half-closed (remote): WINDOW_UPDATE"),
        pytest.param(DONE + frame(PRIORITY, 0, 1, number(3) + b"\0"), id="§5.1 half-closed (remote): PRIORITY"),
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


@pytest.mark.parametrize("role", [H2Server, H2Client])
def test_padding_counts_against_the_window_to_the_octet(role: type[H2Server | H2Client]) -> None:
    peer, connection = to_server() if role is H2Server else to_client()
    if isinstance(connection, H2Client):
        connection.request(POST)
    peer.say(headers(1, POST if role is H2Server else OK, end=False))
    stream = connection.streams[1]
    while (n := min(stream.receive_window, 16_384)) > 256:
        peer.say(data(1, bytes(n - 256)))
    peer.say(data(1, bytes(stream.receive_window)))
    peer.hear()
    assert stream.receive_window == 0
    (told,) = peer.say(frame(DATA, PADDED, 1, b"\0"))
    assert told[:2] == (events.BROKEN, stream)
    assert resets(peer.hear()) == [(1, ErrorCode.FLOW_CONTROL_ERROR)]


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
