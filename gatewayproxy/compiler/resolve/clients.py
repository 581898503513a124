"""Which clients a listener that terminates TLS lets in (GatewaySpec.tls.frontend, GEP-91). Pure.

Without one valid reference nobody could be validated: the listener is not accepted. With some, clients of these alone
are let in; what is wrong with the others is in ResolvedRefs.
"""

from __future__ import annotations

from typing import NamedTuple

from gatewayproxy.compiler.manifests.frontend_tls import FrontendTls, FrontendValidation
from gatewayproxy.compiler.manifests.references import ObjectReference
from gatewayproxy.compiler.resolve.authorities import Authorities, merged
from gatewayproxy.compiler.resolve.certificates import CertificateError
from gatewayproxy.compiler.resolve.drafts import ListenerDraft
from gatewayproxy.compiler.resolve.references import Grants, Subject
from gatewayproxy.model.plan import ClientValidation, TrustBundle
from gatewayproxy.model.status import Condition, Reason

__all__ = ["insecure_mode", "judge_clients"]


class _Flaw(NamedTuple):
    """What is wrong with a reference."""

    reason: Reason
    message: str


def judge_clients(
    draft: ListenerDraft, frontend: FrontendTls, subject: Subject, authorities: Authorities, grants: Grants
) -> None:
    """Set the validation of *draft*, which terminates TLS; *subject* is the Gateway that *frontend* stands in.

    DEVIATION: the API speaks of listeners handling HTTPS traffic. Ours of protocol TLS follow too: what asks for
    certificates must not be open because it carries another protocol. An empty `perPort` entry opens such a port.
    """
    validation = frontend.validation(draft.spec.port)
    if validation is None:
        return
    found: list[TrustBundle] = []
    flaws: list[str] = []
    for ref in validation.ca_refs:
        bundle = _bundle(ref, subject, authorities, grants)
        if isinstance(bundle, TrustBundle):
            found.append(bundle)
        else:
            draft.unresolve(bundle.reason, bundle.message)
            flaws.append(bundle.message)
    if found:
        draft.client_validation = ClientValidation(trust=merged(found), insecure_fallback=validation.insecure_fallback)
    else:
        message = f"nothing to validate clients by in {validation.path}: {'; '.join(flaws)}"
        draft.reject(Reason.NO_VALID_CA_CERTIFICATE, message)


def insecure_mode(frontend: FrontendTls) -> Condition | None:
    """Return the Gateway's InsecureFrontendValidationMode condition, which is there only where it is True."""
    if not frontend.insecure_fallback:
        return None
    where = [_place(port) for port, each in ((None, frontend.default), *frontend.per_port.items()) if _falls_back(each)]
    message = f"mode AllowInsecureFallback of {', '.join(where)}: clients without a valid certificate are let in"
    return Condition("InsecureFrontendValidationMode", True, Reason.CONFIGURATION_CHANGED, message)


def _bundle(ref: ObjectReference, subject: Subject, authorities: Authorities, grants: Grants) -> TrustBundle | _Flaw:
    namespace = ref.namespace or subject.namespace
    name = f"{namespace}/{ref.name}"
    if (ref.group, ref.kind) != ("", "ConfigMap"):
        kind = f"{ref.group}/{ref.kind}" if ref.group else ref.kind
        return _Flaw(Reason.INVALID_CA_CERTIFICATE_KIND, f"caCertificateRef {name} has kind {kind}, not ConfigMap")
    if not grants.permits(subject, group="", kind="ConfigMap", namespace=namespace, name=ref.name):
        needed = f"a ReferenceGrant in namespace {namespace} from {subject.kind} of {subject.namespace} to ConfigMap"
        return _Flaw(Reason.REF_NOT_PERMITTED, f"ConfigMap {name} needs {needed}")
    try:
        return authorities.bundle(namespace, ref.name)
    except CertificateError as error:
        return _Flaw(Reason.INVALID_CA_CERTIFICATE_REF, f"ConfigMap {name}: {error}")


def _place(port: int | None) -> str:
    return "spec.tls.frontend.default" if port is None else f"spec.tls.frontend.perPort (port {port})"


def _falls_back(validation: FrontendValidation | None) -> bool:
    return validation is not None and validation.insecure_fallback
