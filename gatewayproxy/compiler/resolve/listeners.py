"""Judge the listeners of one Gateway and its ListenerSets: protocol, TLS mode, route kinds, certificates. Pure.

Who of them has a place that two want: see `conflicts`; between Gateways see `ports`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Final

from gatewayproxy.compiler.manifests.gateway import Gateway, Listener
from gatewayproxy.compiler.manifests.listenerset import ListenerSet
from gatewayproxy.compiler.resolve.authorities import Authorities
from gatewayproxy.compiler.resolve.certificates import CertificateError
from gatewayproxy.compiler.resolve.clients import judge_clients
from gatewayproxy.compiler.resolve.conditions import Findings, listed
from gatewayproxy.compiler.resolve.conflicts import Places, judge_conflicts
from gatewayproxy.compiler.resolve.drafts import ListenerDraft, ListenerSetDraft
from gatewayproxy.compiler.resolve.overlaps import judge_overlaps, names_cover
from gatewayproxy.compiler.resolve.references import Grants, Subject
from gatewayproxy.compiler.resolve.secrets import Secrets
from gatewayproxy.fields.shapes import GATEWAY_GROUP
from gatewayproxy.model.codes import BY_REASON, Code
from gatewayproxy.model.names import ListenerKey, ResourceKey
from gatewayproxy.model.plan import Certificate
from gatewayproxy.model.protocols import PROTOCOLS, Protocol, TlsMode
from gatewayproxy.model.status import Condition, Reason

__all__ = ["judge_listeners"]

_BY_NAME: Final = {protocol.value: protocol for protocol in PROTOCOLS}


def judge_listeners(
    gateway: Gateway, sets: Sequence[ListenerSetDraft], secrets: Secrets, authorities: Authorities, grants: Grants,
    findings: Findings, port_map: Mapping[int, int],
) -> tuple[ListenerDraft, ...]:  # fmt: skip
    """Return the drafts of a Gateway's listeners, each with what is wrong with it; give *sets*, in order, theirs."""
    own = _drafts(gateway, port_map)
    judge_conflicts(own)
    places = Places(own)
    for each in sets:
        each.listeners = _drafts(each.spec, port_map)
        places.admit(each.listeners)
    merged = (*own, *(draft for each in sets for draft in each.listeners))
    subject = Subject(GATEWAY_GROUP, "Gateway", gateway.meta.namespace)
    for draft in merged:
        if draft.terminates:
            _load_certificates(draft, secrets, grants)
            judge_clients(draft, gateway.frontend_tls, subject, authorities, grants)
    judge_overlaps(merged)
    for draft in merged:
        _report(draft, findings)
    return own


def _drafts(parent: Gateway | ListenerSet, port_map: Mapping[int, int]) -> tuple[ListenerDraft, ...]:
    drafts = tuple(_draft(parent.meta.key, listener, port_map) for listener in parent.listeners)
    for draft in drafts:
        _judge_kinds(draft)
    return drafts


def _draft(parent: ResourceKey, listener: Listener, port_map: Mapping[int, int]) -> ListenerDraft:
    draft = ListenerDraft(
        spec=listener,
        key=ListenerKey(parent.namespace, parent.name, listener.name, parent.kind),
        bind_port=port_map.get(listener.port, listener.port),
        protocol=_BY_NAME.get(listener.protocol),
        tls_mode=listener.tls.mode if listener.tls else None,
    )
    if draft.protocol is None:
        known = ", ".join(_BY_NAME)
        draft.reject(Reason.UNSUPPORTED_PROTOCOL, f"protocol {listener.protocol} is not supported; use one of {known}")
    elif draft.protocol is Protocol.HTTPS:
        draft.tls_mode = TlsMode.TERMINATE
    return draft


def _judge_kinds(draft: ListenerDraft) -> None:
    """Set supportedKinds: what the protocol admits, narrowed by allowedRoutes.kinds."""
    if draft.protocol is None:
        return
    admitted = PROTOCOLS[draft.protocol].route_kinds
    wanted = draft.spec.allowed_routes.kinds
    if not wanted:
        draft.kinds = admitted
        return
    draft.kinds = tuple(dict.fromkeys(k.kind for k in wanted if k.group == GATEWAY_GROUP and k.kind in admitted))
    refused = [k.kind for k in wanted if k.group != GATEWAY_GROUP or k.kind not in admitted]
    if refused:
        message = f"allowedRoutes.kinds has {', '.join(refused)}; protocol {draft.protocol.value} takes "
        draft.unresolve(Reason.INVALID_ROUTE_KINDS, message + ", ".join(admitted))


