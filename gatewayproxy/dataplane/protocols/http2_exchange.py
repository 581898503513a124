"""An exchange whose client speaks HTTP/2: the request is as in `exchange`, the answer becomes frames. RFC 9113 §8."""

from __future__ import annotations

from time import monotonic

from gatewayproxy.dataplane.protocols import call_answers, grpc
from gatewayproxy.dataplane.protocols.answers import answer_body
from gatewayproxy.dataplane.protocols.dates import dated
from gatewayproxy.dataplane.protocols.exchange import Downstream, Exchange
from gatewayproxy.dataplane.protocols.http2_stream import Http2Stream
from gatewayproxy.routing.table import RouteEntry
from gatewayproxy.wire.edit import rewrite_response
from gatewayproxy.wire.h2bridge import response_fields, trailer_fields
from gatewayproxy.wire.h2frames import ErrorCode
from gatewayproxy.wire.head import CHUNKED, RequestHead
from gatewayproxy.wire.response import ENDED, ResponseHead

__all__ = ["Http2Exchange"]

_ENDED = (0, ENDED)  # ResponseHead.length of answers that end with their head


class Http2Exchange(Exchange):
    """See the module."""

    __slots__ = ("_left", "_trailers")

    connection: Http2Stream

    def __init__(self, stream: Http2Stream, head: RequestHead) -> None:
        Exchange.__init__(self, stream, head)
        self.payload_only = True
        self._left = -1  # bytes of the response's body to come, -1 unknown
        self._trailers = b""

    @property
    def version(self) -> str:
        """HTTP's, as the access log has it."""
        return "2"

    @property
    def chunked(self) -> bool:
        """Return whether the body goes up in chunks: an endpoint that speaks HTTP/2 gets it as it came."""
        return self.connection.chunked

    def _find(self, connection: Downstream) -> RouteEntry | None:
        """Do as the base does; PERF: what a head that is repeated led to is remembered, 1 us less.

        All that it depends on but the head and the table is the connection's.
        """
        head = self.head
        index = connection.site.index
        known = head.routed
        if known is not None and known[0] is index and head.authority == connection.known_host:
            self.vhost = known[1]
            found: RouteEntry = known[2]
            return found
        entry = super()._find(connection)
        if entry is not None:
            head.routed = index, self.vhost, entry
        return entry

    def first_piece(self, body: bytes, multiplexed: bool) -> bytes:
        """Count and return what there is of the *body* as `chunked` says; *multiplexed*: it goes to HTTP/2."""
        stream = self.connection
        if self.request_trailers:
            self.request_trailers = self.kept_trailers(self.request_trailers)
        if multiplexed or self.head.length != CHUNKED:
            stream.chunked = False
        else:
            body = stream.first_chunk(body, self.request_trailers)
        self.bytes_in = len(body)
        return body

    def on_head(self, head: ResponseHead, body: bytes) -> None:
        """Send the response head and the first bytes of its body."""
        target = self.target
        assert target is not None
        stream = self.connection
        self.out = b""
        self.status = head.status
        if stream.site.context.access is not None:
            self.first_at = monotonic()
        if target.entry.grpc and (head.length in _ENDED or head.status != 200):
            grpc.note_head(self, head)
        self.bytes_out = len(body)
        length = head.length
        known = head.edited
        if known is not None and known[0] is target:
            fields = known[1]
        else:
            fields = response_fields(head.status, self._edited(head))
            if head.repeats:
                head.edited = target, fields
        stream.send_head(fields, end=length in _ENDED, sensitive=head.sensitive)
        if length > 0 and not (target.cluster and target.cluster.multiplexed):
            self._left = length
        if body:
            self._send(body)

    def _edited(self, head: ResponseHead) -> bytes:
        """Return the field lines of *head*, edited."""
        target = self.target
        assert target is not None
        starts = target.response_starts
        if head.intact and not (starts and head.mentions(starts)):
            return head.buf[head.fields_start : head.fields_end] + target.response_tail
        return rewrite_response(head, b"", target.response).partition(b"\r\n")[2]

    def _send(self, body: bytes, last: bool = False) -> None:
        left = self._left
        if left >= 0:
            left -= len(body)
            self._left = left
        self.connection.send_body(body, end=last or left == 0)

    def on_interim(self, head: ResponseHead) -> None:
        """Pass a 1xx on."""
        self.out = b""
        lines = rewrite_response(head, b"", None).partition(b"\r\n")[2]
        self.connection.send_head(response_fields(head.status, lines), sensitive=head.sensitive)

    def on_switch(self, head: ResponseHead, data: bytes) -> bool:
        """RFC 9113 §8.6: there is no 101 in HTTP/2."""
        return False

    def on_body(self, data: bytes, last: bool = False) -> None:
        """Send more of the body."""
        self.bytes_out += len(data)
        self._send(data, last)

    def on_trailers(self, lines: bytes) -> None:
        """Keep them for the end."""
        self._trailers = lines
        target = self.target
        if target is not None and target.entry.grpc:
            if lines.startswith(grpc.SUCCESS):
                self.grpc_status = "0"
            else:
                grpc.note_status(self, lines)

    def on_end(self) -> None:
        """The response is complete."""
        self.upstream = None
        trailers = self._trailers
        self.connection.end(trailer_fields(trailers) if trailers else ())
        self.connection.on_exchange_done(self.finish())

    def cut(self, reason: str) -> None:
        """End an answer that has begun: a deadline cancels the call, grpc/doc PROTOCOL-HTTP2.md."""
        self.reason = reason
        self._count_refusal()
        self.finish()
        self.connection.reset(ErrorCode.CANCEL if reason in call_answers.DEADLINES else ErrorCode.INTERNAL_ERROR)

    def answer_with(
        self,
        status: int,
        reason: str,
        detail: str = "",
        *,
        lines: bytes = b"",
        body: bytes | None = None,
        close: bool = False,
    ) -> None:
        """Answer *status*. The connection goes on, whatever has become of this request."""
        self.reason, self.detail = reason, detail
        self._count_refusal()
        lines = self._answer_lines(lines)
        call = call_answers.answer_to(self.head, status, reason, lines)
        if call is not None:
            self.status = 200
            self.failed = status >= 500
            self.grpc_status = str(call.code.value)
            self.connection.send_head(response_fields(200, dated(call.lines)), end=True)
        else:
            self.status = status
            if body is None:
                body = answer_body(status, reason)
            head_only = self.head.method == b"HEAD"
            self.bytes_out = 0 if head_only else len(body)
            self.connection.answer(status, body, head_only=head_only, lines=lines)
        self.connection.on_exchange_done(self.finish())
