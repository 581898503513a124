"""Heads of HTTP/2 written as HTTP/1.1, and back: what a gateway between the two needs. Pure.

RFC 9113 §8.2-§8.3, RFC 9112. A request goes through `wire.head` as the bytes written here, so one strict grammar judges
both protocols; a response comes from the bytes that `wire.edit` has made of a backend's head.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from gatewayproxy.wire.h2heads import Head
from gatewayproxy.wire.hpack import Field

__all__ = ["fields_of", "request_bytes", "response_fields"]

_KEPT_BYTES: Final = 256  # of a line whose field is kept
# RFC 9113 §8.2.2: connection-specific fields MUST NOT be sent, whatever a filter may have set.
_CONNECTION: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"te")
)
_STATUS: Final = {status: (b":status", b"%d" % status) for status in range(100, 600)}


def request_bytes(head: Head, *, chunked: bool) -> bytes:
    """Return *head* as an HTTP/1.1 request head; *chunked*: a body of unknown length follows."""
    coding = b"transfer-encoding: chunked\r\n" if chunked else b""
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%b\r\n" % (head.method, head.path, head.authority, head.lines, coding)


def response_fields(status: int, lines: bytes) -> list[Field]:
    """Return the header list of a response with field *lines*, each ended by CRLF."""
    return [_STATUS[status], *fields_of(lines.split(b"\r\n"))]


def fields_of(lines: Iterable[bytes]) -> list[Field]:
    """Return the fields of *lines* without their CRLF: names in lower case, empty lines passed over."""
    # PERF: backends repeat most lines of their heads.
    found = [_kept(line) if len(line) <= _KEPT_BYTES else _field(line) for line in lines]
    return [field for field in found if field is not None]


def _field(line: bytes) -> Field | None:
    name, colon, value = line.partition(b":")
    name = name.lower()
    if not colon or name in _CONNECTION:
        return None
    return name, value.strip(b" \t")


_kept = lru_cache(maxsize=1024)(_field)
