"""Routes of any kind: their drafts, and attaching them to the parents they name. Pure.

A route has one verdict per declared parentRef (RouteParentStatus); a Gateway that is not ours gets none from us.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Final, NamedTuple

from gatewayproxy.compiler.manifests.grpcroute import GRPCRoute
from gatewayproxy.compiler.manifests.httproute import HTTPRoute
from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.compiler.manifests.references import ParentRef
from gatewayproxy.compiler.manifests.tcproute import TCPRoute
from gatewayproxy.compiler.manifests.tlsroute import TLSRoute
from gatewayproxy.compiler.manifests.udproute import UDPRoute
from gatewayproxy.compiler.resolve.attach import Joined, Namespaces, find_parents
from gatewayproxy.compiler.resolve.conditions import Findings, listed
from gatewayproxy.compiler.resolve.drafts import ACCEPTED, GatewayDraft, ListenerDraft
from gatewayproxy.compiler.resolve.hostnames import intersect
from gatewayproxy.compiler.resolve.rivals import Rival, Rivals
from gatewayproxy.fields.shapes import GATEWAY_GROUP
from gatewayproxy.model.plan import Attachment, Route
from gatewayproxy.model.status import Condition, Reason

__all__ = ["ParentVerdict", "Parents", "RouteDraft", "age_of"]

_HINTS: Final[Mapping[str, str]] = {
    Reason.NO_MATCHING_PARENT: "name a listener the Gateway has, or leave sectionName and port out",
    Reason.NOT_ALLOWED_BY_LISTENERS: "widen the listener's allowedRoutes, or label the namespace as its selector asks",
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
    resolved: Condition
    flaw: Condition | None = None  # Accepted=False, whatever the parent says
    partial: Condition | None = None
    parents: list[ParentVerdict] = field(default_factory=list)


def age_of(meta: Meta) -> float:
    """Return what a route's age is compared by; undated routes are the youngest, so that none gains by it."""
    return meta.created or inf


class Parents:
    """The Gateways that routes may attach to."""

    def __init__(
        self, gateways: list[GatewayDraft], known: Mapping[tuple[str, str], bool], namespaces: Namespaces,
        findings: Findings,
    ) -> None:  # fmt: skip
        self._ours: Mapping[tuple[str, str], GatewayDraft] = {
            (gateway.spec.meta.namespace, gateway.spec.meta.name): gateway for gateway in gateways
        }
        self._known = known  # every Gateway with a document, ours or not: whether it could be read
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
            self._findings.warn(meta.origin, meta.key, "spec.parentRefs", "names no Gateway: nothing is routed", hint)
        for ref in draft.spec.parent_refs:
            gateway = self._gateway(draft, ref)
            if gateway is None:
                continue
            found = self._find(gateway, ref, draft)
            if not isinstance(found, Condition):
                for listener, hostnames in found:
                    joined.setdefault(listener, {}).update(hostnames)
            self._judge(draft, ref, found)
        self._report_unreachable(draft, joined)
        for listener, met in joined.items():
            # A route that is not accepted is not counted, but its rules that must fail closed still serve.
            listener.n_attached += draft.flaw is None
            if draft.flaw is None:
                self._rivals.take(listener, draft.spec.meta.key, met)
            if draft.route.rules:
                listener.attachments.append(Attachment(draft.route, tuple(met.items())))

    def _gateway(self, draft: RouteDraft, ref: ParentRef) -> GatewayDraft | None:
        meta = draft.spec.meta
        if (ref.group, ref.kind) != (GATEWAY_GROUP, "Gateway"):
            kind = f"{ref.group}/{ref.kind}".lstrip("/")
            self._findings.warn(ref.at, meta.key, ref.path, f"parents of kind {kind} are not supported, ignored")
            return None
        key = (ref.namespace or meta.namespace, ref.name)
        if key not in self._known:
            hint = "add the Gateway, or correct name and namespace"
            self._findings.warn(ref.at, meta.key, ref.path, f"Gateway {'/'.join(key)} does not exist", hint)
        elif not self._known[key]:
            self._findings.warn(ref.at, meta.key, ref.path, f"Gateway {'/'.join(key)} has errors", "correct them first")
        return self._ours.get(key)

    def _find(self, gateway: GatewayDraft, ref: ParentRef, draft: RouteDraft) -> list[Joined] | Condition:
        meta = draft.spec.meta
        found = find_parents(
            gateway, ref, kind=meta.key.kind, namespace=meta.namespace, hostnames=draft.hostnames,
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
        self._findings.warn(ref.at, meta.key, ref.path, told, _HINTS[Reason.HOSTNAME_CONFLICT])
        return free

    def _judge(self, draft: RouteDraft, ref: ParentRef, found: list[Joined] | Condition) -> None:
        accepted = found if isinstance(found, Condition) else (draft.flaw or ACCEPTED)
        if accepted is found:
            message = f"{accepted.reason}: {accepted.message}"
            self._findings.warn(ref.at, draft.spec.meta.key, ref.path, message, _HINTS.get(accepted.reason, ""))
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
            self._findings.warn(draft.spec.meta.origin, draft.spec.meta.key, "spec.hostnames", message, hint)


def _lost_to(rival: Rival, listener: ListenerDraft) -> str:
    return f"{rival.hostname or 'any hostname'} of listener {listener.spec.name} belongs to {rival.route}"
