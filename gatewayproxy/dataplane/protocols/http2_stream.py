"""One stream of a downstream HTTP/2 connection, as its exchange sees it: a client that asks once. RFC 9113 §8.1.

Both bodies are paced here. What of a response the client's windows do not take waits in the stream, and the endpoint is
not read until it is gone; what of a request the endpoint does not take waits too, and its window is not given back.
So a stream holds one read of the endpoint and `h2_stream_window_bytes` of the client at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Protocol

from gatewayproxy.dataplane.protocols.answers import ANSWERS, answer_bytes
from gatewayproxy.dataplane.protocols.dates import dated
from gatewayproxy.dataplane.protocols.exchange import Exchange
from gatewayproxy.dataplane.protocols.site import Site
from gatewayproxy.dataplane.protocols.state import BODY, CLOSED, RESPONSE
from gatewayproxy.dataplane.protocols.targets import Target
from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.routing.table import HostIndex, ListenerLabel, VirtualHost
from gatewayproxy.wire.h2 import H2Server, Stream
from gatewayproxy.wire.h2bridge import response_fields
from gatewayproxy.wire.h2frames import FRAME_BYTES, ErrorCode
from gatewayproxy.wire.hpack import Field

__all__ = ["Carrier", "Http2Stream", "Known"]

# Host, index, virtual host, target and lines of the last request: see `Http1Connection.known_host` and its neighbours.
Known = tuple[bytes, HostIndex | None, VirtualHost | None, Target | None, bytes | None]


class Carrier(Protocol):
    """The connection, as its streams see it."""

    site: Site
    listener: ListenerLabel | None
    peer: bytes
    constant: bytes  # `forwarded.constant_lines`
    known: Known
    codec: H2Server
    stalled: bool  # the client does not read
    waiting: dict[Http2Stream, None]  # streams with bytes to send, longest waiting first

    def wake(self) -> None:
        """Send what the codec has queued, once this turn."""

    def queued(self, n: int) -> None:
        """Send what the codec has queued, *n* bytes more of a body."""


class Http2Stream:
    """See the module. *chunked*: the request's body goes up in chunks: its length is not known, and they are."""

    __slots__ = (
        "_at", "_carrier", "_ended", "_held", "_held_trailers", "_moved_at", "_owed", "_paused", "_received_all",
        "_received_bytes", "_trailers", "_unsent", "chunked", "constant", "exchange",
        "known_host", "known_index", "known_lines", "known_target", "known_vhost", "listener", "peer", "site", "state",
        "stream", "tunnel_half_closed",
    )  # fmt: skip

    def __init__(self, carrier: Carrier, stream: Stream, *, chunked: bool, now: float) -> None:
        self._carrier = carrier
        self.stream = stream
        self.site = carrier.site
        self.listener = carrier.listener
        self.peer = carrier.peer
        self.constant = carrier.constant
        self.known_host, self.known_index, self.known_vhost, self.known_target, self.known_lines = carrier.known
        self.exchange: Exchange | None = None
        self.state = BODY  # CLOSED: the exchange has ended, its last bytes may still wait
        self.tunnel_half_closed = False
        self.chunked = chunked
        self._received_bytes = 0
        self._received_all = False
        # Of the request's body, as the endpoint takes no more. One buffer: a client may send it byte by byte.
        self._held: bytearray | None = None
        self._held_trailers = b""
        self._owed = 0  # bytes of the request's window, to be given back once the endpoint takes more
        self._paused = False
        self._unsent = b""  # of the response: from `_at` on
        self._at = 0
        self._trailers: Sequence[Field] = ()
        self._ended = False  # END_STREAM is sent, or goes behind what is unsent
        self._moved_at = now  # a byte of either body went on

    def begin(self, exchange: Exchange, body: bytes, *, end: bool) -> None:
        """Start *exchange* with what has come of its body; *end*: with all of it."""
        self.exchange = exchange
        if body:
            self._received_bytes = len(body)
            if self._too_large(exchange):
                return
        if end:
            self._received_all = True
            self.state = RESPONSE
        self._start(exchange, body)
        if body:
            self._consumed(len(body))

    def _start(self, exchange: Exchange, body: bytes) -> None:
        try:
            exchange.begin(body)
        except Exception:  # our own fault must not cost more than this exchange
            exchange.on_fault()
        self._carrier.known = (
            self.known_host, self.known_index, self.known_vhost, self.known_target, self.known_lines,
        )  # fmt: skip

    def first_chunk(self, body: bytes, trailers: bytes) -> bytes:
        """Return the *body* that the exchange begins with in chunks, as all that follows will be.

        *trailers*: field lines behind it, if it is all there.
        """
        self.chunked = True
        whole = self.state is not BODY
        return self._framed(body, whole, trailers) if body or whole else b""

    def refuse(self, error: RemoteProtocolError, body: bytes) -> None:
        """Answer a request that never becomes an exchange."""
        lines, site = b"", self.site
        if site.disclosure is not None:
            lines = site.disclosure.answer_lines(b"", None, self.listener, error.reason, site.context.generation)
        self.answer(error.status, body, head_only=False, lines=lines)
        self.on_exchange_done(self._moved_at)

    # The request

    def on_data(self, data: bytes, end: bool, now: float, trailers: bytes = b"") -> None:
        """Take more of the body; *trailers*: field lines behind it, where it ends."""
        exchange = self.exchange
        if self.state is not BODY or exchange is None:
            self._carrier.codec.consumed(self.stream, len(data))
            return
        self._moved_at = now
        self._received_bytes += len(data)
        if self._too_large(exchange):
            return
        self._received_all = end
        if self._paused or exchange.upstream is None:
            self._hold(data)
            self._held_trailers = trailers
        else:
            self._pass_on(exchange, data, trailers)
            self._consumed(len(data))

    def on_trailers(self, lines: bytes, now: float) -> None:
        """Take the field *lines* behind the body, which ends it."""
        self.on_data(b"", True, now, lines)

    def _hold(self, data: bytes) -> None:
        self._paused = True
        self._owed += len(data)
        if self._held is None:
            self._held = bytearray(data)
        else:
            self._held += data

    def _too_large(self, exchange: Exchange) -> bool:
        bound = self.site.limits.body_bytes
        if not self._received_bytes > bound > 0:
            return False
        message = f"body of more than {bound} bytes"
        exchange.on_bad_request(RemoteProtocolError(message, status=413, reason="body_too_large"))
        return True

    def _framed(self, data: bytes, end: bool, trailers: bytes) -> bytes:
        if not self.chunked:
            return data
        piece = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        return b"%b0\r\n%b\r\n" % (piece, trailers) if end else piece

    def _pass_on(self, exchange: Exchange, data: bytes, trailers: bytes) -> None:
        end = self._received_all
        if trailers:
            trailers = exchange.kept_trailers(trailers)
        piece = self._framed(data, end, trailers)
        if end:
            self.state = RESPONSE
            if not self.chunked:
                exchange.request_trailers = trailers
        exchange.on_request_body(piece, end)

    def _consumed(self, n: int) -> None:
        if self._paused:
            self._owed += n
        else:
            self._carrier.codec.consumed(self.stream, n)

    def pause_body(self) -> None:
        """Let the client's window run out, until `resume_body`."""
        self._paused = True

    def resume_body(self) -> None:
        """Send on what was held, and give the window back."""
        if not self._paused:
            return
        self._paused = False
        held, self._held = self._held, None
        if held is not None and self.exchange is not None:
            self._pass_on(self.exchange, bytes(held), self._held_trailers)
        if not self._paused:  # the endpoint may be full again
            owed, self._owed = self._owed, 0
            self._carrier.codec.consumed(self.stream, owed)
            self._carrier.wake()

    # The response

    def send_head(
        self, fields: Sequence[Field], *, end: bool = False, sensitive: frozenset[bytes] = frozenset()
    ) -> None:
        """Queue a head; *end*: no body follows; *sensitive*: names never to be indexed."""
        if not self.stream.sending:
            return  # the client has reset it in the bytes that are just being read
        self._ended = end
        self._carrier.codec.send_headers(self.stream, fields, end=end, sensitive=sensitive)
        self._carrier.wake()

    def answer(self, status: int, body: bytes, *, head_only: bool, lines: bytes = b"") -> None:
        """Queue a whole response of our own; *lines* are further field lines, each ended by CRLF."""
        head = answer_bytes(status, body, head_only=True, lines=dated(lines))
        bodiless = head_only or not body
        self.send_head(response_fields(status, head.partition(b"\r\n")[2]), end=bodiless)
        if not bodiless:
            self.send_body(body, end=True)

    def send_body(self, data: bytes, *, end: bool = False) -> None:
        """Queue more of the body, as far as the client's windows go; *end*: that is all."""
        carrier = self._carrier
        if not self.stream.sending:
            return
        self._ended = end
        if self._unsent or carrier.stalled:
            self._unsent = self._unsent[self._at :] + data
            self._at = 0
            if carrier.stalled:
                carrier.waiting[self] = None
        else:
            n = carrier.codec.send_data(self.stream, data, end=end)
            carrier.queued(n)
            if n == len(data):
                return
            self._unsent = data[n:] if n else data
            self._moved_at = monotonic()
        exchange = self.exchange
        if exchange is not None and exchange.upstream is not None:
            exchange.upstream.hold_back()

    def end(self, trailers: Sequence[Field] = ()) -> None:
        """End the response, behind what is unsent."""
        if self._ended:
            return
        self._ended = True
        self._trailers = trailers
        if not self._unsent:
            self._send_end()

    def _send_end(self) -> None:
        codec = self._carrier.codec
        if not self.stream.sending:
            return
        if self._trailers:
            codec.send_headers(self.stream, self._trailers, end=True)
        else:
            codec.send_data(self.stream, b"", end=True)
        self._carrier.wake()

    def pump(self, now: float) -> None:
        """Send one frame of what is unsent; where more may go at once, get in line again."""
        if not self.stream.sending or not self._unsent:
            return
        carrier = self._carrier
        unsent, at = self._unsent, self._at
        piece = unsent[at : at + FRAME_BYTES]
        whole = at + len(piece) == len(unsent)
        n = carrier.codec.send_data(self.stream, piece, end=whole and self._ended and not self._trailers)
        self._at = at + n
        if n:
            self._moved_at = now
        if n < len(piece):
            return  # a WINDOW event will come
        if not whole:
            carrier.waiting[self] = None
            return
        self._unsent = b""
        self._at = 0
        if self._trailers:
            self._send_end()
        if self.state is CLOSED:
            self._settle()
        elif self.exchange is not None and self.exchange.upstream is not None:
            self.exchange.upstream.read_on()

    def on_exchange_done(self, now: float) -> None:
        """The exchange is over; its last bytes may still have to go."""
        self.exchange = None
        self.state = CLOSED
        self._held = None
        if not self._unsent:
            self._settle()

    def _settle(self) -> None:
        """RFC 9113 §8.1: behind a complete response, ask a client that is still sending to stop."""
        stream = self.stream
        stream.owner = None
        if stream.receiving or stream.sending:
            self._carrier.codec.reset(stream, ErrorCode.NO_ERROR)
            self._carrier.wake()

    def send_eof(self) -> None:
        """End our direction of a tunnel, behind what is unsent."""
        self.end()

    def close(self) -> None:
        """End a tunnel behind what is unsent: both directions have ended, or the endpoint has left."""
        exchange = self.exchange
        self.end()
        if exchange is not None:
            exchange.on_client_lost()
        self.on_exchange_done(self._moved_at)

    def cut(self) -> None:
        """End an answer that has begun in a way that its reader notices."""
        self.reset(ErrorCode.INTERNAL_ERROR)

    def reset(self, code: ErrorCode) -> None:
        """End the stream at once."""
        self._drop()
        self._carrier.codec.reset(self.stream, code)
        self._carrier.wake()

    def lost(self, reason: str = "") -> None:
        """The stream, or its connection, is gone; *reason*: where it was not the client's wish."""
        exchange = self.exchange
        self._drop()
        if exchange is not None:
            exchange.reason = reason
            exchange.on_client_lost()

    def _drop(self) -> None:
        self.stream.owner = None  # no cycles are left for the garbage collector
        self.exchange = None
        self.state = CLOSED
        self._unsent = b""
        self._held = None

    # Time

    def on_tick(self, now: float) -> None:
        """End what has not moved for too long."""
        limits = self.site.limits
        silence_s = now - self._moved_at
        exchange = self.exchange
        if self._unsent:
            if silence_s > limits.idle_timeout_s:
                self.lost("idle_timeout")
                self.reset(ErrorCode.CANCEL)
        elif self.state is BODY and not self._paused and silence_s > limits.body_timeout_s and exchange is not None:
            if exchange.may_be_silent:
                return  # PINGs tell whether the client is there
            status, message = ANSWERS["body_timeout"]
            exchange.on_bad_request(RemoteProtocolError(message, status=status, reason="body_timeout"))
