"""The wire format of Protocol Buffers, as much of it as one small service needs: fields out, fields in. Pure.

https://protobuf.dev/programming-guides/encoding/. Reading is strict: a varint has ten bytes at most, groups are
refused, and what a length promises must be there. Depth is the caller's: `fields` opens one message at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gatewayproxy.errors import RemoteProtocolError

__all__ = ["Value", "fields", "message", "number", "signed", "text"]

Value = int | bytes  # of a varint, or of bytes that a length precedes; fixed32 and fixed64 are bytes, too

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_MOST_BITS: Final = 64


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    """Return an integer field, b"" for 0: the default is not sent. Negative ones are 64 bits in two's complement."""
    return _varint(field << 3 | _VARINT) + _varint(value & (1 << _MOST_BITS) - 1) if value else b""


def message(field: int, content: bytes) -> bytes:
    """Return a field that is a message, present even if it is empty."""
    return _varint(field << 3 | _BYTES) + _varint(len(content)) + content


def text(field: int, value: bytes) -> bytes:
    """Return a field of type string (*value* is UTF-8) or bytes, b"" for an empty one: the default is not sent."""
    return message(field, value) if value else b""


def signed(value: int) -> int:
    """Return the int32 or int64 that was read as *value*."""
    return value - (1 << _MOST_BITS) if value >> _MOST_BITS - 1 else value


def fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Yield (field number, value) of one message, in the order they came. Raises RemoteProtocolError."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        field, kind = key >> 3, key & 7
        if not field:
            raise _bad("field 0")
        if kind == _VARINT:
            value, at = _read_varint(data, at)
            yield field, value
            continue
        if kind == _BYTES:
            size, at = _read_varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise _bad(f"wire type {kind}")
        if size > len(data) - at:
            raise _bad("a field longer than its message")
        yield field, data[at : at + size]
        at += size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return (value, where it ends)."""
    value = shift = 0
    while at < len(data) and shift < _MOST_BITS:
        octet = data[at]
        at += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            if value >> _MOST_BITS:
                raise _bad("a number of more than 64 bits")
            return value, at
        shift += 7
    raise _bad("a number without end")


def _bad(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"malformed protobuf message: {what}", status=502, reason="bad_response")
