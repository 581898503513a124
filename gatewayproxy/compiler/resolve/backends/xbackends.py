"""XBackends: hosts outside, by DNS, and how each is to be spoken to (GEP-4894). Pure.

GEP-4894 wants a Backend in the namespace of its route; a ReferenceGrant lets others in, as for every backendRef.
Without `tls.validation` a host is verified as itself, by the authorities that the system trusts. What cannot be spoken
as written is refused, never spoken otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from gatewayproxy.compiler.manifests.backend_validation import SYSTEM, BackendValidation
from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.compiler.manifests.xbackend import BackendProtocol, XBackend, XBackendTls
from gatewayproxy.compiler.resolve.backends.target import Sought, Surroundings, Target, refused
from gatewayproxy.compiler.resolve.conditions import Findings
from gatewayproxy.compiler.resolve.drafts import ACCEPTED, RESOLVED
from gatewayproxy.compiler.resolve.presented import certificate_of
from gatewayproxy.compiler.resolve.references import Subject
from gatewayproxy.compiler.resolve.trust import resolve_validation
from gatewayproxy.fields.shapes import EXPERIMENTAL_GROUP
from gatewayproxy.model.codes import BY_REASON, Code
from gatewayproxy.model.plan import BackendTls, Certificate, Cluster, Endpoint
from gatewayproxy.model.protocols import AppProtocol
from gatewayproxy.model.refusals import (
    BACKEND_NOT_FOUND,
    BACKEND_TLS_INVALID,
    BACKEND_TLS_UNSUPPORTED,
    UNSUPPORTED_PROTOCOL,
)
from gatewayproxy.model.status import Condition, Reason

__all__ = ["XBackends"]

_HINTS: Final[Mapping[str, str]] = {
    BACKEND_NOT_FOUND: "add or mend the XBackend, or correct name, namespace and port",
    BACKEND_TLS_INVALID: "correct spec.tls of the XBackend",
    BACKEND_TLS_UNSUPPORTED: "use a TLSRoute on a listener that terminates TLS, or remove tls of the XBackend",
    UNSUPPORTED_PROTOCOL: "correct or remove protocol of the XBackend",
}

_Spoken = Mapping[BackendProtocol | None, AppProtocol]
_AS_HTTP1: Final[_Spoken] = {
    BackendProtocol.HTTP: AppProtocol.HTTP,
    BackendProtocol.HTTP11: AppProtocol.HTTP,
    BackendProtocol.MCP: AppProtocol.HTTP,  # its streamable transport is HTTP
}
_AS_HTTP2: Final[_Spoken] = {BackendProtocol.HTTP2: AppProtocol.H2C, BackendProtocol.H2C: AppProtocol.H2C}
_STREAM: Final[_Spoken] = dict.fromkeys((None, *BackendProtocol), AppProtocol.OPAQUE)  # whatever it carries
# What a kind of route speaks to an XBackend whose protocol is given, or (None) is not; what is missing it cannot.
_SPOKEN: Final[Mapping[str, _Spoken]] = {
    "HTTPRoute": {None: AppProtocol.HTTP, **_AS_HTTP1, **_AS_HTTP2},
    "GRPCRoute": {None: AppProtocol.H2C, BackendProtocol.HTTP: AppProtocol.H2C, **_AS_HTTP2},
    "TCPRoute": _STREAM,
    "TLSRoute": {**_STREAM, **_AS_HTTP1, **_AS_HTTP2},  # bytes too, and ALPN offers what is given
    "UDPRoute": {None: AppProtocol.OPAQUE},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class XBackendDraft:
    """An XBackend, and what is to be said of it."""

    spec: XBackend
    tls: BackendTls | None = None  # None: plain text, if it is accepted
    resolved: Condition | None = None  # None: it refers to nothing
    accepted: Condition = ACCEPTED

    @property
    def meta(self) -> Meta:
        """Return the metadata of the XBackend."""
        return self.spec.meta

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Return Accepted, and ResolvedRefs where it refers to something."""
        return (self.accepted,) if self.resolved is None else (self.accepted, self.resolved)