def _load_certificates(draft: ListenerDraft, secrets: Secrets, grants: Grants) -> None:
    subject = Subject(GATEWAY_GROUP, draft.key.kind, draft.key.namespace)
    refs = draft.spec.tls.certificate_refs if draft.spec.tls else ()
    if not refs:
        draft.unresolve(Reason.INVALID_CERTIFICATE_REF, "a listener that terminates TLS needs tls.certificateRefs")
    loaded: list[Certificate] = []
    for ref in refs:
        namespace = ref.namespace or subject.namespace
        name = f"{namespace}/{ref.name}"
        if ref.group or ref.kind != "Secret":
            draft.unresolve(Reason.INVALID_CERTIFICATE_REF, f"certificateRef {name} has kind {ref.kind}, not Secret")
        elif not grants.permits(subject, group="", kind="Secret", namespace=namespace, name=ref.name):
            needed = f"a ReferenceGrant in namespace {namespace} from {subject.kind} of {subject.namespace} to Secret"
            draft.unresolve(Reason.REF_NOT_PERMITTED, f"Secret {name} needs {needed}")
        else:
            try:
                loaded.append(secrets.certificate(namespace, ref.name))
            except CertificateError as error:
                draft.unresolve(Reason.INVALID_CERTIFICATE_REF, f"Secret {name}: {error}")
                draft.missing_files = draft.missing_files if any(draft.missing_files) else error.files
    draft.certificates = tuple({certificate.digest: certificate for certificate in loaded}.values())


def _hint(draft: ListenerDraft, condition: Condition) -> str:
    if condition.reason is not Reason.INVALID_CERTIFICATE_REF:
        return ""
    if all(draft.missing_files):
        return _to_make(*draft.missing_files, draft.hostname or "localhost")
    if not (draft.spec.tls and draft.spec.tls.certificate_refs):
        return "name a Secret of type kubernetes.io/tls in tls.certificateRefs"
    if draft.hostname.startswith("*."):
        return "mend what the message names; of ACME's challenges only DNS-01 gets a certificate for a wildcard"
    return ""


def _to_make(chain: str, key: str, hostname: str) -> str:
    """Return how to get a certificate in the files *chain* and *key*."""
    folders = " ".join(dict.fromkeys(quote(posixpath.dirname(each) or ".") for each in (chain, key)))
    name = quote(f"subjectAltName=DNS:{hostname}")
    return (
        "put certificate and key there, readable by the user that runs the gateway; "
        f"where there are none, to try it out: mkdir -p {folders} && openssl req -x509 -newkey rsa:2048 "
        f"-nodes -days 30 -subj /CN=gateway -addext {name} -keyout {quote(key)} -out {quote(chain)}"
    )


def _report(draft: ListenerDraft, findings: Findings) -> None:
    # References that do not resolve leave a listener serving by the others, or not at all.
    for condition, tell in (
        (draft.accepted, findings.error),
        (draft.resolved, findings.warn if draft.serves else findings.error),
    ):
        if not condition.status:
            message = f"{condition.reason}: {condition.message}"
            tell(
                draft.spec.at,
                draft.parent,
                draft.spec.path,
                message,
                _hint(draft, condition),
                BY_REASON.get(condition.reason, Code.LISTENER),
            )
    if draft.spec.tls is not None and draft.spec.tls.options:
        message = f"options {listed(list(draft.spec.tls.options))} are not supported, ignored"
        findings.warn(
            draft.spec.tls.at, draft.parent, f"{draft.spec.path}.tls.options", message, "remove them", Code.IGNORED
        )
    names = [name for certificate in draft.certificates for name in certificate.names]
    if draft.certificates and draft.hostname and not names_cover(names, draft.hostname):
        message = f"no certificate is for {draft.hostname}; they name {listed(names) or 'nothing'}"
        hint = "clients will refuse it: get a certificate for this name"
        findings.warn(draft.spec.at, draft.parent, f"{draft.spec.path}.hostname", message, hint, Code.UNCERTIFIED)
