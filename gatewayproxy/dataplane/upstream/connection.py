"""One connection to an endpoint: HTTP/1.1 exchanges one after another, or a tunnel. RFC 9112 §4-§9.

A `Sink` (an exchange, or a mirror that ignores the answer) gets the response as it arrives: head with the first body
bytes, more body, end; or one failure. Bytes that no request asked for close the connection. Between exchanges the
connection lies in its pool.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Protocol, cast

from gatewayproxy.dataplane.upstream.tls import kind_of_end
from gatewayproxy.errors import RemoteProtocolError, UpstreamError
from gatewayproxy.model.limits import Limits
from gatewayproxy.wire.chunked import ChunkedReader
from gatewayproxy.wire.head import CHUNKED
from gatewayproxy.wire.response import UNTIL_CLOSE, ResponseHead, parse_response, remembered

__all__ = ["MAX_INTERIM", "EndpointConnection", "Owner", "Sink", "Upstream", "UpstreamConnection"]

MAX_INTERIM = 128  # 1xx heads to one request, and all of them as large as one head may be; more is a broken backend
# PERF: of the heads that differ from the one remembered, one in eight takes its place: an endpoint whose answers repeat
# tells another Date once a second, and one whose answers never do must not pay for it.
_SOME = 7

_State = Enum("_State", "IDLE HEAD BODY CHUNKS REST TUNNEL CLOSED")
# PERF: a global costs half of what a member of an Enum class does.
_IDLE, _HEAD, _BODY, _CHUNKS, _REST, _TUNNEL, _CLOSED = _State


class Owner(Protocol):
    """The pool, as its connections see it."""

    @property
    def limits(self) -> Limits: ...
    def put(self, connection: UpstreamConnection) -> None:
        """Take back a connection that is ready for another request."""

    def forget(self, connection: UpstreamConnection) -> None:
        """Let go of a closed connection."""

    def discard_idle(self, connection: UpstreamConnection) -> None:
        """Do not hand out *connection*: its peer has ended it."""


class Sink(Protocol):
    """Who asked. No call follows `on_end` or `on_failure`."""

    payload_only: bool  # get chunked bodies without their framing, and then `on_trailers`

    @property
    def opening(self) -> tuple[bytes, bytes] | None:
        """Return what the head that is sent begins with, in two parts, if others begin so too: see `opening_fields`."""

    @property
    def chunked(self) -> bool:
        """Return whether the body of the request is framed in chunks; else it comes as it is."""

    @property
    def sensitive(self) -> frozenset[bytes]:
        """Return the names of the request's fields that must never be indexed, RFC 7541 §6.2.3."""

    @property
    def request_trailers(self) -> bytes:
        """Return the field lines behind a request body that is not framed; asked for at its end."""

    def on_head(self, head: ResponseHead, body: bytes) -> None:
        """Take a final response head and the body bytes that came with it, ready to send on."""

    def on_interim(self, head: ResponseHead) -> None:
        """Take a 1xx head other than 101."""

    def on_switch(self, head: ResponseHead, data: bytes) -> bool:
        """Take a 101; return whether it was asked for. *data* is what follows it."""

    def on_body(self, data: bytes, last: bool = False) -> None:
        """Take more of the body; on a tunnel, any bytes. *last*: it is known that only `on_end` follows."""

    def on_trailers(self, lines: bytes) -> None:
        """Take the field lines behind the body, each ended by CRLF; `on_end` follows."""

    def on_end(self) -> None:
        """The response is complete; the connection is no longer the sink's."""

    def on_tunnel_eof(self) -> None:
        """The endpoint ended its direction of a tunnel."""

    def on_failure(self, error: UpstreamError) -> None:
        """The response will not be completed."""

    def on_upstream_full(self) -> None:
        """Stop sending body bytes until `on_upstream_ready`."""

    def on_upstream_ready(self) -> None:
        """Go on sending."""


class Upstream(Protocol):
    """A request's way to an endpoint, as its sink sees it: a whole HTTP/1.1 connection, or one stream of many."""

    @property
    def fresh(self) -> bool:
        """Return whether nothing was asked of the endpoint on this connection before."""

    @property
    def full(self) -> bool:
        """Return whether the sink was told to stop sending."""

    @property
    def unsent(self) -> int:
        """Return how many bytes of the request wait in us."""

    def tunnel(self) -> Upstream:
        """Return the way, before `start`, for a request that asks for a WebSocket."""

    def start(self, sink: Sink, out: bytes, bodiless: bool, complete: bool) -> None:
        """Send *out*, an HTTP/1.1 head and the first body bytes; *bodiless*: it is a HEAD; *complete*: that is all."""

    def send(self, data: bytes, complete: bool) -> None:
        """Send more of the body, framed as the head says, or of a tunnel; *complete*: the request ends with it."""

    def send_eof(self) -> None:
        """End our direction of a tunnel."""

    def hold_back(self) -> None:
        """Read no more of the response until `read_on`."""

    def read_on(self) -> None:
        """Undo `hold_back`."""

    def close(self) -> None:
        """End a tunnel, both ways, behind what is buffered; no call of the sink follows."""

    def abandon(self) -> None:
        """Drop the exchange; no call of the sink follows."""


