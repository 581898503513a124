"""What HTTP/2 knows of one stream, and the budgets that a peer's floods run out of. Pure.

RFC 9113 §5.1, without reserved states, since nothing is ever pushed, and without idle ones: HEADERS make a Stream.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from gatewayproxy.errors import H2Error
from gatewayproxy.wire.h2frames import ErrorCode

__all__ = ["Budget", "Ending", "State", "Stream"]


class State(IntEnum):
    """RFC 9113 §5.1, as seen from here."""

    OPEN = 1
    HALF_CLOSED_LOCAL = 2
    HALF_CLOSED_REMOTE = 3
    CLOSED = 4


class Ending(IntEnum):
    """How a stream has ended: what frames mean that come for it later."""

    BY_US = 1  # RST_STREAM sent: the peer may not know yet
    BY_PEER = 2  # RST_STREAM received
    BY_END = 3  # END_STREAM both ways


class Stream:
    """One stream. *owner* is the caller's, to find its exchange again; the rest is `wire.h2`'s to change.

    *send_window* may be below zero (RFC 9113 §6.9.2). *unread* bytes were given to the caller and not `consumed` yet.
    *window* is what the peer may have on the way and unread together. *sending*, *receiving*: that side has not ended.
    PERF: the two say what its state is; as a table of states and causes they cost 1.1 us a call.
    """

    __slots__ = (
        "bodiless", "cut", "expected", "final", "id", "owed", "owner", "receive_window", "receiving", "send_window",
        "sending", "unread", "window",
    )  # fmt: skip

    def __init__(self, stream_id: int, send_window: int, receive_window: int) -> None:
        self.id = stream_id
        self.sending = self.receiving = True
        self.send_window = send_window
        self.receive_window = self.window = receive_window
        self.owed = 0  # consumed, and not yet given back to the peer
        self.unread = 0
        self.expected = -1  # bytes of body still to come by Content-Length, -1 unknown
        self.final = False  # the head that is not interim has come
        self.cut = False  # reset by either side: what is still sent on it is thrown away
        self.bodiless = False  # a HEAD request: its response has no body
        self.owner: Any = None

    def __repr__(self) -> str:
        return f"<Stream {self.id} {self.state.name}>"

    @property
    def state(self) -> State:
        """Return the state by name."""
        if self.receiving:
            return State.OPEN if self.sending else State.HALF_CLOSED_LOCAL
        return State.HALF_CLOSED_REMOTE if self.sending else State.CLOSED


class Budget:
    """A bucket of *most* tokens that fills by a tenth of it a second, and by what the peer earns.

    The clock is read only when the bucket is empty, so spending costs a subtraction.
    PERF: where frames are many, callers look whether it is full before they `earn`: 0.1 us less each.
    """

    __slots__ = ("_message", "_since", "left", "most")

    def __init__(self, most: int, now: float, message: str) -> None:
        self.most = most
        self.left: float = most
        self._since = now
        self._message = message

    def spend(self, n: int, now: float) -> None:
        """Take *n* tokens; raise H2Error (ENHANCE_YOUR_CALM, of the connection) where there are not so many."""
        self.left -= n
        if self.left >= 0:
            return
        self.left = min(self.left + n + self.most * (now - self._since) / 10, self.most) - n
        self._since = now
        if self.left < 0:
            raise H2Error(self._message, code=ErrorCode.ENHANCE_YOUR_CALM, reason="frame_flood")

    def earn(self, n: int) -> None:
        """Put *n* tokens in, as far as there is room."""
        if self.left < self.most:
            self.left += n
