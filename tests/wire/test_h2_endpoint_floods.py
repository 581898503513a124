"""Hostile endpoints: what they flood our client with ends in ENHANCE_YOUR_CALM, or costs them the stream alone."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
    RST_STREAM,
    SETTINGS,
    block,
    data,
    frame,
    goaways,
    headers,
    literal,
    number,
    reset,
    resets,
    settings_frame,
    to_client,
    window,
)

LIMITS = Limits(h2_control_frames=100, h2_resets=20)
HEAD = headers(1, OK, end=False)
EARLY = headers(1, ((b":status", b"103"),), end=False)
MIB = 1 << 20

FLOODS = [
    pytest.param(b"", lambda at: frame(PING, 0, 0, b"12345678"), id="PING, CVE-2019-9512"),
    pytest.param(b"", lambda at: frame(PING, ACK, 0, bytes(8)), id="PING answers to nothing"),
    pytest.param(b"", lambda at: settings_frame(), id="SETTINGS, CVE-2019-9515"),
    pytest.param(b"", lambda at: settings_frame((4, at % 2)), id="INITIAL_WINDOW_SIZE to and fro"),
    pytest.param(b"", lambda at: settings_frame((1, 4096 * (at % 2))), id="HEADER_TABLE_SIZE to and fro"),
    pytest.param(b"", lambda at: settings_frame((3, at % 2)), id="MAX_CONCURRENT_STREAMS to and fro"),
    pytest.param(b"", lambda at: settings_frame(*[(0xFEED, 7)] * 2700), id="SETTINGS of 2700 entries"),
    pytest.param(b"", lambda at: frame(SETTINGS, ACK, 0), id="SETTINGS acknowledgements"),
    pytest.param(b"", lambda at: frame(PRIORITY, 0, 2 * at + 1, number(0) + b"\0"), id="PRIORITY, CVE-2019-9513"),
    pytest.param(b"", lambda at: window(0, 1), id="WINDOW_UPDATE"),
    pytest.param(b"", lambda at: window(1, 1), id="WINDOW_UPDATE of a stream"),
    pytest.param(b"", lambda at: frame(0xA, 0, 0, b"\0\0h2"), id="ALTSVC"),
    pytest.param(b"", lambda at: frame(0xBE, 0, 1, b"x"), id="unknown frames"),
    pytest.param(b"", lambda at: frame(7, 0, 0, number(1) + number(0)), id="GOAWAY"),
    pytest.param(b"", lambda at: EARLY, id="interim responses"),
    pytest.param(HEAD, lambda at: data(1, b""), id="empty DATA, CVE-2019-9518"),
    pytest.param(HEAD, lambda at: frame(DATA, PADDED, 1, b"\xff" + bytes(255)), id="nothing but padding"),
    pytest.param(HEAD, lambda at: frame(DATA, PADDED, 1, b"\xffd" + bytes(255)), id="padding for the most part"),
    pytest.param(reset(1), lambda at: reset(1), id="RST_STREAM again and again"),
    pytest.param(reset(1), lambda at: window(1, 1), id="WINDOW_UPDATE of a closed stream"),
    pytest.param(reset(1), lambda at: window(1, 0), id="WINDOW_UPDATE by 0 of a closed stream"),
    pytest.param(reset(1), lambda at: data(1, b"x"), id="DATA on a stream that it has reset"),
]


@pytest.mark.parametrize("at_once", [False, True], ids=["read by read", "in one read"])
@pytest.mark.parametrize(("first", "again"), FLOODS)
def test_a_flood_of_an_endpoint_is_ended(first: bytes, again: Callable[[int], bytes], at_once: bool) -> None:
    peer, client = to_client(LIMITS)
    client.request(POST)
    peer.hear()
    told = peer.say(first)
    reads = [b"".join(again(at) for at in range(3000))] if at_once else [again(at) for at in range(120)]
    for raw in reads:
        told += peer.say(raw)
    sent = peer.hear()
    assert client.failed
    assert goaways(sent) == [ErrorCode.ENHANCE_YOUR_CALM]
    assert len(sent) <= 120
    assert len(told) <= 120
    assert client.room == 0


LATE = [
    pytest.param(data(1, b"late"), id="slivers of DATA"),
    pytest.param(headers(1, ((b"x", b"y"),)), id="trailers"),
    pytest.param(window(1, 1), id="WINDOW_UPDATE"),
    pytest.param(reset(1), id="RST_STREAM"),
]


@pytest.mark.parametrize("late", LATE)
def test_what_comes_without_end_for_a_stream_that_we_have_reset_is_ended(late: bytes) -> None:
    peer, client = to_client(LIMITS)
    stream = client.request(POST)
    peer.say(HEAD)
    client.reset(stream, ErrorCode.CANCEL)
    peer.hear()
    n = 0
    while not client.failed:
        assert peer.say(late) == [] or client.failed
        n += 1
    assert 90 <= n <= 110
    assert [each[0] for each in peer.hear()] == [7]


def test_what_was_on_its_way_to_many_streams_at_their_reset_is_no_flood() -> None:
    peer, client = to_client(LIMITS)
    streams = [client.request(POST) for _ in range(100)]
    peer.say(*(headers(stream.id, OK, end=False) for stream in streams))
    for stream in streams:
        client.reset(stream, ErrorCode.CANCEL)
    for _ in range(10):
        for stream in streams:
            assert peer.say(data(stream.id, bytes(4096))) == []
    assert not client.failed


BROKEN_ANSWERS = [
    pytest.param(lambda at: headers(at, ((b"X", b"y"),)), id="malformed"),
    pytest.param(lambda at: data(at, b"x"), id="DATA before a head"),
    pytest.param(lambda at: window(at, 0), id="WINDOW_UPDATE by 0, CVE-2025-8671"),
    pytest.param(lambda at: window(at, 0x7FFFFFFF), id="WINDOW_UPDATE overflow"),
    pytest.param(lambda at: frame(PRIORITY, 0, at, b"123"), id="PRIORITY of wrong length"),
    pytest.param(lambda at: headers(at, (*OK, (b"content-length", b"1"))), id="a body that is not there"),
]


@pytest.mark.parametrize("again", BROKEN_ANSWERS)
def test_an_endpoint_that_breaks_every_stream_loses_the_connection(again: Callable[[int], bytes]) -> None:
    peer, client = to_client(LIMITS)
    n = 0
    while client.room:
        stream = client.request(POST)
        peer.hear()
        told = peer.say(again(stream.id))
        assert told[0][0] in (events.BROKEN, events.FAILED)
        n += 1
    assert client.failed
    assert n == LIMITS.h2_resets + 1


def test_an_endpoint_that_refuses_every_stream_keeps_nothing_of_them() -> None:
    peer, client = to_client(LIMITS)
    for _ in range(2000):
        stream = client.request(GET, end=True)
        assert peer.say(reset(stream.id, ErrorCode.REFUSED_STREAM))[0][0] == events.RESET
    assert not client.streams
    assert len(client._closed) <= 256


@contextmanager
def at_most(n_bytes: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < n_bytes
    finally:
        tracemalloc.stop()


CONTINUATIONS = [
    pytest.param(literal(b"x-a", b"y" * 16_300), 5, id="large frames, CVE-2024-27316"),
    pytest.param(b"", 17, id="empty frames"),
    pytest.param(b"\0", 17, id="an octet each"),
    pytest.param(b"\x00\x00\x00" * 5000, 5, id="fields without name and value, CVE-2019-9516"),
]


@pytest.mark.parametrize(("part", "most"), CONTINUATIONS)
@pytest.mark.parametrize("first", [b"", HEAD], ids=["head", "trailers"])
def test_a_header_block_without_end_is_ended(first: bytes, part: bytes, most: int) -> None:
    peer, client = to_client()
    client.request(POST)
    peer.say(first, frame(HEADERS, 1, 1, block(OK)))
    peer.hear()
    n = 0
    with at_most(MIB):
        while not client.failed:
            peer.say(frame(CONTINUATION, 0, 1, part))
            n += 1
    assert n <= most
    assert goaways(peer.hear()) == [ErrorCode.ENHANCE_YOUR_CALM]


def test_an_hpack_bomb_is_told_as_too_large_and_takes_no_memory() -> None:
    peer, client = to_client()
    for _ in range(3):
        client.request(GET, end=True)
    peer.say(frame(HEADERS, 5, 1, block(OK) + literal(b"x-b", b"b" * 4000, 0x40)))
    with at_most(MIB):
        (event,) = peer.say(frame(HEADERS, 5, 3, block(OK) + b"\xbe" * 2000))
        assert event[0] == events.REFUSED
        assert peer.say(frame(HEADERS, 5, 5, block(OK) + b"\xbe" * 16_000))[-1][0] == events.FAILED
    assert goaways(peer.hear()) == [ErrorCode.ENHANCE_YOUR_CALM]


@pytest.mark.parametrize("raw", [b"\x00\x00\x00" * 100, b"\x00\x00\x00" * 5000], ids=["100", "5000"])
def test_fields_without_name_and_value_break_their_stream_at_most(raw: bytes) -> None:
    peer, client = to_client()
    client.request(GET, end=True)
    client.request(GET, end=True)
    (told,) = peer.say(frame(HEADERS, 5, 1, block(OK) + raw))
    assert told[0] in (events.BROKEN, events.REFUSED, events.FAILED)
    if told[0] != events.FAILED:
        assert peer.say(headers(3, OK))[0][0] == events.HEADERS


def test_a_body_that_nobody_reads_stops_at_the_window() -> None:
    peer, client = to_client()
    stream = client.request(GET, end=True)
    peer.say(HEAD)
    n = 0
    while (told := peer.say(data(1, bytes(16_384)))) and told[0][0] == events.DATA:
        n += 16_384
    assert n <= client.limits.h2_stream_window_bytes
    assert told[0][:2] == (events.BROKEN, stream)
    assert resets(peer.hear()) == [(1, ErrorCode.FLOW_CONTROL_ERROR)]


def test_an_endpoint_that_opens_no_window_holds_the_body_with_its_caller() -> None:
    peer, client = to_client(hello=settings_frame((4, 0)))
    stream = client.request(POST)
    peer.hear()
    assert client.send_data(stream, bytes(MIB), end=True) == 0
    assert peer.hear() == []
    assert client.send_data(stream, bytes(MIB), end=True) == 0
    client.reset(stream, ErrorCode.CANCEL)
    assert [each[0] for each in peer.hear()] == [RST_STREAM]
    assert not client._blocked


def test_an_endpoint_that_opens_its_window_octet_by_octet_is_ended() -> None:
    peer, client = to_client(LIMITS, hello=settings_frame((4, 0)))
    stream = client.request(POST)
    left = bytes(MIB)
    left = left[client.send_data(stream, left) :]
    while not client.failed:
        for event in peer.say(window(1, 1)):
            if event[0] == events.WINDOW:
                left = left[client.send_data(stream, left) :]
    assert MIB - len(left) < 200
    assert goaways(peer.hear()) == [ErrorCode.ENHANCE_YOUR_CALM]


def test_an_endpoint_that_acknowledges_every_frame_and_pings_goes_on() -> None:
    peer, client = to_client(LIMITS, hello=settings_frame((4, 1 << 24)))
    stream = client.request(POST)
    peer.say(window(0, 1 << 24))
    for _ in range(5000):
        assert client.send_data(stream, bytes(1000)) == 1000
        peer.say(window(0, 1000), window(1, 1000), frame(PING, 0, 0, bytes(8)))
        peer.hear()
    assert not client.failed
