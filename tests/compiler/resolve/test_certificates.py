"""A certificate and key that a worker could not load are refused when compiling, with a reason."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from gatewayproxy.compiler.resolve.certificates import CertificateError, read_certificate

NOT_AFTER = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Pair:
    chain: bytes
    key: bytes


@cache
def pair(kind: str = "ec", *, names: tuple[str, ...] = ("a.example.com",), issuer: str = "") -> Pair:
    """Return a certificate and key, self-signed unless *issuer* is named."""
    key = {
        "ec": lambda: ec.generate_private_key(ec.SECP256R1()),
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "weak rsa": lambda: rsa.generate_private_key(65537, 1024),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "dsa": lambda: dsa.generate_private_key(2048),
    }[kind]()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]) if issuer else subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(NOT_AFTER)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
    algorithm = None if kind == "ed25519" else hashes.SHA256()
    certificate = builder.sign(key, algorithm)
    return Pair(certificate.public_bytes(Encoding.PEM), key_pem(key, NoEncryption()))


def key_pem(key: PrivateKeyTypes, encryption: KeySerializationEncryption) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize("kind", ["ec", "rsa", "ed25519"])
def test_the_key_types_of_tls_servers_are_taken(kind: str) -> None:
    made = pair(kind, names=("A.example.com", "*.b.example.com"))
    certificate = read_certificate(made.chain, made.key)
    assert certificate.names == ("a.example.com", "*.b.example.com")
    assert certificate.not_after == int(NOT_AFTER.timestamp())
    assert (certificate.chain_pem, certificate.key_pem) == (made.chain, made.key)


def test_a_chain_of_several_certificates_is_taken_whole() -> None:
    made = pair()
    chain = made.chain + pair("rsa").chain
    assert read_certificate(chain, made.key).chain_pem == chain


def test_a_certificate_without_names_has_none() -> None:
    made = pair(names=())
    assert read_certificate(made.chain, made.key).names == ()


def test_the_digest_tells_certificates_apart() -> None:
    first, second = pair("ec"), pair("rsa")
    assert read_certificate(first.chain, first.key).digest == read_certificate(first.chain, first.key).digest
    assert read_certificate(first.chain, first.key).digest != read_certificate(second.chain, second.key).digest


@pytest.mark.parametrize(
    ("chain", "key", "said"),
    [
        pytest.param(b"", pair().key, "tls.crt is empty", id="no chain"),
        pytest.param(b"Hello world\n", pair().key, "tls.crt is not a PEM", id="chain is text"),
        pytest.param(pair().key, pair().key, "tls.crt is not a PEM", id="key in place of the chain"),
        pytest.param(pair().chain[:100], pair().key, "tls.crt is not a PEM", id="chain cut short"),
        pytest.param(pair().chain, b" \n", "tls.key is empty", id="no key"),
        pytest.param(pair().chain, b"Hello world\n", "tls.key is not a PEM", id="key is text"),
        pytest.param(pair().chain, pair().chain, "tls.key is not a PEM", id="chain in place of the key"),
        pytest.param(pair().chain, pair("rsa").key, "does not belong", id="key of another certificate"),
        pytest.param(pair("rsa").chain + pair().chain, pair().key, "does not belong", id="leaf is not the first"),
        pytest.param(pair("weak rsa").chain, pair("weak rsa").key, "1024 bits is too weak", id="small RSA key"),
        pytest.param(pair("dsa").chain, pair("dsa").key, "a type TLS servers do not use", id="DSA"),
        pytest.param(pair().chain * 17, pair().key, "at most 16", id="endless chain"),
        pytest.param(b"x" * (1 << 20 | 1), pair().key, "at most 1048576 bytes", id="huge chain"),
    ],
)
def test_what_cannot_serve_is_refused_with_a_reason(chain: bytes, key: bytes, said: str) -> None:
    with pytest.raises(CertificateError, match=said):
        read_certificate(chain, key)


def test_an_encrypted_key_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(CertificateError, match="encrypted"):
        read_certificate(pair().chain, key_pem(key, BestAvailableEncryption(b"secret")))
