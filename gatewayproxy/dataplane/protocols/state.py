"""The states of a downstream HTTP/1.1 connection, RFC 9112 §9, and which may follow which."""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = ["BODY", "CLOSED", "IDLE", "LINGER", "NEXT", "RESPONSE", "TUNNEL", "State"]


class State(Enum):
    """What a connection is doing."""

    IDLE = "between requests, or within a head"
    BODY = "a request body is arriving"
    RESPONSE = "the request is complete, its answer is not"
    TUNNEL = "bytes both ways, after a 101"
    LINGER = "answered for the last time, reading only to discard"
    CLOSED = "over"


# PERF: a global costs half of what a member of an Enum class does, a dozen times a request.
IDLE, BODY, RESPONSE, TUNNEL, LINGER, CLOSED = State

# What is not listed cannot follow. Tests hold every change of a connection to it; serving does not pay for asking.
NEXT: Final = {
    IDLE: frozenset((BODY, RESPONSE, LINGER, CLOSED)),  # LINGER: the head was refused
    BODY: frozenset((RESPONSE, LINGER, CLOSED)),  # LINGER: answered early
    RESPONSE: frozenset((IDLE, TUNNEL, LINGER, CLOSED)),  # LINGER: the last answer, and more was sent
    TUNNEL: frozenset((CLOSED,)),
    LINGER: frozenset((CLOSED,)),
    CLOSED: frozenset[State](),
}
