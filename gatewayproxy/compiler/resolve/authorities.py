"""ConfigMaps as bundles of trusted certificates: key `ca.crt`, PEM. Pure.

What reaches a worker is written anew from the certificates read, so that OpenSSL cannot take it otherwise than we did.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gatewayproxy.compiler.manifests import Resources
from gatewayproxy.compiler.manifests.configmap import ConfigMap
from gatewayproxy.compiler.resolve.certificates import CertificateError
from gatewayproxy.model.plan import TrustBundle

__all__ = ["CA_KEY", "Authorities", "merged", "read_trust_bundle"]

CA_KEY: Final = "ca.crt"
MAX_BUNDLE_BYTES: Final = 1 << 20  # what a ConfigMap may hold
MAX_CERTIFICATES: Final = 1_024
_MISSING: Final = f"does not exist; add it, with the PEM certificates under data, key {CA_KEY}"


class Authorities:
    """All ConfigMaps, read as bundles on demand."""

    def __init__(self, resources: Resources) -> None:
        self._config_maps = {(c.meta.namespace, c.meta.name): c for c in resources.of(ConfigMap)}
        self._broken = {(m.namespace, m.name) for m in resources.fenced if m.key.kind == "ConfigMap"}
        self._read: dict[tuple[str, str], TrustBundle] = {}

    def bundle(self, namespace: str, name: str) -> TrustBundle:
        """Return what a ConfigMap holds; raise CertificateError where that is no bundle."""
        key = (namespace, name)
        if key not in self._read:
            found = self._config_maps.get(key)
            if found is None:
                raise CertificateError("has errors" if key in self._broken else _MISSING)
            pem = found.data.get(CA_KEY)
            if pem is None:
                raise CertificateError(f"has no key {CA_KEY}; put the PEM certificates there")
            self._read[key] = read_trust_bundle(pem)
        return self._read[key]


def read_trust_bundle(pem: bytes) -> TrustBundle:
    """Return the certificates of *pem*, each of which is sound; raise CertificateError for anything else."""
    if len(pem) > MAX_BUNDLE_BYTES:
        raise CertificateError(f"{CA_KEY} may have at most {MAX_BUNDLE_BYTES} bytes")
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        hint = "put certificates there (-----BEGIN CERTIFICATE-----)"
        raise CertificateError(f"{CA_KEY} holds no PEM certificates, or a broken one; {hint}") from error
    if len(found) > MAX_CERTIFICATES:
        raise CertificateError(f"{CA_KEY} holds {len(found)} certificates; at most {MAX_CERTIFICATES} make a bundle")
    last = max(certificate.not_valid_after_utc for certificate in found)
    return _bundle((each.public_bytes(Encoding.PEM) for each in found), int(last.astimezone(UTC).timestamp()))


def merged(bundles: Iterable[TrustBundle]) -> TrustBundle:
    """Return one bundle that trusts what any of *bundles* does."""
    parts = tuple(bundles)
    if len(parts) == 1:
        return parts[0]
    ends = b"-----END CERTIFICATE-----\n"
    blocks = (block + ends for part in parts for block in part.pem.split(ends)[:-1])
    return _bundle(blocks, max(part.not_after for part in parts))


def _bundle(blocks: Iterable[bytes], not_after: int) -> TrustBundle:
    pem = b"".join(dict.fromkeys(blocks))
    return TrustBundle(pem=pem, digest=sha256(pem).hexdigest(), not_after=not_after)
