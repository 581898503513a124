"""Endpoints that speak TLS: an authority that signs any names, their contexts, and a BackendTls for them."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gatewayproxy.compiler.resolve.authorities import read_trust_bundle
from gatewayproxy.compiler.resolve.certificates import read_certificate
from gatewayproxy.dataplane.tls.certificates import load_certificate
from gatewayproxy.model.plan import BackendTls, Certificate, Cluster, TrustBundle
from gatewayproxy.model.protocols import AppProtocol
from tests.support.worker import cluster

__all__ = ["HOST", "Signer", "backend_tls", "server_context", "signer", "tls_cluster"]

HOST = "backend.example.com"


@dataclass(frozen=True)
class Signer:
    """An authority."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        """Return what goes into ca.crt."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def trust(self) -> TrustBundle:
        """Return a bundle of this authority alone."""
        return read_trust_bundle(self.pem)

    def leaf(
        self, *dns: str, uris: Sequence[str] = (), common_name: str = "leaf", days: tuple[int, int] = (-1, 30)
    ) -> Certificate:
        """Return a certificate for names, valid between *days* from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [*map(x509.DNSName, dns), *map(x509.UniformResourceIdentifier, uris)]
        builder = _builder(common_name, self.certificate.subject, key, days)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        signed = builder.sign(self.key, SHA256())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return read_certificate(signed.public_bytes(Encoding.PEM), pem)


@cache
def signer(name: str = "authority") -> Signer:
    """Return the authority called *name*, made once a process."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(name, subject, key, (-2, 60))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return Signer(key, builder.sign(key, SHA256()))


def _builder(
    common_name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: tuple[int, int]
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
    )


def server_context(
    certificate: Certificate | None = None, *, alpn: Sequence[str] = (), version: ssl.TLSVersion | None = None,
    clients: Signer | None = None,
) -> ssl.SSLContext:  # fmt: skip
    """Return the context of an endpoint; of *clients*, it asks for certificates that this authority signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_certificate(context, certificate or signer().leaf(HOST))
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.pem.decode())
    return context


def backend_tls(**changed: object) -> BackendTls:
    """Return TLS to HOST by the common authority, but for what is *changed*."""
    return replace(BackendTls(server_name=HOST, names=(HOST,), trust=signer().trust), **changed)  # type: ignore[arg-type]


def tls_cluster(*ports: int, tls: BackendTls | None = None, protocol: AppProtocol = AppProtocol.HTTP) -> Cluster:
    """Return a cluster of endpoints on loopback that are spoken to over TLS."""
    return replace(cluster(*ports), tls=tls or backend_tls(), protocol=protocol)
