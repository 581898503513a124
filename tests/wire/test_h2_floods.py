"""Floods end in ENHANCE_YOUR_CALM within a bounded number of frames; what looks like one and is not goes on."""

from __future__ import annotations

import pytest

from gatewayproxy.model.limits import Limits
from gatewayproxy.wire import h2events as events
from gatewayproxy.wire.h2frames import ErrorCode
from tests.support.h2peer import (
    ACK,
    CONTINUATION,
    DATA,
    GET,
    HEADERS,
    OK,
    PADDED,
    PING,
    POST,
    PRIORITY,
    SETTINGS,
    block,
    data,
    frame,
    goaways,
    headers,
    literal,
    number,
    reset,
    settings_frame,
    to_client,
    to_server,
    window,
)  # fmt: skip

LIMITS = Limits(h2_control_frames=100, h2_resets=20)
OPEN = headers(1, POST, end=False)
PING_8 = frame(PING, 0, 0, b"12345678")
HEAVY = settings_frame(*[(0xFEED, 7)] * 2700)

FLOODS = [
    pytest.param(b"", lambda at: PING_8, 100, id="PING, CVE-2019-9512"),
    pytest.param(b"", lambda at: frame(PING, ACK, 0, bytes(8)), 100, id="PING answers to nothing"),
    pytest.param(b"", lambda at: settings_frame(), 100, id="SETTINGS, CVE-2019-9515"),
    pytest.param(b"", lambda at: frame(SETTINGS, ACK, 0), 100, id="SETTINGS acknowledgements"),
    pytest.param(b"", lambda at: HEAVY, 1, id="SETTINGS of 2700 entries"),
    pytest.param(OPEN, lambda at: settings_frame((4, at % 2)), 100, id="INITIAL_WINDOW_SIZE to and fro"),
    pytest.param(b"", lambda at: frame(PRIORITY, 0, 2 * at + 1, number(0) + b"\0"), 100, id="PRIORITY, CVE-2019-9513"),
    pytest.param(b"", lambda at: window(0, 1), 100, id="WINDOW_UPDATE"),
    pytest.param(OPEN, lambda at: window(1, 1), 100, id="WINDOW_UPDATE of a stream"),
    pytest.param(b"", lambda at: frame(0xBE, 0, 0, b"x"), 100, id="unknown frames"),
    pytest.param(b"", lambda at: frame(7, 0, 0, bytes(8)), 100, id="GOAWAY"),
    pytest.param(OPEN, lambda at: data(1, b""), 100, id="empty DATA, CVE-2019-9518"),
    pytest.param(OPEN, lambda at: frame(DATA, PADDED, 1, b"\xffd" + bytes(255)), 100, id="padding for the most part"),
    pytest.param(b"", lambda at: headers(2 * at + 1) + reset(2 * at + 1), 20, id="rapid reset, CVE-2023-44487"),
    pytest.param(b"", lambda at: headers(2 * at + 1, end=False) + window(2 * at + 1, 0), 20,
                 id="WINDOW_UPDATE by 0, CVE-2025-8671"),
    pytest.param(b"", lambda at: headers(2 * at + 1, end=False) + window(2 * at + 1, 0x7FFFFFFF), 20, id="overflow"),
    pytest.param(b"", lambda at: headers(2 * at + 1) + data(2 * at + 1, b"x"), 20, id="DATA behind END_STREAM"),
    pytest.param(b"", lambda at: headers(2 * at + 1, end=False) + frame(PRIORITY, 0, 2 * at + 1, b"123"), 20,
                 id="PRIORITY of wrong length"),
    pytest.param(b"", lambda at: headers(2 * at + 1, (*GET, (b"X", b"y"))), 20, id="malformed requests"),
    pytest.param(b"", lambda at: headers(2 * at + 1, end=False), LIMITS.h2_streams + 20, id="streams beyond the limit"),
    pytest.param(OPEN + reset(1), lambda at: data(1, b""), 100, id="DATA on a stream reset by the peer"),
]  # fmt: skip


@pytest.mark.parametrize(("first", "again", "most"), FLOODS)
def test_a_flood_is_ended(first: bytes, again: object, most: int) -> None:
    assert callable(again)
    peer, server = to_server(LIMITS)
    peer.say(first)
    for at in range(1, most + 10):
        peer.say(again(at))
        if server.failed:
            break
    assert at >= most - 2
    assert goaways(peer.hear()) == [ErrorCode.ENHANCE_YOUR_CALM]


@pytest.mark.parametrize(("first", "again", "most"), FLOODS)
def test_the_same_within_one_read_is_ended_as_early(first: bytes, again: object, most: int) -> None:
    assert callable(again)
    peer, server = to_server(LIMITS)
    told = peer.say(first, *(again(at) for at in range(1, 3000)))
    assert server.failed
    assert told[-1][0] == events.FAILED
    assert len(told) <= 3 * most + 10
    assert len(peer.hear()) <= most + 10


