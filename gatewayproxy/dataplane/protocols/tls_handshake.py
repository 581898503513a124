"""Handshake: the first part of a TLS connection's life, from the first byte to an established TlsTransport.

The ClientHello is read before OpenSSL sees it: the server name picks the listener, its certificate and its ticket keys,
and a name that no listener has ends here, with the alert RFC 6066 §3 names. Then OpenSSL does the handshake.
Whoever owns handshakes bounds their number (`give_way`) and their time (`expire`).
"""

from __future__ import annotations

import asyncio
import re
import ssl
from enum import IntEnum
from typing import Final, NamedTuple, Protocol, cast

from gatewayproxy.dataplane.protocols.tls_contexts import ALPN
from gatewayproxy.dataplane.tls.transport import TlsTransport
from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.routing.table import ListenerLabel, SniAction, SniTarget
from gatewayproxy.wire.client_hello import offered_protocols, server_name

__all__ = ["Handshake", "HandshakeOwner", "RefusedHandshake"]

_HTTP: Final = re.compile(rb"[A-Z]{2,16} [!-~]")
_BODY: Final = b"This port speaks TLS: use https:// instead of http://.\n"
_ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
    % (len(_BODY), _BODY)
)


class Alert(IntEnum):
    """AlertDescription (RFC 8446 §6.2)."""

    DECODE_ERROR = 50
    INTERNAL_ERROR = 80
    UNRECOGNIZED_NAME = 112
    NO_APPLICATION_PROTOCOL = 120


class RefusedHandshake(NamedTuple):
    """Why a connection was not established."""

    reason: str  # not_tls, bad_hello, unknown_sni, no_certificate, no_application_protocol, bad_client_certificate ...
    detail: str
    server_name: bytes  # b"" = none sent, or not known yet
    listener: ListenerLabel | None  # None: no listener was chosen yet
    client: str  # address of the peer


class HandshakeOwner(Protocol):
    """What a handshake asks of its listener."""

    def find_server(self, name: bytes | None) -> SniTarget | None:
        """Return the target of a server name, None = no listener has it."""

    def server_context(self, target: SniTarget, name: bytes | None) -> ssl.SSLContext:
        """Return the context to shake hands with; ssl.SSLError where the certificate is unusable."""

    def begun(self, handshake: Handshake) -> None:
        """Note that *handshake* is under way."""

    def heard(self, handshake: Handshake) -> None:
        """Note that the ClientHello of *handshake* is whole."""

    def established(self, handshake: Handshake, transport: TlsTransport, target: SniTarget) -> asyncio.Protocol:
        """Note that *handshake* became *transport*; return the protocol to speak inside."""

    def failed(self, handshake: Handshake, refused: RefusedHandshake | None) -> None:
        """Note that *handshake* is gone; None: a client that came and went without a word."""

    def lost(self, transport: TlsTransport) -> None:
        """Note that an established connection is gone."""


