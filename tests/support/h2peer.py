"""The other end of an HTTP/2 connection, by hand: it says whatever a test wants, right or wrong."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from gatewayproxy.model.limits import Limits
from gatewayproxy.wire.h2 import Event, H2Client, H2Connection, H2Server

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 1
END_HEADERS = 4
PADDED = 8
WITH_PRIORITY = 32
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LIMITS = Limits()
GET = ((b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", b"/x"))
POST = ((b":method", b"POST"), *GET[1:])
OK = ((b":status", b"200"),)

Pairs = Iterable[tuple[bytes, bytes]]
Sent = tuple[int, int, int, bytes]  # type, flags, stream id, payload


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return a frame, checked by nobody."""
    return struct.pack(">L", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">L", stream_id) + payload


def number(n: int) -> bytes:
    return struct.pack(">L", n)


def settings_frame(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HL", *pair) for pair in pairs))


def length(n: int, first: int = 0, bits: int = 7) -> bytes:
    """Return an HPACK integer."""
    most = (1 << bits) - 1
    if n < most:
        return bytes((first | n,))
    out = [first | most]
    n -= most
    while n >= 128:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def literal(name: bytes, value: bytes, first: int = 0) -> bytes:
    """Return an HPACK literal of any bytes; *first* 0x40 has it indexed, 0x10 never."""
    return bytes((first,)) + length(len(name)) + name + length(len(value)) + value


def block(fields: Pairs) -> bytes:
    return b"".join(literal(name, value) for name, value in fields)


def headers(stream_id: int, fields: Pairs = GET, *, end: bool = True) -> bytes:
    """Return HEADERS with literals only."""
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream_id, block(fields))


def data(stream_id: int, payload: bytes, *, end: bool = False) -> bytes:
    return frame(DATA, END_STREAM if end else 0, stream_id, payload)


def reset(stream_id: int, code: int = 8) -> bytes:
    return frame(RST_STREAM, 0, stream_id, number(code))


def window(stream_id: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, number(increment))


def parse(raw: bytes) -> list[Sent]:
    """Return the frames in *raw*, all whole."""
    out = []
    while raw:
        size = int.from_bytes(raw[:3], "big")
        assert len(raw) >= 9 + size
        out.append((raw[3], raw[4], int.from_bytes(raw[5:9], "big"), raw[9 : 9 + size]))
        raw = raw[9 + size :]
    return out


def goaways(sent: list[Sent]) -> list[int]:
    """Return the error codes of GOAWAY frames."""
    return [int.from_bytes(payload[4:8], "big") for kind, _, _, payload in sent if kind == GOAWAY]


def resets(sent: list[Sent]) -> list[tuple[int, int]]:
    """Return stream id and error code of RST_STREAM frames."""
    return [(stream, int.from_bytes(payload, "big")) for kind, _, stream, payload in sent if kind == RST_STREAM]


class Peer:
    """A connection of ours past its greetings, and what it answers to raw bytes."""

    def __init__(self, connection: H2Connection, preface: bytes, hello: bytes) -> None:
        self.connection = connection
        self.now = 0.0
        self.greeting = parse(connection.take_output().removeprefix(PREFACE))
        self.say(preface + hello)

    def say(self, *parts: bytes) -> list[Event]:
        """Let the connection receive *parts* in one read; return its events."""
        return self.connection.receive(b"".join(parts), self.now)

    def hear(self) -> list[Sent]:
        """Return the frames that it has sent since the last call."""
        return parse(self.connection.take_output())


def to_server(limits: Limits = LIMITS, hello: bytes | None = None, *, connect: bool = False) -> tuple[Peer, H2Server]:
    """Return a client by hand, and our server; SETTINGS and their acknowledgement are over."""
    server = H2Server(limits, 0.0, connect=connect)
    peer = Peer(server, PREFACE, settings_frame() if hello is None else hello)
    peer.hear()
    return peer, server


def to_client(limits: Limits = LIMITS, hello: bytes | None = None) -> tuple[Peer, H2Client]:
    """Return a server by hand, and our client; SETTINGS and their acknowledgement are over."""
    client = H2Client(limits, 0.0)
    peer = Peer(client, b"", settings_frame() if hello is None else hello)
    peer.hear()
    return peer, client
