"""A downstream HTTP/2 connection: its streams are exchanges side by side. RFC 9113.

`wire.h2` reads and writes the protocol; here are the socket, time, and fair turns: what the codec has queued is written
once a turn of the loop, and streams with more to say than the socket or the windows take get a frame each, in turn.
While a socket takes no more its client is still heard, until what that brings into our buffer is too much: so that is
`buffer_bytes`, and what a read asks for beyond it, at most. To drain, RFC 9113 §6.8: GOAWAY for all ids, and a round
trip later one for those that have come; each stream then ends in its own time.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from math import inf
from random import uniform
from time import monotonic
from typing import Any, Final, cast

from gatewayproxy.dataplane.protocols.answers import ANSWERS, answer_body
from gatewayproxy.dataplane.protocols.forwarded import constant_lines, peer_address
from gatewayproxy.dataplane.protocols.http2_exchange import Http2Exchange
from gatewayproxy.dataplane.protocols.http2_stream import Http2Stream, Known
from gatewayproxy.dataplane.protocols.http2_tunnel import open_tunnel
from gatewayproxy.dataplane.protocols.record import refusal_record
from gatewayproxy.dataplane.protocols.site import Site
from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.routing.table import ListenerLabel
from gatewayproxy.wire import h2events
from gatewayproxy.wire.h2 import Event, H2Server, Stream
from gatewayproxy.wire.h2bridge import request_bytes
from gatewayproxy.wire.h2frames import MAX_STREAM_ID
from gatewayproxy.wire.h2heads import Head
from gatewayproxy.wire.head import CHUNKED, RequestHead, parse_request
from gatewayproxy.wire.plain import KNOWN_BYTES, PlainFields

__all__ = ["Http2Connection"]

log = logging.getLogger(__name__)

_TICK_S: Final = 1.0  # how often a connection in use looks at the time
_AHEAD_BYTES: Final = 131_072  # written and not yet sent, by us and again by the kernel: then streams take turns
_LINGER_S: Final = 2.0  # how long we read on so that a reset does not take our last words away
_DRAIN: Final = b"draining"  # payload of the PING behind the first GOAWAY
_ALIVE: Final = b"alive?  "  # of one that asks whether the client is there
_KEPT: Final = 16  # request heads


class Http2Connection(asyncio.Protocol):
    """See the module. *listener*: the one that a TLS server name chose, None for clear text."""

    __slots__ = (
        "_ages_at", "_answered", "_closing", "_deaf", "_ending", "_final", "_heads", "_heard_at", "_last_fields",
        "_opening", "_partial_at", "_pinged_at", "_queued", "_stalled_at", "_used_at", "_woken", "codec", "constant",
        "deadline_at", "known", "listener", "listener_name", "peer", "site", "stalled", "transport", "waiting",
    )  # fmt: skip

    def __init__(self, site: Site, listener: ListenerLabel | None = None) -> None:
        self.site = site
        self.listener = listener
        self.listener_name = listener.name if listener is not None else site.label
        self.transport: asyncio.Transport
        self.codec: H2Server
        self.peer = self.constant = b""
        self.known: Known = (b"", None, None, None, None)
        self.waiting: dict[Http2Stream, None] = {}
        self.stalled = False
        self.deadline_at = 0.0
        self._heard_at = self._partial_at = self._stalled_at = 0.0
        self._used_at = 0.0  # a stream was seen open
        self._pinged_at = 0.0
        self._ages_at = inf
        self._heads: tuple[dict[Head, RequestHead], ...] = ({}, {})  # of requests with a body, and of those without
        self._last_fields: PlainFields | None = None
        self._opening: Http2Stream | None = None  # begins with the next event, which may bring its body
        self._woken = False  # a turn is coming, or is now
        self._ending = False  # the client has been told, or has told us, that no further streams are welcome
        self._final = False  # none will come: close behind the last one
        self._closing = False  # all is said
        self._queued = 0  # bytes of bodies in the codec
        self._answered = 0  # bytes but for those of bodies, written while the client has not kept up
        self._deaf = False  # so many that we read no more

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        site = self.site
        self.transport.set_write_buffer_limits(high=min(site.limits.buffer_bytes // 2, _AHEAD_BYTES))
        sock = transport.get_extra_info("socket")
        if sock is not None:  # what lies in the kernel is ahead of every stream's next word
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _AHEAD_BYTES)
        self.peer = peer_address(transport.get_extra_info("peername"))
        if site.trusted is not None:
            self.site = site = site.of(self.peer)
        self.constant = constant_lines(self.peer, site.scheme, site.port.port, b"2")
        counters = site.context.stats
        counters.connections[self.listener_name] = counters.connections.get(self.listener_name, 0) + 1
        counters.connections_total[self.listener_name] = counters.connections_total.get(self.listener_name, 0) + 1
        self._heard_at = self._partial_at = now = monotonic()
        if site.limits.h2_age_s:  # connections that were opened together end one after another
            self._ages_at = now + site.limits.h2_age_s * uniform(0.9, 1.0)
        self.codec = H2Server(site.limits, now, connect=True)
        self.deadline_at = now + _TICK_S
        site.add(self)
        if site.draining:
            self.drain()
        self.wake()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        now = monotonic()
        codec = self.codec
        self._woken = True
        events = codec.receive(data, now)
        for event in events:
            if self._opening is None or not self._open_with(event):
                _ON[event[0]](self, event, now)
        if self._opening is not None:
            self._open()
        self._heard_at = now
        self.deadline_at = now + _TICK_S
        if not codec.partial:
            self._partial_at = 0.0
        elif events or not self._partial_at:
            self._partial_at = now
        self._turn()

    def eof_received(self) -> bool:
        """Close: who ends its direction asks nothing more, and takes no WINDOW_UPDATE's worth of answers."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._lose_streams()
        self.site.context.stats.connections[self.listener_name] -= 1
        self.site.remove(self)

    def pause_writing(self) -> None:
        """The client does not keep up: streams wait. What it asks meanwhile is heard, see `_write`."""
        self.stalled = True
        self._stalled_at = monotonic()

    def resume_writing(self) -> None:
        self.stalled = False
        self._answered = 0
        self._read_on()
        self.wake()

    def _read_on(self) -> None:
        if self._deaf:
            self._deaf = False
            self.transport.resume_reading()

    # Turns

    def wake(self) -> None:
        """Send what the codec has queued, once this turn."""
        if not self._woken:
            self._woken = True
            self.site.loop.call_soon(self._turn)

    def queued(self, n: int) -> None:
        """Send what the codec has queued, *n* bytes more of a body: at once where the turn has brought much.

        A socket may be read some dozen times a turn; so much must not be there before we see that this client is full.
        """
        self._queued += n
        if self._queued > _AHEAD_BYTES:
            self._write()
        self.wake()

    def _turn(self) -> None:
        """Write, give waiting streams their turns, and close where that was the last of it."""
        self._woken = True  # what follows needs no other turn
        if not self._closing:
            self._write()
            if self.waiting:
                self._pump()
            if (self._final and not self.codec.streams) or self.codec.failed:
                self._linger()
        self._woken = False

    def _write(self) -> None:
        n_bodies, self._queued = self._queued, 0
        out = self.codec.take_output()
        if not out:
            return
        self.transport.write(out)
        if self.stalled:  # heads, and answers to control frames: a client that reads none of them is not read for ever
            self._answered += len(out) - n_bodies
            if self._answered > self.site.limits.buffer_bytes // 2 and not self._deaf:
                self._deaf = True
                self.transport.pause_reading()

    def _pump(self) -> None:
        waiting = self.waiting
        now = monotonic()
        while waiting and not self.stalled:
            stream = next(iter(waiting))
            del waiting[stream]
            stream.pump(now)
            self._write()

    # Events

    def _open_with(self, event: Event) -> bool:
        """Begin the stream that waits for its body; return whether *event* has brought it."""
        opening = self._opening
        assert opening is not None
        if event[0] != h2events.DATA or event[1] is not opening.stream:
            self._open()
            return False
        self._opening = None
        assert opening.exchange is not None
        opening.begin(opening.exchange, event[2], end=event[3])
        return True

    def _open(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None and opening.exchange is not None:
            opening.begin(opening.exchange, b"", end=False)

    def _on_headers(self, event: Event, now: float) -> None:
        assert event[0] == h2events.HEADERS
        _, stream, head, end = event
        if not stream.sending:
            return  # reset at once; PERF: CVE-2023-44487 must not cost an exchange each
        request = self._heads[end].get(head)
        if request is not None:  # PERF: as most are
            downstream = Http2Stream(self, stream, chunked=request.length == CHUNKED, now=now)
            exchange = Http2Exchange(downstream, request)
        else:
            try:
                downstream, exchange = self._exchange(stream, head, end, now)
            except RemoteProtocolError as error:
                self._refuse(stream, error, now, bodiless=head.method == b"HEAD")
                return
        stream.owner = downstream
        if end:
            downstream.begin(exchange, b"", end=True)
        else:
            downstream.exchange = exchange
            self._opening = downstream

    def _exchange(self, stream: Stream, head: Head, end: bool, now: float) -> tuple[Http2Stream, Http2Exchange]:
        """Return the exchange of a request, yet to begin; *end*: it has no body."""
        if head.protocol:
            tunnel = open_tunnel(self, stream, head, now)
            self._judge_scheme(head, tunnel.head)
            return tunnel.connection, tunnel
        request = self._request_head(head, end)
        downstream = Http2Stream(self, stream, chunked=request.length == CHUNKED, now=now)
        return downstream, Http2Exchange(downstream, request)

    def _request_head(self, head: Head, end: bool) -> RequestHead:
        """Return *head* read as HTTP/1.1's, by its one strict grammar, and keep it for when it is repeated."""
        chunked = not end and head.length < 0
        request = parse_request(request_bytes(head, chunked=chunked), self.site.limits, last=self._last_fields)
        assert request is not None
        self._last_fields = request.plain if request.end <= KNOWN_BYTES else None
        self._judge_scheme(head, request)
        if head.sensitive:
            request.sensitive = head.sensitive
        kept = self._heads[end]
        if len(kept) >= _KEPT:
            kept.clear()
        kept[head] = request
        return request

    def _judge_scheme(self, head: Head, request: RequestHead) -> None:
        """Have the exchange refuse another scheme than the connection's, as it would an absolute-form target.

        RFC 9110 §7.4: "https" on a connection in clear text MUST be rejected, unless a trusted gateway says it.
        """
        scheme = head.scheme
        believed = scheme == b"https" and self.site.limits.trusted_hops > 0
        if scheme != b"http" and scheme != self.site.scheme and not believed:
            request.scheme = scheme

    def _on_data(self, event: Event, now: float) -> None:
        assert event[0] == h2events.DATA
        _, stream, data, end = event
        if (owner := stream.owner) is not None:
            owner.on_data(data, end, now)
        else:
            self.codec.consumed(stream, len(data))

    def _on_trailers(self, event: Event, now: float) -> None:
        assert event[0] == h2events.TRAILERS
        if (owner := event[1].owner) is not None:
            owner.on_trailers(event[2].lines, now)

    def _on_refused(self, event: Event, now: float) -> None:
        assert event[0] == h2events.REFUSED
        _, stream, error, _ = event
        self._refuse(stream, error, now, bodiless=True)

    def _refuse(self, stream: Stream, error: RemoteProtocolError, now: float, *, bodiless: bool) -> None:
        """Answer a request that is not served; the connection goes on: HTTP/2 knows where the next one begins."""
        body = b"" if bodiless else answer_body(error.status, error.reason)
        self._note(error, len(body))
        downstream = Http2Stream(self, stream, chunked=False, now=now)
        stream.owner = downstream
        downstream.refuse(error, body)

    def _note(self, error: RemoteProtocolError, bytes_out: int = 0) -> None:
        context = self.site.context
        context.stats.refuse(self.listener_name, error.reason)
        if context.access is not None:
            context.access(refusal_record(self, error, "2", bytes_out=bytes_out))

    def _on_reset(self, event: Event, now: float) -> None:
        assert event[0] == h2events.RESET
        if (owner := event[1].owner) is not None:
            owner.lost()

    def _on_broken(self, event: Event, now: float) -> None:
        assert event[0] == h2events.BROKEN
        _, stream, error = event
        owner = stream.owner
        if owner is None or owner.exchange is None:
            self._note(error)
        else:
            self.site.context.stats.refuse(self.listener_name, error.reason)
            owner.lost(error.reason)

    def _on_window(self, event: Event, now: float) -> None:
        assert event[0] == h2events.WINDOW
        if (owner := event[1].owner) is not None:
            self.waiting[owner] = None

    def _on_pong(self, event: Event, now: float) -> None:
        assert event[0] == h2events.PONG
        if event[1] == _DRAIN:
            self._say_last()

    def _on_goaway(self, event: Event, now: float) -> None:
        if not self._ending:
            self._ending = True
            self._say_last()

    def _on_failed(self, event: Event, now: float) -> None:
        assert event[0] == h2events.FAILED
        error = event[1]
        self._note(error)
        log.debug("h2_failed client=%s reason=%s detail=%r", self.peer.decode("ascii"), error.reason, str(error))
        self._lose_streams(error.reason)

    def _ignore(self, event: Event, now: float) -> None:
        """The peer's settings are the codec's; a server gets no interim heads."""

    def _lose_streams(self, reason: str = "") -> None:
        self._opening = None
        for stream in list(self.codec.streams.values()):
            if (owner := stream.owner) is not None:
                owner.lost(reason)

    # The end

    def drain(self) -> None:
        """Take no further streams, and close behind the last one."""
        if self._ending or self._closing:
            return
        self._ending = True
        self.codec.goaway(last=MAX_STREAM_ID)
        self.codec.ping(_DRAIN)
        self.deadline_at = monotonic() + _TICK_S  # a client that does not answer is told the rest by then
        self.wake()

    def _say_last(self) -> None:
        """Tell which streams are served: those that have come."""
        if not self._final:
            self._final = True
            self.codec.goaway()
            self.wake()

    def _close(self, reason: str) -> None:
        """End the connection for *reason*, whatever it carries."""
        _, message = ANSWERS.get(reason, (0, reason))
        self._note(RemoteProtocolError(message, status=0, reason=reason))
        self._lose_streams(reason)
        self.codec.goaway(debug=message.encode("ascii"))
        self._write()
        self._linger()

    def _linger(self) -> None:
        self._closing = True
        limits = self.site.limits
        self._write()
        unsent = self.transport.get_write_buffer_size()
        self.deadline_at = monotonic() + (limits.idle_timeout_s if unsent else _LINGER_S)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._read_on()

    def abort(self) -> None:
        """Close at once."""
        self.transport.abort()

    def on_deadline(self) -> None:
        """Look at the time: of the streams, of the client's frames, of the connection."""
        now = monotonic()
        limits = self.site.limits
        if self._closing or (self.stalled and now - self._stalled_at > limits.idle_timeout_s):
            self.deadline_at = 0.0
            self.transport.abort()
            return
        self.deadline_at = now + _TICK_S
        if self._ending:
            self._say_last()
        elif now > self._ages_at:
            self.drain()
        streams = self.codec.streams
        for stream in list(streams.values()):
            if (owner := stream.owner) is not None:
                owner.on_tick(now)
        if streams:
            self._used_at = now
            self._ask_if_alive(now)
        patience_s = limits.body_timeout_s if streams else limits.head_timeout_s
        if self.codec.partial and not self.stalled and now - self._partial_at > patience_s:
            self._close("head_timeout")
        elif not streams and not self.codec.partial and not self._ending:
            self._rest(now)

    def _ask_if_alive(self, now: float) -> None:
        """Send PING to a client that is silent while it waits for us, and end the connection if it stays so.

        RFC 9113 §6.7. What is still unsent is no silence of the client's: `_stalled_at` bounds that.
        """
        limits = self.site.limits
        if not limits.h2_ping_s or self.transport.get_write_buffer_size():
            return
        if self._pinged_at > self._heard_at:
            if now - self._pinged_at > limits.h2_pong_s:
                log.debug("h2_silent client=%s", self.peer.decode("ascii"))
                self.abort()
        elif now - self._heard_at > limits.h2_ping_s:
            self._pinged_at = now
            self.codec.ping(_ALIVE)
            self.wake()

    def _rest(self, now: float) -> None:
        """Wait for the next stream, as long as an unused connection may last."""
        idle_until = max(self._heard_at, self._used_at) + self.site.limits.idle_timeout_s
        if idle_until > now:
            self.deadline_at = min(idle_until, self._ages_at)
        else:
            self._ending = True
            self._say_last()  # a request that crosses it is not served, and the client knows


_ON: Final[tuple[Callable[[Http2Connection, Any, float], None], ...]] = (  # by the numbers of `wire.h2events`
    Http2Connection._ignore,
    Http2Connection._on_headers,
    Http2Connection._ignore,
    Http2Connection._on_data,
    Http2Connection._on_trailers,
    Http2Connection._on_refused,
    Http2Connection._on_reset,
    Http2Connection._on_broken,
    Http2Connection._on_window,
    Http2Connection._ignore,
    Http2Connection._on_pong,
    Http2Connection._on_goaway,
    Http2Connection._on_failed,
)