class EndpointConnection(asyncio.Protocol):
    """What a pool makes and keeps: a connection to its endpoint."""

    __slots__ = ("transport",)

    transport: asyncio.Transport

    def abandon(self) -> None:
        """Close at once; no call of a sink follows."""
        raise NotImplementedError


class UpstreamConnection(EndpointConnection):
    """See the module. It may be used again only once its request has been sent whole."""

    __slots__ = (
        "_bodiless", "_buf", "_chunks", "_full", "_held_back", "_interim_bytes", "_keep", "_last", "_left",
        "_n_interim", "_sent_all", "_state", "idle_since", "n_exchanges", "pool", "sink",
    )  # fmt: skip

    def __init__(self, pool: Owner) -> None:
        self.pool = pool
        self.sink: Sink | None = None
        self._sent_all = True
        self.n_exchanges = 0
        self.idle_since = 0.0
        self._state = _IDLE
        self._buf = b""
        self._left = 0
        self._bodiless = False
        self._keep = True
        self._full = False  # the endpoint takes no more just now
        self._held_back = False  # the sink takes no more just now
        self._chunks: ChunkedReader | None = None
        self._n_interim = self._interim_bytes = 0
        self._last: ResponseHead | None = None

    # For sinks

    @property
    def fresh(self) -> bool:
        """Return whether this connection carries its first exchange."""
        return self.n_exchanges <= 1

    @property
    def full(self) -> bool:
        """Return whether the endpoint takes no more just now."""
        return self._full

    @property
    def unsent(self) -> int:
        """Return how many bytes of the request wait in us."""
        return self.transport.get_write_buffer_size()

    def tunnel(self) -> Upstream:
        """Return itself: an upgrade takes the connection."""
        return self

    def start(self, sink: Sink, out: bytes, bodiless: bool, complete: bool) -> None:
        """Send *out*, the head and first body bytes of a request; *bodiless*: it is a HEAD."""
        self.sink = sink
        self._sent_all = complete
        self.n_exchanges += 1
        self._bodiless = bodiless
        self._state = _HEAD
        self.transport.write(out)

    def send(self, data: bytes, complete: bool) -> None:
        """Send more of the body or of a tunnel; *complete*: the request ends with it."""
        if complete:
            self._sent_all = True
        if data:
            self.transport.write(data)

    def send_eof(self) -> None:
        """End our direction of a tunnel."""
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def hold_back(self) -> None:
        """Read no more of the response until `read_on`."""
        self._held_back = True
        self.transport.pause_reading()

    def read_on(self) -> None:
        """Undo `hold_back`."""
        if self._held_back:
            self._held_back = False
            self.transport.resume_reading()

    def abandon(self) -> None:
        """Drop the exchange and the connection with it."""
        self.sink = None
        self.pool.forget(self)
        self._state = _CLOSED
        self.transport.abort()

    def close(self) -> None:
        """Close after what is buffered."""
        self.sink = None
        self.pool.forget(self)
        self._state = _CLOSED
        self.transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=self.pool.limits.buffer_bytes)

    def connection_lost(self, exc: Exception | None) -> None:
        state, self._state = self._state, _CLOSED
        self.pool.forget(self)
        sink, self.sink = self.sink, None
        if sink is None:
            return
        if state is _REST and exc is None:
            sink.on_end()
            return
        untouched = state is _HEAD and not self._buf and not self._n_interim
        message = "the backend closed the connection before its answer was complete"
        kind = kind_of_end(exc)
        sink.on_failure(UpstreamError(message, kind=kind, status=502, retryable=untouched and not self.fresh))

    def eof_received(self) -> bool:
        if self._state is _TUNNEL and self.sink is not None:
            self.sink.on_tunnel_eof()
            return True
        self.pool.discard_idle(self)
        return False

    def pause_writing(self) -> None:
        self._full = True
        if self.sink is not None:
            self.sink.on_upstream_full()

    def resume_writing(self) -> None:
        self._full = False
        if self.sink is not None:
            self.sink.on_upstream_ready()

    def data_received(self, data: bytes) -> None:
        sink = self.sink
        state = self._state
        if sink is None:
            if state is not _CLOSED:  # RFC 9112 §9.2: an answer nobody asked for
                self.close()
        elif state is _HEAD:
            self._read_head(sink, data)
        elif state is _BODY:
            self._read_body(sink, data)
        elif state is _CHUNKS:
            self._read_chunks(sink, data)
        else:
            sink.on_body(data)

    # Reading responses

    def _read_head(self, sink: Sink, data: bytes) -> None:
        seen = len(self._buf)
        if seen:
            data = self._buf + data
        try:
            head = parse_response(data, self.pool.limits, self._bodiless, seen, self._last)
        except RemoteProtocolError as error:
            self._fail(sink, error)
            return
        if head is None:
            self._buf = data
            return
        self._buf = b""
        if head.status < 200:
            self._read_interim(sink, head, data[head.end :])
            return
        self._n_interim = 0
        if head is not self._last and self.n_exchanges & _SOME == 1 and not self._bodiless:
            self._last = remembered(head)
        length = head.length
        self._keep = head.keep_alive
        if length >= 0:
            end = head.end + length
            left = end - len(data)
            sink.on_head(head, data[head.end : end])
            if left > 0:
                self._left = left
                self._state = _BODY
            elif self.sink is sink:
                self._end(sink, left < 0)
        elif length == CHUNKED:
            self._start_chunks(sink, head, data[head.end :])
        else:
            assert length == UNTIL_CLOSE
            self._state = _REST
            sink.on_head(head, data[head.end :])

    def _read_interim(self, sink: Sink, head: ResponseHead, rest: bytes) -> None:
        self._interim_bytes = head.end if not self._n_interim else self._interim_bytes + head.end
        self._n_interim += 1
        if head.status == 101:
            self._state = _TUNNEL
            if not sink.on_switch(head, rest):
                self._fail(sink, RemoteProtocolError("a 101 that nobody asked for", reason="bad_response"))
            return
        if self._n_interim > MAX_INTERIM or self._interim_bytes > self.pool.limits.head_bytes:
            self._fail(sink, RemoteProtocolError("too many interim responses", reason="bad_response"))
            return
        sink.on_interim(head)
        if rest and self.sink is sink:
            self._read_head(sink, rest)  # recursion is bounded by MAX_INTERIM

    def _start_chunks(self, sink: Sink, head: ResponseHead, data: bytes) -> None:
        chunks = ChunkedReader(self.pool.limits, payload_only=sink.payload_only, gone=head.listed)
        try:
            out, surplus = chunks.feed(data)
        except RemoteProtocolError as error:
            self._fail(sink, error)
            return
        self._chunks = chunks
        self._state = _CHUNKS
        sink.on_head(head, out)
        if chunks.done and self.sink is sink:
            self._end_chunks(sink, chunks, surplus)

    def _read_body(self, sink: Sink, data: bytes) -> None:
        left = self._left - len(data)
        self._left = left
        if left > 0:
            sink.on_body(data)
            return
        sink.on_body(data if left == 0 else data[:left])
        if self.sink is sink:
            self._end(sink, left < 0)

    def _read_chunks(self, sink: Sink, data: bytes) -> None:
        chunks = self._chunks
        assert chunks is not None
        try:
            out, surplus = chunks.feed(data)
        except RemoteProtocolError as error:
            self._fail(sink, error)
            return
        if out:
            sink.on_body(out)
        if chunks.done and self.sink is sink:
            self._end_chunks(sink, chunks, surplus)

    def _end_chunks(self, sink: Sink, chunks: ChunkedReader, surplus: bytes) -> None:
        if sink.payload_only and chunks.trailers:
            sink.on_trailers(chunks.trailers)
        self._end(sink, bool(surplus))

    def _end(self, sink: Sink, surplus: bool) -> None:
        self.sink = None
        # An endpoint that has not taken all of one request would get the next one behind it.
        if self._keep and self._sent_all and not surplus and not self._full:
            self._state = _IDLE
            if self._held_back:  # for the client of this response, not for that of the next one
                self.read_on()
            self.pool.put(self)
        elif self.transport.get_write_buffer_size():
            self.abandon()  # what is left of the request is of no use, and may never be taken
        else:
            self.close()
        sink.on_end()

    def _fail(self, sink: Sink, error: RemoteProtocolError) -> None:
        reason = error.reason if error.reason == "response_head_too_large" else "bad_response"
        self.abandon()
        sink.on_failure(UpstreamError(str(error), kind=reason, status=502))
