"""TLS towards one endpoint: the handshake, whose certificate it is, and the session for the next one.

    client = TlsClient(tls, alpn, contexts, name)
    handshake = client.handshake(make)     a protocol for a raw transport
    inner = await handshake.established()  what *make* made, speaking through a TlsTransport; raises UpstreamError

Chain and dates are OpenSSL's to verify, names are ours (`tls_names`). A name that is not the one asked for ends the
connection before our last flight is sent. There is no way on but a verified one.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Final, Generic, TypeVar, cast

from gatewayproxy.dataplane.tls.transport import TlsTransport
from gatewayproxy.dataplane.upstream.tls_contexts import ClientContexts
from gatewayproxy.dataplane.upstream.tls_names import has_wanted_name, wanted_names
from gatewayproxy.errors import UpstreamError
from gatewayproxy.model.plan import BackendTls

__all__ = ["FAILED", "TOLD_S", "Handshake", "TlsClient", "explain", "kind_of_end"]

log = logging.getLogger(__name__)

FAILED: Final = "upstream_tls_failed"
TOLD_S: Final = 10.0  # an endpoint's failures are logged once in so many seconds: every request may meet with one
_MAX_NAMES: Final = 8  # names of a certificate in a message
_EXPLAINED: Final = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "HTTP_REQUEST": "it does not speak TLS",
    "UNSUPPORTED_PROTOCOL": "it speaks no version of TLS from 1.2 on",
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": "it speaks no protocol that we offered (ALPN)",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it asks for a client certificate, and there is none to present",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know the authority of our client certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it refused our client certificate",
    "TLSV1_UNRECOGNIZED_NAME": "it does not know the server name",
}

P = TypeVar("P", bound=asyncio.Protocol)


class TlsClient:
    """What connections to one endpoint share."""

    __slots__ = ("_alpn", "_context", "_contexts", "_latest", "_name", "_session", "_told_at", "tls")

    def __init__(self, tls: BackendTls, alpn: tuple[str, ...], contexts: ClientContexts, name: str) -> None:
        self.tls = tls
        self._alpn = alpn
        self._contexts = contexts
        self._name = name  # of the endpoint
        self._context: ssl.SSLContext | None = None
        self._latest: ssl.SSLObject | None = None  # TLS 1.3: its tickets come whenever the endpoint likes
        self._session: ssl.SSLSession | None = None  # of the last connection that has ended
        self._told_at = -TOLD_S

    def handshake(self, make: Callable[[], P]) -> Handshake[P]:
        """Return the protocol of a new connection, until *make* makes the one that speaks in it."""
        return Handshake(self, make)

    def begin(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        """Return a new TLS connection, which asks to resume the latest session; raise ssl.SSLError."""
        if self._context is None:
            self._context = self._contexts.get(self.tls, self._alpn)
        session = self._latest.session if self._latest is not None else self._session
        return self._context.wrap_bio(incoming, outgoing, server_hostname=self.tls.server_name, session=session)

    def flaw_of(self, tls: ssl.SSLObject) -> str:
        """Return why the endpoint behind an established connection is not the one meant, "" where it is."""
        try:
            certificate = cast("Mapping[str, Any]", tls.getpeercert() or {})
        except (ssl.SSLError, ValueError) as error:  # a name that is no text
            return f"its certificate cannot be read: {error}"
        names = certificate.get("subjectAltName", ())
        if not has_wanted_name(names, self.tls):
            return f"its certificate is for {_shown([name for _, name in names])}, not {_shown(wanted_names(self.tls))}"
        if "h2" in self._alpn and tls.selected_alpn_protocol() != "h2":
            return "it did not choose h2 (ALPN), which RFC 9113 §3.2 asks for"
        return ""

    def keep(self, tls: ssl.SSLObject) -> None:
        """Let later connections resume the session of *tls*."""
        self._latest = tls

    def lost(self, transport: TlsTransport) -> None:
        """Note that an established connection is gone."""
        if self._latest is not None and transport.get_extra_info("ssl_object") is self._latest:
            self._session = self._latest.session
            self._latest = None
        if isinstance(transport.error, ssl.SSLError):
            self.failed(explain(transport.error))

    def error_of(self, transport: asyncio.BaseTransport) -> UpstreamError | None:
        """Return the error of an established connection that TLS has ended since; `lost` tells of it."""
        error = transport.error if isinstance(transport, TlsTransport) else None
        return self._error(explain(error)) if isinstance(error, ssl.SSLError) else None

    def failed(self, why: str) -> UpstreamError:
        """Return the error for a connection that TLS ended, and tell of it."""
        now = monotonic()
        if now - self._told_at >= TOLD_S:
            self._told_at = now
            log.warning("upstream_tls_failed endpoint=%s server_name=%s why=%r", self._name, self.tls.server_name, why)
        return self._error(why)

    def _error(self, why: str) -> UpstreamError:
        return UpstreamError(f"{self._name}: TLS: {why}", kind=FAILED, status=502)


class Handshake(asyncio.Protocol, Generic[P]):
    """The protocol of a connection until it is established or lost."""

    __slots__ = ("_client", "_done", "_incoming", "_make", "_outgoing", "_raw", "_tls")

    def __init__(self, client: TlsClient, make: Callable[[], P]) -> None:
        self._client = client
        self._make = make
        self._done: asyncio.Future[P] = asyncio.get_running_loop().create_future()
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._raw: asyncio.Transport | None = None
        self._tls: ssl.SSLObject | None = None

    async def established(self) -> P:
        """Return the protocol inside, once there is one; raise UpstreamError. Cancelled, it drops the connection."""
        try:
            return await self._done
        except asyncio.CancelledError:
            if self._raw is not None:
                self._raw.abort()
            raise

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the ClientHello."""
        self._raw = cast(asyncio.Transport, transport)
        try:
            self._tls = self._client.begin(self._incoming, self._outgoing)
        except (ssl.SSLError, OSError, ValueError) as error:
            self._fail(f"no context: {error}")
            return
        self._advance(self._tls)

    def data_received(self, data: bytes) -> None:
        """Go on as far as *data* leads."""
        if self._tls is not None and not self._done.done():
            self._incoming.write(data)
            self._advance(self._tls)

    def eof_received(self) -> bool:
        """Close: no handshake can end any more."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Report a connection that ended before it was established."""
        self._fail("it closed the connection during the handshake" if exc is None else f"handshake: {exc}")

    def _advance(self, tls: ssl.SSLObject) -> None:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._flush()
            self._fail(explain(error))
            return
        flaw = self._client.flaw_of(tls)
        if flaw:
            self._fail(flaw)
            return
        self._flush()
        self._establish(tls)

    def _establish(self, tls: ssl.SSLObject) -> None:
        raw, self._raw = self._raw, None
        assert raw is not None
        client = self._client
        client.keep(tls)
        inner = self._make()
        transport = TlsTransport(raw, tls=tls, incoming=self._incoming, outgoing=self._outgoing, on_lost=client.lost)
        self._done.set_result(inner)
        transport.start(inner)

    def _flush(self) -> None:
        if self._raw is not None and self._outgoing.pending:
            self._raw.write(self._outgoing.read())

    def _fail(self, why: str) -> None:
        if not self._done.done():
            self._done.set_exception(self._client.failed(why))
        if self._raw is not None:
            self._raw.close()  # behind the alert, if there is one


def explain(error: ssl.SSLError) -> str:
    """Return what went wrong, as an operator would say it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not to be trusted: {error.verify_message}"
    reason = error.reason or str(error)
    return _EXPLAINED.get(reason, f"handshake failed: {reason}")


def _shown(names: Sequence[str]) -> str:
    shown = ", ".join(str(name)[:253] for name in names[:_MAX_NAMES])
    return (shown if len(names) <= _MAX_NAMES else f"{shown} and others") or "no name"


def kind_of_end(exc: Exception | None) -> str:
    """Return the reason code of a connection that ended, with *exc*, before its answer was complete."""
    if exc is None:
        return "upstream_closed"
    return FAILED if isinstance(exc, ssl.SSLError) else "upstream_reset"
