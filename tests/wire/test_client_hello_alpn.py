"""ALPN offers in a ClientHello."""

from __future__ import annotations

import ssl
import struct

import pytest

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.wire.client_hello import offered_protocols, server_name


def hello(*extensions: bytes) -> bytes:
    """Return a record with a ClientHello of *extensions*."""
    joined = b"".join(extensions)
    body = (
        b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00" + struct.pack(">H", len(joined)) + joined
    )
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + struct.pack(">H", len(message)) + message


def alpn(body: bytes) -> bytes:
    """Return an ALPN extension with *body*."""
    return struct.pack(">HH", 16, len(body)) + body


def real_hello(*protocols: str) -> bytes:
    """Return what OpenSSL sends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="a.test")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize(
    ("data", "offered"),
    [
        pytest.param(real_hello(), None, id="OpenSSL, none"),
        pytest.param(real_hello("h2", "http/1.1"), (b"h2", b"http/1.1"), id="OpenSSL, two"),
        pytest.param(hello(alpn(b"\x00\x03\x02h2")), (b"h2",), id="one"),
        pytest.param(hello(b"\x1a\x1a\x00\x00", alpn(b"\x00\x03\x02h2")), (b"h2",), id="after GREASE"),
        pytest.param(hello(), None, id="no extension"),
    ],
)
def test_offers_are_read_in_order(data: bytes, offered: tuple[bytes, ...] | None) -> None:
    assert not isinstance(server_name(data), int)
    assert offered_protocols(data) == offered


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x00\x00", id="empty list"),
        pytest.param(b"\x00\x01\x00", id="empty name"),
        pytest.param(b"\x00\x04\x02h2", id="list longer than the extension"),
        pytest.param(b"\x00\x03\x09h2", id="name longer than the list"),
        pytest.param(b"\x00\x04\x02h2\x00", id="empty name at the end"),
        pytest.param(b"\x00\x04\x02h2\x05", id="name cut off"),
    ],
)
def test_a_malformed_offer_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        offered_protocols(hello(alpn(body)))
    assert refused.value.reason == "bad_hello"
