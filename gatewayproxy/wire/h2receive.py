"""The half of an HTTP/2 connection that judges what a peer sends: bytes to events. Pure.

RFC 9113 §5-§8. Whatever the peer breaks is answered at once, RST_STREAM for a stream and GOAWAY for the connection.
Frames that move no body and open no stream spend from a budget that bodies and streams fill again, and so do streams
that end before their time: floods of either end the connection with ENHANCE_YOUR_CALM (RFC 9113 §10.5).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gatewayproxy.errors import H2Error, RemoteProtocolError
from gatewayproxy.model.limits import Limits
from gatewayproxy.wire import h2events, h2frames
from gatewayproxy.wire.h2events import Event
from gatewayproxy.wire.h2frames import (
    DATA,
    END_STREAM,
    HEADERS,
    MAX_STREAM_ID,
    MAX_WINDOW,
    ErrorCode,
    Frame,
    FrameReader,
    Setting,
)  # fmt: skip
from gatewayproxy.wire.h2heads import HeadReader, malformed
from gatewayproxy.wire.h2send import Sender
from gatewayproxy.wire.h2stream import Ending, Stream

__all__ = ["H2Connection", "broken"]

_SETTINGS_BYTES_PER_TOKEN: Final = 48  # eight settings
_SLIVER_BYTES: Final = 1024  # DATA below this on a closed stream counts as a control frame
_MOST: Final[dict[int, int]] = {
    Setting.ENABLE_PUSH: 1,
    Setting.INITIAL_WINDOW_SIZE: MAX_WINDOW,
    Setting.MAX_FRAME_SIZE: h2frames.MAX_FRAME_BYTES,
    Setting.ENABLE_CONNECT_PROTOCOL: 1,
    Setting.NO_RFC7540_PRIORITIES: 1,
}
_SETTINGS_ACK: Final = h2frames.frame(h2frames.SETTINGS, h2frames.ACK, 0, b"")
_LEAST: Final[dict[int, int]] = {Setting.MAX_FRAME_SIZE: h2frames.FRAME_BYTES}


def broken(message: str, code: ErrorCode = ErrorCode.PROTOCOL_ERROR, stream_id: int = 0) -> H2Error:
    """Return the error of a stream, or of the connection where none is named."""
    return H2Error(message, code=code, stream_id=stream_id)


class H2Connection(Sender):
    """What the servers and the clients of `wire.h2` share."""

    __slots__ = (
        "_events", "_greeted", "_heads", "_now", "_peer_goaway_last", "_reader", "failed",
        "peer_connect", "peer_leaves",
    )  # fmt: skip

    def __init__(self, limits: Limits, now: float, settings: dict[int, int]) -> None:
        super().__init__(limits, now, settings)
        self.failed = False
        self.peer_connect = False  # extended CONNECT is served there
        self._reader = FrameReader(limits.head_bytes, limits.h2_continuations)
        self._heads = HeadReader(limits, connect=Setting.ENABLE_CONNECT_PROTOCOL in settings)
        self._events: list[Event] = []
        self._greeted = False
        self.peer_leaves = False  # GOAWAY has come
        self._peer_goaway_last = MAX_STREAM_ID
        self._now = now

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take bytes of the peer, at monotonic instant *now*; return what they mean, in order."""
        events: list[Event] = []
        if self.failed:
            return events
        self._events = events
        self._now = now
        reader = self._reader
        try:
            reader.feed(self._preface(data))
        except H2Error as error:
            self._fail(error)
        while not self.failed:
            try:
                for frame in reader.frames():
                    kind = frame[0]
                    if not self._greeted:
                        self._greet(frame)
                    elif kind == HEADERS:
                        self._on_headers(frame)
                    elif kind == DATA:
                        self._on_data(frame)
                    elif kind < len(_ON):
                        _ON[kind](self, frame)
                    else:
                        self._control.spend(1, now)  # §5.5: unknown types are ignored
                break
            except H2Error as error:
                self._handle(error)
        self._events = []
        return events

    @property
    def partial(self) -> bool:
        """Return whether the peer owes the rest of a frame, of a header block or of its preface."""
        return self._reader.partial or not self._greeted

    def _preface(self, data: bytes) -> bytes:
        """Return *data* behind the client's preface."""
        return data

    def _greet(self, frame: Frame) -> None:
        """Read the peer's first frame. RFC 9113 §3.4: it MUST be SETTINGS."""
        if frame[0] != h2frames.SETTINGS or frame[1] & h2frames.ACK:
            raise broken("the first frame is not SETTINGS")
        self._greeted = True
        self._on_settings(frame)

    def goaway(self, code: ErrorCode = ErrorCode.NO_ERROR, *, last: int | None = None, debug: bytes = b"") -> None:
        """Do as `Sender.goaway` says; behind a failure all is said."""
        if not self.failed:
            super().goaway(code, last=last, debug=debug)

    def _fail(self, error: H2Error) -> None:
        self.goaway(ErrorCode(error.code), debug=str(error).encode("ascii", "replace"))
        self.failed = True
        self._events.append((h2events.FAILED, error))

    def _handle(self, error: H2Error) -> None:
        """End what the peer broke: the connection, or a stream; the latter not too often (CVE-2025-8671)."""
        stream_id = error.stream_id
        if not stream_id:
            self._fail(error)
            return
        try:
            self._resets.spend(1, self._now)
            if self._idle(stream_id):  # §5.1: nothing may be said of it but PRIORITY
                raise H2Error(str(error), code=error.code)
        except H2Error as fatal:
            self._fail(fatal)
            return
        self._out.append(h2frames.number_frame(h2frames.RST_STREAM, stream_id, error.code))
        stream = self.streams.get(stream_id)
        if stream is None:
            self._remember(stream_id, Ending.BY_US)
            return
        self._forget(stream, Ending.BY_US)
        self._events.append((h2events.BROKEN, stream, error))

    def _on_data(self, frame: Frame) -> None:
        _, flags, stream_id, payload, counted = frame
        self._receive_window -= counted
        if self._receive_window < 0:
            raise broken("DATA beyond the connection's window", ErrorCode.FLOW_CONTROL_ERROR)
        stream = self.streams.get(stream_id)
        if stream is None or not stream.receiving or not stream.final:
            self._give_back(counted)
            self._stray_data(stream, stream_id, counted)
            return
        n = len(payload)
        end = flags & END_STREAM != 0
        stream.receive_window -= counted
        stream.unread += counted
        if n != counted:
            self.consumed(stream, counted - n)  # padding
        if stream.receive_window < 0:
            raise broken("DATA beyond the stream's window", ErrorCode.FLOW_CONTROL_ERROR, stream_id)
        if counted >= 2 * n and not end:
            self._control.spend(1, self._now)  # nothing, or padding for the most part
        if stream.expected >= 0:
            stream.expected -= n
            if stream.expected < 0 or (end and stream.expected):
                raise malformed("body is not as long as content-length", stream_id)
        if end:
            self._receive_end(stream)
        if n or end:
            self._events.append((h2events.DATA, stream, payload, end))

    def _stray_data(self, stream: Stream | None, stream_id: int, counted: int) -> None:
        """Judge DATA on a stream that may have none; RFC 9113 §5.1, §6.1."""
        if stream is not None:
            if stream.receiving:
                raise malformed("DATA before a final head", stream_id)
            raise broken("DATA behind END_STREAM", ErrorCode.STREAM_CLOSED, stream_id)
        if self._idle(stream_id):
            raise broken("DATA on an idle stream")
        if counted < _SLIVER_BYTES:  # what was on its way to a hundred streams, when we reset them, is no flood
            self._control.spend(1, self._now)
        how = self._how_closed(stream_id)
        if how == Ending.BY_END:
            raise broken("DATA on a closed stream", ErrorCode.STREAM_CLOSED)
        if how == Ending.BY_PEER:
            raise broken("DATA behind RST_STREAM", ErrorCode.STREAM_CLOSED, stream_id)

    def _on_headers(self, frame: Frame) -> None:
        raise NotImplementedError

    def _stray_headers(self, stream_id: int, block: bytes) -> None:
        """Judge HEADERS on a stream that has ended, or was passed over; RFC 9113 §5.1, §5.1.1."""
        how = self._how_closed(stream_id)
        if how is None:
            raise broken("HEADERS on a stream passed over")
        if how != Ending.BY_US:
            raise broken("HEADERS on a closed stream", ErrorCode.STREAM_CLOSED)
        self._control.spend(1, self._now)
        self._heads.skip(block)

    def _on_trailers(self, stream: Stream, frame: Frame) -> None:
        _, flags, stream_id, block, depends_on_itself = frame
        if not stream.receiving:
            self._heads.skip(block)
            raise broken("HEADERS behind END_STREAM", ErrorCode.STREAM_CLOSED, stream_id)
        try:
            head = self._heads.trailers(block, stream_id)
            if not flags & END_STREAM or depends_on_itself:
                raise malformed("a second head", stream_id)
            if stream.expected > 0:
                raise malformed("body is not as long as content-length", stream_id)
        except H2Error:
            raise
        except RemoteProtocolError as error:  # too large: there is no answer behind a body
            code = ErrorCode.ENHANCE_YOUR_CALM
            raise H2Error(str(error), code=code, stream_id=stream_id, reason=error.reason) from None
        self._receive_end(stream)
        self._events.append((h2events.TRAILERS, stream, head))

    def _receive_end(self, stream: Stream) -> None:
        stream.receiving = False
        if not stream.sending:
            self._forget(stream, Ending.BY_END)

    def _on_priority(self, frame: Frame) -> None:
        self._control.spend(1, self._now)  # read and checked by the reader, and of no consequence (§5.3.2)

    def _on_rst_stream(self, frame: Frame) -> None:
        _, _, stream_id, _, code = frame
        stream = self.streams.get(stream_id)
        if stream is None:
            if self._idle(stream_id):
                raise broken("RST_STREAM on an idle stream")
            self._control.spend(1, self._now)
            return
        self._cancelled(stream)
        self._forget(stream, Ending.BY_PEER)
        self._events.append((h2events.RESET, stream, code))

    def _cancelled(self, stream: Stream) -> None:
        """Count a stream that the peer has reset."""

    def _on_settings(self, frame: Frame) -> None:
        _, flags, _, payload, _ = frame
        if flags & h2frames.ACK:
            self._control.spend(1, self._now)
            return
        self._control.spend(1 + len(payload) // _SETTINGS_BYTES_PER_TOKEN, self._now)
        for key, value in h2frames.settings_of(payload):
            self._apply(key, value)
        self._out.append(_SETTINGS_ACK)
        self._events.append((h2events.SETTINGS,))

    def _apply(self, key: int, value: int) -> None:
        """Apply one setting of the peer, RFC 9113 §6.5.2; unknown ones are ignored."""
        if value > _MOST.get(key, value) or value < _LEAST.get(key, 0):
            code = ErrorCode.FLOW_CONTROL_ERROR if key == Setting.INITIAL_WINDOW_SIZE else ErrorCode.PROTOCOL_ERROR
            raise broken(f"SETTINGS_{Setting(key).name} out of range", code)
        if key == Setting.HEADER_TABLE_SIZE:
            self._encoder.resize(value)
        elif key == Setting.ENABLE_PUSH:
            self._check_push(value)
        elif key == Setting.MAX_CONCURRENT_STREAMS:
            self.peer_streams = value
        elif key == Setting.INITIAL_WINDOW_SIZE:
            self._resize_windows(value)
        elif key == Setting.ENABLE_CONNECT_PROTOCOL:
            if value < self.peer_connect:  # RFC 8441 §3: a sender MUST NOT take it back
                raise broken("SETTINGS_ENABLE_CONNECT_PROTOCOL taken back")
            self.peer_connect = value == 1

    def _check_push(self, value: int) -> None:
        """Judge the peer's SETTINGS_ENABLE_PUSH: we never push."""

    def _resize_windows(self, value: int) -> None:
        difference = value - self._peer_window
        self._peer_window = value
        for stream in self.streams.values():
            stream.send_window += difference
            if stream.send_window > MAX_WINDOW:
                raise broken("SETTINGS_INITIAL_WINDOW_SIZE overflows a window", ErrorCode.FLOW_CONTROL_ERROR)
        if difference > 0:
            self._unblock(list(self._blocked))

    def _on_ping(self, frame: Frame) -> None:
        _, flags, _, payload, _ = frame
        self._control.spend(1, self._now)
        if flags & h2frames.ACK:
            self._events.append((h2events.PONG, payload))
        else:
            self._out.append(h2frames.frame(h2frames.PING, h2frames.ACK, 0, payload))

    def _on_goaway(self, frame: Frame) -> None:
        last, code, debug = h2frames.goaway_of(frame[3])
        self._control.spend(1, self._now)
        if last > self._peer_goaway_last:
            raise broken("GOAWAY with a higher stream id than before")
        self._peer_goaway_last = last
        self.peer_leaves = True
        self._abandon(last)
        self._events.append((h2events.GOAWAY, last, code, debug))

    def _abandon(self, last: int) -> None:
        """Close our own streams above *last*: the peer has not processed them (RFC 9113 §6.8)."""

    def _on_window_update(self, frame: Frame) -> None:
        _, _, stream_id, _, increment = frame
        self._control.spend(1, self._now)
        if not stream_id:
            self._send_window += increment
            if self._send_window > MAX_WINDOW:
                raise broken("WINDOW_UPDATE overflows the connection's window", ErrorCode.FLOW_CONTROL_ERROR)
            if self._blocked:
                self._unblock(list(self._blocked))
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if self._idle(stream_id):
                raise broken("WINDOW_UPDATE on an idle stream")
            return
        stream.send_window += increment
        if stream.send_window > MAX_WINDOW:
            raise broken("WINDOW_UPDATE overflows the stream's window", ErrorCode.FLOW_CONTROL_ERROR, stream_id)
        if stream in self._blocked:
            self._unblock([stream])

    def _unblock(self, streams: list[Stream]) -> None:
        if self._send_window <= 0:
            return
        for stream in streams:
            if stream.send_window > 0:
                del self._blocked[stream]
                self._events.append((h2events.WINDOW, stream))

    def _idle(self, stream_id: int) -> bool:
        """Return whether a stream has never been used."""
        raise NotImplementedError


_ON: Final[tuple[Callable[[H2Connection, Frame], None], ...]] = (  # by type; the reader lets no PUSH_PROMISE pass
    H2Connection._on_data,
    H2Connection._on_headers,
    H2Connection._on_priority,
    H2Connection._on_rst_stream,
    H2Connection._on_settings,
    H2Connection._on_priority,
    H2Connection._on_ping,
    H2Connection._on_goaway,
    H2Connection._on_window_update,
)
