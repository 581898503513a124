"""gRPC-Web as a client has it, by the text of the protocol: frames, base64 in pieces, the frame of trailers."""

from __future__ import annotations

import base64
import re

__all__ = ["chunks", "frame", "read_answer", "unchunked", "untexted"]


def frame(message: bytes, flags: int = 0) -> bytes:
    """Return a message as the wire has it."""
    return bytes([flags]) + len(message).to_bytes(4, "big") + message


def untexted(text: bytes) -> bytes:
    """Return the bytes of base64 pieces behind one another, each with its padding."""
    pieces = re.findall(rb"[A-Za-z0-9+/]+={0,2}", text)
    assert b"".join(pieces) == text
    return b"".join(base64.b64decode(piece, validate=True) for piece in pieces)


def read_answer(body: bytes) -> tuple[list[bytes], dict[str, str]]:
    """Return the messages of a binary answer, and its trailers, which are its last frame."""
    messages: list[bytes] = []
    while body:
        flags, size = body[0], int.from_bytes(body[1:5], "big")
        data, body = body[5 : 5 + size], body[5 + size :]
        assert len(data) == size
        if flags & 0x80:
            assert not body, "something follows the trailers"
            lines = data.decode("ascii").split("\r\n")
            assert lines.pop() == ""
            return messages, dict(line.split(": ", 1) for line in lines)
        messages.append(data)
    return messages, {}


def chunks(*pieces: bytes) -> bytes:
    """Return a chunked body."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def unchunked(raw: bytes) -> bytes:
    """Return the content of a chunked body without trailers."""
    content = b""
    while True:
        size, _, raw = raw.partition(b"\r\n")
        n = int(size, 16)
        if not n:
            assert raw == b"\r\n"
            return content
        content += raw[:n]
        assert raw[n : n + 2] == b"\r\n"
        raw = raw[n + 2 :]
