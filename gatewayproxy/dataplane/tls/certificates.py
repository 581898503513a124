"""Certificates and keys into an SSLContext, without a file: `ssl` reads certificate chains from paths only."""

from __future__ import annotations

import os
import ssl
from typing import NoReturn

from gatewayproxy.model.plan import Certificate

__all__ = ["load_certificate"]


def load_certificate(context: ssl.SSLContext, certificate: Certificate) -> None:
    """Load a chain and its key into *context*, through an anonymous file in memory, so that no key meets a disk.

    Raises ssl.SSLError where OpenSSL does not take them.
    """
    fd = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(certificate.chain_pem + b"\n" + certificate.key_pem)
        context.load_cert_chain(f"/proc/self/fd/{fd}", password=_no_password)
    finally:
        os.close(fd)


def _no_password() -> NoReturn:
    """Refuse an encrypted key, where OpenSSL would ask for its password on the terminal."""
    raise ssl.SSLError(ssl.SSL_ERROR_SSL, "the key is encrypted")
