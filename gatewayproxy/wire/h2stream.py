"""What HTTP/2 knows of one stream, and the budgets that a peer's floods run out of. Pure.

RFC 9113 §5.1: `State`, `Cause` and `NEXT` are its figure without reserved states, since nothing is ever pushed.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from gatewayproxy.errors import H2Error, LocalProtocolError
from gatewayproxy.wire.h2frames import ErrorCode

__all__ = ["NEXT", "Budget", "Cause", "Ending", "State", "Stream"]


class State(IntEnum):
    """RFC 9113 §5.1, as seen from here."""

    IDLE = 0
    OPEN = 1
    HALF_CLOSED_LOCAL = 2
    HALF_CLOSED_REMOTE = 3
    CLOSED = 4


class Cause(IntEnum):
    """What moves a stream on."""

    HEADERS = 0  # sent by a client, received by a server
    SENT_END = 1
    RECEIVED_END = 2
    RESET = 3  # sent or received


NEXT: Final[dict[tuple[State, Cause], State]] = {  # an absent pair is illegal
    (State.IDLE, Cause.HEADERS): State.OPEN,
    (State.OPEN, Cause.SENT_END): State.HALF_CLOSED_LOCAL,
    (State.OPEN, Cause.RECEIVED_END): State.HALF_CLOSED_REMOTE,
    (State.HALF_CLOSED_LOCAL, Cause.RECEIVED_END): State.CLOSED,
    (State.HALF_CLOSED_REMOTE, Cause.SENT_END): State.CLOSED,
    **{(state, Cause.RESET): State.CLOSED for state in State if state not in (State.IDLE, State.CLOSED)},
}


class Ending(IntEnum):
    """How a stream has ended: what frames mean that come for it later."""

    BY_US = 1  # RST_STREAM sent: the peer may not know yet
    BY_PEER = 2  # RST_STREAM received
    BY_END = 3  # END_STREAM both ways


class Stream:
    """One stream. *owner* is the caller's, to find its exchange again; the rest is `wire.h2`'s to change.

    *send_window* may be below zero (RFC 9113 §6.9.2). *unread* bytes were given to the caller and not `consumed` yet.
    *window* is what the peer may have on the way and unread together.
    """

    __slots__ = (
        "bodiless", "cut", "expected", "final", "id", "owed", "owner", "receive_window", "send_window", "state",
        "unread", "window",
    )  # fmt: skip

    def __init__(self, stream_id: int, send_window: int, receive_window: int) -> None:
        self.id = stream_id
        self.state: State = State.IDLE
        self.send_window = send_window
        self.receive_window = self.window = receive_window
        self.owed = 0  # consumed, and not yet given back to the peer
        self.unread = 0
        self.expected = -1  # bytes of body still to come by Content-Length, -1 unknown
        self.final = False  # the head that is not interim has come
        self.cut = False  # reset by either side: what is still sent on it is thrown away
        self.bodiless = False  # a HEAD request: its response has no body
        self.owner: object = None

    def __repr__(self) -> str:
        return f"<Stream {self.id} {State(self.state).name}>"

    def advance(self, cause: Cause) -> State:
        """Enter the state after *cause* and return it; raise LocalProtocolError where there is none."""
        try:
            state = self.state = NEXT[self.state, cause]
        except KeyError:
            raise LocalProtocolError(f"stream {self.id}: {cause.name} while {self.state.name}") from None
        return state

    @property
    def receiving(self) -> bool:
        """Return whether the peer may still send on it."""
        return self.state is State.OPEN or self.state is State.HALF_CLOSED_LOCAL

    @property
    def sending(self) -> bool:
        """Return whether we may still send on it."""
        return self.state is State.OPEN or self.state is State.HALF_CLOSED_REMOTE


class Budget:
    """A bucket of *most* tokens that fills by a tenth of it a second, and by what the peer earns.

    The clock is read only when the bucket is empty, so spending costs a subtraction.
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
