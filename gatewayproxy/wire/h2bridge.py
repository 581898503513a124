"""Heads of HTTP/2 written as HTTP/1.1, and back: what a gateway between the two needs. Pure.

RFC 9113 §8.2-§8.3, RFC 9112. A client's request goes through `wire.head` as the bytes written here, so one strict
grammar judges both protocols; what `wire.edit` has made of a head goes on as a header list, to either side. A head that
a backend sent by HTTP/2 is a ResponseHead, as if `wire.response` had read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from gatewayproxy.wire.chunked import kept_trailers
from gatewayproxy.wire.h2heads import Head
from gatewayproxy.wire.head import CHUNKED
from gatewayproxy.wire.hpack import Field, Repeated
from gatewayproxy.wire.response import ENDED, ResponseHead

__all__ = [
    "ResponseHeads",
    "fields_of",
    "interim_head",
    "opening_fields",
    "request_bytes",
    "request_fields",
    "response_fields",
    "trailer_fields",
]

_KEPT_BYTES: Final = 256  # of a line whose field is kept
# RFC 9113 §8.2.2: connection-specific fields MUST NOT be sent, whatever a filter may have set.
_CONNECTION: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"te")
)
_STATUS_LINE: Final = re.compile(rb"(?m:^)(?i:grpc-status):")
_STATUS: Final = {status: (b":status", b"%d" % status) for status in range(100, 600)}
_PHRASES: Final = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}
_SCHEMES: Final = {scheme: (b":scheme", scheme) for scheme in (b"http", b"https")}
_KEPT_HEADS: Final = 32
_HEAD_BYTES: Final = 1024  # of the lines whose whole list is kept


def request_bytes(head: Head, *, chunked: bool) -> bytes:
    """Return *head* as an HTTP/1.1 request head; *chunked*: a body of unknown length follows."""
    coding = b"transfer-encoding: chunked\r\n" if chunked else b""
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%b\r\n" % (head.method, head.path, head.authority, head.lines, coding)


def response_fields(status: int, lines: bytes) -> Sequence[Field]:
    """Return the header list of a response with field *lines*, each ended by CRLF."""
    # PERF: backends repeat whole heads, too.
    return _kept_response(status, lines) if len(lines) <= _HEAD_BYTES else _response_fields(status, lines)


def _response_fields(status: int, lines: bytes) -> Sequence[Field]:
    return Repeated((_STATUS[status], *fields_of(lines.split(b"\r\n"))))


_kept_response = lru_cache(maxsize=256)(_response_fields)


def trailer_fields(lines: bytes) -> tuple[Field, ...]:
    """Return the fields of an answer's trailers, *lines* each ended by CRLF: those that may stand there.

    What a call of gRPC ends with is its status and its metadata, and goes on whole.
    """
    return _kept_trailers(lines) if len(lines) <= _HEAD_BYTES else _trailer_fields(lines)


def _trailer_fields(lines: bytes) -> tuple[Field, ...]:
    kept = lines if _STATUS_LINE.search(lines) is not None else kept_trailers(lines)
    return Repeated(fields_of(kept.split(b"\r\n")))


_kept_trailers = lru_cache(maxsize=64)(_trailer_fields)


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


def request_fields(head: bytes, scheme: bytes = b"http") -> tuple[tuple[Field, ...], tuple[Field, ...]]:
    """Return the header list of an HTTP/1.1 request *head*, valid and in origin-form, without its empty line.

    *scheme* is that of the connection it goes to: endpoints may refuse another one (RFC 9113 §8.3.1).

    PERF: it comes in two parts. What requests have in common comes first, their id last: so the first one is kept.
    """
    at = head.rfind(b"\r\n")
    last = _request_field(head[at + 2 :])
    if last is None or last[0] == b":authority" or at > _HEAD_BYTES:
        return _list_of(head, scheme), ()
    return _kept_list(head[:at], scheme), (last,)


def opening_fields(start: bytes, lines: bytes, scheme: bytes) -> tuple[tuple[Field, ...], bytes, bytes]:
    """Return what a head that begins with *start* and *lines* comes to: the list of its whole lines, and the last one.

    Of that the name, in lower case, and the value as far as it goes: the rest follows *lines*.
    """
    few = len(start) + len(lines) <= _HEAD_BYTES
    return _kept_opening(start, lines, scheme) if few else _opening_fields(start, lines, scheme)


def _opening_fields(start: bytes, lines: bytes, scheme: bytes) -> tuple[tuple[Field, ...], bytes, bytes]:
    head, _, last = (start + lines).rpartition(b"\r\n")
    name, _, value = last.partition(b": ")
    return _list_of(head, scheme), name.lower(), value


_kept_opening = lru_cache(maxsize=256)(_opening_fields)


def _list_of(head: bytes, scheme: bytes) -> tuple[Field, ...]:
    line, *lines = head.split(b"\r\n")
    method, target, _ = line.split(b" ")
    found = [_kept_request_field(each) if len(each) <= _KEPT_BYTES else _request_field(each) for each in lines]
    fields = [field for field in found if field is not None]
    authority = [field for field in fields if field[0] == b":authority"]
    rest = [field for field in fields if field[0] != b":authority"] if authority else fields
    return Repeated(((b":method", method), _SCHEMES[scheme], *authority, (b":path", target), *rest))


_kept_list = lru_cache(maxsize=256)(_list_of)


def _request_field(line: bytes) -> Field | None:
    """Return the field of a *line* of a request, None where it ends here. RFC 9113 §8.2.2, §8.3.1."""
    name, colon, value = line.partition(b":")
    name = name.lower()
    value = value.strip(b" \t")
    if name == b"host":
        return b":authority", value
    if name == b"te" and value.lower() == b"trailers":
        return name, value
    if not colon or name in _CONNECTION:
        return None
    return name, value


_kept_request_field = lru_cache(maxsize=1024)(_request_field)


def interim_head(head: Head) -> ResponseHead:
    """Return a 1xx *head*."""
    return _response_head(head, 0)


class ResponseHeads:
    """The heads of one connection's responses, made once where the peer repeats itself."""

    __slots__ = ("_ended", "_open")

    def __init__(self) -> None:
        self._open: dict[Head, ResponseHead] = {}
        self._ended: dict[Head, ResponseHead] = {}

    def head(self, head: Head, *, end: bool, bodiless: bool) -> ResponseHead:
        """Return a final *head*; *end*: the message ends with it; *bodiless*: it answers a HEAD.

        A length that is not told is CHUNKED, or ENDED where the message ends here.
        """
        if bodiless:
            return _response_head(head, 0)
        kept = self._ended if end else self._open
        found = kept.get(head)
        if found is None:
            length = head.length if head.length >= 0 else ENDED if end else CHUNKED
            found = _response_head(head, length)
            found.repeats = True
            if len(kept) >= _KEPT_HEADS:
                kept.clear()
            kept[head] = found
        return found


def _response_head(head: Head, length: int) -> ResponseHead:
    lines = head.lines
    if head.status < 200 or head.status == 204:  # RFC 9110 §8.6: MUST NOT have a Content-Length
        lines = b"".join([b"%b: %b\r\n" % field for field in head.fields if field[0] != b"content-length"])
    start = b"HTTP/1.1 %d %b\r\n" % (head.status, _PHRASES.get(head.status, b""))
    answer = ResponseHead()
    answer.buf = b"%b%b\r\n" % (start, lines)
    answer.low = answer.buf.lower()
    answer.status = head.status
    answer.keep_alive = answer.intact = True
    answer.fields_start = len(start)
    answer.fields_end = len(answer.buf) - 2
    answer.end = len(answer.buf)
    answer.length = length
    if head.sensitive:
        answer.sensitive = head.sensitive
    return answer
