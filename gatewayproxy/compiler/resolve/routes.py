"""Routes of any kind: their drafts, and attaching them to the parents they name. Pure.

A route has one verdict per declared parentRef (RouteParentStatus); a Gateway that is not ours gets none from us.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Final, NamedTuple

from gatewayproxy.compiler.manifests.foreign import advice
from gatewayproxy.compiler.manifests.grpcroute import GRPCRoute
from gatewayproxy.compiler.manifests.httproute import HTTPRoute
from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.compiler.manifests.references import ParentRef
from gatewayproxy.compiler.manifests.tcproute import TCPRoute
from gatewayproxy.compiler.manifests.tlsroute import TLSRoute
from gatewayproxy.compiler.manifests.udproute import UDPRoute
from gatewayproxy.compiler.resolve.attach import Joined, Namespaces, find_parents, how_to_allow
from gatewayproxy.compiler.resolve.conditions import Findings, listed
from gatewayproxy.compiler.resolve.drafts import ACCEPTED, GatewayDraft, ListenerDraft, ListenerSetDraft, ParentDraft
from gatewayproxy.compiler.resolve.hostnames import intersect
from gatewayproxy.compiler.resolve.rivals import Rival, Rivals
from gatewayproxy.fields.shapes import GATEWAY_GROUP
from gatewayproxy.model.codes import BY_REASON, Code
from gatewayproxy.model.names import ResourceKey
from gatewayproxy.model.plan import Attachment, Route
from gatewayproxy.model.status import Condition, Reason

__all__ = ["PARENT_KINDS", "ParentVerdict", "Parents", "RouteDraft", "age_of"]

PARENT_KINDS: Final = ("Gateway", "ListenerSet")  # that routes attach to, of the group of the Gateway API

_NO_PARENTS: Final = "names no Gateway: nothing is routed"
_HINTS: Final[Mapping[str, str]] = {
    Reason.NO_MATCHING_PARENT: "name a listener the {kind} has, or leave sectionName and port out",
    Reason.HOSTNAME_CONFLICT: "give the two routes different hostnames, or one of them a listener of its own",
    Reason.NO_MATCHING_LISTENER_HOSTNAME: "use a hostname that a listener covers, or add a listener for it",
}


class ParentVerdict(NamedTuple):
    """What one parentRef came to."""

    ref: ParentRef
    conditions: tuple[Condition, ...]


@dataclass(slots=True, kw_only=True, eq=False)
class RouteDraft:
    """A route while it is being resolved."""

    spec: HTTPRoute | GRPCRoute | TCPRoute | TLSRoute | UDPRoute
    hostnames: tuple[str, ...] | None  # None: the kind has none
    route: Route
    terminated: Route | None = None  # in its place where a listener ends the TLS of a TLSRoute
    resolved: Condition
    flaw: Condition | None = None  # Accepted=False, whatever the parent says
    partial: Condition | None = None
    parents: list[ParentVerdict] = field(default_factory=list)


def age_of(meta: Meta) -> float:
    """Return what a route's age is compared by; undated routes are the youngest, so that none gains by it."""
    return meta.created or inf


