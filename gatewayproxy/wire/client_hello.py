"""server_name(): the name a TLS client asks for, from the first bytes of its connection. Pure.

In: what has arrived so far, from the first byte on; nothing is consumed. Out: the name, or that there is none, or how
many bytes it takes to know more. The ClientHello may be spread over any number of records (RFC 8446 §5.1).
Only lengths and the server_name extension (RFC 6066 §3) are read: GREASE, ECH, key shares and all else pass by length.
What two readers could understand differently (two names, a name that is no host name, bytes left over) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from struct import Struct, error
from typing import Final

from gatewayproxy.errors import RemoteProtocolError

__all__ = ["MESSAGE_BYTES", "WIRE_BYTES", "offered_protocols", "server_name"]

MESSAGE_BYTES: Final = 65_540  # longest ClientHello: 4 bytes of header, then as much as one extension may fill
WIRE_BYTES: Final = 98_304  # the same with record headers: bounds how finely it may be cut

_HANDSHAKE: Final = 22  # ContentType
_RECORD_HEADER: Final = 5
_RECORD_BYTES: Final = 16_384  # TLSPlaintext.length
_CLIENT_HELLO: Final = 1  # HandshakeType
_MESSAGE_HEADER: Final = 4
_SERVER_NAME: Final = 0  # ExtensionType, and NameType host_name
_ALPN: Final = 16

_USUAL: Final = (_HANDSHAKE, 3, _CLIENT_HELLO)
_first: Final = Struct(">BBxHI").unpack_from  # record header, and the message's type and length
_u16: Final = Struct(">H").unpack_from
_extension: Final = Struct(">HH").unpack_from
_HOST_NAME: Final = re.compile(rb"(?=.{1,253}\Z)[0-9A-Za-z_-]{1,63}(?:\.[0-9A-Za-z_-]{1,63})*")


def server_name(data: bytes | bytearray | memoryview) -> bytes | int | None:
    """Return the server name in *data*: lower-case; None if the client sends none.

    An int means that the ClientHello is not whole yet: ask again once *data* has at least so many bytes, more than now.
    Raises RemoteProtocolError: reason "not_tls" where *data* cannot begin a TLS connection, else "bad_hello".
    """
    message = _message(data)
    if isinstance(message, int):
        if message > WIRE_BYTES:
            raise _bad(f"ClientHello takes more than {WIRE_BYTES} bytes on the wire")
        return message
    try:
        return _name(message)
    except (IndexError, error):
        raise _bad("a length in the ClientHello points past its end") from None


def offered_protocols(data: bytes | bytearray | memoryview) -> tuple[bytes, ...] | None:
    """Return the ALPN protocols offered in *data*, which holds a ClientHello that `server_name` has read; None if none.

    Raises RemoteProtocolError, reason "bad_hello".
    """
    message = _message(data)
    assert not isinstance(message, int), "server_name() has not seen the whole ClientHello yet"
    for body in _extensions(message, _ALPN):
        return _protocols(body)
    return None


def _message(data: bytes | bytearray | memoryview) -> bytes | bytearray | int:
    """Return the whole ClientHello message, gathered from its records, or the bytes it takes to go on."""
    n = len(data)
    if n >= _RECORD_HEADER + _MESSAGE_HEADER:
        # PERF: benchmarks/l4 passthrough: the first record nearly always holds the whole message.
        kind, major, length, header = _first(data)
        end = _RECORD_HEADER + _MESSAGE_HEADER + (header & 0xFFFFFF)
        if (kind, major, header >> 24) == _USUAL and end - _RECORD_HEADER <= length <= _RECORD_BYTES and end <= n:
            return bytes(data[_RECORD_HEADER:end])
    message = bytearray()
    want = _MESSAGE_HEADER
    at = 0
    while True:
        _check_record(data, at)
        if n - at < _RECORD_HEADER:
            return at + _RECORD_HEADER + want - len(message)
        end = at + _RECORD_HEADER + int.from_bytes(data[at + 3 : at + 5], "big")
        message += data[at + _RECORD_HEADER : end]
        want = _message_bytes(message)
        missing = want - len(message)
        if missing <= 0:
            return message[:want]
        if end > n:
            return n + missing + (_RECORD_HEADER if missing > end - n else 0)
        at = end


def _check_record(data: bytes | bytearray | memoryview, at: int) -> None:
    """Refuse what cannot be the header of a handshake record at *at*; bytes yet to come are not judged."""
    left = len(data) - at
    if (left > 0 and data[at] != _HANDSHAKE) or (left > 1 and data[at + 1] != 3):
        raise _not_tls("no TLS handshake record") if at == 0 else _bad("another record amid the ClientHello")
    if left >= _RECORD_HEADER and not 0 < int.from_bytes(data[at + 3 : at + 5], "big") <= _RECORD_BYTES:
        raise _bad("a record of impossible length")


def _message_bytes(message: bytearray) -> int:
    """Return the length that *message*, perhaps incomplete, will have, as far as one can tell."""
    if message and message[0] != _CLIENT_HELLO:
        raise _not_tls("the first handshake message is no ClientHello")
    if len(message) < _MESSAGE_HEADER:
        return _MESSAGE_HEADER
    want = _MESSAGE_HEADER + int.from_bytes(message[1:4], "big")
    if want > MESSAGE_BYTES:
        raise _bad(f"ClientHello longer than {MESSAGE_BYTES} bytes")
    return want


def _name(message: bytes | bytearray) -> bytes | None:
    """Walk *message*, whole, to its server_name extension; IndexError or struct.error where it ends too early."""
    name: bytes | None = None
    for body in _extensions(message, _SERVER_NAME):
        if name is not None:
            raise _bad("two server_name extensions")  # RFC 8446 §4.2: MUST NOT be more than one of a type
        name = _host_name(body)
    return name


def _extensions(message: bytes | bytearray, wanted: int) -> Iterator[bytes]:
    """Yield the body of each *wanted* extension of *message*; IndexError or struct.error where it ends too early."""
    end = len(message)
    at = _MESSAGE_HEADER + 2 + 32  # legacy_version, random
    at += 1 + message[at]  # legacy_session_id
    at += 2 + _u16(message, at)[0]  # cipher_suites
    at += 1 + message[at]  # legacy_compression_methods
    if at == end:
        return  # TLS 1.2 and older may send no extensions (RFC 5246 §7.4.1.2)
    if at + 2 + _u16(message, at)[0] != end:
        raise _bad("extensions do not fill the ClientHello")
    at += 2
    while at < end:
        kind, length = _extension(message, at)
        at += 4
        if at + length > end:
            raise _bad("an extension points past the end of the ClientHello")
        if kind == wanted:
            yield bytes(message[at : at + length])
        at += length


def _protocols(body: bytes) -> tuple[bytes, ...]:
    """Return the names in the *body* of an ALPN extension (RFC 7301 §3.1), in the client's order."""
    if len(body) < 4 or _u16(body)[0] != len(body) - 2:
        raise _bad("an ALPN extension without a protocol")
    names = []
    at = 2
    while at < len(body):
        end = at + 1 + body[at]
        if end == at + 1 or end > len(body):
            raise _bad("an ALPN protocol name of impossible length")
        names.append(body[at + 1 : end])
        at = end
    return tuple(names)


def _host_name(body: bytes) -> bytes:
    """Return the one host name in the *body* of a server_name extension (RFC 6066 §3: no trailing dot)."""
    if len(body) < 5 or _u16(body)[0] != len(body) - 2 or body[2] != _SERVER_NAME or _u16(body, 3)[0] != len(body) - 5:
        raise _bad("a server_name extension without exactly one host name")
    name = body[5:]
    if _HOST_NAME.fullmatch(name) is None:
        raise _bad("a server name that is no host name")
    return name.lower()


def _not_tls(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(message, reason="not_tls")


def _bad(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(message, reason="bad_hello")
