"""Flow control both ways, and the lives of streams: what is sent, held back and given back (RFC 9113 §5)."""

from __future__ import annotations

import pytest

from gatewayproxy.errors import LocalProtocolError
from gatewayproxy.model.limits import Limits
from gatewayproxy.wire import h2events as events
from gatewayproxy.wire.h2 import H2Connection, H2Server, Stream
from gatewayproxy.wire.h2frames import MAX_STREAM_ID, ErrorCode
from tests.support.h2peer import (
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
    POST,
    RST_STREAM,
    WINDOW_UPDATE,
    data,
    frame,
    goaways,
    headers,
    number,
    reset,
    settings_frame,
    to_client,
    to_server,
    window,
)  # fmt: skip

WINDOW = 65_535  # of a new stream
WIDEST = LIMITS.h2_stream_window_bytes
CONNECTION_WINDOW = H2Server(LIMITS, 0.0)._receive_window
SPARE = LIMITS.h2_connection_window_bytes - LIMITS.h2_streams * WINDOW  # what streams may grow by


def room(connection: H2Connection) -> int:
    """Return what the peer may send, was given and not consumed, or is owed: it must never change."""
    held = sum(stream.unread for stream in connection.streams.values())
    return connection._receive_window + connection._owed + held


def test_a_window_is_given_back_when_half_of_it_is_consumed() -> None:
    peer, server = to_server(Limits(h2_stream_window_bytes=80_000, h2_streams=10))  # all may have the whole
    peer.say(headers(1, POST, end=False))
    stream = server.streams[1]
    for _ in range(4):
        peer.say(data(1, bytes(16384)))
    assert peer.hear() == []
    server.consumed(stream, 39_999)
    assert peer.hear() == []
    server.consumed(stream, 1)
    assert peer.hear() == [(WINDOW_UPDATE, 0, 1, number(40_000))]
    assert room(server) == CONNECTION_WINDOW


def test_a_stream_that_moves_gets_a_wider_window_and_leaves_it_to_the_next() -> None:
    peer, server = to_server()
    for stream_id in (1, 3):
        peer.say(headers(stream_id, POST, end=False))
        stream = server.streams[stream_id]
        given = 0
        while stream.window < WIDEST:
            given += 16_384
            peer.say(data(stream_id, bytes(16_384)))
            server.consumed(stream, 16_384)
            assert stream.window + server._spare_window == WINDOW + SPARE
        assert given < 3 * WIDEST
        assert stream.receive_window + stream.owed == WIDEST
        increments = [int.from_bytes(each[3], "big") for each in peer.hear() if each[2] == stream_id]
        assert sum(increments) == given + WIDEST - WINDOW - stream.owed
        server.reset(stream, ErrorCode.CANCEL)
        assert server._spare_window == SPARE


def test_streams_that_nobody_reads_take_nothing_from_the_others() -> None:
    """Some grow to the widest before they get stuck, the others are stuck at once; the last one still moves."""
    peer, server = to_server()
    ids = range(1, 2 * LIMITS.h2_streams - 1, 2)
    for stream_id in ids:
        peer.say(headers(stream_id, POST, end=False))
        stream = server.streams[stream_id]
        while server._spare_window and stream.window < WIDEST:
            peer.say(data(stream_id, bytes(16_384)))
            server.consumed(stream, 16_384)
        while stream.receive_window:
            peer.say(data(stream_id, bytes(min(stream.receive_window, 16_384))))
    held = sum(stream.unread for stream in server.streams.values())
    assert LIMITS.h2_connection_window_bytes - WINDOW - WIDEST < held <= LIMITS.h2_connection_window_bytes
    last = ids[-1] + 2
    peer.say(headers(last, POST, end=False))
    for _ in range(1000):
        assert [event[0] for event in peer.say(data(last, bytes(16_384)))] == [events.DATA]
        server.consumed(server.streams[last], 16_384)
    assert not server.failed


def test_data_beyond_the_connections_window_ends_the_connection() -> None:
    peer, server = to_server(Limits(h2_streams=1, h2_connection_window_bytes=0))
    peer.say(headers(1, POST, end=False), data(1, bytes(16_384)), data(1, bytes(16_382)))
    server.consumed(server.streams[1], 32_766)
    server.reset(server.streams[1], ErrorCode.CANCEL)
    peer.say(headers(3, POST, end=False), data(3, bytes(16_384)) * 3, data(3, bytes(16_383)))
    peer.hear()
    (told,) = peer.say(data(3, b"xx"))
    assert told[0] == events.FAILED
    assert goaways(peer.hear()) == [ErrorCode.FLOW_CONTROL_ERROR]