class XBackends:
    """All XBackends."""

    def __init__(self, around: Surroundings) -> None:
        resources = around.resources
        self._broken = {(m.namespace, m.name) for m in resources.fenced if m.key.kind == "XBackend"}
        self.drafts = tuple(_draft(backend, around) for backend in resources.of(XBackend))
        self._found = {(draft.spec.meta.namespace, draft.spec.meta.name): draft for draft in self.drafts}

    def target(self, sought: Sought) -> Target:
        """Return what *sought* comes to."""
        place = (sought.namespace, sought.name)
        full_name = "/".join(place)
        draft = self._found.get(place)
        if draft is None:
            state = "has errors" if place in self._broken else "does not exist"
            return _refused(full_name, BACKEND_NOT_FOUND, f"XBackend {full_name} {state}")
        backend = draft.spec
        name = f"{full_name}:{backend.port}"
        if sought.port not in (None, backend.port):
            detail = f"XBackend {full_name} has port {backend.port}, not {sought.port}"
            return _refused(f"{full_name}:{sought.port}", BACKEND_NOT_FOUND, detail)
        if not draft.accepted.status:
            reason = BACKEND_NOT_FOUND if backend.tls is None else BACKEND_TLS_INVALID
            return _refused(name, reason, f"XBackend {full_name} is not valid: {draft.accepted.message}")
        spoken = _STREAM if sought.passed_through else _SPOKEN[sought.route_kind]
        protocol = spoken.get(backend.protocol)
        if protocol is None and backend.protocol is not None:
            detail = f"XBackend {full_name} has protocol {backend.protocol.value}"
            return _refused(name, UNSUPPORTED_PROTOCOL, f"{detail}, which {sought.route_kind}s do not support")
        if draft.tls is not None and (why := _without_tls(sought)):
            return _refused(name, BACKEND_TLS_UNSUPPORTED, f"XBackend {full_name} asks for TLS, and {why}")
        assert protocol is not None, "every kind of route speaks something where no protocol is given"
        dns = Endpoint(backend.hostname, backend.port)
        return Target(name, Cluster(name=name, protocol=protocol, dns=dns, tls=draft.tls), None)


def _without_tls(sought: Sought) -> str:
    """Return why TLS cannot be added on the way, "" where it can."""
    if sought.passed_through:
        return "the client's own is passed through"
    return f"{sought.route_kind}s carry bytes as they come" if sought.route_kind in ("TCPRoute", "UDPRoute") else ""


def _draft(backend: XBackend, around: Surroundings) -> XBackendDraft:
    draft = XBackendDraft(spec=backend)
    if backend.tls is not None:
        draft = _resolve_tls(draft, backend.tls, around)
    if backend.hostname.endswith(f".{around.cluster_domain}"):
        message = f"hostname {backend.hostname} is inside the cluster ({around.cluster_domain}); use its Service"
        draft = replace(draft, accepted=Condition("Accepted", False, Reason.INVALID, message))
    _tell(draft, around.findings)
    return draft


def _resolve_tls(draft: XBackendDraft, written: XBackendTls, around: Surroundings) -> XBackendDraft:
    meta = draft.spec.meta
    validation = written.validation or BackendValidation(hostname=draft.spec.hostname, well_known=SYSTEM)
    tls, resolved, flaw = resolve_validation(validation, meta.namespace, around.authorities)
    if written.certificate_ref is not None:
        subject = Subject(EXPERIMENTAL_GROUP, "XBackend", meta.namespace)
        found = certificate_of(written.certificate_ref, subject, around.secrets, around.grants)
        if isinstance(found, Certificate):
            tls = replace(tls, certificate=found) if tls is not None else None
        else:
            resolved = found if resolved.status else resolved
            flaw = flaw or Condition("Accepted", False, Reason.INVALID, f"no client certificate: {found.message}")
    refers = validation.ca_refs or written.certificate_ref is not None
    return replace(draft, tls=tls, resolved=resolved if refers else None, accepted=flaw or ACCEPTED)


def _tell(draft: XBackendDraft, findings: Findings) -> None:
    meta = draft.spec.meta
    resolved = draft.resolved or RESOLVED
    if not draft.accepted.status:
        why = draft.accepted if resolved.status else resolved
        hint = "correct it; until then its requests fail"
        findings.error(
            meta.origin,
            meta.key,
            "spec",
            f"{why.reason}: {why.message}",
            hint,
            BY_REASON.get(why.reason, Code.BACKEND_TLS),
        )
    elif not resolved.status:
        hint = "correct it; until then the others alone are trusted"
        told = f"{resolved.reason}: {resolved.message}"
        findings.error(meta.origin, meta.key, "spec.tls", told, hint, BY_REASON.get(resolved.reason, Code.AUTHORITY))


def _refused(name: str, reason: str, detail: str) -> Target:
    return refused(name, reason, detail, _HINTS[reason])
