"""ClientHellos, byte by byte."""

from __future__ import annotations

import struct

__all__ = ["GREASE", "extension", "hello", "record", "records", "sni"]

GREASE = 0x0A0A  # RFC 8701


def extension(kind: int, body: bytes) -> bytes:
    """Return one extension."""
    return struct.pack(">HH", kind, len(body)) + body


def sni(name: bytes) -> bytes:
    """Return a server_name extension with one host name."""
    return extension(0, struct.pack(">HBH", len(name) + 3, 0, len(name)) + name)


def hello(*extensions: bytes, raw: bytes = b"") -> bytes:
    """Return a ClientHello message with *extensions*, or *raw* in their place; with neither, none at all."""
    body = b"\3\3" + bytes(32) + b"\x20" + bytes(32) + struct.pack(">HHH", 4, 0x1301, GREASE) + b"\1\0"
    block = raw or b"".join(extensions)
    if block:
        body += struct.pack(">H", len(block)) + block
    return b"\1" + len(body).to_bytes(3, "big") + body


def record(payload: bytes, *, kind: int = 22, version: int = 0x0301) -> bytes:
    """Return one TLS record."""
    return struct.pack(">BHH", kind, version, len(payload)) + payload


def records(payload: bytes, size: int) -> bytes:
    """Return *payload* in records of *size* bytes."""
    return b"".join(record(payload[at : at + size]) for at in range(0, len(payload), size))
