"""A peer that does anything the protocol allows, in both roles: our HTTP/2 and the h2 library must see the same.

Each step gives the same bytes to three connections: ours, ours byte by byte, and the library's. They must tell the
same, and let the same number of bytes go out through the same windows.
"""

from __future__ import annotations

from typing import Any, ClassVar

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hpack
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from gatewayproxy.model.limits import Limits
from gatewayproxy.wire import h2events
from gatewayproxy.wire.h2 import Event, H2Client, H2Server
from gatewayproxy.wire.h2frames import ErrorCode
from tests.support import h2rules
from tests.support.h2peer import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    PING,
    POST,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    WITH_PRIORITY,
    frame,
    number,
    parse,
    reset,
    settings_frame,
    window,
)

LIMITS = Limits(h2_resets=100_000, h2_control_frames=100_000)
Told = tuple[Any, ...]
names = st.sampled_from([b"x-a", b"content-type", b"etag", b"authorization", b"x-" + b"n" * 50])
fields = st.lists(st.tuples(names, st.sampled_from([b"v", b"", b"a b", b"\xff", b"y" * 300])), max_size=4)
cuts = st.lists(st.integers(0, 40), max_size=3)
Fields = list[tuple[bytes, bytes]]


def plain(event: Event) -> list[Told]:
    """Return one of our events as `library` has it."""
    kind = event[0]
    assert kind not in (h2events.FAILED, h2events.BROKEN, h2events.REFUSED), event
    if kind in (h2events.HEADERS, h2events.INTERIM, h2events.TRAILERS):
        name = {h2events.HEADERS: "head", h2events.INTERIM: "interim", h2events.TRAILERS: "trailers"}[kind]
        ended = kind == h2events.TRAILERS or (kind == h2events.HEADERS and event[3])
        return [(name, event[1].id, event[2].fields), *([("end", event[1].id)] if ended else [])]
    if kind == h2events.DATA:
        found: list[Told] = [("data", event[1].id, event[2])] if event[2] else []
        return [*found, *([("end", event[1].id)] if event[3] else [])]
    return [("reset", event[1].id, event[2])] if kind == h2events.RESET else []


def library(event: h2.events.Event) -> list[Told]:
    kinds = {
        h2.events.RequestReceived: "head",
        h2.events.ResponseReceived: "head",
        h2.events.InformationalResponseReceived: "interim",
        h2.events.TrailersReceived: "trailers",
    }
    if type(event) in kinds:
        pairs = [(bytes(name), bytes(value)) for name, value in event.headers]
        return [(kinds[type(event)], event.stream_id, [pair for pair in pairs if pair[0][:1] != b":"])]
    if isinstance(event, h2.events.DataReceived):
        return [("data", event.stream_id, event.data)] if event.data else []
    if isinstance(event, h2.events.StreamEnded):
        return [("end", event.stream_id)]
    if isinstance(event, h2.events.StreamReset):
        return [("reset", event.stream_id, int(event.error_code))]
    return []


