"""One HTTP/2 connection without its socket: received bytes to events, calls to bytes to send. Pure.

RFC 9113, RFC 8441. One small interface for both roles:

    events = connection.receive(data, now)      then act on each (`wire.h2events`) by calls of this connection
    transport.write(connection.take_output())   once per turn: answers to the peer, and what the calls have queued

What a peer breaks is answered here and told by an event: BROKEN for a stream, FAILED for the connection, which is then
to be closed behind its output. `receive` raises nothing; a call that the protocol forbids raises LocalProtocolError.
A read is judged whole before its events are handed out, so a stream may have been reset when its HEADERS are told:
then RESET or BROKEN follows in the same list, and until then calls for it do nothing.
Backpressure: bytes of DATA events count against the peer's windows until `consumed`; `send_data` takes what the peer's
windows allow, and a WINDOW event says when to go on. While a transport cannot write, its connection must not receive:
so the answers to control frames are bounded too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from gatewayproxy.errors import H2Error, LocalProtocolError, RemoteProtocolError
from gatewayproxy.model.limits import Limits
from gatewayproxy.wire import h2frames
from gatewayproxy.wire.h2events import HEADERS, INTERIM, REFUSED, RESET, Event
from gatewayproxy.wire.h2frames import END_STREAM, MAX_STREAM_ID, ErrorCode, Frame, Setting
from gatewayproxy.wire.h2heads import Head, malformed
from gatewayproxy.wire.h2receive import H2Connection, broken
from gatewayproxy.wire.h2stream import Ending, Stream
from gatewayproxy.wire.hpack import Field

__all__ = ["Event", "H2Client", "H2Connection", "H2Server", "Stream"]

_EARNED_BY_HEADERS: Final = 2  # control frames that a message of the peer may bring along


class H2Server(H2Connection):
    """The side of a server; *connect*: offer extended CONNECT (RFC 8441)."""

    __slots__ = ("_awaited",)

    def __init__(self, limits: Limits, now: float, *, connect: bool = False) -> None:
        settings: dict[int, int] = {Setting.MAX_CONCURRENT_STREAMS: limits.h2_streams}
        if connect:
            settings[Setting.ENABLE_CONNECT_PROTOCOL] = 1
        super().__init__(limits, now, settings)
        self._awaited = h2frames.PREFACE  # what of it is still to come

    def _preface(self, data: bytes) -> bytes:
        awaited = self._awaited
        if not awaited:
            return data
        if not data.startswith(awaited[: len(data)]):
            raise broken("not an HTTP/2 connection preface")
        self._awaited = awaited[len(data) :]
        return data[len(awaited) :]

    def _on_headers(self, frame: Frame) -> None:
        _, flags, stream_id, block, depends_on_itself = frame
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._on_trailers(stream, frame)
            return
        if not stream_id & 1:
            raise broken("a client opens streams of odd ids")
        if stream_id <= self._last_received:
            self._stray_headers(stream_id, block)
            return
        self._last_received = stream_id
        if stream_id > self._goaway_last:  # §6.8: ignored
            self._control.spend(1, self._now)
            self._heads.skip(block)
            return
        if self._control.left < self._control.most:
            self._control.earn(_EARNED_BY_HEADERS)
        if len(self.streams) >= self.limits.h2_streams:
            self._heads.skip(block)
            raise broken("more streams than offered", ErrorCode.REFUSED_STREAM, stream_id)
        self._open(stream_id, flags & END_STREAM != 0, block, depends_on_itself)

    def _open(self, stream_id: int, end: bool, block: bytes, depends_on_itself: int) -> None:
        stream = Stream(stream_id, self._peer_window, self._stream_window)
        stream.final = True
        self.streams[stream_id] = stream
        refusal: RemoteProtocolError | None = None
        head: Head | None = None
        try:
            head = self._heads.request(block, stream_id)
            stream.expected = head.length
        except H2Error:
            raise
        except RemoteProtocolError as error:
            refusal = error
        if depends_on_itself:
            raise broken("stream depends on itself", ErrorCode.PROTOCOL_ERROR, stream_id)
        if end:
            if stream.expected > 0:
                raise malformed("body is not as long as content-length", stream_id)
            stream.receiving = False
        if head is not None:
            self._events.append((HEADERS, stream, head, end))
        elif refusal is not None:
            self._events.append((REFUSED, stream, refusal, end))

    def _cancelled(self, stream: Stream) -> None:
        self._resets.spend(1, self._now)  # CVE-2023-44487

    def _idle(self, stream_id: int) -> bool:
        return stream_id > self._last_received or not stream_id & 1


class H2Client(H2Connection):
    """The side of a client."""

    __slots__ = ("_next_id",)

    def __init__(self, limits: Limits, now: float) -> None:
        super().__init__(limits, now, {Setting.ENABLE_PUSH: 0})
        self._out.insert(0, h2frames.PREFACE)
        self._next_id = 1

    @property
    def room(self) -> int:
        """Return how many more streams may be opened now; 0 for good after GOAWAY."""
        if self.failed or self.peer_leaves or self._next_id > MAX_STREAM_ID:
            return 0
        return max(self.peer_streams - len(self.streams), 0)

    def request(
        self,
        fields: Iterable[Field],
        *,
        end: bool = False,
        head: bool = False,
        sensitive: Collection[bytes] = (),
        rest: tuple[Field, ...] = (),
    ) -> Stream:
        """Open a stream with a request head and return it; *head*: its method is HEAD. See `send_headers`."""
        stream_id = self._next_id
        if len(self.streams) >= self.peer_streams or self.peer_leaves or self.failed or stream_id > MAX_STREAM_ID:
            raise LocalProtocolError("no room for a stream on this connection")
        stream = self.streams[stream_id] = Stream(stream_id, self._peer_window, self._stream_window)
        self._next_id = stream_id + 2
        stream.bodiless = head
        self.send_headers(stream, fields, end=end, sensitive=sensitive, rest=rest)
        return stream

    def _on_headers(self, frame: Frame) -> None:
        _, flags, stream_id, block, depends_on_itself = frame
        stream = self.streams.get(stream_id)
        if stream is None:
            self._stray_headers(stream_id, block)
            return
        if self._control.left < self._control.most:
            self._control.earn(_EARNED_BY_HEADERS)
        if stream.final:
            self._on_trailers(stream, frame)
            return
        end = flags & END_STREAM != 0
        try:
            head = self._heads.response(block, stream_id)
        except H2Error:
            raise
        except RemoteProtocolError as error:
            self._refuse(stream, error, end)
            return
        if depends_on_itself:
            raise broken("stream depends on itself", ErrorCode.PROTOCOL_ERROR, stream_id)
        if head.status < 200:
            self._interim(stream, head, end)
            return
        stream.final = True
        stream.expected = 0 if stream.bodiless else head.length
        if end and stream.expected > 0:
            raise malformed("body is not as long as content-length", stream_id)
        if end:
            self._receive_end(stream)
        self._events.append((HEADERS, stream, head, end))

    def _stray_headers(self, stream_id: int, block: bytes) -> None:
        if self._idle(stream_id):
            raise broken("HEADERS on a stream that was not opened")
        super()._stray_headers(stream_id, block)

    def _refuse(self, stream: Stream, error: RemoteProtocolError, end: bool) -> None:
        stream.final = True
        if end:
            self._receive_end(stream)
        self._events.append((REFUSED, stream, error, end))

    def _interim(self, stream: Stream, head: Head, end: bool) -> None:
        self._control.spend(1 + _EARNED_BY_HEADERS, self._now)
        if end:  # §8.1: an interim response MUST NOT end the stream
            raise malformed("interim response with END_STREAM", stream.id)
        self._events.append((INTERIM, stream, head))

    def _check_push(self, value: int) -> None:
        if value:
            raise broken("a server MUST NOT enable push, RFC 9113 §6.5.2")

    def _abandon(self, last: int) -> None:
        for stream in [each for each in self.streams.values() if each.id > last]:
            self._forget(stream, Ending.BY_US)
            self._events.append((RESET, stream, ErrorCode.REFUSED_STREAM))

    def _idle(self, stream_id: int) -> bool:
        return stream_id >= self._next_id or not stream_id & 1
