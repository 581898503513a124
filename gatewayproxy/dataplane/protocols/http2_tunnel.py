"""WebSockets over HTTP/2: a stream that an extended CONNECT opens, and its exchange. RFC 8441, RFC 9113 §8.5.

The request is routed, edited and sent as the HTTP/1.1 handshake that means the same, a GET with `Upgrade: websocket`:
so a rule for GET takes a WebSocket however it comes. A 101 is told as 200, any other status as it is, but for 2xx,
which would tell the client that the WebSocket is open. Then DATA is the tunnel's bytes, END_STREAM the end of a
direction, and RST_STREAM that of both.
"""

from __future__ import annotations

import os
from time import monotonic
from typing import Final

from gatewayproxy.dataplane.protocols import upgrade
from gatewayproxy.dataplane.protocols.answers import ANSWERS
from gatewayproxy.dataplane.protocols.exchange import Exchange
from gatewayproxy.dataplane.protocols.http2_exchange import Http2Exchange
from gatewayproxy.dataplane.protocols.http2_stream import Carrier, Http2Stream
from gatewayproxy.dataplane.protocols.state import CLOSED, RESPONSE, TUNNEL
from gatewayproxy.errors import RemoteProtocolError, UpstreamError
from gatewayproxy.wire.h2 import Stream
from gatewayproxy.wire.h2bridge import response_fields
from gatewayproxy.wire.h2frames import ErrorCode
from gatewayproxy.wire.h2heads import Head
from gatewayproxy.wire.head import RequestHead, parse_request
from gatewayproxy.wire.response import ResponseHead
from gatewayproxy.wire.websocket import WEBSOCKET, accepts, key_of, upgrade_request

__all__ = ["Http2Tunnel", "TunnelStream", "open_tunnel"]

_KEY_BYTES: Final = 16
_PROOF: Final = b"sec-websocket-accept"


def open_tunnel(carrier: Carrier, stream: Stream, head: Head, now: float) -> Http2Tunnel:
    """Return the exchange of the extended CONNECT *head*, yet to begin; raise RemoteProtocolError if it is refused."""
    if head.protocol.lower() != WEBSOCKET:
        status, message = ANSWERS["unknown_protocol"]
        raise RemoteProtocolError(message, status=status, reason="unknown_protocol")
    if head.length >= 0:  # RFC 9110 §9.3.6: a CONNECT has no content; what follows is the tunnel's
        raise RemoteProtocolError("Content-Length on a WebSocket handshake", reason="bad_framing")
    key = key_of(os.urandom(_KEY_BYTES))
    request = parse_request(upgrade_request(head, key), carrier.site.limits)
    assert request is not None
    return Http2Tunnel(TunnelStream(carrier, stream, chunked=False, now=now), request, key)


class TunnelStream(Http2Stream):
    """The stream: until the endpoint has agreed, what the client sends is held, as much as the stream's window lets."""

    __slots__ = ()

    def begin(self, exchange: Exchange, body: bytes, *, end: bool) -> None:
        """Start *exchange*, whose request is whole; *body* and *end* are of the tunnel."""
        self.exchange = exchange
        self.state = RESPONSE
        self._start(exchange, b"")
        if body or end:
            self.on_data(body, end, self._moved_at)

    def start_tunnel(self) -> bytes:
        """Become a tunnel, and send on what was held."""
        self.state = TUNNEL
        self.touch_tunnel()
        self._paused = True
        self.resume_body()
        return b""

    def resume_body(self) -> None:
        """Send on what was held, in a tunnel: ahead of the agreement it could be read as a request of its own."""
        if self.state is TUNNEL:
            super().resume_body()

    def on_data(self, data: bytes, end: bool, now: float, trailers: bytes = b"") -> None:
        """Take more bytes of the tunnel; *end*: the last of this direction."""
        exchange = self.exchange
        if exchange is None:
            self._carrier.codec.consumed(self.stream, len(data))
            return
        self._moved_at = now
        self._received_all = end
        if self._paused or self.state is not TUNNEL:
            self._hold(data)
        else:
            self._pass_on(exchange, data, b"")
            self._consumed(len(data))

    def on_trailers(self, lines: bytes, now: float) -> None:
        """RFC 9113 §8.5: of frames with content a connected stream takes DATA alone."""
        self.lost("malformed_message")
        self.reset(ErrorCode.PROTOCOL_ERROR)

    def _pass_on(self, exchange: Exchange, data: bytes, trailers: bytes) -> None:
        exchange.bytes_in += len(data)
        if exchange.upstream is None:
            return
        if data:
            exchange.upstream.send(data, complete=False)
        if self._received_all:
            upgrade.on_client_eof(exchange)

    def touch_tunnel(self) -> None:
        """Note that the tunnel is in use."""
        self._moved_at = monotonic()

    def on_tick(self, now: float) -> None:
        """End a tunnel that has been silent for too long."""
        timeout_s = self.site.limits.tunnel_idle_timeout_s
        if self._unsent or self.state is CLOSED:
            super().on_tick(now)
        elif self.state is TUNNEL and 0 < timeout_s < now - self._moved_at:
            self.lost("idle_timeout")
            self.reset(ErrorCode.CANCEL)


class Http2Tunnel(Http2Exchange):
    """The exchange. *key*: the Sec-WebSocket-Key in *head*."""

    __slots__ = ("_key",)

    connection: TunnelStream

    def __init__(self, stream: TunnelStream, head: RequestHead, key: bytes) -> None:
        super().__init__(stream, head)
        self._key = key

    def on_head(self, head: ResponseHead, body: bytes) -> None:
        """Pass a refusal on; RFC 8441 §4: a 2xx would say that the WebSocket is open."""
        if 200 <= head.status < 300:
            self._decline(f"the backend answered {head.status} to a WebSocket handshake, where 101 opens one")
        else:
            super().on_head(head, body)

    def on_switch(self, head: ResponseHead, data: bytes) -> bool:
        """Become a tunnel, if the endpoint has understood."""
        target, stream = self.target, self.connection
        assert target is not None
        if not head.upgrade or not accepts(head.buf[: head.end], self._key):
            self._decline("the backend's 101 has no valid Sec-WebSocket-Accept")
            return True
        upgrade.begin_tunnel(self, 200)
        fields = response_fields(200, self._edited(head))
        stream.send_head([field for field in fields if field[0] != _PROOF])
        if data:
            self.on_body(data)
        stream.start_tunnel()
        return True

    def _decline(self, detail: str) -> None:
        self._abandon_upstream()
        self.answer_with(502, "bad_response", detail)

    def on_body(self, data: bytes, last: bool = False) -> None:
        """Send more of the tunnel, or of the body of a refusal."""
        if self.tunnel:
            self.connection.touch_tunnel()
        super().on_body(data)

    def on_end(self) -> None:
        """The endpoint has left, or its refusal is complete."""
        if self.tunnel:
            self.upstream = None
            upgrade.on_upstream_lost(self, "upstream_closed")
        else:
            super().on_end()

    def on_failure(self, error: UpstreamError) -> None:
        """RFC 8441 §5: a connection that was reset is a stream that is cancelled."""
        if not self.tunnel:
            super().on_failure(error)
            return
        self.upstream = None
        if error.kind == "upstream_reset":
            self.connection.lost(error.kind)
            self.connection.reset(ErrorCode.CANCEL)
        else:
            upgrade.on_upstream_lost(self, error.kind)