class Conversation(RuleBasedStateMachine):
    """*said*: streams on which the peer goes on, and whether its head is said; *sending*: those on which we do.

    *gone*: streams that we have reset, for which something may still be on its way.
    """

    client: ClassVar[bool]

    @initialize()
    def greet(self) -> None:
        made = [H2Client(LIMITS, 0.0) if self.client else H2Server(LIMITS, 0.0) for _ in range(2)]
        self.mine, self.cut = made
        config = h2.config.H2Configuration(client_side=self.client, header_encoding=None)
        self.theirs = h2.connection.H2Connection(config)
        self.theirs.initiate_connection()
        self.encoder = hpack.Encoder()
        self.said: dict[int, bool] = {}
        self.sending: set[int] = set()
        self.gone: list[int] = []
        self.next_id = 1
        self.hear((b"" if self.client else PREFACE) + settings_frame())

    def hear(self, raw: bytes) -> None:
        """Give *raw* to all."""
        mine = [each for event in self.mine.receive(raw, 0.0) for each in plain(event)]
        bytewise = [
            each for at in range(len(raw)) for event in self.cut.receive(raw[at : at + 1], 0.0) for each in plain(event)
        ]
        theirs = [each for event in self.theirs.receive_data(raw) for each in library(event)]
        assert mine == bytewise == theirs
        assert self.mine.take_output() == self.cut.take_output()
        self.theirs.clear_outbound_data_buffer()

    def block(self, stream_id: int, pairs: Fields, flags: int, where: list[int], *, priority: bool = False) -> bytes:
        raw = self.encoder.encode(pairs, huffman=bool(len(pairs) % 2))
        before = number(0) + b"\x10" if priority else b""
        flags |= WITH_PRIORITY if priority else 0
        pieces = []
        for at in where:
            pieces.append(raw[:at])
            raw = raw[at:]
        pieces.append(raw)
        if len(pieces) == 1:
            return frame(HEADERS, flags | END_HEADERS, stream_id, before + raw)
        out = frame(HEADERS, flags, stream_id, before + pieces[0])
        for piece in pieces[1:-1]:
            out += frame(CONTINUATION, 0, stream_id, piece)
        return out + frame(CONTINUATION, END_HEADERS, stream_id, pieces[-1])

    def pick(self, chance: int, ids: list[int]) -> int:
        return ids[chance % len(ids)]

    @property
    def with_head(self) -> list[int]:
        return [stream_id for stream_id, head in self.said.items() if head]

    def over(self, stream_id: int) -> None:
        """The peer has ended its message."""
        del self.said[stream_id]

    # What the peer does

    @precondition(lambda self: self.with_head)
    @rule(chance=st.integers(0, 99), n=st.integers(0, 300), pad=st.integers(-1, 40), end=st.booleans())
    def data(self, chance: int, n: int, pad: int, end: bool) -> None:
        stream_id = self.pick(chance, self.with_head)
        flags = END_STREAM if end else 0
        body = bytes([n & 0xFF]) * n
        padded = frame(DATA, flags | PADDED, stream_id, bytes((max(pad, 0),)) + body + bytes(max(pad, 0)))
        self.hear(frame(DATA, flags, stream_id, body) if pad < 0 else padded)
        if end:
            self.over(stream_id)

    @precondition(lambda self: self.with_head)
    @rule(chance=st.integers(0, 99), pairs=fields, where=cuts)
    def trailers(self, chance: int, pairs: Fields, where: list[int]) -> None:
        stream_id = self.pick(chance, self.with_head)
        self.hear(self.block(stream_id, pairs or [(b"x", b"y")], END_STREAM, where))
        self.over(stream_id)

    @precondition(lambda self: self.said)
    @rule(chance=st.integers(0, 99), code=st.sampled_from([0, 2, 7, 8, 0xFF]))
    def resets(self, chance: int, code: int) -> None:
        stream_id = self.pick(chance, list(self.said))
        self.hear(reset(stream_id, code))
        self.over(stream_id)
        self.sending.discard(stream_id)

    @precondition(lambda self: self.sending)
    @rule(chance=st.integers(0, 99), n=st.integers(1, 100_000), whole=st.booleans())
    def opens_window(self, chance: int, n: int, whole: bool) -> None:
        self.hear(window(0 if whole else self.pick(chance, sorted(self.sending)), n))

    @rule(
        key=st.sampled_from([1, 3, 4, 5, 6, 0xFEED]),
        value=st.sampled_from([16_384, 0, 100, 4096, 65_535, 200_000]),
    )
    def settles(self, key: int, value: int) -> None:
        self.hear(settings_frame((key, max(value, 16_384 if key == 5 else 100 if key == 3 else 0))))

    @rule(raw=st.sampled_from([frame(PING, 0, 0, b"12345678"), frame(0xBE, 9, 0, b"x"), frame(0xBE, 9, 1, b"x")]))
    def chats(self, raw: bytes) -> None:
        self.hear(raw)

    @precondition(lambda self: self.said)
    @rule(chance=st.integers(0, 99))
    def prioritises(self, chance: int) -> None:
        self.hear(frame(PRIORITY, 0, self.pick(chance, list(self.said)), number(0) + b"\x05"))

    @precondition(lambda self: self.gone)
    @rule(chance=st.integers(0, 99), pairs=fields, what=st.integers(0, 3))
    def is_late(self, chance: int, pairs: Fields, what: int) -> None:
        stream_id = self.pick(chance, self.gone)
        late = [
            lambda: self.block(stream_id, pairs or [(b"x", b"y")], END_STREAM, []),
            lambda: frame(DATA, 0, stream_id, b"late"),
            lambda: window(stream_id, 5),
            lambda: reset(stream_id),
        ]
        self.hear(late[what]())
        if what in (0, 3):
            self.gone.remove(stream_id)

    # What we do

    @precondition(lambda self: self.sending)
    @rule(chance=st.integers(0, 99), n=st.integers(0, 16_384), end=st.booleans())
    def we_send(self, chance: int, n: int, end: bool) -> None:
        stream_id = self.pick(chance, sorted(self.sending))
        sent = [each.send_data(each.streams[stream_id], bytes(n), end=end) for each in (self.mine, self.cut)]
        room = max(min(n, self.theirs.local_flow_control_window(stream_id)), 0)
        assert sent == [room, room]
        ended = end and room == n
        if room or ended:
            self.theirs.send_data(stream_id, bytes(room), end_stream=ended)
        if ended:
            self.sending.discard(stream_id)

    @precondition(lambda self: self.said)
    @rule(chance=st.integers(0, 99))
    def we_reset(self, chance: int) -> None:
        stream_id = self.pick(chance, list(self.said))
        for each in (self.mine, self.cut):
            each.reset(each.streams[stream_id], ErrorCode.CANCEL)
        self.theirs.reset_stream(stream_id, 8)
        self.over(stream_id)
        self.sending.discard(stream_id)
        self.gone.append(stream_id)


