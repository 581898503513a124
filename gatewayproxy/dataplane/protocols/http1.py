"""A downstream HTTP/1.1 connection: reads requests one after another, hands each to an Exchange. RFC 9112 §9.

Framing and time are here: request bodies, pipelining, keep-alive, half-close, deadlines, lingering close. Pipelined
bytes are held until the answer before them is complete, at most `head_bytes` before reading pauses.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final, cast

from gatewayproxy.dataplane.protocols import upgrade
from gatewayproxy.dataplane.protocols.answers import ANSWERS, answer_body, answer_bytes
from gatewayproxy.dataplane.protocols.dates import dated
from gatewayproxy.dataplane.protocols.forwarded import constant_lines, peer_address
from gatewayproxy.dataplane.protocols.http1_exchange import Http1Exchange
from gatewayproxy.dataplane.protocols.record import refusal_record
from gatewayproxy.dataplane.protocols.site import Site
from gatewayproxy.dataplane.protocols.state import BODY, CLOSED, IDLE, LINGER, RESPONSE, TUNNEL
from gatewayproxy.dataplane.protocols.targets import Target
from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.routing.table import HostIndex, ListenerLabel, VirtualHost
from gatewayproxy.wire.chunked import ChunkedReader
from gatewayproxy.wire.head import CHUNKED, parse_request
from gatewayproxy.wire.plain import KNOWN_BYTES, PlainFields

__all__ = ["Http1Connection"]

PARTING_S: Final = 1.0  # for a request that is on its way while we drain
_LEAST_DRAIN_S: Final = 4.0  # of `Limits.drain_s`; with less there is no time for that
_LINGER_S: Final = 2.0  # RFC 9112 §9.6: how long we read on so that a reset does not take our answer away


class Http1Connection(asyncio.Protocol):
    """See the module. *listener*: the one that a TLS server name chose, None for clear text."""

    __slots__ = (
        "_body_paused", "_bytes_seen", "_chunks", "_held_paused", "_left", "_skipped_line", "_stalled", "at_eof", "buf",
        "constant", "deadline_at", "ending", "exchange", "keep_alive", "known_host", "known_index", "known_lines",
        "known_target", "known_vhost", "last_fields", "listener", "listener_name", "peer", "site", "state", "transport",
        "tunnel_half_closed",
    )  # fmt: skip

    def __init__(self, site: Site, listener: ListenerLabel | None = None) -> None:
        self.site = site
        self.listener = listener
        self.listener_name = listener.name if listener is not None else site.label
        self.transport: asyncio.Transport
        self.state = IDLE
        self.exchange: Http1Exchange | None = None
        self.buf = b""  # a partial head, or pipelined bytes
        self.keep_alive = True
        self.ending = False  # the next answer is the last: draining, or the client has ended its direction
        self.at_eof = False  # the client has ended its direction; what it asked before is still answered
        self._bytes_seen = 0  # of that answer, when we last looked
        self.deadline_at = 0.0  # monotonic, 0 = none; `Site` looks at it now and then
        self.tunnel_half_closed = False
        self.known_host = b""
        self.known_index: HostIndex | None = None
        self.known_vhost: VirtualHost | None = None
        self.known_target: Target | None = None  # of the last request for known_host,
        self.known_lines: bytes | None = None  # what its plain requests get, `forwarded.standing_lines`
        # PERF: a client mostly says the same of itself with each request of a connection, programs above all, or other
        # things in the same words. In memory a request is 5.8 us where it does, 7.2 where two of its values differ, and
        # 10.8 where names do.
        self.last_fields: PlainFields | None = None  # of the last request, where KNOWN_BYTES hold it
        self.peer = self.constant = b""
        self._left = 0
        self._chunks: ChunkedReader | None = None
        self._skipped_line = False
        self._body_paused = False  # for the endpoint's sake
        self._held_paused = False  # enough pipelined bytes are held
        self._stalled = False  # the client does not read

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        site = self.site
        self.transport.set_write_buffer_limits(high=site.limits.buffer_bytes)
        self.peer = peer_address(transport.get_extra_info("peername"))
        if site.trusted is not None:
            self.site = site = site.of(self.peer)
        self.constant = constant_lines(self.peer, site.scheme, site.port.port)
        counters = site.context.stats
        counters.connections[self.listener_name] = counters.connections.get(self.listener_name, 0) + 1
        counters.connections_total[self.listener_name] = counters.connections_total.get(self.listener_name, 0) + 1
        self.ending = site.draining
        patience_s = site.limits.idle_timeout_s
        if self.listener is None:  # clear text: nothing has been heard of this client, as of one before its ClientHello
            patience_s = min(patience_s, site.limits.handshake_timeout_s)
        self.deadline_at = monotonic() + (min(patience_s, PARTING_S) if self.ending else patience_s)
        site.add(self)

    def data_received(self, data: bytes) -> None:
        state = self.state
        if state is IDLE:
            self._read_head(data)
        elif state is BODY:
            self._read_body(data)
        elif state is RESPONSE:
            self._hold(data)
        elif state is TUNNEL:
            self._read_tunnel(data)

    def eof_received(self) -> bool:
        """Keep our direction open where an answer, or the other half of a tunnel, is still due."""
        exchange = self.exchange
        if self.state is RESPONSE:
            self.at_eof = True
            self.ending = self.ending or not self.buf
            self._bound_silence()
            return True
        if self.state is TUNNEL and exchange is not None:
            upgrade.on_client_eof(exchange)
            return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.state = CLOSED
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.on_client_lost()
        self.site.context.stats.connections[self.listener_name] -= 1
        self.site.remove(self)

    def pause_writing(self) -> None:
        """The client does not keep up: stop reading the endpoint."""
        self._stalled = True
        self.deadline_at = monotonic() + self.site.limits.idle_timeout_s
        if self.exchange is not None and self.exchange.upstream is not None:
            self.exchange.upstream.hold_back()

    def resume_writing(self) -> None:
        self._stalled = False
        exchange, state = self.exchange, self.state
        if state is LINGER:
            self.deadline_at = monotonic() + _LINGER_S
        elif state is TUNNEL:
            self.touch_tunnel()
        elif state is RESPONSE and exchange is None:
            self.on_exchange_done(monotonic())  # it was waiting for this
            return
        else:
            self.deadline_at = self._body_deadline() if state is BODY else 0.0
            if self.at_eof:
                self._bound_silence()
        if exchange is not None and exchange.upstream is not None:
            exchange.upstream.read_on()

    # Requests

    def _read_head(self, data: bytes) -> None:
        seen = len(self.buf)
        if seen:
            data = self.buf + data
        if data[0] == 0x0D and data.startswith(b"\r\n") and not self._skipped_line:
            self._skipped_line = True  # RFC 9112 §2.2: ignore at least one empty line before a request
            data = data[2:]
            seen = 0
            if not data:
                self.buf = b""
                return
        try:
            head = parse_request(data, self.site.limits, seen, self.last_fields)
        except RemoteProtocolError as error:
            if error.reason != "bad_version" or self.known_host or not self.on_other_version(data):
                self._refuse(error)
            return
        if head is None:
            self.buf = data
            if not seen:
                self.deadline_at = monotonic() + self.site.limits.head_timeout_s
            return
        self.keep_alive = head.keep_alive and not self.ending
        self.deadline_at = 0.0
        self._skipped_line = False
        self.last_fields = head.plain if head.end <= KNOWN_BYTES else None
        self.exchange = exchange = Http1Exchange(self, head)
        if head.length:
            self._begin_body(exchange, data[head.end :])
            return
        self.state = RESPONSE
        self.buf = data[head.end :] if head.end < len(data) else b""
        try:
            exchange.begin(b"")
        except Exception:  # our own fault must not cost more than this exchange
            exchange.on_fault()

    def on_other_version(self, data: bytes) -> bool:
        """Hand the connection over to who speaks what *data* begins; return whether there is someone."""
        return False

    def _begin_body(self, exchange: Http1Exchange, data: bytes) -> None:
        """Start an exchange whose body begins with *data*; pipelined bytes may follow it."""
        length = exchange.head.length
        self.buf = b""
        self.state = BODY
        if length == CHUNKED:
            self._chunks = ChunkedReader(self.site.limits, gone=exchange.head.settled)
            try:
                body = self._feed_chunks(exchange, data)
            except RemoteProtocolError as error:
                exchange.on_bad_request(error)
                return
        else:
            self._left = length
            body = self._take_body(data)
        if self.state is BODY:
            self.deadline_at = self._body_deadline()
        try:
            exchange.begin(body)
        except Exception:
            exchange.on_fault()

    def _take_body(self, data: bytes) -> bytes:
        """Return what *data* has of a body of known length."""
        piece = data[: self._left]
        self._left -= len(piece)
        if not self._left:
            self.state = RESPONSE
            self.buf = data[len(piece) :]
        return piece

    def _feed_chunks(self, exchange: Http1Exchange, data: bytes) -> bytes:
        chunks = self._chunks
        assert chunks is not None
        out, rest = chunks.feed(data)
        bound = self.site.limits.body_bytes
        if chunks.payload_bytes > bound > 0:
            raise RemoteProtocolError(f"body of more than {bound} bytes", status=413, reason="body_too_large")
        if chunks.done:
            self._chunks = None
            self.state = RESPONSE
            self.buf = rest
            if chunks.trailers:
                exchange.request_trailers = chunks.trailers
                out = exchange.cut_trailers(out)
        return out

    def _read_body(self, data: bytes) -> None:
        exchange = self.exchange
        assert exchange is not None
        if self._chunks is not None:
            try:
                piece = self._feed_chunks(exchange, data)
            except RemoteProtocolError as error:
                exchange.on_bad_request(error)
                return
        else:
            piece = self._take_body(data)
        complete = self.state is not BODY
        self.deadline_at = 0.0 if complete else self._body_deadline()
        exchange.on_request_body(piece, complete)

    def _body_deadline(self) -> float:
        return 0.0 if self._body_paused else monotonic() + self.site.limits.body_timeout_s

    def _hold(self, data: bytes) -> None:
        """Keep pipelined bytes for later."""
        self.buf += data
        if len(self.buf) > self.site.limits.head_bytes and not self._held_paused:
            self._held_paused = True
            self.transport.pause_reading()

    def pause_body(self) -> None:
        """Stop reading the body until `resume_body`. A tunnel where nothing moves is silent all the same."""
        if self.state in (BODY, TUNNEL) and not self._body_paused:
            self._body_paused = True
            if self.state is BODY:
                self.deadline_at = 0.0
            self.transport.pause_reading()

    def resume_body(self) -> None:
        """Read the body, or the tunnel, again."""
        if self._body_paused:
            self._body_paused = False
            if self.state is BODY:
                self.deadline_at = self._body_deadline()
            elif self.state is TUNNEL:
                self.touch_tunnel()
            if not self._held_paused:
                self.transport.resume_reading()

    # After an answer

    def on_exchange_done(self, now: float) -> None:
        """Go on to the next request, or close; *now* is monotonic."""
        self.exchange = None
        if self.state is CLOSED:
            return
        if not self.keep_alive:
            self._close_politely()
        elif self._stalled:
            pass  # who does not read is not read: `resume_writing` comes back here
        elif self.buf:
            # By a turn of the loop, not by recursion; until then what arrives is held.
            self.site.loop.call_soon(self._next_request)
        elif self.at_eof:
            self.close()
        else:
            self.state = IDLE
            self.deadline_at = now + (PARTING_S if self.ending else self.site.limits.idle_timeout_s)

    def _next_request(self) -> None:
        if self.state is not RESPONSE or self.exchange is not None or self._stalled:
            return
        self.state = IDLE
        data, self.buf = self.buf, b""
        self.deadline_at = monotonic() + self.site.limits.idle_timeout_s
        self._read_head(data)
        if self._held_paused and len(self.buf) <= self.site.limits.head_bytes:
            self._held_paused = False
            if not self._body_paused and not self.transport.is_closing():
                self.transport.resume_reading()
        if self.at_eof and self.state in (IDLE, BODY):
            self.close()  # the rest of this request will not come
        elif self.at_eof and self.state is RESPONSE:
            self._bound_silence()

    def _refuse(self, error: RemoteProtocolError) -> None:
        """Answer a request that cannot be read, and close: where the next one begins is anyone's guess."""
        context = self.site.context
        context.stats.refuse(self.listener_name, error.reason)
        body = answer_body(error.status, error.reason)
        lines = b"connection: close\r\n"
        if self.site.disclosure is not None:
            lines = self.site.disclosure.answer_lines(lines, None, self.listener, error.reason, context.generation)
        self.transport.write(answer_bytes(error.status, body, head_only=False, lines=dated(lines)))
        if context.access is not None:
            context.access(refusal_record(self, error, bytes_out=len(body)))
        self._linger()

    def _close_politely(self) -> None:
        """Close after the answer; where the client may still be sending, read on for a while first."""
        if self.state is BODY or self.buf or self._held_paused:
            self._linger()
        else:
            self.close()

    def _linger(self) -> None:
        self.state = LINGER
        self.buf = b""
        unsent = self.transport.get_write_buffer_size()
        self.deadline_at = monotonic() + (self.site.limits.idle_timeout_s if unsent else _LINGER_S)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        if self._body_paused or self._held_paused:
            self._body_paused = self._held_paused = False
            self.transport.resume_reading()

    def close(self) -> None:
        """Close after what is buffered."""
        self.state = CLOSED if self.exchange is None else self.state
        self.deadline_at = monotonic() + self.site.limits.idle_timeout_s  # a client that never reads
        self.transport.close()

    def cut(self) -> None:
        """End an unfinished answer. An answer that ends with the connection must not seem complete: reset it."""
        self.exchange = None
        self.transport.abort()

    # Tunnels

    def start_tunnel(self) -> bytes:
        """Become a tunnel; return what the client has sent ahead."""
        self.state = TUNNEL
        self.touch_tunnel()
        early, self.buf = self.buf, b""
        if self._held_paused:
            self._held_paused = False
            self.transport.resume_reading()
        return early

    def send_eof(self) -> None:
        """End our direction of a tunnel."""
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def touch_tunnel(self) -> None:
        """Note that the tunnel is in use."""
        timeout_s = self.site.limits.tunnel_idle_timeout_s
        if timeout_s and not self._stalled:
            self.deadline_at = monotonic() + timeout_s
        elif not self._stalled:
            self.deadline_at = 0.0

    def _read_tunnel(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is not None and exchange.upstream is not None:
            exchange.bytes_in += len(data)
            self.touch_tunnel()
            exchange.upstream.send(data, complete=False)

    # Time

    def on_deadline(self) -> None:
        """The time of what we wait for is over."""
        self.deadline_at = 0.0
        exchange = self.exchange
        if self._stalled or self.state is LINGER or self.transport.is_closing():
            self.transport.abort()
        elif self.state is TUNNEL:
            self.close()
        elif self.state is BODY and exchange is not None:
            exchange.on_bad_request(_late("body_timeout"))
        elif self.state is IDLE and self.buf:
            self._refuse(_late("head_timeout"))
        elif self.state is IDLE:
            self.close()
        elif self.state is RESPONSE and exchange is not None:
            if exchange.bytes_out == self._bytes_seen:
                self.transport.abort()
            else:
                self._bound_silence()

    def _bound_silence(self) -> None:
        """Give up an answer that rests, as its client has ended its direction.

        It may be a half-close, or a client that is gone: TCP does not tell until we send something.
        """
        self._bytes_seen = self.exchange.bytes_out if self.exchange is not None else 0
        self.deadline_at = monotonic() + self.site.limits.idle_timeout_s

    def drain(self) -> None:
        """Close after the exchange in flight, or soon if idle. Tunnels go on until they are aborted.

        An idle client may have sent a request that we have not seen, and would not dare to send again: RFC 9112 §9.3.1.
        """
        self.ending = True
        if self.state is not IDLE or self.buf:
            return
        if self.site.limits.drain_s < _LEAST_DRAIN_S:
            self.close()
            return
        self.deadline_at = min(self.deadline_at, monotonic() + PARTING_S)

    def abort(self) -> None:
        """Close at once."""
        self.transport.abort()


def _late(reason: str) -> RemoteProtocolError:
    status, message = ANSWERS[reason]
    return RemoteProtocolError(message, status=status, reason=reason)
