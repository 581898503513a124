"""What `ssl` does not offer of OpenSSL: shared session-ticket keys, a smaller session cache, a lenient verification.

Workers that share a port must read each other's tickets, or most resumptions fail. The standard library keeps the
ticket keys to itself, so we reach the SSL_CTX behind an SSLContext by ctypes, through the very libssl that `_ssl` uses.
Wherever that is not possible beyond doubt, the settings are left alone: tickets are then good in one worker only, and
who would take any client does not ask for a certificate.
"""

from __future__ import annotations

import ctypes
import logging
import ssl
import sys
from typing import Final

__all__ = ["TICKET_KEYS_BYTES", "cap_session_cache", "request_any_certificate", "set_ticket_keys"]

log = logging.getLogger(__name__)

TICKET_KEYS_BYTES: Final = 80  # name 16, HMAC 32, AES-256 32 (OpenSSL >= 3.0; SSL_CTX_set_tlsext_ticket_keys(3))
_CTRL_SET_SESS_CACHE_SIZE: Final = 42  # openssl/ssl.h
_CTRL_SET_TICKET_KEYS: Final = 59
_VERIFY_PEER: Final = 1
_VERIFIER: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)  # SSL_verify_cb


def _load() -> ctypes.PyDLL | None:
    import _ssl

    path = getattr(_ssl, "__file__", None)
    if sys.implementation.name != "cpython" or path is None or ssl.OPENSSL_VERSION_INFO < (3, 0):
        return None
    try:
        lib = ctypes.PyDLL(path)  # its symbols include those of the libssl it is linked with
        lib.SSL_CTX_ctrl.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p]
        lib.SSL_CTX_ctrl.restype = ctypes.c_long
        lib.SSL_CTX_get_options.argtypes = [ctypes.c_void_p]
        lib.SSL_CTX_get_options.restype = ctypes.c_uint64
        lib.SSL_CTX_set_verify.argtypes = [ctypes.c_void_p, ctypes.c_int, _VERIFIER]
        lib.SSL_CTX_set_verify.restype = None
    except (OSError, AttributeError) as error:
        log.info("openssl_not_reachable error=%r", str(error))
        return None
    return lib


_LIB: Final = _load()


def _pointer(context: ssl.SSLContext) -> int | None:
    """Return the address of the SSL_CTX: the first member of CPython's PySSLContext, after the object head."""
    if _LIB is None:
        return None
    address: int | None = ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value
    # SAFETY: the same options through both doors show that this is the context we mean.
    if not address or _LIB.SSL_CTX_get_options(address) != context.options & 0xFFFF_FFFF_FFFF_FFFF:
        return None
    return address


def set_ticket_keys(context: ssl.SSLContext, keys: bytes) -> bool:
    """Seal and open session tickets with *keys* (TICKET_KEYS_BYTES of them); return whether it was possible."""
    address = _pointer(context)
    if _LIB is None or address is None:
        return False
    return bool(_LIB.SSL_CTX_ctrl(address, _CTRL_SET_TICKET_KEYS, len(keys), keys) == 1)


def cap_session_cache(context: ssl.SSLContext, n_sessions: int) -> None:
    """Keep at most *n_sessions* TLS 1.2 sessions of clients without tickets (OpenSSL's default: 20,480)."""
    address = _pointer(context)
    if _LIB is not None and address is not None:
        _LIB.SSL_CTX_ctrl(address, _CTRL_SET_SESS_CACHE_SIZE, n_sessions, None)


def request_any_certificate(context: ssl.SSLContext) -> bool:
    """Ask clients for a certificate, and take any or none; return whether it was possible.

    `ssl` can ask too (CERT_OPTIONAL), but then ends the handshake over a certificate that is not valid.
    """
    address = _pointer(context)
    if _LIB is None or address is None:
        return False
    _LIB.SSL_CTX_set_verify(address, _VERIFY_PEER, _ANY_CERTIFICATE)
    return context.verify_mode is ssl.CERT_OPTIONAL


def _take_any(valid: int, store: int | None) -> int:
    return 1


# SAFETY: OpenSSL calls it for as long as there is a context, so it lives as long as the module. It is called within
# do_handshake, which has given the interpreter's lock away; ctypes takes it back for the call.
_ANY_CERTIFICATE: Final = _VERIFIER(_take_any)