class ServerConversation(Conversation):
    client = False

    @precondition(lambda self: len(self.said) + len(self.sending) < 40)
    @rule(pairs=fields, where=cuts, end=st.booleans(), priority=st.booleans(), skipped=st.sampled_from([0, 0, 0, 2]))
    def asks(self, pairs: Fields, where: list[int], end: bool, priority: bool, skipped: int) -> None:
        stream_id = self.next_id + skipped
        self.next_id = stream_id + 2
        self.hear(self.block(stream_id, [*POST, *pairs], END_STREAM if end else 0, where, priority=priority))
        for each in (self.mine, self.cut):
            each.send_headers(each.streams[stream_id], [(b":status", b"200")])
        self.theirs.send_headers(stream_id, [(b":status", b"200")])
        if not end:
            self.said[stream_id] = True
        self.sending.add(stream_id)


class ClientConversation(Conversation):
    client = True

    @precondition(lambda self: len(self.said) + len(self.sending) < 40)
    @rule()
    def we_ask(self) -> None:
        for each in (self.mine, self.cut):
            assert isinstance(each, H2Client)
            assert each.room
            each.request(POST)
        self.theirs.send_headers(self.next_id, POST)
        self.said[self.next_id] = False
        self.sending.add(self.next_id)
        self.next_id += 2

    @property
    def without_head(self) -> list[int]:
        return [stream_id for stream_id, head in self.said.items() if not head]

    @precondition(lambda self: self.without_head)
    @rule(chance=st.integers(0, 99), pairs=fields, where=cuts, status=st.sampled_from([b"100", b"103", b"199"]))
    def hints(self, chance: int, pairs: Fields, where: list[int], status: bytes) -> None:
        self.hear(self.block(self.pick(chance, self.without_head), [(b":status", status), *pairs], 0, where))

    @precondition(lambda self: self.without_head)
    @rule(chance=st.integers(0, 99), pairs=fields, where=cuts, end=st.booleans())
    def answers(self, chance: int, pairs: Fields, where: list[int], end: bool) -> None:
        stream_id = self.pick(chance, self.without_head)
        self.hear(self.block(stream_id, [(b":status", b"200"), *pairs], END_STREAM if end else 0, where))
        self.said[stream_id] = True
        if end:
            self.over(stream_id)


Conversation.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
TestServer = ServerConversation.TestCase
TestServer.settings = Conversation.TestCase.settings
TestClient = ClientConversation.TestCase
TestClient.settings = Conversation.TestCase.settings

# What the library leaves to its caller, or to later documents; we do not.
LENIENT = frozenset((
    "RFC 8441 §3 ENABLE_CONNECT_PROTOCOL taken back", "RFC 9218 §2.1 NO_RFC7540_PRIORITIES 2",
    "§6.8 GOAWAY that takes streams back", "RFC 7541 §4.2 three size updates",
    "§8.1.1 END_STREAM before content-length", "§8.1.1 trailers before the body is whole",
    "§8.3.1 :method empty", "§8.3.1 :scheme empty", "§8.3.1 :authority empty", "§8.3.1 :path without a slash",
    "§8.3.1 :path with a space", "§8.3.1 :path in absolute form", "§8.3.1 * without OPTIONS",
    "§8.3.1 :authority with userinfo", "§8.1 body with 204", "§8.1 body with 304", "§8.6 101",
    *(f"§8.3.2 :status {value!r}" for value in (b"", b"20", b"2000", b"abc", b"099", b"+20")),
))  # fmt: skip
LENIENT_CLIENT = LENIENT | {
    "§5.1 RST_STREAM on an idle stream",
    "§5.1 RST_STREAM on a stream of the other side's",
    "§5.1.1 HEADERS on a stream of the other side's",
}


@pytest.mark.parametrize(
    ("client", "each"),
    [
        pytest.param(client, each, id=f"{'client' if client else 'server'} {each.clause}")
        for client, rules in ((False, h2rules.SERVER_RULES), (True, h2rules.CLIENT_RULES))
        for each in rules
    ],
)
def test_the_library_takes_for_broken_what_we_do(client: bool, each: h2rules.Rule) -> None:
    config = h2.config.H2Configuration(client_side=client, header_encoding=None)
    theirs = h2.connection.H2Connection(config)
    theirs.initiate_connection()
    theirs.receive_data((b"" if client else PREFACE) + settings_frame())
    if client:
        theirs.send_headers(1, POST)
    theirs.clear_outbound_data_buffer()
    try:
        theirs.receive_data(each.raw)
        broken = RST_STREAM in [kind for kind, *_ in parse(theirs.data_to_send())]
    except h2.exceptions.ProtocolError:
        broken = True
    assert broken == (each.clause not in (LENIENT_CLIENT if client else LENIENT))
