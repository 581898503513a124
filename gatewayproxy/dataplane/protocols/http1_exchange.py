"""An exchange whose client speaks HTTP/1.1: the request is as in `exchange`, the answer becomes bytes. RFC 9112."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from gatewayproxy.dataplane.protocols import call_answers, upgrade
from gatewayproxy.dataplane.protocols.answers import answer_body, answer_bytes
from gatewayproxy.dataplane.protocols.dates import dated
from gatewayproxy.dataplane.protocols.exchange import Exchange
from gatewayproxy.dataplane.protocols.state import BODY
from gatewayproxy.wire.edit import rewrite_response
from gatewayproxy.wire.head import CHUNKED
from gatewayproxy.wire.response import ENDED, UNTIL_CLOSE, ResponseHead

if TYPE_CHECKING:
    from gatewayproxy.dataplane.protocols.http1 import Http1Connection

__all__ = ["Http1Exchange"]


class Http1Exchange(Exchange):
    """See the module."""

    __slots__ = ()

    connection: Http1Connection

    def on_head(self, head: ResponseHead, body: bytes) -> None:
        """Send the response head and the first bytes of its body."""
        connection = self.connection
        target = self.target
        assert target is not None
        self.out = b""
        self.status = head.status
        if connection.site.context.access is not None:
            self.first_at = monotonic()
        self.bytes_out = len(body)
        usual = head.length >= 0 and connection.keep_alive and not connection.ending and connection.state is not BODY
        starts = target.response_starts
        if not usual or self.payload_only:
            out = rewrite_response(head, self._framing_lines(head.length), target.response) + body
        elif not head.intact or (starts and head.mentions(starts)):
            out = rewrite_response(head, b"", target.response) + body
        else:
            out = b"".join((head.buf[: head.fields_end], target.response_tail, body))
        connection.transport.write(out)

    def _framing_lines(self, length: int) -> bytes:
        """Return what is true of this answer on the client's connection; *length* as in ResponseHead."""
        connection = self.connection
        own = b""
        if length == CHUNKED:
            if self.payload_only:
                connection.keep_alive = False
            else:
                own = b"transfer-encoding: chunked\r\n"
        elif length == UNTIL_CLOSE:
            connection.keep_alive = False
        elif length == ENDED:
            own = b"content-length: 0\r\n"
        if connection.state is BODY or connection.ending:
            connection.keep_alive = False  # an early answer: what is left of the body is not a request
        if not connection.keep_alive:
            own += b"connection: close\r\n"
        elif self.payload_only:
            own += b"connection: keep-alive\r\n"
        return own

    def on_interim(self, head: ResponseHead) -> None:
        """Pass a 1xx on. RFC 9110 §15.2: not to an HTTP/1.0 client."""
        self.out = b""
        if self.head.minor == 1:
            self.connection.transport.write(rewrite_response(head, b"", None))

    def on_switch(self, head: ResponseHead, data: bytes) -> bool:
        """Become a tunnel."""
        return upgrade.switch(self, head, data)

    def on_body(self, data: bytes, last: bool = False) -> None:
        """Send more of the response body, or of a tunnel's bytes."""
        self.bytes_out += len(data)
        connection = self.connection
        if self.tunnel:
            connection.touch_tunnel()
        connection.transport.write(data)

    def on_trailers(self, lines: bytes) -> None:
        """Drop them: only an HTTP/1.0 client gets bodies without framing here, and it knows no trailers."""

    def on_end(self) -> None:
        """The response is complete."""
        self.upstream = None
        if self.tunnel:
            upgrade.on_upstream_lost(self, "upstream_closed")
            return
        self.connection.on_exchange_done(self.finish())

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
        """Answer *status*; the connection goes on if the request is complete and nothing else speaks against it."""
        connection = self.connection
        self.reason, self.detail = reason, detail
        lines = self._answer_lines(lines)
        call = call_answers.answer_to(self.head, status, reason, lines)
        if call is not None:
            self.failed = status >= 500
            status, lines, body = 200, call.lines, b""
            self.grpc_status = str(call.code.value)
        self.status = status
        if body is None:
            body = answer_body(status, reason)
        head_only = self.head.method == b"HEAD"
        self.bytes_out = 0 if head_only else len(body)
        if close or connection.state is BODY or connection.ending:
            connection.keep_alive = False
        if not connection.keep_alive:
            lines += b"connection: close\r\n"
        elif self.head.minor == 0:
            lines += b"connection: keep-alive\r\n"
        self._count_refusal()
        connection.transport.write(answer_bytes(status, body, head_only=head_only, lines=dated(lines)))
        connection.on_exchange_done(self.finish())

    def cut(self, reason: str) -> None:
        """End an answer that has begun in a way that its reader notices."""
        self.reason = reason
        self._count_refusal()
        connection = self.connection
        self.finish()
        connection.cut()
