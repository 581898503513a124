"""A connection to an endpoint that speaks HTTP/2 with prior knowledge: many requests side by side. RFC 9113 §3.3.

As in the downstream direction, what the codec has queued is written once a turn of the loop, and streams with more to
send than the socket or the windows take get a frame each, in turn. While the socket takes no more we read on: the
endpoint may be waiting for just that; its control frames are bounded by `h2_control_frames`.
No new streams are begun, and the connection is closed behind the last one, after GOAWAY, at the age and the number of
requests that the limits name, and where no table names the endpoint any more. An endpoint that is silent while streams
are open is asked by a PING; where no answer comes the connection is lost, and what is safe is sent again elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import select
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, Protocol, cast

from gatewayproxy.dataplane.upstream.connection import EndpointConnection, Upstream
from gatewayproxy.dataplane.upstream.http2_stream import Unsettled, UpstreamStream
from gatewayproxy.dataplane.upstream.http2_tunnel import UpstreamTunnel
from gatewayproxy.dataplane.upstream.tls import kind_of_end
from gatewayproxy.errors import RemoteProtocolError, UpstreamError
from gatewayproxy.model.limits import Limits
from gatewayproxy.wire import h2events
from gatewayproxy.wire.h2 import Event, H2Client, Stream
from gatewayproxy.wire.h2bridge import ResponseHeads
from gatewayproxy.wire.h2frames import ErrorCode

__all__ = ["Http2Upstream", "Owner"]

log = logging.getLogger(__name__)

_IDS: Final = 1 << 30  # that a client has on a connection
_HEALTH: Final = b"health\0\0"  # payload of a PING
# gRPC servers take PINGs more often than every five minutes for abuse, but for one behind each frame of theirs.
_CALM_S: Final = 310.0
_ENDED: Final = select.POLLRDHUP | select.POLLHUP | select.POLLERR


class Owner(Protocol):
    """The pool, as its connections see it."""

    name: str
    limits: Limits
    codec_limits: Limits
    scheme: bytes  # of requests

    @property
    def wanted(self) -> bool:
        """Return whether someone waits for room."""

    def first_streams(self) -> int:
        """Return how many streams a new connection may have until the endpoint says so."""

    def learn(self, most: int) -> None:
        """Note how many streams the endpoint allows on a connection."""

    def serve(self, connection: Http2Upstream) -> None:
        """Give waiters the room that *connection* has."""

    def close_to_new(self, connection: Http2Upstream) -> None:
        """Give no more streams of *connection*."""

    def lose(self, connection: Http2Upstream) -> None:
        """Let go of a closed connection."""


class Http2Upstream(EndpointConnection):
    """See the module. It has room while `codec.streams` are fewer than *most*."""

    __slots__ = (
        "_allowed", "_closed_at", "_closing", "_heard_at", "_idle_since", "_last_request", "_leaving", "_n_pings",
        "_opened_at", "_ping_at", "_stalled_at", "_woken", "codec", "has_answered", "heads", "most", "n_requests",
        "pool", "scheme", "stalled", "unsettled", "waiting",
    )  # fmt: skip

    def __init__(self, pool: Owner) -> None:
        self.pool = pool
        now = monotonic()
        self.codec = H2Client(pool.codec_limits, now)
        self.scheme = pool.scheme
        self.most = pool.first_streams()
        self.n_requests = 0
        self._last_request = pool.limits.upstream_h2_requests or _IDS
        self._allowed = -1  # streams by the endpoint's SETTINGS, -1 before they have come
        self.has_answered = False
        self.stalled = False
        self.waiting: dict[UpstreamStream, None] = {}
        self.heads = ResponseHeads()
        self.unsettled: list[Unsettled] | None = []  # wait for the endpoint's SETTINGS; None: they have come
        self._opened_at = self._heard_at = self._idle_since = now
        self._stalled_at = self._closed_at = 0.0
        self._ping_at = 0.0  # of a PING that is not answered
        self._n_pings = 0  # since the endpoint sent anything else than their answers
        self._woken = False
        self._leaving = False
        self._closing = False

    # For the pool and the streams

    @property
    def limits(self) -> Limits:
        """Return the bounds of heads and bodies."""
        return self.pool.limits

    def open(self) -> Upstream:
        """Return a stream, to be started at once."""
        if self.n_requests + 1 >= self._last_request:
            self._stop_opening()
        return UpstreamStream(self)

    def tunnel(self) -> Upstream:
        """Return a stream for a WebSocket."""
        return UpstreamTunnel(self)

    @property
    def greeted(self) -> bool:
        """Return whether the endpoint has said how many streams it allows."""
        return self._allowed >= 0

    def lives(self) -> bool:
        """Return whether the endpoint has not ended the connection: bytes alone say nothing, it may send PINGs."""
        if self.transport.is_closing():
            return False
        poller = select.poll()
        poller.register(self.transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
        return not any(events & _ENDED for _, events in poller.poll(0))

    def leave(self) -> None:
        """Begin no more streams, and close behind the last one."""
        self._stop_opening()
        if not self.codec.streams:
            self.wake()

    def _stop_opening(self) -> None:
        self._leaving = True
        self.most = 0
        self.pool.close_to_new(self)

    def abandon(self) -> None:
        """Close at once; streams are told nothing."""
        self._closing = True
        self._stop_opening()
        for stream in list(self.codec.streams.values()):
            if (owner := stream.owner) is not None:
                owner.sink = None
        self.transport.abort()

    def wake(self) -> None:
        """Send what the codec has queued, once this turn."""
        if not self._woken:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._turn)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=self.pool.limits.buffer_bytes)
        self.wake()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._heard_at = now = monotonic()
        self._woken = True
        codec = self.codec
        events = codec.receive(data, now)
        # What it says of the connection holds before any of the events is acted on.
        if not self._leaving and (codec.peer_leaves or codec.failed):
            self._stop_opening()
        elif codec.peer_streams < self.most:
            self.most = codec.peer_streams
        for event in events:
            try:
                _ON[event[0]](self, event)
            except Exception:  # our own fault must not cost more than this stream
                self._fault(event)
        self._turn()

    def eof_received(self) -> bool:
        """End: nothing of what is still to come could be answered."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._stop_opening()
        self.pool.lose(self)
        self._fail_streams("the backend closed the connection before its answer was complete", kind_of_end(exc))

    def pause_writing(self) -> None:
        """The endpoint does not read: streams wait."""
        self.stalled = True
        self._stalled_at = monotonic()

    def resume_writing(self) -> None:
        self.stalled = False
        self.wake()

    # Turns

    def _turn(self) -> None:
        """Write, give waiting streams their turns, and waiters the room that has come."""
        self._woken = True  # what follows needs no other turn
        if not self._closing:
            codec = self.codec
            if self.pool.wanted and len(codec.streams) < self.most:
                self.pool.serve(self)
            self._write()
            if self.waiting:
                self._pump()
            if not codec.streams:
                self._idle_since = self._heard_at
            if codec.failed or (self._leaving and not codec.streams):
                self._close()
        self._woken = False

    def _write(self) -> None:
        out = self.codec.take_output()
        if out:
            self.transport.write(out)

    def _pump(self) -> None:
        waiting = self.waiting
        while waiting and not self.stalled:
            stream = next(iter(waiting))
            del waiting[stream]
            stream.pump()
            self._write()

    def _close(self) -> None:
        """Close behind what is buffered."""
        self._closing = True
        self._closed_at = monotonic()
        self._stop_opening()
        if not self.codec.failed:
            self.codec.goaway()
        self._write()
        self.transport.close()

    # Events

    def _on_headers(self, event: Event) -> None:
        assert event[0] == h2events.HEADERS
        _, stream, head, end = event
        self.has_answered = True
        self._n_pings = 0
        if (owner := stream.owner) is not None:
            owner.on_head(head, end)

    def _on_interim(self, event: Event) -> None:
        assert event[0] == h2events.INTERIM
        if (owner := event[1].owner) is not None:
            owner.on_interim(event[2])

    def _on_data(self, event: Event) -> None:
        assert event[0] == h2events.DATA
        _, stream, data, end = event
        self._n_pings = 0
        if (owner := stream.owner) is not None:
            owner.on_data(data, end)

    def _on_trailers(self, event: Event) -> None:
        assert event[0] == h2events.TRAILERS
        if (owner := event[1].owner) is not None:
            owner.on_trailers(event[2])

    def _on_refused(self, event: Event) -> None:
        assert event[0] == h2events.REFUSED
        if (owner := event[1].owner) is not None:
            owner.refuse(event[2])

    def _on_reset(self, event: Event) -> None:
        assert event[0] == h2events.RESET
        _, stream, code = event
        owner = stream.owner
        if owner is None:
            return
        if code == ErrorCode.REFUSED_STREAM and not owner.answered:
            kind = "upstream_closed" if self.codec.peer_leaves else "upstream_refused"
            message = f"{self.pool.name}: the backend did not begin to serve the request"
            owner.fail(UpstreamError(message, kind=kind, status=503, unprocessed=True))
        else:
            message = f"{self.pool.name}: the backend reset the stream, error code {code}"
            owner.fail(UpstreamError(message, kind="upstream_reset", status=502))

    def _on_broken(self, event: Event) -> None:
        assert event[0] == h2events.BROKEN
        if (owner := event[1].owner) is not None:
            owner.refuse(event[2])

    def _on_window(self, event: Event) -> None:
        assert event[0] == h2events.WINDOW
        if (owner := event[1].owner) is not None:
            self.waiting[owner] = None

    def _on_settings(self, event: Event) -> None:
        self._allowed = min(self.codec.peer_streams, self.pool.limits.upstream_h2_streams)
        self.pool.learn(self._allowed)
        if not self._leaving:
            self.most = self._allowed
        unsettled, self.unsettled = self.unsettled, None
        for tunnel in unsettled or ():
            tunnel.connect()

    def _on_pong(self, event: Event) -> None:
        self._ping_at = 0.0

    def _on_failed(self, event: Event) -> None:
        assert event[0] == h2events.FAILED
        error = event[1]
        log.debug("h2_failed endpoint=%s reason=%s detail=%r", self.pool.name, error.reason, str(error))
        for stream in list(self.codec.streams.values()):
            if (owner := stream.owner) is not None:
                owner.refuse(RemoteProtocolError(f"{self.pool.name}: {error}"))

    def _ignore(self, event: Event) -> None:
        """GOAWAY has been heeded before; no event has the number 0."""

    def _fault(self, event: Event) -> None:
        log.exception("upstream_stream_failed endpoint=%s", self.pool.name)
        owner = event[1].owner if len(event) > 1 and isinstance(event[1], Stream) else None
        if owner is not None:
            owner.fail(UpstreamError("a fault of the gateway itself", kind="internal_error", status=500))

    def _fail_streams(self, message: str, kind: str) -> None:
        for stream in list(self.codec.streams.values()):
            if (owner := stream.owner) is not None:
                safe = not owner.answered and not owner.fresh
                owner.fail(UpstreamError(message, kind=kind, status=502, retryable=safe))
        unsettled, self.unsettled = self.unsettled, None
        for tunnel in unsettled or ():
            tunnel.fail(UpstreamError(message, kind=kind, status=502))

    # Time

    def on_tick(self, now: float) -> None:
        """Look at the time: of the endpoint's silence, of the connection."""
        limits = self.pool.limits
        streams = self.codec.streams
        if self._closing:
            if now - self._closed_at > limits.idle_timeout_s:
                self.transport.abort()  # what is buffered is not taken
            return
        if self.stalled:
            if now - self._stalled_at > limits.idle_timeout_s:
                self._lose("the backend does not read")
        elif streams and self._silent(now, limits):
            self._lose("the backend is silent and answers no PING")
        elif not streams and now - self._idle_since > limits.upstream_idle_s:
            self._close()
        elif now - self._opened_at > limits.upstream_h2_age_s > 0:
            self.leave()

    def _silent(self, now: float, limits: Limits) -> bool:
        """Ask a silent endpoint whether it is there; return whether it has not answered in time."""
        if self._ping_at:
            return now - self._ping_at > limits.upstream_pong_s and self._heard_at < self._ping_at
        patience_s = max(limits.upstream_ping_s, _CALM_S) if self._n_pings else limits.upstream_ping_s
        if now - self._heard_at > patience_s > 0:
            self._ping_at = now
            self._n_pings += 1
            self.codec.ping(_HEALTH)
            self.wake()
        return False

    def _lose(self, message: str) -> None:
        """End a connection that is no use any more; its streams go elsewhere where that is safe."""
        self._closing = True
        self._stop_opening()
        self._fail_streams(f"{self.pool.name}: {message}", "upstream_closed")
        self.transport.abort()


_ON: Final[tuple[Callable[[Http2Upstream, Any], None], ...]] = (  # by the numbers of `wire.h2events`
    Http2Upstream._ignore,
    Http2Upstream._on_headers,
    Http2Upstream._on_interim,
    Http2Upstream._on_data,
    Http2Upstream._on_trailers,
    Http2Upstream._on_refused,
    Http2Upstream._on_reset,
    Http2Upstream._on_broken,
    Http2Upstream._on_window,
    Http2Upstream._on_settings,
    Http2Upstream._on_pong,
    Http2Upstream._ignore,
    Http2Upstream._on_failed,
)