def test_a_slow_trickle_of_the_same_frames_goes_on() -> None:
    peer, server = to_server(LIMITS)
    for second in range(3000):
        peer.now = float(second)
        for _ in range(9):
            peer.say(PING_8)
    assert not server.failed


def test_a_download_may_be_acknowledged_frame_by_frame() -> None:
    peer, server = to_server(LIMITS, settings_frame((4, 1 << 24)))
    peer.say(headers(1), window(0, 1 << 24))
    server.send_headers(server.streams[1], OK)
    for _ in range(5000):
        assert server.send_data(server.streams[1], bytes(1000)) == 1000
        peer.say(window(0, 1000), window(1, 1000))
        peer.hear()
    assert not server.failed


def test_a_window_opened_octet_by_octet_is_ended() -> None:
    peer, server = to_server(LIMITS, settings_frame((4, 0)))
    peer.say(headers(1))
    stream = server.streams[1]
    server.send_headers(stream, OK)
    left = bytes(10_000)
    while not server.failed:
        for event in peer.say(window(1, 1)):
            if event[0] == events.WINDOW:
                left = left[server.send_data(stream, left) :]
        left = left[server.send_data(stream, left) :] if stream.sending and not server.failed else left
        assert len(left) > 9_800
    assert goaways(peer.hear()) == [ErrorCode.ENHANCE_YOUR_CALM]


def test_clients_that_cancel_some_of_what_they_ask_go_on() -> None:
    peer, server = to_server(LIMITS)
    for at in range(1, 20_001, 4):
        peer.say(headers(at), headers(at + 2), reset(at + 2))
        server.send_headers(server.streams[at], OK, end=True)
    assert not server.failed


def test_requests_that_bring_their_priority_along_go_on() -> None:
    peer, server = to_server(LIMITS)
    for at in range(1, 4001, 2):
        peer.say(headers(at), frame(PRIORITY, 0, at, number(0) + b"\x10"), PING_8)
        server.send_headers(server.streams[at], OK, end=True)
    assert not server.failed


def test_interim_responses_without_end_are_ended() -> None:
    peer, client = to_client(LIMITS)
    client.request(GET, end=True)
    n = 0
    while not client.failed:
        peer.say(headers(1, ((b":status", b"103"),), end=False))
        n += 1
    assert 50 < n < 120


CONTINUATIONS = [
    pytest.param([literal(b"x-a", b"y" * 16_300)] * 64, 5, id="large frames, CVE-2024-27316"),
    pytest.param([b""] * 1000, 17, id="empty frames"),
    pytest.param([b"\0"] * 1000, 17, id="an octet each"),
]


@pytest.mark.parametrize(("parts", "most"), CONTINUATIONS)
def test_a_header_block_without_end_is_ended(parts: list[bytes], most: int) -> None:
    peer, server = to_server()
    peer.say(frame(HEADERS, 1, 1, block(GET)))
    n = 0
    while not server.failed:
        peer.say(frame(CONTINUATION, 0, 1, parts[n]))
        n += 1
    assert n <= most
    assert goaways(peer.hear()) == [ErrorCode.ENHANCE_YOUR_CALM]


def test_an_hpack_bomb_costs_an_answer_each_and_no_memory() -> None:
    peer, server = to_server()
    peer.say(frame(HEADERS, 5, 1, block(GET) + literal(b"x-b", b"b" * 4000, 0x40)))
    for at in range(3, 13, 2):
        (event,) = peer.say(frame(HEADERS, 5, at, block(GET) + b"\xbe" * 1000))
        assert event[0] == events.REFUSED
        assert event[2].status == 431
    assert len(server.streams) == 6
    peer.say(frame(HEADERS, 5, 13, block(GET) + b"\xbe" * 16_000))
    assert goaways(peer.hear()) == [ErrorCode.ENHANCE_YOUR_CALM]


def test_what_is_remembered_of_closed_streams_is_bounded() -> None:
    peer, server = to_server()
    for at in range(1, 4001, 2):
        peer.say(headers(at))
        server.send_headers(server.streams[at], OK, end=True)
        peer.hear()
    assert not server.streams
    assert len(server._closed) <= 256
    assert len(server._closed_before) <= 256


@pytest.mark.parametrize(
    ("n_since", "code"),
    [(1, ErrorCode.STREAM_CLOSED), (255, ErrorCode.STREAM_CLOSED), (600, ErrorCode.PROTOCOL_ERROR)],
    ids=["the last but one", "one of the last 256", "one long ago"],
)
def test_headers_that_come_late_are_judged_by_how_the_stream_ended_while_that_is_known(
    n_since: int, code: ErrorCode
) -> None:
    peer, server = to_server()
    last = 1999
    for at in range(1, last + 1, 2):
        peer.say(headers(at))
        server.send_headers(server.streams[at], OK, end=True)
    peer.hear()
    peer.say(headers(last - 2 * n_since))
    assert goaways(peer.hear()) == [code]
