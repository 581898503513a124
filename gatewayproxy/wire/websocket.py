"""WebSocket handshakes as HTTP/1.1 and HTTP/2 have them, and what leads from one to the other. Pure.

RFC 6455 §4, RFC 8441 §5. In HTTP/1.1 a GET asks for an upgrade, and a key shows that the answer is to it; in HTTP/2 an
extended CONNECT opens a stream, and key and proof are not used: a gateway draws and checks its own.
"""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha1
from typing import Final

from gatewayproxy.wire.h2heads import Head
from gatewayproxy.wire.hpack import Field

__all__ = ["WEBSOCKET", "accepts", "connect_fields", "key_of", "switch_bytes", "upgrade_request"]

WEBSOCKET: Final = b"websocket"  # the protocol, RFC 6455 §11.2

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_ACCEPT: Final = re.compile(rb"\nsec-websocket-accept:[ \t]*+([^\r\n]*)\r", re.IGNORECASE)
_PROOF: Final = frozenset((b"sec-websocket-key", b"sec-websocket-accept"))
_NOT_IN_101: Final = _PROOF | {b"content-length"}


def key_of(nonce: bytes) -> bytes:
    """Return the Sec-WebSocket-Key of 16 random bytes."""
    return b64encode(nonce)


def upgrade_request(head: Head, key: bytes) -> bytes:
    """Return the extended CONNECT *head* as the HTTP/1.1 handshake that means the same, with *key*."""
    lines = b"".join([b"%b: %b\r\n" % field for field in head.fields if field[0] not in _PROOF])
    return (
        b"GET %b HTTP/1.1\r\nHost: %b\r\n%bConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: %b\r\n\r\n"
        % (head.path, head.authority, lines, key)
    )


def accepts(head: bytes, key: bytes) -> bool:
    """Return whether *head*, the bytes of a 101, proves that its sender has read *key*. RFC 6455 §4.2.2."""
    return [value.rstrip(b" \t") for value in _ACCEPT.findall(head)] == [_proof(key)]


def connect_fields(fields: list[Field]) -> tuple[list[Field], bytes]:
    """Return an HTTP/1.1 handshake, as a header list, as that of an extended CONNECT, and the key that was in it."""
    keys = [value for name, value in fields if name == b"sec-websocket-key"]
    head = [(b":method", b"CONNECT"), (b":protocol", WEBSOCKET)]
    rest = [field for field in fields if field[0] not in _PROOF and field[0] != b":method"]
    return head + rest, keys[0] if len(keys) == 1 else b""


def switch_bytes(head: Head, key: bytes) -> bytes:
    """Return the 2xx *head* of an extended CONNECT as the 101 that answers a handshake with *key*."""
    lines = b"".join([b"%b: %b\r\n" % field for field in head.fields if field[0] not in _NOT_IN_101])
    start = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    return b"%bSec-WebSocket-Accept: %b\r\n%b\r\n" % (start, _proof(key), lines)


def _proof(key: bytes) -> bytes:
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())
