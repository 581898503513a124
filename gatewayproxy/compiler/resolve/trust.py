"""A BackendTLSPolicyValidation to what the data plane verifies by: for BackendTLSPolicy and XBackend. Pure.

Of several caCertificateRefs those that resolve are trusted, the others are in ResolvedRefs; without one nothing is.
"""

from __future__ import annotations

from gatewayproxy.compiler.manifests.backend_validation import SYSTEM, BackendValidation
from gatewayproxy.compiler.manifests.references import ObjectReference
from gatewayproxy.compiler.resolve.authorities import Authorities, merged
from gatewayproxy.compiler.resolve.certificates import CertificateError
from gatewayproxy.compiler.resolve.drafts import RESOLVED
from gatewayproxy.model.plan import BackendTls, TrustBundle
from gatewayproxy.model.status import Condition, Reason

__all__ = ["resolve_validation"]


def resolve_validation(
    validation: BackendValidation, namespace: str, authorities: Authorities
) -> tuple[BackendTls | None, Condition, Condition | None]:
    """Return what to verify by, ResolvedRefs, and Accepted=False where nothing can be verified (then no BackendTls)."""
    if validation.well_known not in (None, SYSTEM):
        message = f"wellKnownCACertificates {validation.well_known} is not known; write {SYSTEM}"
        return None, RESOLVED, Condition("Accepted", False, Reason.INVALID, message)
    if validation.well_known is not None:
        return _backend_tls(validation, None), RESOLVED, None
    found: list[TrustBundle] = []
    flaws: list[tuple[Reason, str]] = []
    for ref in validation.ca_refs:
        bundle = _bundle(ref, namespace, authorities)
        if isinstance(bundle, TrustBundle):
            found.append(bundle)
        else:
            flaws.append(bundle)
    resolved = RESOLVED
    if flaws:
        resolved = Condition("ResolvedRefs", False, flaws[0][0], "; ".join(message for _, message in flaws))
    if not found:
        message = f"nothing to verify backends by: {resolved.message}"
        return None, resolved, Condition("Accepted", False, Reason.NO_VALID_CA_CERTIFICATE, message)
    return _backend_tls(validation, merged(found)), resolved, None


def _bundle(ref: ObjectReference, namespace: str, authorities: Authorities) -> TrustBundle | tuple[Reason, str]:
    if (ref.group, ref.kind) != ("", "ConfigMap"):
        kind = f"{ref.group}/{ref.kind}".lstrip("/")
        return Reason.INVALID_KIND, f"caCertificateRef {ref.name} has kind {kind}, not ConfigMap"
    try:
        return authorities.bundle(namespace, ref.name)
    except CertificateError as error:
        return Reason.INVALID_CA_CERTIFICATE_REF, f"ConfigMap {namespace}/{ref.name}: {error}"


def _backend_tls(validation: BackendValidation, trust: TrustBundle | None) -> BackendTls:
    named = validation.names or validation.uris
    # "If SubjectAltNames are specified, Hostname ... MUST NOT be used for authentication."
    return BackendTls(
        server_name=validation.hostname,
        names=validation.names if named else (validation.hostname,),
        uris=validation.uris,
        trust=trust,
    )
