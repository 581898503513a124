"""Judge the listeners of one Gateway: protocol, TLS mode, conflicts, route kinds, certificates. Pure.

Within one Gateway every listener of a conflict loses (ListenerConditionConflicted); between Gateways see `ports`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from gatewayproxy.compiler.manifests.gateway import Gateway, Listener
from gatewayproxy.compiler.resolve.authorities import Authorities
from gatewayproxy.compiler.resolve.certificates import CertificateError
from gatewayproxy.compiler.resolve.clients import judge_clients
from gatewayproxy.compiler.resolve.conditions import Findings, listed
from gatewayproxy.compiler.resolve.drafts import ListenerDraft
from gatewayproxy.compiler.resolve.overlaps import judge_overlaps, names_cover
from gatewayproxy.compiler.resolve.references import Grants, Subject
from gatewayproxy.compiler.resolve.secrets import Secrets
from gatewayproxy.fields.shapes import GATEWAY_GROUP
from gatewayproxy.model.names import ListenerKey
from gatewayproxy.model.plan import Certificate
from gatewayproxy.model.protocols import PROTOCOLS, Protocol, TlsMode
from gatewayproxy.model.status import Reason

__all__ = ["judge_listeners"]

_BY_NAME: Final = {protocol.value: protocol for protocol in PROTOCOLS}


def judge_listeners(
    gateway: Gateway, secrets: Secrets, authorities: Authorities, grants: Grants, findings: Findings,
    port_map: Mapping[int, int],
) -> tuple[ListenerDraft, ...]:  # fmt: skip
    """Return the drafts of a Gateway's listeners, each with what is wrong with it."""
    drafts = tuple(_draft(gateway, listener, port_map) for listener in gateway.listeners)
    for draft in drafts:
        _judge_kinds(draft)
    _judge_conflicts(drafts)
    subject = Subject(GATEWAY_GROUP, "Gateway", gateway.meta.namespace)
    for draft in drafts:
        if draft.terminates:
            _load_certificates(draft, subject, secrets, grants)
            judge_clients(draft, gateway.frontend_tls, subject, authorities, grants)
    judge_overlaps(drafts)
    for draft in drafts:
        _report(gateway, draft, findings)
    return drafts


def _draft(gateway: Gateway, listener: Listener, port_map: Mapping[int, int]) -> ListenerDraft:
    draft = ListenerDraft(
        spec=listener,
        key=ListenerKey(gateway.meta.namespace, gateway.meta.name, listener.name),
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


def _judge_conflicts(drafts: tuple[ListenerDraft, ...]) -> None:
    by_port: dict[tuple[int, bool], list[ListenerDraft]] = defaultdict(list)
    for draft in drafts:
        if draft.protocol is not None:
            by_port[draft.spec.port, draft.udp].append(draft)
    for (port, _), sharing in by_port.items():
        if len({_spoken(draft) for draft in sharing}) > 1:
            _conflict_all(sharing, Reason.PROTOCOL_CONFLICT, f"port {port} is used with different protocols", "port")
        else:
            _judge_hostnames(sharing, port)


def _spoken(draft: ListenerDraft) -> Protocol | None:
    """Return what a port is told apart by; HTTPS and TLS begin alike, and a ClientHello says whose it is."""
    return Protocol.TLS if draft.protocol is Protocol.HTTPS else draft.protocol


def _judge_hostnames(sharing: list[ListenerDraft], port: int) -> None:
    by_hostname: dict[str, list[ListenerDraft]] = defaultdict(list)
    for draft in sharing:
        has_hostname = draft.protocol is not None and PROTOCOLS[draft.protocol].has_hostname
        by_hostname[draft.hostname if has_hostname else ""].append(draft)
    for hostname, same in by_hostname.items():
        if len(same) > 1:
            named = f"hostname {hostname}" if hostname else "no hostname"
            _conflict_all(
                same, Reason.HOSTNAME_CONFLICT, f"port {port} with {named} is used more than once", "hostname"
            )


def _conflict_all(drafts: list[ListenerDraft], reason: Reason, what: str, remedy: str) -> None:
    names = listed([draft.spec.name for draft in drafts])
    for draft in drafts:
        draft.conflict(reason, f"{what}: {names}; give each its own {remedy}")


def _load_certificates(draft: ListenerDraft, subject: Subject, secrets: Secrets, grants: Grants) -> None:
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
            needed = f"a ReferenceGrant in namespace {namespace} from Gateway of {subject.namespace} to Secret"
            draft.unresolve(Reason.REF_NOT_PERMITTED, f"Secret {name} needs {needed}")
        else:
            try:
                loaded.append(secrets.certificate(namespace, ref.name))
            except CertificateError as error:
                draft.unresolve(Reason.INVALID_CERTIFICATE_REF, f"Secret {name}: {error}")
    draft.certificates = tuple({certificate.digest: certificate for certificate in loaded}.values())


def _report(gateway: Gateway, draft: ListenerDraft, findings: Findings) -> None:
    # References that do not resolve leave a listener serving by the others, or not at all.
    for condition, tell in (
        (draft.accepted, findings.error),
        (draft.resolved, findings.warn if draft.serves else findings.error),
    ):
        if not condition.status:
            tell(draft.spec.at, gateway.meta.key, draft.spec.path, f"{condition.reason}: {condition.message}")
    if draft.spec.tls is not None and draft.spec.tls.options:
        message = f"options {listed(list(draft.spec.tls.options))} are not supported, ignored"
        findings.warn(draft.spec.tls.at, gateway.meta.key, f"{draft.spec.path}.tls.options", message, "remove them")
    names = [name for certificate in draft.certificates for name in certificate.names]
    if draft.certificates and draft.hostname and not names_cover(names, draft.hostname):
        message = f"no certificate is for {draft.hostname}; they name {listed(names) or 'nothing'}"
        hint = "clients will refuse it: get a certificate for this name"
        findings.warn(draft.spec.at, gateway.meta.key, f"{draft.spec.path}.hostname", message, hint)
