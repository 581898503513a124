"""gRPC-Web: the same messages in a body that a browser can send and read. Pure.

grpc/doc PROTOCOL-WEB.md. Messages are framed as in gRPC; the trailers follow them as a last frame whose flags have the
eighth bit set. In the text form all of that is base64, in pieces that may each end in padding. What is read here comes
in slices of any size; nothing is kept of it but a part of a frame's head and of a base64 group.
"""

from __future__ import annotations

import binascii
import re
from typing import Final, NamedTuple

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.wire.grammar import FIELD_LINE
from gatewayproxy.wire.grpc import content_type

__all__ = ["Base64Reader", "Base64Writer", "Form", "Frames", "form_of", "trailers_frame"]

_HEAD_BYTES: Final = 5  # flags, and the length of the message
_TRAILERS: Final = 0x80
_MESSAGE_FLAGS: Final = frozenset((0, 1))  # PROTOCOL-HTTP2.md, Compressed-Flag
_WEB: Final = b"application/grpc-web"
_TEXT: Final = b"application/grpc-web-text"
_NAMED: Final = re.compile(rb"application/grpc-web(-text)?+(?![-_.0-9a-z])")  # in a lower-case Accept


class Form(NamedTuple):
    """How a gRPC-Web client speaks: *text* is base64; *inner* and *answer* are the endpoint's and its own type."""

    text: bool
    answer_text: bool
    inner: bytes  # "application/grpc+proto"
    answer: bytes  # "application/grpc-web-text+proto"


def form_of(kind: bytes | None, accept: bytes | None) -> Form | None:
    """Return the form of a call with Content-Type *kind* and *accept*, None where it is not gRPC-Web.

    The answer comes as the call did, unless Accept names the other form only.
    """
    media = content_type(kind) if kind is not None else b""
    if not media.startswith(_WEB):
        return None
    text = media.startswith(_TEXT)
    suffix = media[len(_TEXT if text else _WEB) :]
    named = {found[1] is not None for found in _NAMED.finditer(accept.lower())} if accept is not None else set()
    answer_text = named.pop() if len(named) == 1 else text
    return Form(text, answer_text, b"application/grpc" + suffix, (_TEXT if answer_text else _WEB) + suffix)


class Frames:
    """Follows the frames of a body of messages; raises RemoteProtocolError where it holds anything else."""

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._head = b""  # of a frame, not all of it
        self._left = 0  # bytes of the message begun

    @property
    def whole(self) -> bool:
        """Return whether no frame is unfinished."""
        return not self._left and not self._head

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        at, size = 0, len(data)
        while at < size:
            if self._left:
                n = min(self._left, size - at)
                self._left -= n
                at += n
                continue
            head = self._head + data[at : at + _HEAD_BYTES - len(self._head)]
            at += len(head) - len(self._head)
            if head[0] not in _MESSAGE_FLAGS:
                raise _bad("a frame is neither a message nor a compressed one")
            if len(head) < _HEAD_BYTES:
                self._head = head
                return
            self._head = b""
            self._left = int.from_bytes(head[1:], "big")

    def end(self) -> None:
        """Note the end of the body."""
        if not self.whole:
            raise _bad("the body ends within a message")


class Base64Reader:
    """Reads base64 in slices of any size; padding may stand anywhere behind a group, where a piece has ended."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""  # up to three characters of a group

    def feed(self, data: bytes) -> bytes:
        """Return the bytes that are complete with *data*; raise RemoteProtocolError for what is no base64."""
        data = self._rest + data
        end = len(data) - len(data) % 4
        self._rest = data[end:]
        if data.find(b"=", 0, end) < 0:
            return _decoded(data[:end])
        pieces = []
        at = 0
        while at < end:
            found = data.find(b"=", at, end)
            if found >= 0 and found % 4 < 2:  # the decoder passes over a group of nothing but padding
                raise _bad("the body is not base64")
            behind = end if found < 0 else found - found % 4 + 4  # of the group that the padding ends
            pieces.append(_decoded(data[at:behind]))
            at = behind
        return b"".join(pieces)

    def end(self) -> None:
        """Note the end of the body."""
        if self._rest:
            raise _bad("the body ends within a group of base64")


class Base64Writer:
    """Writes base64 whose padding stands between messages only: what clients that expect it there can read, too."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""  # up to two bytes

    def feed(self, data: bytes, *, whole: bool) -> bytes:
        """Return the text of *data*; *whole*: a message ends with it, so nothing may wait."""
        data = self._rest + data
        end = len(data) if whole else len(data) - len(data) % 3
        self._rest = data[end:]
        return binascii.b2a_base64(data[:end], newline=False)


def trailers_frame(lines: bytes) -> bytes:
    """Return the last frame of an answer, for trailer *lines*, each ended by CRLF."""
    block = b"".join([b"%b: %b\r\n" % (found[1].lower(), found[2].rstrip()) for found in FIELD_LINE.finditer(lines)])
    return b"%c%b%b" % (_TRAILERS, len(block).to_bytes(4, "big"), block)


def _decoded(data: bytes) -> bytes:
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except binascii.Error as error:
        raise _bad("the body is not base64") from error


def _bad(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(message, reason="bad_grpc_web")
