"""One request on an HTTP/2 connection to an endpoint: an `Upstream` for its sink. RFC 9113 §8.1, §8.2.

The request comes as HTTP/1.1 has it, a head and a body, and leaves as a header list and DATA; the answer goes back as
a `ResponseHead` with what `Sink.payload_only` asks for. What the endpoint's windows do not take waits here, and the
sink is told to stop; what of the answer the sink does not take waits here too, and its window is not given back: so a
stream holds `h2_stream_window_bytes` of the endpoint, and one piece of the client, at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gatewayproxy.dataplane.upstream.connection import MAX_INTERIM, Sink, Upstream
from gatewayproxy.errors import RemoteProtocolError, UpstreamError
from gatewayproxy.model.limits import Limits
from gatewayproxy.wire.chunked import ChunkedReader, kept_trailers
from gatewayproxy.wire.h2 import H2Client, Stream
from gatewayproxy.wire.h2bridge import ResponseHeads, fields_of, interim_head, opening_fields, request_fields
from gatewayproxy.wire.h2frames import FRAME_BYTES, ErrorCode
from gatewayproxy.wire.h2heads import Head
from gatewayproxy.wire.head import CHUNKED
from gatewayproxy.wire.hpack import Field

__all__ = ["Carrier", "Unsettled", "UpstreamStream"]


class Unsettled(Protocol):
    """A request that may be sent only if the endpoint's SETTINGS allow it."""

    def connect(self) -> None:
        """Begin: they have come."""

    def fail(self, error: UpstreamError) -> None:
        """End: they will not come."""


class Carrier(Protocol):
    """The connection, as its streams see it."""

    codec: H2Client
    scheme: bytes  # b"https" over TLS
    stalled: bool  # the endpoint does not read
    waiting: dict[UpstreamStream, None]  # streams with bytes to send, longest waiting first
    heads: ResponseHeads
    unsettled: list[Unsettled] | None  # wait for the endpoint's SETTINGS; None: they have come
    has_answered: bool
    n_requests: int

    @property
    def limits(self) -> Limits: ...
    def wake(self) -> None:
        """Send what the codec has queued, once this turn."""

    def tunnel(self) -> Upstream:
        """Return a stream for a WebSocket."""


