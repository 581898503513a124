"""What a peer's HTTP/2 bytes mean: the events of `wire.h2`, plain tuples whose first item is one of these numbers."""

from __future__ import annotations

from typing import Final, Literal

from gatewayproxy.errors import H2Error, RemoteProtocolError
from gatewayproxy.wire.h2heads import Head
from gatewayproxy.wire.h2stream import Stream

__all__ = [
    "BROKEN", "DATA", "FAILED", "GOAWAY", "HEADERS", "INTERIM", "PONG", "REFUSED", "RESET", "SETTINGS", "TRAILERS",
    "WINDOW", "Event",
]  # fmt: skip

HEADERS: Final = 1  # stream, head, whether the message ends here
INTERIM: Final = 2  # stream, head of a 1xx response
DATA: Final = 3  # stream, bytes, whether the message ends here
TRAILERS: Final = 4  # stream, head with the trailer fields: the message ends
REFUSED: Final = 5  # stream, error, whether the message ends here: well-formed, and too much: answer error.status
RESET: Final = 6  # stream, error code: the peer has ended it; REFUSED_STREAM: and has not begun to serve it
BROKEN: Final = 7  # stream, error: the peer broke a rule, and we have ended it; its head may not have been told
WINDOW: Final = 8  # stream: go on sending
SETTINGS: Final = 9  # the peer's settings have come or changed
PONG: Final = 10  # payload of a PING of ours, answered
GOAWAY: Final = 11  # last stream id, error code, debug data: open no more streams here
FAILED: Final = 12  # error: close the connection once the output is written; no event follows

Event = (
    tuple[Literal[1], Stream, Head, bool]
    | tuple[Literal[2], Stream, Head]
    | tuple[Literal[3], Stream, bytes, bool]
    | tuple[Literal[4], Stream, Head]
    | tuple[Literal[5], Stream, RemoteProtocolError, bool]
    | tuple[Literal[6], Stream, int]
    | tuple[Literal[7], Stream, H2Error]
    | tuple[Literal[8], Stream]
    | tuple[Literal[9]]
    | tuple[Literal[10], bytes]
    | tuple[Literal[11], int, int, bytes]
    | tuple[Literal[12], H2Error]
)
