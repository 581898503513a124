"""HTTP/2 frames: bytes to checked frames and back. Pure.

RFC 9113 §4-§6. `FrameReader` takes what a connection received and gives one frame at a time, without padding and
priority, and a header block as one frame however many CONTINUATION frames it came in. Whatever a frame alone can break
is refused here, with the code and the scope (H2Error.stream_id, 0 for the connection) that the RFC asks for; what needs
the state of a stream is `wire.h2`'s.
Bounds: a frame of `FRAME_BYTES`, a header block and its CONTINUATION frames as the constructor says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from struct import Struct
from typing import Final

from gatewayproxy.errors import H2Error

__all__ = [
    "ACK", "CONTINUATION", "DATA", "END_HEADERS", "END_STREAM", "FRAME_BYTES", "GOAWAY", "HEADERS", "MAX_FRAME_BYTES",
    "MAX_STREAM_ID", "MAX_WINDOW", "PADDED", "PING", "PREFACE", "PRIORITY", "PRIORITY_FLAG", "PUSH_PROMISE",
    "RST_STREAM", "SETTINGS", "WINDOW_UPDATE", "ErrorCode", "Frame", "FrameReader", "Setting", "frame", "frame_head",
    "goaway_frame", "goaway_of", "header_frames", "number_frame", "settings_frame", "settings_of",
]  # fmt: skip

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_BYTES: Final = 16_384  # the default of SETTINGS_MAX_FRAME_SIZE; we never offer more
MAX_FRAME_BYTES: Final = 16_777_215
MAX_WINDOW: Final = 0x7FFFFFFF
MAX_STREAM_ID: Final = 0x7FFFFFFF

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY_FLAG: Final = 0x20


class ErrorCode(IntEnum):
    """RFC 9113 §7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class Setting(IntEnum):
    """RFC 9113 §6.5.2, RFC 8441 §3, RFC 9218 §2.1."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6
    ENABLE_CONNECT_PROTOCOL = 0x8
    NO_RFC7540_PRIORITIES = 0x9


# Kind, flags, stream id, payload, number. The number is what flow control counts of DATA, the increment of
# WINDOW_UPDATE, the code of RST_STREAM, and 1 for HEADERS that depend on their own stream.
Frame = tuple[int, int, int, bytes, int]

_HEAD: Final = Struct(">HBBBL")  # 24 bits of length, type, flags, reserved bit and stream id
_HEAD_BYTES: Final = 9
# PERF: DATA and HEADERS are nearly always without padding and priority, and whole: 0.2 us less for each.
_FORM: Final = (PADDED, PADDED | PRIORITY_FLAG | END_HEADERS)
_PLAIN: Final = (0, END_HEADERS)
_LONG: Final = Struct(">L")
_LONGS: Final = Struct(">LL")
_SETTING: Final = Struct(">HL")
_PRIORITY_BYTES: Final = 5


class FrameReader:
    """Reads the frames of one direction of a connection: `feed`, then all of `frames`."""

    __slots__ = ("_at", "_block", "_block_bytes", "_buf", "_first", "_max_block_bytes", "_max_continuations")

    def __init__(self, max_block_bytes: int, max_continuations: int) -> None:
        self._max_block_bytes = max_block_bytes
        self._max_continuations = max_continuations
        self._buf = b""
        self._at = 0
        self._first: Frame | None = None  # HEADERS whose block goes on
        self._block: list[bytes] = []
        self._block_bytes = 0

    @property
    def partial(self) -> bool:
        """Return whether the bytes end within a frame or within a header block."""
        return self._at < len(self._buf) or self._first is not None

    def feed(self, data: bytes) -> None:
        """Append what was received; at most one incomplete frame is kept from before."""
        self._buf = self._buf[self._at :] + data if self._at < len(self._buf) else data
        self._at = 0

    def frames(self) -> Iterator[Frame]:
        """Give the whole frames that are there; once all are given, or one was refused, ask again for those behind.

        Raises H2Error. After one of a stream's scope the reader stands behind the frame and may go on.
        PERF: a call for each frame cost 0.15 us more.
        """
        buf = self._buf
        end = self._at
        n_bytes = len(buf)
        unpack = _HEAD.unpack_from
        fixed: tuple[int, int, int, int, int]
        while (at := end + _HEAD_BYTES) <= n_bytes:
            fixed = unpack(buf, end)
            high, low, kind, flags, stream_id = fixed
            n = high << 8 | low
            if n > FRAME_BYTES:
                raise _size(f"frame of more than {FRAME_BYTES} bytes")
            end = at + n
            if end > n_bytes:
                return
            self._at = end
            stream_id &= MAX_STREAM_ID  # the reserved bit MUST be ignored, §4.1
            if self._first is not None and (kind != CONTINUATION or stream_id != self._first[2]):
                raise _protocol("frame within a header block, RFC 9113 §4.3")
            if kind > CONTINUATION:
                yield kind, flags, stream_id, b"", 0
            elif kind <= HEADERS and stream_id and flags & _FORM[kind] == _PLAIN[kind]:
                yield kind, flags, stream_id, buf[at:end], 0 if kind else n
            else:
                part = _PARSE[kind](flags, stream_id, buf[at:end])
                if (kind == HEADERS and flags & END_HEADERS) or (kind != HEADERS and kind != CONTINUATION):
                    yield part
                elif (whole := self._assemble(part)) is not None:
                    yield whole

    def _assemble(self, part: Frame) -> Frame | None:
        """Return HEADERS with their whole block, None while it goes on."""
        kind, flags, _, payload, _ = part
        if kind == HEADERS:
            self._first = part
            self._block = [payload]
            self._block_bytes = len(payload)
            return None
        first = self._first
        if first is None:
            raise _protocol("CONTINUATION without HEADERS before it")
        self._block.append(payload)
        self._block_bytes += len(payload)
        if self._block_bytes > self._max_block_bytes or len(self._block) > self._max_continuations + 1:
            raise H2Error(
                f"header block of more than {self._max_block_bytes} bytes or {self._max_continuations} continuations",
                code=ErrorCode.ENHANCE_YOUR_CALM,
                reason="header_flood",
            )
        if not flags & END_HEADERS:
            return None
        block = b"".join(self._block)
        self._first = None
        self._block = []
        return HEADERS, first[1], first[2], block, first[4]


def _protocol(message: str, stream_id: int = 0) -> H2Error:
    return H2Error(message, code=ErrorCode.PROTOCOL_ERROR, stream_id=stream_id)


def _size(message: str, stream_id: int = 0) -> H2Error:
    return H2Error(message, code=ErrorCode.FRAME_SIZE_ERROR, stream_id=stream_id)


def _unpadded(payload: bytes, before: int = 0) -> bytes:
    """Return *payload* without its padding, which must leave *before* bytes of other fields whole."""
    if len(payload) <= before:
        raise _size("padded frame without its pad length and what goes with it")
    if payload[0] >= len(payload) - before:
        raise _protocol("padding longer than what it pads")
    return payload[1 : len(payload) - payload[0]]


def _data(flags: int, stream_id: int, payload: bytes) -> Frame:
    if not stream_id:
        raise _protocol("DATA on stream 0")
    n = len(payload)  # padding counts, §6.9.1
    return DATA, flags, stream_id, _unpadded(payload) if flags & PADDED else payload, n


def _headers(flags: int, stream_id: int, payload: bytes) -> Frame:
    if not stream_id:
        raise _protocol("HEADERS on stream 0")
    if flags & PADDED:
        payload = _unpadded(payload, _PRIORITY_BYTES if flags & PRIORITY_FLAG else 0)
    depends_on_itself = 0
    if flags & PRIORITY_FLAG:
        if len(payload) < _PRIORITY_BYTES:
            raise _size("HEADERS too short for their priority")
        # RFC 7540 §5.3.1 makes this an error of the stream; the block must be read before.
        depends_on_itself = int(_LONG.unpack_from(payload)[0] & MAX_STREAM_ID == stream_id)
        payload = payload[_PRIORITY_BYTES:]
    return HEADERS, flags, stream_id, payload, depends_on_itself


def _priority(flags: int, stream_id: int, payload: bytes) -> Frame:
    if not stream_id:
        raise _protocol("PRIORITY on stream 0")
    if len(payload) != _PRIORITY_BYTES:
        raise _size("PRIORITY of other than 5 bytes", stream_id)
    if _LONG.unpack_from(payload)[0] & MAX_STREAM_ID == stream_id:
        raise _protocol("stream depends on itself", stream_id)
    return PRIORITY, flags, stream_id, b"", 0


def _rst_stream(flags: int, stream_id: int, payload: bytes) -> Frame:
    if not stream_id:
        raise _protocol("RST_STREAM on stream 0")
    if len(payload) != 4:
        raise _size("RST_STREAM of other than 4 bytes")
    return RST_STREAM, flags, stream_id, b"", _LONG.unpack(payload)[0]


def _settings(flags: int, stream_id: int, payload: bytes) -> Frame:
    if stream_id:
        raise _protocol("SETTINGS on a stream")
    if len(payload) % _SETTING.size or (flags & ACK and payload):
        raise _size("SETTINGS of broken length, or acknowledged with a payload")
    return SETTINGS, flags, 0, payload, 0


def _push_promise(flags: int, stream_id: int, payload: bytes) -> Frame:
    raise _protocol("PUSH_PROMISE, which we never enable")  # §6.6, §8.4: of a client, and of a server here


def _ping(flags: int, stream_id: int, payload: bytes) -> Frame:
    if stream_id:
        raise _protocol("PING on a stream")
    if len(payload) != 8:
        raise _size("PING of other than 8 bytes")
    return PING, flags, 0, payload, 0


def _goaway(flags: int, stream_id: int, payload: bytes) -> Frame:
    if stream_id:
        raise _protocol("GOAWAY on a stream")
    if len(payload) < _LONGS.size:
        raise _size("GOAWAY of less than 8 bytes")
    return GOAWAY, flags, 0, payload, 0


def _window_update(flags: int, stream_id: int, payload: bytes) -> Frame:
    if len(payload) != 4:
        raise _size("WINDOW_UPDATE of other than 4 bytes")
    increment = _LONG.unpack(payload)[0] & MAX_WINDOW
    if not increment:
        raise _protocol("WINDOW_UPDATE by 0", stream_id)
    return WINDOW_UPDATE, flags, stream_id, b"", increment


def _continuation(flags: int, stream_id: int, payload: bytes) -> Frame:
    return CONTINUATION, flags, stream_id, payload, 0


_PARSE: Final[tuple[Callable[[int, int, bytes], Frame], ...]] = (
    _data, _headers, _priority, _rst_stream, _settings, _push_promise, _ping, _goaway, _window_update, _continuation,
)  # fmt: skip


# The nine bytes in front of n of payload: (n >> 8, n & 0xFF, kind, flags, stream id). PERF: no function: 50 ns less.
frame_head: Final = _HEAD.pack


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """Return a frame."""
    n = len(payload)
    return _HEAD.pack(n >> 8, n & 0xFF, kind, flags, stream_id) + payload


def number_frame(kind: int, stream_id: int, number: int) -> bytes:
    """Return RST_STREAM with an error code, or WINDOW_UPDATE with an increment."""
    return _HEAD.pack(0, 4, kind, 0, stream_id) + _LONG.pack(number)


def settings_frame(settings: Iterable[tuple[int, int]]) -> bytes:
    """Return SETTINGS."""
    return frame(SETTINGS, 0, 0, b"".join([_SETTING.pack(key, value) for key, value in settings]))


def settings_of(payload: bytes) -> Iterator[tuple[int, int]]:
    """Return the settings of a SETTINGS payload, in order; RFC 9113 §6.5.3 has them applied in this order."""
    return _SETTING.iter_unpack(payload)


def goaway_of(payload: bytes) -> tuple[int, int, bytes]:
    """Return last stream id, error code and debug data of a GOAWAY payload."""
    last, code = _LONGS.unpack_from(payload)
    return last & MAX_STREAM_ID, code, payload[_LONGS.size :]


def goaway_frame(last_stream_id: int, code: int, debug: bytes) -> bytes:
    """Return GOAWAY."""
    return frame(GOAWAY, 0, 0, _LONGS.pack(last_stream_id, code) + debug)


def header_frames(stream_id: int, block: bytes, flags: int) -> bytes:
    """Return HEADERS, and CONTINUATION frames where the block is larger than a frame may be."""
    if len(block) <= FRAME_BYTES:
        return frame(HEADERS, flags | END_HEADERS, stream_id, block)
    parts = [frame(HEADERS, flags, stream_id, block[:FRAME_BYTES])]
    for at in range(FRAME_BYTES, len(block), FRAME_BYTES):
        end = END_HEADERS if at + FRAME_BYTES >= len(block) else 0
        parts.append(frame(CONTINUATION, end, stream_id, block[at : at + FRAME_BYTES]))
    return b"".join(parts)
