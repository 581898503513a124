"""A WebSocket to an endpoint that speaks HTTP/2: a stream opened by extended CONNECT. RFC 8441, RFC 9113 §8.5.

The request comes as an HTTP/1.1 handshake, and a 2xx goes back as its 101, with the proof that the key asks for: the
endpoint sees neither. It may be asked only once its SETTINGS have offered it, so a new connection waits for them.
"""

from __future__ import annotations

from gatewayproxy.dataplane.upstream.connection import Sink
from gatewayproxy.dataplane.upstream.http2_stream import Carrier, UpstreamStream
from gatewayproxy.errors import RemoteProtocolError, UpstreamError
from gatewayproxy.wire.h2bridge import request_fields
from gatewayproxy.wire.h2frames import ErrorCode
from gatewayproxy.wire.h2heads import Head
from gatewayproxy.wire.response import parse_response
from gatewayproxy.wire.websocket import connect_fields, switch_bytes

__all__ = ["UpstreamTunnel"]

_KEY_BYTES = 24  # 16 in base64, RFC 6455 §4.2.1


class UpstreamTunnel(UpstreamStream):
    """See the module."""

    __slots__ = ("_begun", "_key", "_open", "_out")

    def __init__(self, carrier: Carrier) -> None:
        super().__init__(carrier)
        self._begun = False  # there is a stream
        self._open = False  # and it is a tunnel
        self._key = b""
        self._out = b""

    def start(self, sink: Sink, out: bytes, bodiless: bool, complete: bool) -> None:
        """Ask for the WebSocket that the head *out* asks for."""
        self.sink = sink
        self._out = out
        self._carrier.n_requests += 1
        if self._carrier.unsettled is None:
            self.connect()
        else:
            self._carrier.unsettled.append(self)

    def connect(self) -> None:
        """Open the stream: the endpoint has said what it serves."""
        codec = self._carrier.codec
        if self.sink is None:
            return
        fields, rest = request_fields(self._out[: self._out.find(b"\r\n\r\n")], self._carrier.scheme)
        handshake, self._key = connect_fields([*fields, *rest])
        if len(self._key) != _KEY_BYTES:
            self.fail(UpstreamError("a handshake without a valid Sec-WebSocket-Key", kind="bad_header", status=400))
        elif not codec.peer_connect:
            message = "the backend speaks HTTP/2 and does not offer extended CONNECT (RFC 8441) for WebSockets"
            self.fail(UpstreamError(message, kind="no_extended_connect", status=501))
        elif not codec.room:
            message = "no room for another stream on this connection"
            self.fail(UpstreamError(message, kind="upstream_refused", status=503, unprocessed=True))
        else:
            self._begun = True
            self.stream = codec.request(handshake)
            self.stream.owner = self
            self._carrier.wake()

    def send_eof(self) -> None:
        """End our direction, behind what is unsent."""
        self._complete = True
        if not self._unsent and self.stream.sending:
            self._carrier.codec.send_data(self.stream, b"", end=True)
            self._carrier.wake()

    def close(self) -> None:
        """Let the stream end behind what is unsent: both directions have ended."""
        self.sink = None
        if not self._complete:
            self.send_eof()

    def on_head(self, head: Head, end: bool) -> None:
        """Take the answer: 2xx opens the tunnel."""
        sink = self.sink
        if sink is None or not 200 <= head.status < 300:
            super().on_head(head, end)
            return
        self.answered = self._open = True
        try:
            switch = parse_response(switch_bytes(head, self._key), self._carrier.limits)
        except RemoteProtocolError as error:
            self.refuse(error)
            return
        assert switch is not None
        if not sink.on_switch(switch, b""):
            self.refuse(RemoteProtocolError("a tunnel that nobody asked for", reason="bad_response"))
        elif end and self.sink is sink:
            sink.on_tunnel_eof()

    def on_trailers(self, head: Head) -> None:
        """RFC 9113 §8.5: of frames with content a connected stream takes DATA alone."""
        if self._open:
            self.refuse(RemoteProtocolError("trailers on a tunnel", reason="bad_response"))
        else:
            super().on_trailers(head)

    def _finish(self, sink: Sink) -> None:
        if self._open:
            sink.on_tunnel_eof()
        else:
            super()._finish(sink)

    def _reset(self, code: ErrorCode) -> None:
        if self._begun:
            super()._reset(code)
        else:
            self.sink = None
