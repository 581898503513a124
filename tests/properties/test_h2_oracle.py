"""Our HTTP/2 beside the h2 library, in both roles, and under any bytes: one error, no exception, the same in pieces."""

from __future__ import annotations

import random
from collections.abc import Iterator

import h2.config
import h2.connection
import h2.events
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayproxy.model.limits import Limits
from gatewayproxy.wire import h2events
from gatewayproxy.wire.h2 import Event, H2Client, H2Connection, H2Server, Stream
from gatewayproxy.wire.h2heads import Head
from tests.support.h2peer import (
    CONTINUATION,
    GET,
    HEADERS,
    PING,
    POST,
    PREFACE,
    block,
    data,
    frame,
    headers,
    literal,
    number,
    reset,
    settings_frame,
    window,
)  # fmt: skip

LIMITS = Limits(h2_resets=100_000, h2_control_frames=100_000)
NAMES = [b"x-a", b"content-type", b"etag", b"cookie", b"authorization", b"x-" + b"n" * 50]
values = st.sampled_from([b"v", b"a b", b"\xff", b"y" * 300])
fields = st.lists(st.tuples(st.sampled_from(NAMES), values) | st.just((b"x-empty", b"")), max_size=5)
bodies = st.sampled_from([0, 1, 300, 20_000, 70_000, 140_000])  # bytes


exchanges = st.lists(
    st.tuples(fields, bodies, fields, fields, bodies, fields, st.integers(0, 9)), min_size=1, max_size=6
)
Message = tuple[list[tuple[bytes, bytes]], bytes, list[tuple[bytes, bytes]]]


