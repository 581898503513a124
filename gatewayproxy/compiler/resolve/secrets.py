"""Secrets as certificates: inline (`data`, `stringData`), or in files that annotations name. Pure.

`gatewayproxy.io/cert-file` and `gatewayproxy.io/key-file` keep keys out of manifests; their paths are relative to the
manifest's folder. The caller has read the files (`wanted_files` says which), so a changed file is a changed input.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from gatewayproxy.compiler.manifests import Resources
from gatewayproxy.compiler.manifests.secret import CERT_FILE, KEY_FILE, Secret
from gatewayproxy.compiler.resolve.certificates import CertificateError, read_certificate
from gatewayproxy.compiler.resolve.conditions import Findings
from gatewayproxy.model.codes import Code
from gatewayproxy.model.plan import Certificate

__all__ = ["Secrets", "wanted_files"]

_TLS_TYPE: Final = "kubernetes.io/tls"
_MISSING: Final = f"does not exist; add it, with tls.crt and tls.key or the annotations {CERT_FILE} and {KEY_FILE}"


def wanted_files(secrets: Iterable[Secret]) -> Iterator[str]:
    """Yield the paths of all files that Secrets name."""
    for secret in secrets:
        for annotation in (CERT_FILE, KEY_FILE):
            if path := secret.meta.annotations.get(annotation):
                yield _resolved(secret, path)


class Secrets:
    """All Secrets, read as certificates on demand."""

    def __init__(self, resources: Resources, files: Mapping[str, bytes | None], now: float, findings: Findings) -> None:
        self._secrets = {(s.meta.namespace, s.meta.name): s for s in resources.of(Secret)}
        self._broken = {(m.namespace, m.name) for m in resources.fenced if m.key.kind == "Secret"}
        self._files = files
        self._now = now
        self._findings = findings
        self._read: dict[tuple[str, str], Certificate] = {}

    def certificate(self, namespace: str, name: str) -> Certificate:
        """Return the certificate of a Secret; raise CertificateError where it has none that can serve."""
        key = (namespace, name)
        if key not in self._read:
            secret = self._secrets.get(key)
            if secret is None:
                raise CertificateError("has errors" if key in self._broken else _MISSING)
            self._read[key] = self._load(secret)
        return self._read[key]

    def _load(self, secret: Secret) -> Certificate:
        if secret.type not in {_TLS_TYPE, "Opaque"}:
            raise CertificateError(f"has type {secret.type}; a certificate has type {_TLS_TYPE}")
        certificate = read_certificate(
            self._part(secret, "tls.crt", CERT_FILE), self._part(secret, "tls.key", KEY_FILE)
        )
        if self._now and certificate.not_after < self._now:
            self._findings.warn(
                secret.meta.origin, secret.meta.key, "", "the certificate has expired; clients will refuse it",
                "renew it", Code.EXPIRED,
            )  # fmt: skip
        return certificate

    def _part(self, secret: Secret, name: str, annotation: str) -> bytes:
        inline = secret.data.get(name)
        path = secret.meta.annotations.get(annotation)
        if inline is not None and path:
            raise CertificateError(f"{name} is given inline and by annotation {annotation}; keep one of the two")
        if not path:
            if inline is None:
                raise CertificateError(f"has no {name}; add it under data or stringData, or annotate {annotation}")
            return inline
        content = self._files.get(_resolved(secret, path))
        if content is None:
            message = f"{_resolved(secret, path)}, which annotation {annotation} names, cannot be read"
            raise CertificateError(message, files=self._files_of(secret))
        return content

    def _files_of(self, secret: Secret) -> tuple[str, str]:
        """Return the files of chain and key; "" and "" where not both are to be files."""
        chain, key = (secret.meta.annotations.get(each, "") for each in (CERT_FILE, KEY_FILE))
        return (_resolved(secret, chain), _resolved(secret, key)) if chain and key else ("", "")


def _resolved(secret: Secret, path: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(secret.meta.origin.file), path))
