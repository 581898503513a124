"""The half of an HTTP/2 connection that decides what is sent: streams, windows, and the queue of output. Pure.

RFC 9113 §5, §6.9. `wire.h2` tells how it is used. Nothing of a body waits here: `send_data` takes what the peer's
windows allow and leaves the rest to the caller. A window is given back when half of it has been consumed, in one frame.

No stream stops another: the streams' windows together are never more than the connection's, so what waits unread on
some takes nothing from the rest. Where all cannot have a whole window they begin with the least that the protocol
knows, and grow as their bytes move, out of what is left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from gatewayproxy.errors import LocalProtocolError
from gatewayproxy.model.limits import Limits
from gatewayproxy.wire import h2frames
from gatewayproxy.wire.h2frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES,
    HEADERS,
    MAX_STREAM_ID,
    MAX_WINDOW,
    ErrorCode,
    Setting,
    frame_head,
)  # fmt: skip
from gatewayproxy.wire.h2stream import Budget, Ending, Stream
from gatewayproxy.wire.hpack import Encoder, Field

__all__ = ["Sender"]

_DEFAULT_WINDOW: Final = 65_535
_KEPT_CLOSED: Final = 256  # at least so many closed streams are remembered, to judge frames that come late
_UNTOLD_STREAMS: Final = 100  # what we take the peer's MAX_CONCURRENT_STREAMS for until it is said
_CONNECTION_QUANTUM: Final = 524_288  # bytes of the connection's window given back at once
_DRIBBLE_BYTES: Final = 256  # a window that lets less through than this earns no further WINDOW_UPDATE
_EARNED_BY_DATA: Final = 3  # control frames that a DATA frame of ours may be answered with


class Sender:
    """Streams, windows and output of one connection. *streams* are those that are not closed, by id."""

    __slots__ = (
        "_blocked", "_closed", "_closed_before", "_connection_quantum", "_control", "_encoder", "_goaway_last",
        "_last_received", "_out", "_owed", "_peer_window", "_receive_window", "_resets", "_send_window",
        "_spare_window", "_stream_window", "_widest_window", "limits", "peer_streams", "streams",
    )  # fmt: skip

    def __init__(self, limits: Limits, now: float, settings: dict[int, int]) -> None:
        self.limits = limits
        self.streams: dict[int, Stream] = {}
        self.peer_streams = _UNTOLD_STREAMS
        self._peer_window = _DEFAULT_WINDOW  # of a new stream
        self._send_window = _DEFAULT_WINDOW
        # RFC 9113 §6.9.2: until our SETTINGS arrive a peer counts from 65,535; we never offer less.
        self._widest_window = widest = max(limits.h2_stream_window_bytes, _DEFAULT_WINDOW)
        bound = max(limits.h2_connection_window_bytes, limits.h2_streams * _DEFAULT_WINDOW)
        self._stream_window = widest if limits.h2_streams * widest <= bound else _DEFAULT_WINDOW  # of a new stream
        self._spare_window = bound - limits.h2_streams * self._stream_window  # that streams may grow by
        # What is owed must not be missing to those whose windows are open: so it comes on top.
        self._connection_quantum = min(bound // 2, _CONNECTION_QUANTUM)
        self._receive_window = min(bound + self._connection_quantum, MAX_WINDOW)
        self._owed = 0  # bytes of the connection's window, consumed and not given back yet
        self._blocked: dict[Stream, None] = {}  # those that send_data could not serve whole, longest waiting first
        self._closed: dict[int, Ending] = {}  # those that ended last
        self._closed_before: dict[int, Ending] = {}
        self._last_received = 0  # highest id that the peer has opened
        self._goaway_last = MAX_STREAM_ID  # highest id of the peer's that we serve
        self._control = Budget(limits.h2_control_frames, now, "more control frames than the streams call for")
        self._resets = Budget(limits.h2_resets, now, "too many streams cancelled or broken")
        self._encoder = Encoder()
        settings = {
            Setting.INITIAL_WINDOW_SIZE: self._stream_window,
            Setting.MAX_HEADER_LIST_SIZE: limits.head_bytes,
            Setting.NO_RFC7540_PRIORITIES: 1,
            **settings,
        }
        self._out = [h2frames.settings_frame(settings.items())]
        if self._receive_window > _DEFAULT_WINDOW:
            increment = self._receive_window - _DEFAULT_WINDOW
            self._out.append(h2frames.number_frame(h2frames.WINDOW_UPDATE, 0, increment))

    def take_output(self) -> bytes:
        """Return the bytes to send, once."""
        out = self._out
        if not out:
            return b""
        data = b"".join(out)
        out.clear()
        return data

    def consumed(self, stream: Stream, n: int) -> None:
        """Let the peer send *n* bytes more: so many of *stream*'s have gone on, or were thrown away."""
        if n > stream.unread:
            n = stream.unread  # a closed stream has given back its all
        if not n:
            return
        stream.unread -= n
        self._owed += n
        if self._owed >= self._connection_quantum:
            self._pay()
        if stream.receiving:
            stream.owed += n
            if 2 * stream.owed >= stream.window:
                self._reopen(stream)

    def send_headers(
        self,
        stream: Stream,
        fields: Iterable[Field],
        *,
        end: bool = False,
        sensitive: Collection[bytes] = (),
        rest: tuple[Field, ...] = (),
    ) -> None:
        """Queue a head or trailers. *fields* are valid, names in lower case, pseudo-header fields first.

        *rest* follows them: what differs where the others, then a tuple, are repeated.
        """
        if not stream.sending:
            if stream.cut:
                return
            raise LocalProtocolError(f"stream {stream.id}: a head while {stream.state.name}")
        block = self._encoder.encode(fields, sensitive)
        if rest:
            block += self._encoder.once(rest, sensitive)
        n = len(block)
        if n <= FRAME_BYTES:
            flags = END_HEADERS | END_STREAM if end else END_HEADERS
            self._out.append(frame_head(n >> 8, n & 0xFF, HEADERS, flags, stream.id))
            self._out.append(block)
        else:
            self._out.append(h2frames.header_frames(stream.id, block, END_STREAM if end else 0))
        if end:
            self._send_end(stream)

    def send_data(self, stream: Stream, data: bytes, *, end: bool = False) -> int:
        """Queue as much of *data* as the peer's windows take; return how many bytes.

        END_STREAM goes with the last byte. Where bytes are left, a WINDOW event comes in time, unless the stream ends
        otherwise: then call again with the rest. Nothing of it is kept here.
        """
        size = len(data)
        if not stream.sending:
            if stream.cut:
                return size
            raise LocalProtocolError(f"stream {stream.id}: DATA while {stream.state.name}")
        n = size
        if n > stream.send_window or n > self._send_window:
            n = max(min(stream.send_window, self._send_window), 0)
        if n < size:
            self._blocked[stream] = None
        elif self._blocked:
            self._blocked.pop(stream, None)
        stream.send_window -= n
        self._send_window -= n
        last = end and n == size
        if n <= FRAME_BYTES:
            if n or last:
                self._out.append(frame_head(n >> 8, n & 0xFF, DATA, END_STREAM if last else 0, stream.id))
                self._out.append(data if n == size else data[:n])
                control = self._control
                if control.left < control.most and (n == size or n >= _DRIBBLE_BYTES):
                    control.earn(_EARNED_BY_DATA)
        else:
            self._send_frames(stream, data, n, last)
        if last:
            self._send_end(stream)
        return n

    def _send_frames(self, stream: Stream, data: bytes, n: int, last: bool) -> None:
        # Frames larger than the smallest maximum would only keep other streams waiting.
        for at in range(0, n, FRAME_BYTES):
            piece = data[at : min(at + FRAME_BYTES, n)]
            flags = END_STREAM if last and at + FRAME_BYTES >= n else 0
            n_piece = len(piece)
            self._out.append(frame_head(n_piece >> 8, n_piece & 0xFF, DATA, flags, stream.id))
            self._out.append(piece)
            self._control.earn(_EARNED_BY_DATA)

    def _send_end(self, stream: Stream) -> None:
        stream.sending = False
        if not stream.receiving:
            if self._resets.left < self._resets.most:
                self._resets.earn(1)
            self._forget(stream, Ending.BY_END)

    def reset(self, stream: Stream, code: ErrorCode) -> None:
        """End *stream* at once; one that has ended already is left alone."""
        if self.streams.get(stream.id) is not stream:
            return
        self._out.append(h2frames.number_frame(h2frames.RST_STREAM, stream.id, code))
        self._forget(stream, Ending.BY_US)

    def ping(self, payload: bytes) -> None:
        """Queue a PING with 8 bytes of *payload*; PONG brings them back."""
        if len(payload) != 8:
            raise LocalProtocolError("a PING has 8 bytes")
        self._control.earn(1)
        self._out.append(h2frames.frame(h2frames.PING, 0, 0, payload))

    def goaway(self, code: ErrorCode = ErrorCode.NO_ERROR, *, last: int | None = None, debug: bytes = b"") -> None:
        """Queue GOAWAY: of the peer's streams, those up to *last* are served, None means those that have come.

        To drain without loss, RFC 9113 §6.8: first with MAX_STREAM_ID, a round trip later without *last*.
        """
        if last is None:
            last = self._last_received
        self._goaway_last = min(last, self._goaway_last)
        self._out.append(h2frames.goaway_frame(self._goaway_last, code, debug))

    def _forget(self, stream: Stream, ending: Ending) -> None:
        """Close a stream, let go of it, and give back its share of the connection's window."""
        stream_id = stream.id
        del self.streams[stream_id]
        stream.sending = stream.receiving = False
        self._spare_window += stream.window - self._stream_window
        if self._blocked:
            self._blocked.pop(stream, None)
        if ending is not Ending.BY_END:
            stream.cut = True
        if stream.unread:
            self._give_back(stream.unread)
            stream.unread = 0
        self._remember(stream_id, ending)

    def _remember(self, stream_id: int, ending: Ending) -> None:
        """Keep how a stream has ended.

        PERF: half of what is kept goes at once. A dict looks for its first entry past all that were deleted before it.
        """
        closed = self._closed
        if len(closed) >= _KEPT_CLOSED:
            self._closed_before = closed
            closed = self._closed = {}
        closed[stream_id] = ending

    def _how_closed(self, stream_id: int) -> Ending | None:
        """Return how a stream has ended; None where that is long ago, or where it never was."""
        how = self._closed.get(stream_id)
        return how if how is not None else self._closed_before.get(stream_id)

    def _give_back(self, n: int) -> None:
        """Owe the peer *n* bytes of the connection's window, and pay once it is worth a frame."""
        self._owed += n
        if self._owed >= self._connection_quantum:
            self._pay()

    def _pay(self) -> None:
        self._out.append(h2frames.number_frame(h2frames.WINDOW_UPDATE, 0, self._owed))
        self._receive_window += self._owed
        self._owed = 0

    def _reopen(self, stream: Stream) -> None:
        """Pay a stream; one whose bytes move gets a window twice as wide, as far as there is room."""
        wider = min(stream.window, self._widest_window - stream.window, self._spare_window)
        if wider:
            stream.window += wider
            self._spare_window -= wider
        increment = stream.owed + wider
        self._out.append(h2frames.number_frame(h2frames.WINDOW_UPDATE, stream.id, increment))
        stream.receive_window += increment
        stream.owed = 0
