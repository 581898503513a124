"""The chunked transfer coding, read strictly and written anew. Pure.

RFC 9112 §7.1. Whatever framing a peer chose, what leaves is ours: one size line per piece, no extensions, and only
trailer fields that may be merged by anyone (RFC 9110 §6.5.1). So no oddity of a size line reaches the next reader.
Bounds: 15 hex digits, 1,024 bytes of size line with its extensions, and a trailer section as large as a head may be.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.model.limits import Limits
from gatewayproxy.wire.grammar import BARE, FIELDS, TOKEN

__all__ = ["ChunkedReader"]

_LINE_BYTES: Final = 1024
_QUOTED: Final = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*+"'
_SIZE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,15}+)(?:;" + TOKEN + rb"(?:=(?:" + TOKEN + rb"|" + _QUOTED + rb"))?+)*+\r\n"
)
_SIZE_START: Final = re.compile(rb"[0-9A-Fa-f]{1,15}+(?:;[^\n]*+|\r)?+")
_TRAILERS: Final = re.compile(rb"(" + FIELDS + rb")\r\n")
# Fields that frame, route, authenticate, condition or describe a message have no place behind it; neither has a name
# with "_" for "-", which CGI-style backends could not tell from them.
_FORBIDDEN: Final = re.compile(
    rb"(?i:(?:content[-_][^:]*|transfer[-_]encoding|host|connection|keep[-_]alive|te|trailer|upgrade|expect|origin|"
    rb"max[-_]forwards|range|if[-_][^:]*|authorization|proxy[-_][^:]*|www[-_]authenticate|cookie|set[-_]cookie|forwarded|"
    rb"via|x[-_]forwarded[-_][^:]*|x[-_]request[-_]id|x[-_]real[-_]ip|age|cache[-_]control|expires|date|location|"
    rb"retry[-_]after|vary|warning|pragma|sec[-_][^:]*|http2[-_]settings):)"
    rb"[^\n]*+\n"
)
_ANY_LINE: Final = re.compile(rb"[^\n]*+\n")

_State = Enum("_State", "SIZE DATA DATA_END TRAILERS DONE")


class ChunkedReader:
    """Reads one chunked body; `feed` it until `done`. *payload_bytes* counts content without framing."""

    __slots__ = ("_left", "_limits", "_line", "_payload_only", "_state", "payload_bytes")

    def __init__(self, limits: Limits, *, payload_only: bool = False) -> None:
        self._limits = limits
        self._payload_only = payload_only  # for a receiver that knows no chunks (HTTP/1.0)
        self._state = _State.SIZE
        self._line = b""  # start of a line, or of the trailer section, that has not ended yet
        self._left = 0
        self.payload_bytes = 0

    @property
    def done(self) -> bool:
        """Return whether the body has ended."""
        return self._state is _State.DONE

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take *data*; return (bytes to send on, bytes behind the end of the body).

        Raises RemoteProtocolError (400) at the first byte that breaks the coding.
        """
        if self._line:
            data = self._line + data
            self._line = b""
        out: list[bytes] = []
        at = 0
        while at < len(data) and self._state is not _State.DONE:
            at = self._step(data, at, out)
        return b"".join(out), data[at:]

    def _step(self, data: bytes, at: int, out: list[bytes]) -> int:
        if self._state is _State.SIZE:
            return self._size(data, at)
        if self._state is _State.DATA:
            return self._data(data, at, out)
        if self._state is _State.DATA_END:
            return self._data_end(data, at)
        return self._trailers(data, at, out)

    def _size(self, data: bytes, at: int) -> int:
        found = _SIZE.match(data, at, at + _LINE_BYTES)
        if found is None:
            rest = data[at:]
            if len(rest) >= _LINE_BYTES or _SIZE_START.fullmatch(rest) is None or BARE.search(rest) is not None:
                raise _bad("malformed chunk size")
            if b"\r\n" in rest:
                raise _bad("malformed chunk extension")
            self._line = rest
            return len(data)
        self._left = int(found[1], 16)
        self._state = _State.DATA if self._left else _State.TRAILERS
        return found.end()

    def _data(self, data: bytes, at: int, out: list[bytes]) -> int:
        piece = data[at : at + self._left]
        size = len(piece)
        self._left -= size
        self.payload_bytes += size
        out.append(piece if self._payload_only else b"%x\r\n%b\r\n" % (size, piece))
        if not self._left:
            self._state = _State.DATA_END
        return at + size

    def _data_end(self, data: bytes, at: int) -> int:
        end = data[at : at + 2]
        if end == b"\r\n":
            self._state = _State.SIZE
        elif end == b"\r":
            self._line = end
        else:
            raise _bad("chunk data longer than its size")
        return at + len(end)

    def _trailers(self, data: bytes, at: int, out: list[bytes]) -> int:
        found = _TRAILERS.match(data, at)
        if found is None:
            self._line = self._partial_trailers(data[at:])
            return len(data)
        self._check_trailer_size(found[0])
        self._state = _State.DONE
        if not self._payload_only:
            kept = [line for line in _ANY_LINE.findall(found[1]) if _FORBIDDEN.fullmatch(line) is None]
            out.append(b"0\r\n%b\r\n" % b"".join(kept))
        return found.end()

    def _partial_trailers(self, rest: bytes) -> bytes:
        self._check_trailer_size(rest)
        # Whole lines must be fields already; the last one may still grow.
        lines = rest[: rest.rfind(b"\n") + 1]
        if BARE.search(rest) is not None or _TRAILERS.match(lines + b"\r\n") is None:
            raise _bad("malformed trailer field")
        return rest

    def _check_trailer_size(self, section: bytes) -> None:
        if len(section) > self._limits.head_bytes or section.count(b"\n") > self._limits.head_fields + 1:
            raise RemoteProtocolError("trailer section too large", status=431, reason="trailers_too_large")


def _bad(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(message, reason="bad_chunk")
