"""ClientContexts: the SSLContext of each choice of authorities, own certificate and protocols, built at first use.

Kept by value as long as a pool uses them. So all policies that trust the same bundle share one context, and what a
reload leaves alone keeps its sessions. Names are none of a context's business: see `upstream.tls`.
"""

from __future__ import annotations

import ssl
from typing import Final
from weakref import WeakValueDictionary

from gatewayproxy.dataplane.tls.certificates import load_certificate
from gatewayproxy.model.plan import BackendTls

__all__ = ["ClientContexts"]

_TLS12_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"  # forward secrecy and AEAD only (RFC 9325 §4.2)

_Key = tuple[str, str, tuple[str, ...]]


class ClientContexts:
    """Contexts of one worker."""

    def __init__(self) -> None:
        self._contexts: WeakValueDictionary[_Key, ssl.SSLContext] = WeakValueDictionary()

    def get(self, tls: BackendTls, alpn: tuple[str, ...]) -> ssl.SSLContext:
        """Return the context for *tls* that offers *alpn*.

        Raises ssl.SSLError where OpenSSL does not take a certificate.
        """
        key = (
            tls.trust.digest if tls.trust is not None else "",
            tls.certificate.digest if tls.certificate is not None else "",
            alpn,
        )
        context = self._contexts.get(key)
        if context is None:
            context = self._contexts[key] = _client_context(tls, alpn)
        return context


def _client_context(tls: BackendTls, alpn: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # by our own rules, `tls_names`: OpenSSL knows no URIs
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_ciphers(_TLS12_CIPHERS)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if tls.trust is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # each certificate of a bundle is an anchor
        context.load_verify_locations(cadata=tls.trust.pem.decode("ascii"))
    if tls.certificate is not None:
        load_certificate(context, tls.certificate)
    return context