def joined(pairs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return fields in some order, with cookie crumbs in one; the library puts that last."""
    crumbs = [value for name, value in pairs if name == b"cookie"]
    out: list[tuple[bytes, bytes]] = []
    for name, value in pairs:
        if name != b"cookie":
            out.append((name, value))
        elif crumbs:
            out.append((name, b"; ".join(crumbs)))
            crumbs = []
    return sorted(out)


class Mine:
    """An end of ours that sends given messages, and collects what comes."""

    def __init__(self, connection: H2Connection) -> None:
        self.connection = connection
        self.heads: dict[int, list[tuple[bytes, bytes]]] = {}
        self.got: dict[int, list[tuple[bytes, bytes]]] = {}
        self.bodies: dict[int, bytearray] = {}
        self.ended: set[int] = set()
        self.to_send: dict[Stream, tuple[bytes, list[tuple[bytes, bytes]]]] = {}
        self.fresh: list[Stream] = []

    def receive(self, raw: bytes) -> None:
        for event in self.connection.receive(raw, 0.0):
            self.on(event)

    def on(self, event: Event) -> None:
        assert event[0] not in (h2events.FAILED, h2events.BROKEN, h2events.REFUSED), event
        if event[0] == h2events.HEADERS:
            self.heads[event[1].id] = event[2].fields
            self.bodies[event[1].id] = bytearray()
            self.fresh.append(event[1])
            if event[3]:
                self.ended.add(event[1].id)
        elif event[0] == h2events.DATA:
            self.bodies[event[1].id] += event[2]
            self.connection.consumed(event[1], len(event[2]))
            if event[3]:
                self.ended.add(event[1].id)
        elif event[0] == h2events.TRAILERS:
            self.got[event[1].id] = event[2].fields
            self.ended.add(event[1].id)
        elif event[0] == h2events.WINDOW:
            self.push(event[1])

    def push(self, stream: Stream) -> None:
        body, trailers = self.to_send.pop(stream)
        n = self.connection.send_data(stream, body, end=not trailers)
        if n < len(body):
            self.to_send[stream] = (body[n:], trailers)
        elif trailers:
            self.connection.send_headers(stream, trailers, end=True)

    def message(self, stream_id: int) -> Message:
        return sorted(self.heads[stream_id]), bytes(self.bodies[stream_id]), sorted(self.got.get(stream_id, []))


class Theirs:
    """The library, doing the same."""

    def __init__(self, client: bool) -> None:
        config = h2.config.H2Configuration(client_side=client, header_encoding=None, validate_inbound_headers=True)
        self.connection = h2.connection.H2Connection(config)
        self.connection.initiate_connection()
        self.heads: dict[int, list[tuple[bytes, bytes]]] = {}
        self.got: dict[int, list[tuple[bytes, bytes]]] = {}
        self.bodies: dict[int, bytearray] = {}
        self.ended: set[int] = set()
        self.to_send: dict[int, tuple[bytes, list[tuple[bytes, bytes]]]] = {}
        self.fresh: list[int] = []

    def receive(self, raw: bytes) -> None:
        for event in self.connection.receive_data(raw):
            if isinstance(event, h2.events.RequestReceived | h2.events.ResponseReceived):
                pairs = [(bytes(name), bytes(value)) for name, value in event.headers]
                self.heads[event.stream_id] = [pair for pair in pairs if pair[0][:1] != b":"]
                self.bodies[event.stream_id] = bytearray()
                self.fresh.append(event.stream_id)
            elif isinstance(event, h2.events.DataReceived):
                self.bodies[event.stream_id] += event.data
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.TrailersReceived):
                self.got[event.stream_id] = [(bytes(name), bytes(value)) for name, value in event.headers]
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.add(event.stream_id)

    def push(self) -> None:
        for stream_id in list(self.to_send):
            body, trailers = self.to_send.pop(stream_id)
            while body:
                n = min(self.connection.local_flow_control_window(stream_id), 16_384, len(body))
                if n <= 0:
                    break
                self.connection.send_data(stream_id, body[:n])
                body = body[n:]
            if body:
                self.to_send[stream_id] = (body, trailers)
            elif trailers:
                self.connection.send_headers(stream_id, trailers, end_stream=True)
            else:
                self.connection.end_stream(stream_id)

    def message(self, stream_id: int) -> Message:
        return joined(self.heads[stream_id]), bytes(self.bodies[stream_id]), joined(self.got.get(stream_id, []))


def pieces(raw: bytes, chance: random.Random) -> Iterator[bytes]:
    while raw:
        n = chance.choice([1, 9, 100, 5_000, 20_000, len(raw)])
        yield raw[:n]
        raw = raw[n:]


@settings(deadline=None, max_examples=80)
@given(exchanges, st.integers(0, 2**32))
def test_our_client_and_the_librarys_server_understand_each_other(work: list[tuple], seed: int) -> None:  # type: ignore[type-arg]
    chance = random.Random(seed)
    client, mine, theirs = (made := H2Client(LIMITS, 0.0)), Mine(made), Theirs(client=False)
    answers = {}
    for head, size, trailers, *answer in work:
        stream = client.request([*POST, *head])
        answers[stream.id] = answer
        mine.to_send[stream] = (bytes(size), trailers)
    for stream in list(mine.to_send):
        mine.push(stream)
    while len(mine.ended) + len(theirs.ended) < 2 * len(work):
        for piece in pieces(client.take_output(), chance):
            theirs.receive(piece)
        for stream_id in theirs.fresh:
            head, size, trailers, _ = answers[stream_id]
            theirs.connection.send_headers(stream_id, [(b":status", b"200"), *head])
            theirs.to_send[stream_id] = (bytes(size), trailers)
        theirs.fresh.clear()
        theirs.push()
        for piece in pieces(theirs.connection.data_to_send(), chance):
            mine.receive(piece)
    for at, (head, size, trailers, *answer) in enumerate(work):
        stream_id = 2 * at + 1
        assert theirs.message(stream_id) == (joined(head), bytes(size), joined(trailers))
        assert mine.message(stream_id) == (joined(answer[0]), bytes(answer[1]), joined(answer[2]))
    assert not client.streams


@settings(deadline=None, max_examples=80)
@given(exchanges, st.integers(0, 2**32))
def test_our_server_and_the_librarys_client_understand_each_other(work: list[tuple], seed: int) -> None:  # type: ignore[type-arg]
    chance = random.Random(seed)
    server, mine, theirs = (made := H2Server(LIMITS, 0.0)), Mine(made), Theirs(client=True)
    for at, (head, size, trailers, *_) in enumerate(work):
        theirs.connection.send_headers(2 * at + 1, [*POST, *head])
        theirs.to_send[2 * at + 1] = (bytes(size), trailers)
    while len(mine.ended) + len(theirs.ended) < 2 * len(work):
        theirs.push()
        for piece in pieces(theirs.connection.data_to_send(), chance):
            mine.receive(piece)
        for stream in mine.fresh:
            _, _, _, head, size, trailers, _ = work[stream.id // 2]
            server.send_headers(stream, [(b":status", b"200"), *head])
            mine.to_send[stream] = (bytes(size), trailers)
            mine.push(stream)
        mine.fresh.clear()
        for piece in pieces(server.take_output(), chance):
            theirs.receive(piece)
    for at, (head, size, trailers, *answer) in enumerate(work):
        stream_id = 2 * at + 1
        assert mine.message(stream_id) == (joined(head), bytes(size), joined(trailers))
        assert theirs.message(stream_id) == (joined(answer[0]), bytes(answer[1]), joined(answer[2]))


raw_frames = st.builds(
    frame,
    st.integers(0, 11),
    st.sampled_from([0, 1, 4, 5, 8, 9, 12, 13, 0x20, 0x24, 0x25, 0xFF]),
    st.sampled_from([0, 1, 2, 3, 5, 7, 0x7FFFFFFF]),
    st.binary(max_size=30) | st.sampled_from([block(GET), block(POST), number(1), bytes(8), number(1) + b"\1"]),
)
good_frames = st.sampled_from([
    headers(1), headers(1, POST, end=False), headers(3, POST, end=False), headers(5), data(1, b"x"),
    data(3, b"", end=True), data(3, b"yy"), headers(3, ((b"t", b"v"),)), reset(1), reset(3),
    window(0, 5), window(1, 5), window(3, 0x7FFFFFFF),
    settings_frame((4, 0)), settings_frame((4, 1 << 20), (1, 0)), settings_frame((1, 4096)),
    frame(PING, 0, 0, bytes(8)), frame(HEADERS, 1, 7, block(GET)),
    frame(CONTINUATION, 4, 7, literal(b"x", b"y", 0x40)), frame(HEADERS, 5, 9, b"\xbe"),
])  # fmt: skip
conversations = st.lists(raw_frames | good_frames | st.binary(max_size=12), max_size=14).map(b"".join)


def told(event: Event) -> tuple[object, ...]:
    """Return *event* in a form that two connections share."""
    return tuple(
        each.id if isinstance(each, Stream) else (each.fields, each.path) if isinstance(each, Head) else str(each)
        for each in event
    )


@settings(deadline=None, max_examples=500)
@given(conversations, st.integers(0, 2**32))
def test_any_bytes_are_events_and_the_same_in_pieces(raw: bytes, seed: int) -> None:
    limits = Limits(h2_resets=3, h2_control_frames=10)
    for role in (H2Server, H2Client):
        hello = (PREFACE if role is H2Server else b"") + settings_frame((3, 10))
        whole, cut = role(limits, 0.0), role(limits, 0.0)
        for connection in (whole, cut):
            if isinstance(connection, H2Client):
                for _ in range(3):
                    connection.request(POST)
        expected = whole.receive(hello + raw, 0.0)
        got = []
        for piece in pieces(hello + raw, random.Random(seed)):
            got += cut.receive(piece, 0.0)
        assert [told(event) for event in got] == [told(event) for event in expected]
        assert cut.take_output() == whole.take_output()
        held = sum(stream.unread for stream in whole.streams.values())
        if not whole.failed:
            assert whole._receive_window + whole._owed + held == role(limits, 0.0)._receive_window
