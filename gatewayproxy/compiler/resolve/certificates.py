"""Check a PEM chain and key before they may reach a listener. Pure.

Everything that would make OpenSSL refuse the pair when a worker loads it is found here, because there it would take
down more than one listener: syntax, a key of another certificate, key types and sizes below security level 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from gatewayproxy.model.plan import Certificate

__all__ = ["CertificateError", "read_certificate"]

MIN_RSA_BITS = 2048  # OpenSSL security level 2
MAX_PEM_BYTES = 1 << 20
MAX_CHAIN = 16


class CertificateError(ValueError):
    """A chain or key that cannot serve; the message says why and what to do."""

    def __init__(self, message: str, *, files: tuple[str, str] = ("", "")) -> None:
        super().__init__(message)
        self.files = files  # of chain and key, where one of them is not there


def read_certificate(chain_pem: bytes, key_pem: bytes) -> Certificate:
    """Return the certificate, ready to be loaded by a worker; raise CertificateError for anything else."""
    if max(len(chain_pem), len(key_pem)) > MAX_PEM_BYTES:
        raise CertificateError(f"tls.crt and tls.key may have at most {MAX_PEM_BYTES} bytes each")
    chain = _read_chain(chain_pem)
    _check_pair(chain[0], _read_key(key_pem))
    _check_strength(chain)
    digest = sha256(len(chain_pem).to_bytes(8, "big") + chain_pem + key_pem).hexdigest()
    not_after = min(certificate.not_valid_after_utc for certificate in chain)
    return Certificate(
        chain_pem=chain_pem,
        key_pem=key_pem,
        digest=digest,
        names=_dns_names(chain[0]),
        not_after=int(not_after.astimezone(UTC).timestamp()),
    )


def _read_chain(pem: bytes) -> Sequence[x509.Certificate]:
    if not pem.strip():
        raise CertificateError("tls.crt is empty; put the certificate chain there, the server's certificate first")
    try:
        chain = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise CertificateError("tls.crt is not a PEM certificate chain (-----BEGIN CERTIFICATE-----)") from error
    if len(chain) > MAX_CHAIN:
        raise CertificateError(f"tls.crt holds {len(chain)} certificates; at most {MAX_CHAIN} make a chain")
    return chain


def _read_key(pem: bytes) -> PrivateKeyTypes:
    if not pem.strip():
        raise CertificateError("tls.key is empty; put the private key of the certificate there")
    try:
        return load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise CertificateError("tls.key is encrypted; store it without a passphrase") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError("tls.key is not a PEM private key (-----BEGIN PRIVATE KEY-----)") from error


def _check_pair(leaf: x509.Certificate, key: PrivateKeyTypes) -> None:
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        same = leaf.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError("the first certificate of tls.crt has a public key of an unknown type") from error
    if not same:
        raise CertificateError("tls.key does not belong to the first certificate of tls.crt; check order and files")
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
                      | ed448.Ed448PrivateKey):  # fmt: skip
        raise CertificateError("tls.key has a type TLS servers do not use; make an RSA, ECDSA or Ed25519 key")


def _check_strength(chain: Sequence[x509.Certificate]) -> None:
    for certificate in chain:
        key = certificate.public_key()
        if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
            raise CertificateError(f"an RSA key of {key.key_size} bits is too weak; use {MIN_RSA_BITS} or more")
        try:
            algorithm = certificate.signature_hash_algorithm
        except UnsupportedAlgorithm as error:
            raise CertificateError("a certificate of tls.crt is signed with an unknown algorithm") from error
        weak = algorithm is not None and algorithm.name in {"md5", "sha1"}
        if algorithm is not None and weak and certificate.issuer != certificate.subject:
            raise CertificateError(f"a certificate of tls.crt is signed with {algorithm.name}; use SHA-256 or better")


def _dns_names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return ()
    return tuple(name.lower() for name in san.get_values_for_type(x509.DNSName))
