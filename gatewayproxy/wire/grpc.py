"""What of gRPC a gateway must know: status codes, deadlines, messages in fields, content types. Pure.

grpc/doc: PROTOCOL-HTTP2.md (names, grammar), statuscodes.md, http-grpc-status-mapping.md. Messages themselves pass
through unread; what gRPC-Web makes of them is in `wire.grpc_web`.
"""

from __future__ import annotations

import re
from enum import IntEnum
from functools import lru_cache
from typing import Final

from gatewayproxy.errors import RemoteProtocolError

__all__ = [
    "SERVER_FAULTS", "Code", "code_of_http", "code_of_lines", "content_type", "percent_encoded", "status_lines",
    "timeout_s",
]  # fmt: skip


class Code(IntEnum):
    """Status codes, as `grpc-status` has them."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


# Those that google/rpc/code.proto gives an HTTP status of class 5xx. The others are the caller's doing (statuscodes.md:
# INVALID_ARGUMENT, NOT_FOUND, ..., CANCELLED), or are meant: RESOURCE_EXHAUSTED is a quota, ABORTED asks to try again.
SERVER_FAULTS: Final = frozenset((
    Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.UNIMPLEMENTED, Code.INTERNAL, Code.UNAVAILABLE, Code.DATA_LOSS,
))  # fmt: skip
_OF_HTTP: Final = {
    400: Code.INTERNAL,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    429: Code.UNAVAILABLE,
    431: Code.INTERNAL,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.UNAVAILABLE,
}
_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS_S: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_ENCODED: Final = re.compile(rb"[^\x20-\x24\x26-\x7e]")
_TYPE: Final = re.compile(rb"(application/grpc(?:-web(?:-text)?+)?+(?:\+[!#$&^_.+0-9a-z-]++)?+)[ \t]*+(?:;.*+)?+")
_TYPE_BYTES: Final = 256
_STATUS_LINE: Final = re.compile(rb"(?i:^grpc-status):[ \t]*+([0-9]{1,9}+)[ \t]*+\r$", re.MULTILINE)


def code_of_http(status: int) -> Code:
    """Return what a client takes an HTTP *status* for that comes without grpc-status: http-grpc-status-mapping.md."""
    return _OF_HTTP.get(status, Code.UNKNOWN)


def timeout_s(value: bytes) -> float:
    """Return the seconds of a grpc-timeout; raise RemoteProtocolError where it is none.

    Its grammar wants a positive number; clients whose deadline has just passed send 0, and mean it.
    """
    found = _TIMEOUT.fullmatch(value)
    if found is None:
        raise RemoteProtocolError("grpc-timeout is not 1 to 8 digits and a unit", reason="bad_grpc_timeout")
    return int(found[1]) * _UNITS_S[found[2]]


def percent_encoded(text: str) -> bytes:
    """Return *text* as grpc-message has it: UTF-8, everything but printable ASCII and "%" itself as %XX."""
    return _ENCODED.sub(lambda found: b"%%%02X" % found[0][0], text.encode("utf-8", "replace"))


@lru_cache(maxsize=64)
def content_type(value: bytes) -> bytes:
    """Return the media type of a Content-Type *value* in lower case, if it is one of gRPC or gRPC-Web, else b""."""
    if len(value) > _TYPE_BYTES:
        return b""
    found = _TYPE.fullmatch(value.lower())
    return found[1] if found is not None else b""


def code_of_lines(lines: bytes) -> int:
    """Return grpc-status of field *lines*, each ended by CRLF; -1 where there is none that is a number."""
    found = _STATUS_LINE.search(lines)
    return int(found[1]) if found is not None else -1


def status_lines(code: Code, message: str) -> bytes:
    """Return the field lines that tell how a call ended."""
    return b"grpc-status: %d\r\ngrpc-message: %b\r\n" % (code, percent_encoded(message))