def test_a_reader_that_consumes_nothing_stops_the_peer_at_the_window() -> None:
    peer, server = to_server()
    peer.say(headers(1, POST, end=False), data(1, bytes(16_384)) * 3, data(1, bytes(WINDOW - 3 * 16_384)))
    assert peer.hear() == []
    assert server.streams[1].unread == WINDOW
    (told,) = peer.say(data(1, b"x"))
    assert told[0] == events.BROKEN


def test_the_connection_window_comes_back_with_a_stream_that_ends_unread() -> None:
    peer, server = to_server()
    for at in range(1, 99, 2):
        peer.say(headers(at, POST, end=False), data(at, bytes(16384)) * 3)
        stream = server.streams[at]
        server.reset(stream, ErrorCode.CANCEL)
        server.consumed(stream, 99_999)  # too late, and no harm
        assert room(server) == CONNECTION_WINDOW
    given = sum(int.from_bytes(each[3], "big") for each in peer.hear() if each[0] == WINDOW_UPDATE)
    assert given >= 49 * 3 * 16384 - 524_288


def test_padding_comes_back_without_being_consumed() -> None:
    peer, server = to_server()
    peer.say(headers(1, POST, end=False))
    padded = frame(DATA, PADDED, 1, b"\xff" + b"d" * 400 + bytes(255))
    for _ in range(WIDEST // 400):
        (told,) = peer.say(padded)
        assert told[2] == b"d" * 400  # type: ignore[misc]
        server.consumed(server.streams[1], 400)
    assert server.streams[1].receive_window + server.streams[1].owed == server.streams[1].window
    assert room(server) == CONNECTION_WINDOW


def test_data_for_a_stream_that_is_gone_comes_back_too() -> None:
    peer, server = to_server()
    peer.say(headers(1, POST, end=False))
    server.reset(server.streams[1], ErrorCode.CANCEL)
    for _ in range(100):
        assert peer.say(data(1, bytes(16384))) == []
    assert room(server) == CONNECTION_WINDOW
    assert not server.failed


def test_only_what_the_windows_take_is_sent_and_a_window_event_says_when_to_go_on() -> None:
    peer, server = to_server(hello=settings_frame((4, 10)))
    peer.say(headers(1))
    stream = server.streams[1]
    server.send_headers(stream, OK)
    assert server.send_data(stream, b"0123456789abcdef", end=True) == 10
    assert [each[1:] for each in peer.hear()][1:] == [(0, 1, b"0123456789")]
    assert server.send_data(stream, b"abcdef", end=True) == 0
    assert peer.hear() == []
    assert peer.say(window(1, 4)) == [(events.WINDOW, stream)]
    assert server.send_data(stream, b"abcdef", end=True) == 4
    assert peer.say(settings_frame((4, 12)))[0] == (events.WINDOW, stream)
    assert server.send_data(stream, b"ef", end=True) == 2
    assert peer.hear()[-1] == (DATA, END_STREAM, 1, b"ef")
    assert not server.streams


def test_a_window_below_zero_holds_back_until_it_is_above() -> None:
    peer, server = to_server()
    peer.say(headers(1))
    stream = server.streams[1]
    server.send_headers(stream, OK)
    assert server.send_data(stream, bytes(1000)) == 1000
    peer.say(settings_frame((4, 100)))
    assert stream.send_window == -900
    assert server.send_data(stream, b"x") == 0
    assert peer.say(window(1, 900)) == []
    assert peer.say(window(1, 1)) == [(events.WINDOW, stream)]
    assert server.send_data(stream, b"x") == 1


def test_an_end_without_bytes_needs_no_window() -> None:
    peer, server = to_server(hello=settings_frame((4, 0)))
    peer.say(headers(1))
    server.send_headers(server.streams[1], OK)
    assert server.send_data(server.streams[1], b"", end=True) == 0
    assert peer.hear()[-1] == (DATA, END_STREAM, 1, b"")
    assert not server.streams


def test_the_connection_window_is_offered_to_those_that_wait_longest_first() -> None:
    peer, server = to_server(hello=settings_frame((4, 1 << 20)))
    peer.say(*(headers(at) for at in (1, 3, 5)))
    for stream in server.streams.values():
        server.send_headers(stream, OK)
    one, two, three = server.streams.values()
    assert server.send_data(two, bytes(70_000)) == 65_535
    assert server.send_data(one, b"x") == 0
    assert server.send_data(three, b"x") == 0
    assert peer.say(window(0, 2)) == [(events.WINDOW, two), (events.WINDOW, one), (events.WINDOW, three)]
    assert server.send_data(two, b"xy") == 2
    assert server.send_data(one, b"x") == 0
    server.reset(one, ErrorCode.CANCEL)
    assert server.send_data(three, b"x") == 0
    assert peer.say(window(0, 9)) == [(events.WINDOW, three)]


def test_a_stream_that_gets_room_by_itself_is_told_only_if_the_connection_has_some() -> None:
    peer, server = to_server(hello=settings_frame((4, 1 << 20)))
    peer.say(headers(1))
    stream = server.streams[1]
    server.send_headers(stream, OK)
    server.send_data(stream, bytes(65_536))
    assert peer.say(window(1, 10)) == []
    assert peer.say(window(0, 10)) == [(events.WINDOW, stream)]


def test_large_bodies_go_out_in_frames_of_16_384_bytes() -> None:
    peer, server = to_server(hello=settings_frame((5, 1 << 20), (4, 1 << 20)))
    peer.say(headers(1), window(0, 1 << 20))
    server.send_headers(server.streams[1], OK)
    assert server.send_data(server.streams[1], bytes(40_000), end=True) == 40_000
    sent = [(flags, len(payload)) for kind, flags, _, payload in peer.hear() if kind == DATA]
    assert sent == [(0, 16_384), (0, 16_384), (END_STREAM, 40_000 - 2 * 16_384)]


def test_large_heads_go_out_with_continuations() -> None:
    peer, server = to_server()
    peer.say(headers(1))
    server.send_headers(server.streams[1], [*OK, (b"x", b"y" * 40_000)], end=True)
    assert [(kind, flags, len(payload)) for kind, flags, _, payload in peer.hear()][:-1] == [
        (HEADERS, END_STREAM, 16_384),
        (CONTINUATION, 0, 16_384),
    ]
    peer.say(headers(3))
    server.send_headers(server.streams[3], [*OK, (b"x", b"y" * 40_000)])
    assert peer.hear()[-1][:2] == (CONTINUATION, END_HEADERS)


def test_content_length_and_trailers_end_a_message() -> None:
    peer, server = to_server()
    told = peer.say(
        headers(1, (*POST, (b"content-length", b"5")), end=False), data(1, b"he"), data(1, b"llo"),
        headers(1, ((b"x-t", b"1"),)),
    )  # fmt: skip
    assert [event[0] for event in told] == [events.HEADERS, events.DATA, events.DATA, events.TRAILERS]
    assert told[-1][2].fields == [(b"x-t", b"1")]  # type: ignore[misc, union-attr]
    assert not server.streams[1].receiving


def test_a_response_to_head_may_name_a_length_and_has_no_body() -> None:
    peer, client = to_client()
    client.request(((b":method", b"HEAD"), *GET[1:]), end=True, head=True)
    told = peer.say(headers(1, (*OK, (b"content-length", b"5"))))
    assert [event[0] for event in told] == [events.HEADERS]
    client.request(((b":method", b"HEAD"), *GET[1:]), end=True, head=True)
    told = peer.say(headers(3, (*OK, (b"content-length", b"5")), end=False), data(3, b"hello", end=True))
    assert [event[0] for event in told] == [events.HEADERS, events.BROKEN]


def test_interim_responses_come_before_the_final_one() -> None:
    peer, client = to_client()
    stream = client.request(POST)
    told = peer.say(
        headers(1, ((b":status", b"100"),), end=False), headers(1, ((b":status", b"103"), (b"link", b"x")), end=False),
        headers(1, OK, end=False), data(1, b"a", end=True),
    )  # fmt: skip
    assert [event[0] for event in told] == [events.INTERIM, events.INTERIM, events.HEADERS, events.DATA]
    assert stream.sending
    assert client.send_data(stream, b"late", end=True) == 4
    assert not client.streams


def test_a_reset_of_the_peer_is_told_and_frees_the_stream() -> None:
    peer, client = to_client()
    stream = client.request(POST)
    assert peer.say(reset(1, 7)) == [(events.RESET, stream, ErrorCode.REFUSED_STREAM)]
    assert client.room == 100
    client.reset(stream, ErrorCode.CANCEL)
    assert [each[0] for each in peer.hear()] == [HEADERS]


def test_a_client_keeps_to_the_servers_number_of_streams() -> None:
    peer, client = to_client(hello=settings_frame((3, 2)))
    client.request(GET, end=True)
    client.request(GET, end=True)
    assert client.room == 0
    with pytest.raises(LocalProtocolError):
        client.request(GET, end=True)
    peer.say(headers(1, OK))
    assert client.room == 1
    peer.say(settings_frame((3, 0)))
    assert client.room == 0


def test_goaway_ends_the_streams_that_were_not_served_and_all_new_ones() -> None:
    peer, client = to_client()
    kept, lost = client.request(GET, end=True), client.request(GET, end=True)
    told = peer.say(frame(GOAWAY, 0, 0, number(MAX_STREAM_ID) + number(0)))
    assert told == [(events.GOAWAY, MAX_STREAM_ID, 0, b"")]
    assert client.room == 0
    told = peer.say(frame(GOAWAY, 0, 0, number(1) + number(0) + b"why"))
    assert told == [(events.RESET, lost, ErrorCode.REFUSED_STREAM), (events.GOAWAY, 1, 0, b"why")]
    assert client.room == 0
    assert [event[0] for event in peer.say(headers(1, OK))] == [events.HEADERS]
    assert kept.id not in client.streams


def test_a_server_drains_in_two_steps_and_ignores_what_comes_behind() -> None:
    peer, server = to_server()
    peer.say(headers(1))
    server.goaway(last=MAX_STREAM_ID)
    assert [event[0] for event in peer.say(headers(3))] == [events.HEADERS]
    server.goaway()
    assert [each[3][:4] for each in peer.hear()] == [number(MAX_STREAM_ID), number(3)]
    assert peer.say(headers(5, POST, end=False), data(5, b"x"), window(5, 1), reset(5), headers(7)) == []
    assert peer.hear() == []
    assert room(server) == CONNECTION_WINDOW
    server.goaway(last=MAX_STREAM_ID)
    assert peer.hear()[0][3][:4] == number(3)
    server.send_headers(server.streams[1], OK, end=True)
    assert peer.hear()[0][0] == HEADERS


def test_nothing_is_said_behind_the_goaway_of_a_failure() -> None:
    peer, server = to_server()
    peer.say(frame(GOAWAY, 0, 0, bytes(8)), window(0, 0))
    server.goaway()
    assert [int.from_bytes(each[3][4:8], "big") for each in peer.hear()] == [ErrorCode.PROTOCOL_ERROR]


def test_windows_below_the_default_are_not_offered() -> None:
    peer, server = to_server(Limits(h2_stream_window_bytes=1000, h2_connection_window_bytes=1000))
    told = peer.say(headers(1, POST, end=False), data(1, bytes(16_384)) * 3, data(1, bytes(65_535 - 3 * 16_384)))
    assert events.BROKEN not in [event[0] for event in told]
    assert not server.failed


def test_misuse_is_ours_to_fix() -> None:
    peer, server = to_server()
    peer.say(headers(1))
    stream = server.streams[1]
    server.send_headers(stream, OK, end=True)
    with pytest.raises(LocalProtocolError):
        server.send_data(stream, b"x")
    with pytest.raises(LocalProtocolError):
        server.ping(b"short")
    server.reset(stream, ErrorCode.CANCEL)
    assert RST_STREAM not in [each[0] for each in peer.hear()]


@pytest.mark.parametrize("end", [reset(1), window(1, 0)], ids=["by the peer", "by us"])
def test_a_stream_that_ends_in_the_read_that_opened_it_swallows_its_answer(end: bytes) -> None:
    peer, server = to_server()
    told = peer.say(headers(1, POST, end=False), end)
    assert [event[0] for event in told] == [events.HEADERS, events.RESET if end == reset(1) else events.BROKEN]
    stream = told[0][1]  # type: ignore[misc]
    assert isinstance(stream, Stream)
    peer.hear()
    server.send_headers(stream, OK)
    assert server.send_data(stream, b"answer", end=True) == 6
    server.consumed(stream, 5)
    server.reset(stream, ErrorCode.CANCEL)
    assert peer.hear() == []


def test_output_is_handed_out_once() -> None:
    server = H2Server(LIMITS, 0.0)
    assert server.take_output()
    assert server.take_output() == b""
