"""The chunked transfer coding, read strictly and written anew. Pure.

RFC 9112 §7.1. Whatever framing a peer chose, what leaves is ours: one size line per piece, no extensions, and only
trailer fields that nobody can take for a field of the head (RFC 9110 §6.5.1). So no oddity of a size line reaches the
next reader.
Bounds: 15 hex digits, 1,024 bytes of size line with its extensions, and a trailer section as large as a head may be.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.model.limits import Limits
from gatewayproxy.wire.grammar import BARE, FIELD, TOKEN, plain_name

__all__ = ["ChunkedReader", "ended_with", "kept_trailers"]

_LINE_BYTES: Final = 1024
_QUOTED: Final = rb'"(?>(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*)"'
_SIZE_LINE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,15}+)(?>(?:;" + TOKEN + rb"(?:=(?:" + TOKEN + rb"|" + _QUOTED + rb"))?)*)\r\n"
)
_SIZE_START: Final = re.compile(rb"[0-9A-Fa-f]{1,15}+(?:;[^\n]*+|\r)?+")
_LINE: Final = re.compile(FIELD)
# Fields that frame, route, authenticate, condition or describe a message have no place behind it; neither has a name
# with "_" for "-", which CGI-style backends could not tell from them.
_FORBIDDEN: Final = re.compile(
    rb"(?i:(?:content[-_][^:]*|transfer[-_]encoding|host|connection|keep[-_]alive|te|trailer|upgrade|expect|origin|"
    rb"max[-_]forwards|range|if[-_][^:]*|authorization|proxy[-_][^:]*|www[-_]authenticate|cookie|set[-_]cookie|forwarded|"
    rb"via|x[-_]forwarded[-_][^:]*|x[-_]request[-_]id|x[-_]real[-_]ip|age|cache[-_]control|expires|date|location|"
    rb"retry[-_]after|vary|warning|pragma|sec[-_][^:]*|http2[-_]settings|accept(?:[-_][^:]*)?|access[-_]control[-_][^:]*|"
    rb"alt[-_]svc|authentication[-_]info|clear[-_]site[-_]data|strict[-_]transport[-_]security):)"
    rb"[^\n]*+\n"
)

_State = Enum("_State", "SIZE DATA DATA_END TRAILERS DONE")
# PERF: a global costs half of what a member of an Enum class does.
_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = _State


class ChunkedReader:
    """Reads one chunked body; `feed` it until `done`. *payload_bytes* counts content without framing.

    *gone*: plain names of fields that no trailer may have, see `kept_trailers`.
    """

    __slots__ = (
        "_gone", "_left", "_limits", "_line", "_n_trailers", "_payload_only", "_state", "_trailer_bytes", "_trailers",
        "payload_bytes",
    )  # fmt: skip

    def __init__(self, limits: Limits, *, payload_only: bool = False, gone: frozenset[bytes] = frozenset()) -> None:
        self._limits = limits
        self._gone = gone
        self._payload_only = payload_only  # for a receiver that knows no chunks (HTTP/1.0)
        self._state = _SIZE
        self._line = b""  # start of a line that has not ended yet
        self._left = 0  # bytes of the chunk begun
        self._trailers: list[bytes] = []  # lines that may go on
        self._trailer_bytes = self._n_trailers = 0  # of all of them
        self.payload_bytes = 0

    @property
    def done(self) -> bool:
        """Return whether the body has ended."""
        return self._state is _DONE

    @property
    def trailers(self) -> bytes:
        """Return the lines behind the body that may go on, each ended by CRLF."""
        return b"".join(self._trailers)

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take *data*; return (bytes to send on, bytes behind the end of the body).

        What several small chunks held goes on as one. Raises RemoteProtocolError (400) at the first byte that breaks
        the coding.
        """
        seen = len(self._line)
        if seen:
            data = self._line + data
            self._line = b""
        pieces: list[bytes] = []
        at = 0
        while at < len(data):
            state = self._state
            if state is _SIZE:
                at = self._read_size(data, at, pieces)
            elif state is _DATA:
                at = self._read_data(data, at, pieces)
            elif state is _DATA_END:
                at = self._read_data_end(data, at)
            elif state is _TRAILERS:
                at = self._read_trailer(data, at, max(seen, at))
            else:
                break
        return self._coded(pieces[0] if len(pieces) == 1 else b"".join(pieces)), data[at:]

    def _coded(self, payload: bytes) -> bytes:
        """Return *payload*, and the end of the body where it is reached, as the receiver is to get it."""
        self.payload_bytes += len(payload)
        if self._payload_only:
            return payload
        coded = b"%x\r\n%b\r\n" % (len(payload), payload) if payload else b""
        return b"%b0\r\n%b\r\n" % (coded, self.trailers) if self._state is _DONE else coded

    def _read_size(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Take a size line, and with it the chunk where all of that is there."""
        found = _SIZE_LINE.match(data, at, at + _LINE_BYTES)
        if found is None:
            self._line = self._partial_size(data[at:])
            return len(data)
        start = found.end()
        size = int(found[1], 16)
        if not size:
            self._state = _TRAILERS
            return start
        end = start + size
        if data[end : end + 2] == b"\r\n":
            pieces.append(data[start:end])
            return end + 2
        self._left = size
        self._state = _DATA
        return start

    def _partial_size(self, rest: bytes) -> bytes:
        if len(rest) >= _LINE_BYTES or _SIZE_START.fullmatch(rest) is None or BARE.search(rest) is not None:
            raise _bad("malformed chunk size")
        if b"\r\n" in rest:
            raise _bad("malformed chunk extension")
        return rest

    def _read_data(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        piece = data[at : at + self._left]
        self._left -= len(piece)
        pieces.append(piece)
        if not self._left:
            self._state = _DATA_END
        return at + len(piece)

    def _read_data_end(self, data: bytes, at: int) -> int:
        end = data[at : at + 2]
        if end == b"\r\n":
            self._state = _SIZE
        elif end == b"\r":
            self._line = end
        else:
            raise _bad("chunk data longer than its size")
        return at + len(end)

    def _read_trailer(self, data: bytes, at: int, seen: int) -> int:
        """Take a line of the trailer section; bytes before *seen* were looked at when they came."""
        end = data.find(b"\n", seen) + 1
        self._check_trailers((end or len(data)) - at)
        if not end:
            if BARE.search(data, max(seen - 1, at)) is not None:
                raise _bad("malformed trailer field")
            self._line = data[at:]
            return len(data)
        line = data[at:end]
        if line == b"\r\n":
            self._state = _DONE
            return end
        if _LINE.fullmatch(line) is None:
            raise _bad("malformed trailer field")
        self._trailer_bytes += len(line)
        self._n_trailers += 1
        if _may_go_on(line, self._gone):
            self._trailers.append(line)
        return end

    def _check_trailers(self, more: int) -> None:
        if self._trailer_bytes + more > self._limits.head_bytes or self._n_trailers > self._limits.head_fields:
            raise RemoteProtocolError("trailer section too large", status=431, reason="trailers_too_large")


def kept_trailers(lines: bytes, gone: frozenset[bytes] = frozenset()) -> bytes:
    """Return those of the field *lines*, each ended by CRLF, that may stand in a trailer section.

    *gone*: `plain_name`s of the fields that the head has lost, or got from us.
    """
    kept = [line for line in _LINE.findall(lines) if _may_go_on(line, gone)]
    return b"".join(kept)


def ended_with(body: bytes, lines: bytes, kept: bytes) -> bytes:
    """Return *body*, which ends, in chunks, with the trailer *lines*, with *kept* instead."""
    return b"%b%b\r\n" % (body[: len(body) - len(lines) - 2], kept)


def _may_go_on(line: bytes, gone: frozenset[bytes]) -> bool:
    return _FORBIDDEN.fullmatch(line) is None and (not gone or plain_name(line[: line.index(b":")]) not in gone)


def _bad(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(message, reason="bad_chunk")
