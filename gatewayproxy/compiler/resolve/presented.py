"""The certificate that a Gateway presents to backends over TLS (GatewaySpec.tls.backend, GEP-3155). Pure.

Where it cannot be had, backends that are spoken to over TLS are not reached by this Gateway: one that asks for no
certificate today may tomorrow, and an identity that is left out unnoticed is hard to find.
"""

from __future__ import annotations

from gatewayproxy.compiler.manifests.references import ObjectReference
from gatewayproxy.compiler.resolve.certificates import CertificateError
from gatewayproxy.compiler.resolve.conditions import Findings
from gatewayproxy.compiler.resolve.drafts import GatewayDraft
from gatewayproxy.compiler.resolve.references import Grants, Subject
from gatewayproxy.compiler.resolve.secrets import Secrets
from gatewayproxy.fields.shapes import GATEWAY_GROUP
from gatewayproxy.model.codes import BY_REASON, Code
from gatewayproxy.model.plan import Certificate
from gatewayproxy.model.refusals import BACKEND_TLS_INVALID, refuse
from gatewayproxy.model.status import Condition, Reason

__all__ = ["certificate_of", "judge_client_certificate"]


def judge_client_certificate(draft: GatewayDraft, secrets: Secrets, grants: Grants, findings: Findings) -> None:
    """Set the certificate that *draft* presents, or what is wrong with it."""
    gateway = draft.spec
    ref = gateway.client_certificate_ref
    if ref is None:
        return
    found = certificate_of(ref, Subject(GATEWAY_GROUP, "Gateway", gateway.meta.namespace), secrets, grants)
    if isinstance(found, Certificate):
        draft.client_certificate = found
        return
    draft.unresolved = found
    detail = f"{gateway.meta.key} has no client certificate for backends: {found.message}"
    draft.client_certificate = refuse(BACKEND_TLS_INVALID, detail)
    hint = "correct it; until then backends over TLS are not reached by this Gateway"
    findings.error(
        ref.at,
        gateway.meta.key,
        ref.path,
        f"{found.reason}: {found.message}",
        hint,
        BY_REASON.get(found.reason, Code.CERTIFICATE),
    )


def certificate_of(ref: ObjectReference, subject: Subject, secrets: Secrets, grants: Grants) -> Certificate | Condition:
    """Return the certificate of the Secret that *ref* of *subject* names, else ResolvedRefs=False."""
    namespace = ref.namespace or subject.namespace
    name = f"{namespace}/{ref.name}"
    if ref.group or ref.kind != "Secret":
        kind = f"{ref.group}/{ref.kind}".lstrip("/")
        message = f"clientCertificateRef {name} has kind {kind}, not Secret"
        return _unresolved(Reason.INVALID_CLIENT_CERTIFICATE_REF, message)
    if not grants.permits(subject, group="", kind="Secret", namespace=namespace, name=ref.name):
        needed = f"a ReferenceGrant in namespace {namespace} from {subject.kind} of {subject.namespace} to Secret"
        return _unresolved(Reason.REF_NOT_PERMITTED, f"Secret {name} needs {needed}")
    try:
        return secrets.certificate(namespace, ref.name)
    except CertificateError as error:
        return _unresolved(Reason.INVALID_CLIENT_CERTIFICATE_REF, f"Secret {name}: {error}")


def _unresolved(reason: Reason, message: str) -> Condition:
    return Condition("ResolvedRefs", False, reason, message)
