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

__all__ = ["WEBSOCKET", "accepts", "key_of", "upgrade_request"]

WEBSOCKET: Final = b"websocket"  # the protocol, RFC 6455 §11.2

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_ACCEPT: Final = re.compile(rb"\nsec-websocket-accept:[ \t]*+([^\r\n]*)\r", re.IGNORECASE)
_PROOF: Final = frozenset((b"sec-websocket-key", b"sec-websocket-accept"))


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
    proof = b64encode(sha1(key + _GUID, usedforsecurity=False).digest())
    return [value.rstrip(b" \t") for value in _ACCEPT.findall(head)] == [proof]
