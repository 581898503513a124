"""gRPC-Web on GRPCRoutes: a call as a browser can make it, spoken to the endpoint as gRPC. grpc/doc PROTOCOL-WEB.md.

A `Translation` stands between an exchange and its upstream, an `Upstream` to the one and a `Sink` to the other, for one
attempt: so what a second attempt sends is read from the start. Both bodies pass piece by piece as they come, with the
backpressure of the two sides; nothing waits here but a part of a frame's head and of a base64 group, and the trailers,
which become the last frame. An answer that is no gRPC (an error page) passes as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from gatewayproxy.dataplane.protocols.call_answers import end_lines
from gatewayproxy.dataplane.protocols.grpc import note_status
from gatewayproxy.dataplane.upstream.connection import Sink, Upstream
from gatewayproxy.errors import RemoteProtocolError, UpstreamError
from gatewayproxy.model.limits import Limits
from gatewayproxy.wire.chunked import ChunkedReader, kept_trailers
from gatewayproxy.wire.grammar import FIELD_LINE, cut_lines, join_kept
from gatewayproxy.wire.grpc import Code, content_type, status_lines
from gatewayproxy.wire.grpc_web import Base64Reader, Base64Writer, Form, Frames, form_of, trailers_frame
from gatewayproxy.wire.head import CHUNKED, RequestHead
from gatewayproxy.wire.response import ENDED, ResponseHead

if TYPE_CHECKING:
    from gatewayproxy.dataplane.protocols.exchange import Exchange

__all__ = ["Translation", "asked_form", "translated"]

_MENTIONED: Final = (b"application/grpc-web",)
_REQUEST_CUT: Final = frozenset((b"content-type", b"content-length", b"transfer-encoding", b"te"))
_RESPONSE_CUT: Final = frozenset((b"content-type", b"content-length", b"transfer-encoding", b"trailer"))
_KIND: Final = frozenset((b"content-type",))
_NO_TRAILERS: Final = status_lines(Code.INTERNAL, "bad_response: the backend ended the call without grpc-status")


def translated(exchange: Exchange, upstream: Upstream) -> Upstream:
    """Return the way on which *exchange* is to send a call: *upstream* itself where it is not of gRPC-Web."""
    head = exchange.head
    if head.plain_call:
        return upstream
    form = asked_form(head)
    if form is None:
        head.plain_call = True
        return upstream
    limits = exchange.connection.site.limits
    note = partial(note_status, exchange)
    return Translation(form, exchange, upstream, limits, refuse=exchange.on_bad_request, note=note)


def asked_form(head: RequestHead) -> Form | None:
    """Return the form of the call that *head* begins, None where it is not of gRPC-Web."""
    if not head.mentions(_MENTIONED):
        return None
    return form_of(head.field(b"content-type"), head.field(b"accept"))


class Translation:
    """See the module. *refuse* is called where the request breaks the protocol, *note* with the lines of its status."""

    __slots__ = (
        "_base64", "_chunked", "_chunks", "_form", "_frames", "_limits", "_note", "_plain", "_refuse",
        "_request_frames", "_sink", "_trailers", "_upstream", "_writer", "chunked", "opening", "payload_only",
        "request_trailers",
    )  # fmt: skip

    def __init__(
        self,
        form: Form,
        sink: Sink,
        upstream: Upstream,
        limits: Limits,
        *,
        refuse: Callable[[RemoteProtocolError], None],
        note: Callable[[bytes], None] | None = None,
    ) -> None:
        self.payload_only = True
        self.chunked = True
        self.request_trailers = b""
        self.opening = None
        self._form = form
        self._sink = sink
        self._upstream = upstream
        self._limits = limits
        self._refuse = refuse
        self._note = note
        self._chunks: ChunkedReader | None = None  # reads the framing of a request that comes in chunks
        self._base64 = Base64Reader() if form.text else None
        self._request_frames = Frames()
        self._plain = False  # the answer has no last frame: it is no gRPC, or its status is in the head
        self._chunked = False  # the sink wants the answer in chunks
        self._frames = Frames()
        self._writer = Base64Writer() if form.answer_text else None
        self._trailers = b""

    # Upstream: the request

    @property
    def fresh(self) -> bool:
        """Return whether nothing was asked of the endpoint on this connection before."""
        return self._upstream.fresh

    @property
    def sensitive(self) -> frozenset[bytes]:
        """Return the names of fields that must never be indexed."""
        return self._sink.sensitive

    @property
    def full(self) -> bool:
        """Return whether the sink was told to stop sending."""
        return self._upstream.full

    @property
    def unsent(self) -> int:
        """Return how many bytes of the request wait in the upstream."""
        return self._upstream.unsent

    def start(self, sink: Sink, out: bytes, bodiless: bool, complete: bool) -> None:
        """Send *out*, an HTTP/1.1 head and the first body bytes, as a gRPC call."""
        start, end = out.find(b"\r\n") + 2, out.find(b"\r\n\r\n") + 2
        kept = join_kept(out, start, end, cut_lines(out, start, end, _REQUEST_CUT))
        own = b"content-type: %b\r\nte: trailers\r\ntransfer-encoding: chunked\r\n" % self._form.inner
        head = b"%b%b%b\r\n" % (out[:start], kept, own)
        if sink.chunked:
            self._chunks = ChunkedReader(self._limits, payload_only=True)
        try:
            piece = self._piece(out[end + 2 :], complete)
        except RemoteProtocolError as error:
            self._upstream.start(self, head, bodiless, False)  # so that there is something to abandon
            self._refuse(error)
            return
        self._upstream.start(self, head + piece, bodiless, complete)

    def send(self, data: bytes, complete: bool) -> None:
        """Send more of the body."""
        try:
            piece = self._piece(data, complete)
        except RemoteProtocolError as error:
            self._refuse(error)
            return
        if piece or complete:
            self._upstream.send(piece, complete)

    def _piece(self, data: bytes, complete: bool) -> bytes:
        """Return *data* as the endpoint gets it: messages, in chunks."""
        if self._chunks is not None:
            data, _ = self._chunks.feed(data)
        if self._base64 is not None:
            data = self._base64.feed(data)
        self._request_frames.feed(data)
        if complete:
            if self._base64 is not None:
                self._base64.end()
            self._request_frames.end()
        return _chunk(data, b"" if complete else None)

    def tunnel(self) -> Upstream:
        """Calls become no tunnels."""
        return self

    def send_eof(self) -> None:
        """Calls become no tunnels."""

    def hold_back(self) -> None:
        """Read no more of the answer until `read_on`."""
        self._upstream.hold_back()

    def read_on(self) -> None:
        """Undo `hold_back`."""
        self._upstream.read_on()

    def close(self) -> None:
        """Calls become no tunnels: drop it."""
        self._upstream.abandon()

    def abandon(self) -> None:
        """Drop the exchange; no call of the sink follows."""
        self._upstream.abandon()

    # Sink: the answer

    def on_head(self, head: ResponseHead, body: bytes) -> None:
        """Say what the client asked for instead of gRPC."""
        sink = self._sink
        if not content_type(_kind_of(head)):
            self._plain = True
            self._chunked = head.length == CHUNKED and not sink.payload_only
            sink.on_head(head, _chunk(body, None) if self._chunked else body)
            return
        ended = head.length in (0, ENDED)  # Trailers-Only: its status stays in the head
        self._plain = ended
        if ended and self._note is not None:
            self._note(head.buf[head.fields_start : head.fields_end])
        self._chunked = not ended and not sink.payload_only
        answer = _answer_head(head, self._form.answer, ended=ended)
        try:
            piece = self._answer_piece(body)
        except RemoteProtocolError as error:
            self._fail(error)
            return
        sink.on_head(answer, _chunk(piece, None) if self._chunked else piece)

    def on_interim(self, head: ResponseHead) -> None:
        """Pass a 1xx on."""
        self._sink.on_interim(head)

    def on_switch(self, head: ResponseHead, data: bytes) -> bool:
        """Calls become no tunnels."""
        return False

    def on_body(self, data: bytes, last: bool = False) -> None:
        """Send more of the messages."""
        if self._plain:
            self._sink.on_body(_chunk(data, None) if self._chunked else data, last and not self._chunked)
            return
        try:
            piece = self._answer_piece(data)
        except RemoteProtocolError as error:
            self._fail(error)
            return
        if piece:
            self._sink.on_body(_chunk(piece, None) if self._chunked else piece)

    def _answer_piece(self, data: bytes) -> bytes:
        frames, writer = self._frames, self._writer
        frames.feed(data)
        return data if writer is None else writer.feed(data, whole=frames.whole)

    def on_trailers(self, lines: bytes) -> None:
        """Keep them for the end."""
        self._trailers = lines

    def on_end(self) -> None:
        """Send the trailers as the last frame."""
        if self._plain:
            self._end_plain()
        elif self._frames.whole:
            self._send_trailers(self._trailers or _NO_TRAILERS)
            self._sink.on_end()
        else:
            error = UpstreamError("the backend ended its answer within a message", kind="bad_response", status=502)
            self._sink.on_failure(error)

    def end(self, status: int, reason: str) -> bool:
        """End an answer that has begun for a reason of ours, if that may be said now: between two messages."""
        if self._plain or not self._frames.whole:
            return False
        self._send_trailers(end_lines(status, reason))
        return True

    def _send_trailers(self, lines: bytes) -> None:
        if self._note is not None:
            self._note(lines)
        frame = trailers_frame(lines)
        if self._writer is not None:
            frame = self._writer.feed(frame, whole=True)
        self._sink.on_body(_chunk(frame, b"") if self._chunked else frame, True)

    def _end_plain(self) -> None:
        sink = self._sink
        if self._chunked:
            sink.on_body(_chunk(b"", kept_trailers(self._trailers)), True)
        elif self._trailers:
            sink.on_trailers(self._trailers)
        sink.on_end()

    def on_tunnel_eof(self) -> None:
        """Calls become no tunnels."""

    def on_failure(self, error: UpstreamError) -> None:
        """The answer will not be completed."""
        self._sink.on_failure(error)

    def on_upstream_full(self) -> None:
        """Stop sending body bytes until `on_upstream_ready`."""
        self._sink.on_upstream_full()

    def on_upstream_ready(self) -> None:
        """Go on sending."""
        self._sink.on_upstream_ready()

    def _fail(self, error: RemoteProtocolError) -> None:
        """Take no more of an answer that is not whole messages."""
        self._plain = True  # and what has been sent of it may end anywhere
        self._upstream.abandon()
        self._sink.on_failure(UpstreamError(f"the backend's answer: {error}", kind="bad_response", status=502))


def _chunk(data: bytes, trailers: bytes | None) -> bytes:
    """Return *data* as a chunk, b"" where there is none; with *trailers* the body ends behind it."""
    piece = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
    return piece if trailers is None else b"%b0\r\n%b\r\n" % (piece, trailers)


def _kind_of(head: ResponseHead) -> bytes:
    """Return the Content-Type of *head*; of two, what is none."""
    spans = cut_lines(head.buf, head.fields_start, head.fields_end, _KIND)
    lines = [FIELD_LINE.match(head.buf, *span) for span in spans]
    return b",".join([line[2].rstrip(b" \t") for line in lines if line is not None])


def _answer_head(head: ResponseHead, kind: bytes, *, ended: bool) -> ResponseHead:
    """Return *head* with Content-Type *kind*; *ended*: no body follows, else one of a length that is not known."""
    cut = _KIND if ended else _RESPONSE_CUT
    cuts = (*head.cuts, *cut_lines(head.buf, head.fields_start, head.fields_end, cut))
    kept = join_kept(head.buf, head.fields_start, head.fields_end, cuts)
    line = b"HTTP/1.1 200 OK\r\n" if head.status == 200 else b"HTTP/1.1 %d \r\n" % head.status
    answer = ResponseHead()
    answer.buf = b"%b%bcontent-type: %b\r\n\r\n" % (line, kept, kind)
    answer.low = answer.buf.lower()
    answer.status = head.status
    answer.keep_alive = answer.intact = True
    answer.fields_start = len(line)
    answer.end = len(answer.buf)
    answer.fields_end = answer.end - 2
    answer.length = head.length if ended else CHUNKED
    return answer