class Parents:
    """The Gateways and ListenerSets that routes may attach to."""

    def __init__(
        self, gateways: Iterable[GatewayDraft], known: Mapping[ResourceKey, bool], namespaces: Namespaces,
        findings: Findings,
    ) -> None:  # fmt: skip
        self._ours: dict[ResourceKey, ParentDraft] = {}
        for gateway in gateways:
            self._ours |= {parent.spec.meta.key: parent for parent in gateway.parents}
        self._known = known  # every one with a document, ours or not: whether it could be read
        self._namespaces = namespaces
        self._findings = findings
        self._rivals = Rivals()

    def attach_all(self, drafts: Iterable[RouteDraft]) -> None:
        """Attach *drafts*, oldest first. One that is not accepted anyway takes no hostname from one that is."""
        for draft in sorted(drafts, key=lambda draft: draft.flaw is not None):
            self._attach(draft)

    def _attach(self, draft: RouteDraft) -> None:
        """Hang a route on every listener that takes it, and note the verdict of each parentRef."""
        joined: dict[ListenerDraft, dict[str, str]] = {}
        if not draft.spec.parent_refs:
            meta = draft.spec.meta
            hint = "add parentRefs: [{name: <Gateway>}]"
            self._findings.warn(meta.origin, meta.key, "spec.parentRefs", _NO_PARENTS, hint, Code.NO_PARENTS)
        for ref in draft.spec.parent_refs:
            parent = self._parent(draft, ref)
            if parent is None:
                continue
            found = self._find(parent, ref, draft)
            if not isinstance(found, Condition):
                for listener, hostnames in found:
                    joined.setdefault(listener, {}).update(hostnames)
            self._judge(draft, ref, found, parent)
        self._report_unreachable(draft, joined)
        for listener, met in joined.items():
            # A route that is not accepted is not counted, but its rules that must fail closed still serve.
            listener.n_attached += draft.flaw is None
            if draft.flaw is None:
                self._rivals.take(listener, draft.spec.meta.key, met)
            route = (draft.terminated if listener.terminates else None) or draft.route
            if route.rules:
                listener.attachments.append(Attachment(route, tuple(met.items())))

    def _parent(self, draft: RouteDraft, ref: ParentRef) -> ParentDraft | None:
        meta = draft.spec.meta
        if ref.group != GATEWAY_GROUP or ref.kind not in PARENT_KINDS:
            kind = f"{ref.group}/{ref.kind}".lstrip("/")
            told = f"parents of kind {kind} are not supported, ignored"
            hint = advice(ref.kind) or f"name a {' or '.join(PARENT_KINDS)} of {GATEWAY_GROUP}"
            self._findings.warn(ref.at, meta.key, ref.path, told, hint, Code.PARENT)
            return None
        key = ResourceKey(ref.kind, ref.namespace or meta.namespace, ref.name)
        if key not in self._known:
            hint = f"add the {ref.kind}, or correct name and namespace"
            self._findings.warn(ref.at, meta.key, ref.path, f"{key} does not exist", hint, Code.PARENT)
        elif not self._known[key]:
            self._findings.warn(ref.at, meta.key, ref.path, f"{key} has errors", "correct them first", Code.PARENT)
        return self._ours.get(key)

    def _find(self, parent: ParentDraft, ref: ParentRef, draft: RouteDraft) -> list[Joined] | Condition:
        meta = draft.spec.meta
        if isinstance(parent, ListenerSetDraft) and parent.refused is not None:
            message = f"{parent.spec.meta.key} is not accepted: {parent.refused.message}"
            return Condition("Accepted", False, Reason.NO_MATCHING_PARENT, message)
        found = find_parents(
            parent, ref, kind=meta.key.kind, namespace=meta.namespace, hostnames=draft.hostnames,
            namespaces=self._namespaces,
        )  # fmt: skip
        return found if isinstance(found, Condition) else self._without_rivals(found, ref, draft)

    def _without_rivals(self, joined: list[Joined], ref: ParentRef, draft: RouteDraft) -> list[Joined] | Condition:
        """Return those of *joined* where no HTTPRoute stands in a GRPCRoute's way, nor the other way round."""
        meta = draft.spec.meta
        free: list[Joined] = []
        lost: list[str] = []
        for each in joined:
            rival = self._rivals.rival(each.listener, meta.key.kind, (effective for effective, _ in each.hostnames))
            if rival is None:
                free.append(each)
            else:
                lost.append(_lost_to(rival, each.listener))
        if not lost or draft.flaw is not None:  # what is wrong with the route itself is its verdict
            return free
        message = f"{listed(lost)}: the older route has it, then the first by namespace/name"
        if not free:
            return Condition("Accepted", False, Reason.HOSTNAME_CONFLICT, message)
        told = f"{Reason.HOSTNAME_CONFLICT}: {message}"
        self._findings.warn(ref.at, meta.key, ref.path, told, _HINTS[Reason.HOSTNAME_CONFLICT], Code.HOST_CONFLICT)
        return free

    def _judge(self, draft: RouteDraft, ref: ParentRef, found: list[Joined] | Condition, parent: ParentDraft) -> None:
        accepted = found if isinstance(found, Condition) else (draft.flaw or ACCEPTED)
        if accepted is found:
            message = f"{accepted.reason}: {accepted.message}"
            code = BY_REASON.get(accepted.reason, Code.PARENT)
            key = draft.spec.meta.key
            not_allowed = accepted.reason is Reason.NOT_ALLOWED_BY_LISTENERS
            hint = how_to_allow(parent, ref, key.kind) if not_allowed else _hint(accepted.reason, ref)
            self._findings.warn(ref.at, key, ref.path, message, hint, code)
        partial = () if draft.partial is None else (draft.partial,)
        draft.parents.append(ParentVerdict(ref, (accepted, draft.resolved, *partial)))

    def _report_unreachable(self, draft: RouteDraft, joined: Mapping[ListenerDraft, Mapping[str, str]]) -> None:
        """Warn of hostnames that no listener has: requests for them do not reach the route."""
        met = {own for hostnames in joined.values() for own in hostnames.values()}
        unmet = [hostname for hostname in draft.hostnames or () if hostname not in met]
        # One that met a listener may still have lost to a narrower one with the same meeting.
        lost = [name for name in unmet if all(intersect(each.hostname, name) is None for each in joined)]
        if joined and lost:
            message = f"hostnames {listed(lost)} meet no listener of the route, ignored"
            hint = _HINTS[Reason.NO_MATCHING_LISTENER_HOSTNAME]
            meta = draft.spec.meta
            self._findings.warn(meta.origin, meta.key, "spec.hostnames", message, hint, Code.HOST_OUTSIDE)


def _hint(reason: str, ref: ParentRef) -> str:
    return _HINTS.get(reason, "").format(kind=ref.kind)


def _lost_to(rival: Rival, listener: ListenerDraft) -> str:
    return f"{rival.hostname or 'any hostname'} of listener {listener.spec.name} belongs to {rival.route}"