class Handshake(asyncio.Protocol):
    """The protocol of a connection until it is established, refused or lost."""

    __slots__ = ("_hello", "_incoming", "_name", "_outgoing", "_owner", "_raw", "_refused", "_target", "_tls", "_want")

    def __init__(self, owner: HandshakeOwner, target: SniTarget | None = None) -> None:
        """Begin for *owner*; *target*: what the ClientHello, looked at before, is known to lead to."""
        self._owner = owner
        self._raw: asyncio.Transport | None = None
        self._hello = bytearray()
        self._want = 1  # ask the parser again when so many bytes are there
        self._name: bytes | None = None
        self._target = target
        self._tls: ssl.SSLObject | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._refused: RefusedHandshake | None = None

    @property
    def server_name(self) -> bytes:
        """Return the name that the ClientHello asks for; b"" = none, or not known yet."""
        return self._name or b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the ClientHello."""
        self._raw = cast(asyncio.Transport, transport)
        self._owner.begun(self)

    def data_received(self, data: bytes) -> None:
        """Go on as far as *data* leads."""
        if self._refused is not None:
            return
        if self._tls is None:
            self._read_hello(data)
        else:
            self._incoming.write(data)
            self._advance(self._tls)

    def eof_received(self) -> bool:
        """Close: no handshake can end any more."""
        return False

    def pause_writing(self) -> None:
        """Read no more from a peer that takes nothing."""
        if self._raw is not None:
            self._raw.pause_reading()

    def resume_writing(self) -> None:
        """Go on reading."""
        if self._raw is not None:
            self._raw.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report how it ended; an established connection is no longer ours."""
        if self._refused is None and self._hello:
            self._refused = self._why("handshake_failed", "the client closed the connection")
        self._owner.failed(self, self._refused)
        self._raw = None

    def expire(self) -> None:
        """Give up: the time for a handshake is over."""
        self._end("handshake_timeout")

    def give_way(self) -> None:
        """Give up: others wait, and this one has had its time (`HandshakeGate`)."""
        self._end("handshake_evicted")

    def abort(self) -> None:
        """Close at once."""
        if self._raw is not None:
            self._raw.abort()

    def _end(self, reason: str) -> None:
        self._refuse(reason, "ClientHello incomplete" if self._tls is None else "handshake incomplete")
        self.abort()

    def _read_hello(self, data: bytes) -> None:
        self._hello += data
        if len(self._hello) < self._want:
            return
        try:
            found = server_name(self._hello)
        except RemoteProtocolError as error:
            self._refuse_hello(error)
            return
        if isinstance(found, int):
            self._want = found
            return
        self._name = found
        self._owner.heard(self)
        self._choose_listener()

    def _refuse_hello(self, error: RemoteProtocolError) -> None:
        if error.reason != "not_tls":
            self._refuse(error.reason, str(error), alert=Alert.DECODE_ERROR)
        else:
            self._refuse(error.reason, str(error), answer=_ANSWER if _HTTP.match(self._hello) else b"")

    def _choose_listener(self) -> None:
        """Choose the listener by the server name; refuse what none of ours can serve."""
        target = self._target = self._target or self._owner.find_server(self._name)
        if target is None:
            # RFC 6066 §3: abort with a fatal unrecognized_name(112) alert; never a certificate of another name.
            if self._name:
                self._refuse("unknown_sni", "no listener has this server name", alert=Alert.UNRECOGNIZED_NAME)
            else:
                detail = "no listener takes clients without a server name"
                self._refuse("no_sni", detail, alert=Alert.UNRECOGNIZED_NAME)
            return
        if target.action is SniAction.REFUSE:
            detail = "the listener that has this server name cannot serve: it has no certificate, or is in conflict"
            self._refuse("no_certificate", detail, alert=Alert.UNRECOGNIZED_NAME)
            return
        if target.action is SniAction.HTTP and not self._agrees_on_protocol():
            return
        self._begin(target)

    def _agrees_on_protocol(self) -> bool:
        """Return whether the client offers HTTP, or nothing; refuse it if not. Of a stream we know no protocol."""
        try:
            offered = offered_protocols(self._hello)
        except RemoteProtocolError as error:
            self._refuse_hello(error)
            return False
        if offered is not None and not set(offered).intersection(ALPN):
            # RFC 7301 §3.2: SHALL send no_application_protocol(120); `ssl` would go on as if nothing had been offered.
            self._refuse("no_application_protocol", f"offered {offered!r}", alert=Alert.NO_APPLICATION_PROTOCOL)
            return False
        return True

    def _begin(self, target: SniTarget) -> None:
        """Hand the ClientHello to OpenSSL, with the certificate for the server name."""
        try:
            context = self._owner.server_context(target, self._name)
        except (ssl.SSLError, OSError) as error:
            self._refuse("bad_certificate", str(error), alert=Alert.INTERNAL_ERROR)
            return
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._incoming.write(self._hello)
        self._advance(self._tls)

    def _advance(self, tls: ssl.SSLObject) -> None:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._flush()
            self._refuse(*_failure(error))
            return
        self._flush()
        self._establish(tls)

    def _establish(self, tls: ssl.SSLObject) -> None:
        assert self._raw is not None
        assert self._target is not None
        owner = self._owner
        transport = TlsTransport(
            self._raw, tls=tls, incoming=self._incoming, outgoing=self._outgoing, on_lost=owner.lost
        )
        transport.start(owner.established(self, transport, self._target))

    def _flush(self) -> None:
        if self._raw is not None and self._outgoing.pending:
            self._raw.write(self._outgoing.read())

    def _refuse(self, reason: str, detail: str, *, alert: Alert | None = None, answer: bytes = b"") -> None:
        """Close after *alert* or *answer*; `failed` follows when the connection is lost."""
        if self._refused is not None or self._raw is None:
            return
        self._refused = self._why(reason, detail)
        if alert is not None:
            answer = bytes((21, 3, 3, 0, 2, 2, alert))  # a fatal alert in a record of its own (RFC 8446 §5.1, §6)
        if answer:
            self._raw.write(answer)
        self._raw.close()

    def _why(self, reason: str, detail: str) -> RefusedHandshake:
        peer = self._raw.get_extra_info("peername") if self._raw is not None else None
        listener = self._target.listener if self._target is not None else None
        return RefusedHandshake(reason, detail, self._name or b"", listener, str(peer[0]) if peer else "")


def _failure(error: ssl.SSLError) -> tuple[str, str]:
    """Return the reason and the detail of a failed handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "bad_client_certificate", error.verify_message
    if error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "bad_client_certificate", "none was sent"
    return "handshake_failed", error.reason or str(error)
