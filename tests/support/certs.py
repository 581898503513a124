"""Throw-away certificates for tests: a CA made once a process, leaves by name, as the plan holds them."""

from __future__ import annotations

import hashlib
import ssl
from functools import cache

import trustme

from gatewayproxy.model.plan import Certificate


@cache
def authority() -> trustme.CA:
    """Return the CA that signs every certificate made here."""
    return trustme.CA()


@cache
def certificate(*names: str, rsa: bool = False, serial: int = 0) -> Certificate:
    """Return a certificate for *names*; another *serial* gives another certificate for the same names."""
    del serial  # part of the cache's key
    key_type = trustme.KeyType.RSA if rsa else trustme.KeyType.ECDSA
    leaf = authority().issue_cert(*names, common_name=names[0], key_type=key_type)
    chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    key = leaf.private_key_pem.bytes()
    return Certificate(chain_pem=chain, key_pem=key, digest=hashlib.sha256(chain + key).hexdigest(), names=names)


def client_context(
    *,
    version: ssl.TLSVersion | None = None,
    alpn: tuple[str, ...] = ("http/1.1",),
    ciphers: str | None = None,
) -> ssl.SSLContext:
    """Return a client's context that trusts the CA, pinned to *version* where one is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if ciphers is not None:
        context.set_ciphers(ciphers)
    return context