class UpstreamStream:
    """See the module."""

    __slots__ = (
        "_at", "_bodiless", "_carrier", "_chunks", "_complete", "_end_held", "_framed", "_held", "_held_back",
        "_interim_bytes", "_n_interim", "_owed", "_response_trailers", "_trailers", "_unsent", "answered", "fresh",
        "full", "sink", "stream",
    )  # fmt: skip

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self.stream: Stream
        self.sink: Sink | None = None
        self.fresh = not carrier.has_answered
        self.answered = False  # something of the final answer has come
        self.full = False
        self._bodiless = False
        self._chunks: ChunkedReader | None = None  # reads the framing of a body that comes in chunks
        self._complete = False  # the request ends behind what is unsent
        self._trailers: Sequence[Field] = ()
        self._unsent = b""  # from `_at` on
        self._at = 0
        self._framed = False  # the sink wants chunks
        self._n_interim = self._interim_bytes = 0
        self._held_back = False
        self._held: list[bytes] = []  # of the answer, while held back
        self._end_held = False  # and its end
        self._owed = 0  # bytes that the sink has, to be given back to the window once it takes more
        self._response_trailers = b""

    # For sinks

    @property
    def unsent(self) -> int:
        """Return how many bytes of the request wait in us."""
        return len(self._unsent) - self._at

    def tunnel(self) -> Upstream:
        """Return a stream of the same connection, for a WebSocket."""
        return self._carrier.tunnel()

    def start(self, sink: Sink, out: bytes, bodiless: bool, complete: bool) -> None:
        """Send *out*, an HTTP/1.1 head and the first body bytes; *bodiless*: it is a HEAD; *complete*: that is all."""
        carrier = self._carrier
        carrier.n_requests += 1
        self.sink = sink
        self._bodiless = bodiless
        opening = sink.opening
        if opening is None:
            end_at = out.find(b"\r\n\r\n")
            fields, rest = request_fields(out[:end_at], carrier.scheme)
        else:  # PERF: the head is not read again, 0.8 us less
            start, lines = opening
            at = len(start) + len(lines)
            end_at = out.find(b"\r\n\r\n", at)
            fields, name, value = opening_fields(start, lines, carrier.scheme)
            rest = ((name, value + out[at:end_at]),)
        body = out[end_at + 4 :]
        if sink.chunked:
            self._chunks = ChunkedReader(carrier.limits, payload_only=True)
            body = self._chunks.feed(body)[0]
        ended = complete and not body and not self._trailers_of(sink)
        codec = carrier.codec
        self.stream = stream = codec.request(fields, end=ended, head=bodiless, sensitive=sink.sensitive, rest=rest)
        stream.owner = self
        if ended:
            self._complete = True
        elif body or complete:
            self._send(sink, body, complete)
        carrier.wake()

    def send(self, data: bytes, complete: bool) -> None:
        """Send more of the body, framed in chunks or not as the sink says; *complete*: the request ends with it."""
        sink = self.sink
        if sink is None:
            return
        if self._chunks is not None:
            data = self._chunks.feed(data)[0]
        if data or complete:
            self._send(sink, data, complete)

    def send_eof(self) -> None:
        """Streams become no tunnels."""

    def hold_back(self) -> None:
        """Hand over no more of the answer until `read_on`."""
        self._held_back = True

    def read_on(self) -> None:
        """Undo `hold_back`."""
        if not self._held_back:
            return
        self._held_back = False
        self._give_back()
        sink = self.sink
        if sink is not None and (self._held or self._end_held):
            data = b"".join(self._held)
            self._held.clear()
            self._deliver(sink, data, self._end_held)
        self._carrier.wake()

    def abandon(self) -> None:
        """Drop the exchange: the stream is cancelled, the connection goes on."""
        self._reset(ErrorCode.CANCEL)

    def close(self) -> None:
        """Do the same: only tunnels end with bytes on their way."""
        self.abandon()

    # The request

    def _trailers_of(self, sink: Sink) -> bytes:
        """Return the field lines behind the request."""
        return sink.request_trailers if self._chunks is None else self._chunks.trailers

    def _send(self, sink: Sink, data: bytes, complete: bool) -> None:
        carrier = self._carrier
        if complete:
            self._complete = True
            lines = self._trailers_of(sink)
            if lines:
                self._trailers = fields_of(lines.split(b"\r\n"))
        if self._unsent or (carrier.stalled and data):
            self._unsent = self._unsent[self._at :] + data
            self._at = 0
            if carrier.stalled:
                carrier.waiting[self] = None
        else:
            n = carrier.codec.send_data(self.stream, data, end=complete and not self._trailers)
            carrier.wake()
            if n == len(data):
                if self._trailers:
                    carrier.codec.send_headers(self.stream, self._trailers, end=True)
                return
            self._unsent = data[n:]
        if not self.full:
            self.full = True
            sink.on_upstream_full()

    def pump(self) -> None:
        """Send one frame of what is unsent; where more may go at once, get in line again."""
        unsent, at = self._unsent, self._at
        if not unsent or not self.stream.sending:
            return
        carrier = self._carrier
        piece = unsent[at : at + FRAME_BYTES]
        whole = at + len(piece) == len(unsent)
        n = carrier.codec.send_data(self.stream, piece, end=whole and self._complete and not self._trailers)
        self._at = at + n
        if n < len(piece):
            return  # a WINDOW event will come
        if not whole:
            carrier.waiting[self] = None
            return
        self._unsent = b""
        self._at = 0
        if self._trailers:
            carrier.codec.send_headers(self.stream, self._trailers, end=True)
        self.full = False
        if self.sink is not None:
            self.sink.on_upstream_ready()

    # The answer, from the connection

    def on_head(self, head: Head, end: bool) -> None:
        """Take the head of the final answer."""
        self.answered = True
        sink = self.sink
        if sink is None:
            return
        answer = self._carrier.heads.head(head, end=end, bodiless=self._bodiless)
        self._framed = answer.length == CHUNKED and not sink.payload_only
        sink.on_head(answer, b"")
        if end and self.sink is sink:
            self._finish(sink)

    def on_interim(self, head: Head) -> None:
        """Take a 1xx."""
        sink = self.sink
        if sink is None:
            return
        self._n_interim += 1
        self._interim_bytes += len(head.lines)
        if self._n_interim > MAX_INTERIM or self._interim_bytes > self._carrier.limits.head_bytes:
            self.refuse(RemoteProtocolError("too many interim responses", reason="bad_response"))
        else:
            sink.on_interim(interim_head(head))

    def on_data(self, data: bytes, end: bool) -> None:
        """Take more of the body."""
        sink = self.sink
        if sink is None:
            self._carrier.codec.consumed(self.stream, len(data))
        elif self._held_back and (data or self._held):
            self._held.append(data)
            self._end_held = end
        elif data and not (end or self._framed):
            sink.on_body(data)
            if self._held_back:
                self._owed += len(data)
            else:
                self._carrier.codec.consumed(self.stream, len(data))
        else:
            self._deliver(sink, data, end)

    def on_trailers(self, head: Head) -> None:
        """Take the trailers: the answer ends."""
        sink = self.sink
        if sink is None:
            return
        self._response_trailers = head.lines
        if self._held:
            self._end_held = True
        else:
            self._deliver(sink, b"", True)

    def _deliver(self, sink: Sink, data: bytes, end: bool) -> None:
        trailers = self._response_trailers
        piece = data
        if self._framed:
            piece = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            if end:
                piece = b"%b0\r\n%b\r\n" % (piece, kept_trailers(trailers) if trailers else b"")
        if piece:
            sink.on_body(piece, end and (self._framed or not trailers))
        if data:
            self._owed += len(data)
            if not self._held_back:
                self._give_back()
        if end and self.sink is sink:
            self._finish(sink)

    def _give_back(self) -> None:
        owed, self._owed = self._owed, 0
        self._carrier.codec.consumed(self.stream, owed)

    def _finish(self, sink: Sink) -> None:
        """The answer is complete. RFC 9113 §8.1: what is left of the request need not be sent."""
        if self._response_trailers and sink.payload_only:
            sink.on_trailers(self._response_trailers)
        self._reset(ErrorCode.CANCEL)
        sink.on_end()

    def fail(self, error: UpstreamError) -> None:
        """The answer will not be completed: the stream is gone."""
        sink = self.sink
        self._reset(ErrorCode.CANCEL)
        if sink is not None:
            sink.on_failure(error)

    def refuse(self, error: RemoteProtocolError) -> None:
        """Take no answer that cannot be read, or is too large."""
        reason = error.reason if error.reason == "response_head_too_large" else "bad_response"
        self.fail(UpstreamError(str(error), kind=reason, status=502))

    def _reset(self, code: ErrorCode) -> None:
        """Let go of the sink, and end the stream where it has not ended."""
        self.sink = None
        self._unsent = b""
        self._held.clear()
        stream = self.stream
        stream.owner = None  # no cycles are left for the garbage collector
        if stream.receiving or stream.sending:
            self._carrier.codec.reset(stream, code)
            self._carrier.wake()
