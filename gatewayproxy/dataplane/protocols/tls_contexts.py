"""ServerContexts: the SSLContext of each listener and certificate choice, built at its first handshake.

A context is kept by value (listener, who validates its clients, certificate digests), so a reload that leaves these
alone leaves the context, and with it the resumption of sessions, alone as well. Ticket keys are derived from the worker
group's secret, the context's key and the day, so that every worker opens the tickets of every other, and no listener
those of another (RFC 6066 §3: a session is not resumed under another name), nor those of clients it let in by another
validation: they have to show their certificates again.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import ssl
from collections.abc import Sequence
from typing import Final, NamedTuple

from gatewayproxy.dataplane.protocols.openssl import (
    TICKET_KEYS_BYTES,
    cap_session_cache,
    request_any_certificate,
    set_ticket_keys,
)
from gatewayproxy.dataplane.tls.certificates import load_certificate
from gatewayproxy.model.plan import Certificate, ClientValidation
from gatewayproxy.routing.server_names import certificates_for
from gatewayproxy.routing.table import SniAction, SniTarget

__all__ = ["ALPN", "ServerContexts"]

log = logging.getLogger(__name__)

ALPN: Final = (b"h2", b"http/1.1")  # what we speak, best first
_TLS12_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"  # forward secrecy and AEAD only (RFC 9325 §4.2)
_KEPT: Final = 1_024  # contexts of one generation of the cache, some 20 KiB each
_SESSIONS: Final = 1_024  # stateful TLS 1.2 sessions of one context
_TICKET_KEY_S: Final = 86_400.0  # ticket keys live a day (RFC 5077 §5.5)


class _Key(NamedTuple):
    scope: str  # of the listener, its validation included
    http: bool
    digests: tuple[str, ...]


class _Kept:
    __slots__ = ("context", "epoch")

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.epoch = -1


class ServerContexts:
    """Contexts of one port. Bounded: two generations of at most `_KEPT`; what neither holds is built again."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._young: dict[_Key, _Kept] = {}
        self._old: dict[_Key, _Kept] = {}

    def renew(self) -> None:
        """Start a generation (at a reload): contexts nobody asks for until the next one are dropped."""
        self._old, self._young = self._young, {}

    def get(self, target: SniTarget, server_name: bytes | None, now: float) -> ssl.SSLContext:
        """Return the context for *server_name* at *target*; *now* is the loop's time.

        Raises ssl.SSLError where OpenSSL does not take the certificate or its key.
        """
        certificates = certificates_for(target.certificates, server_name)
        key = _Key(target.listener.scope, target.action is SniAction.HTTP, tuple(c.digest for c in certificates))
        kept = self._young.get(key) or self._promote(key, certificates, target.validation)
        epoch = int(now // _TICKET_KEY_S)
        if self._secret and kept.epoch != epoch:
            set_ticket_keys(kept.context, _ticket_keys(self._secret, key, epoch))
            kept.epoch = epoch
        return kept.context

    def _promote(self, key: _Key, certificates: Sequence[Certificate], validation: ClientValidation | None) -> _Kept:
        if len(self._young) >= _KEPT:
            self.renew()
        kept = self._old.pop(key, None) or _Kept(_server_context(certificates, validation, http=key.http))
        self._young[key] = kept
        return kept


def _server_context(
    certificates: Sequence[Certificate], validation: ClientValidation | None, *, http: bool
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_ciphers(_TLS12_CIPHERS)
    if http:
        context.set_alpn_protocols([name.decode() for name in ALPN])
    cap_session_cache(context, _SESSIONS)
    # OpenSSL holds one certificate per kind of key and lets the last one win: load the first one last.
    for certificate in reversed(certificates):
        load_certificate(context, certificate)
    if validation is not None:
        _validate(context, validation)
    return context


def _validate(context: ssl.SSLContext, validation: ClientValidation) -> None:
    if not validation.insecure_fallback:
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN  # an anchor need not be a root
        context.load_verify_locations(cadata=validation.trust.pem.decode("ascii"))
    elif not request_any_certificate(context):
        log.warning("client_certificates_not_requested hint=%r", "this Python offers no way; every client is let in")


def _ticket_keys(secret: bytes, key: _Key, epoch: int) -> bytes:
    """Derive ticket keys: equal for equal arguments, unrelated otherwise (HKDF-Expand, RFC 5869 §2.3)."""
    info = repr((epoch, *key)).encode()
    first = hmac.digest(secret, info + b"\x01", hashlib.sha512)
    return (first + hmac.digest(secret, first + info + b"\x02", hashlib.sha512))[:TICKET_KEYS_BYTES]
