"""ListenerSets: which Gateway takes them, and what comes of it (GEP-1713). Pure.

A ListenerSet names its Gateway, and the Gateway's allowedListeners says from where it takes any: it needs no
ReferenceGrant. One that is not allowed is as if it were not there, but for its status. One of a Gateway that is not
ours gets none from us.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from gatewayproxy.compiler.manifests import Resources
from gatewayproxy.compiler.manifests.gateway import Gateway
from gatewayproxy.compiler.manifests.listenerset import ListenerSet
from gatewayproxy.compiler.resolve.attach import Namespaces
from gatewayproxy.compiler.resolve.conditions import Findings, listed
from gatewayproxy.compiler.resolve.drafts import ACCEPTED, GatewayDraft, ListenerSetDraft
from gatewayproxy.fields.shapes import GATEWAY_GROUP
from gatewayproxy.model.codes import Code
from gatewayproxy.model.names import ResourceKey
from gatewayproxy.model.status import Condition, Reason

__all__ = ["draft_sets", "set_accepted", "set_programmed"]

_ALLOW = "spec.allowedListeners.namespaces.from"


def draft_sets(
    resources: Resources, ours: Iterable[Gateway], namespaces: Namespaces, findings: Findings
) -> Mapping[ResourceKey, list[ListenerSetDraft]]:
    """Return the ListenerSets of each of our Gateways, oldest first, then by namespace/name."""
    by_key = {gateway.meta.key: gateway for gateway in ours}
    broken = {meta.key for meta in resources.fenced}
    known = {meta.key for meta in resources.metas}
    drafts: defaultdict[ResourceKey, list[ListenerSetDraft]] = defaultdict(list)
    for each in sorted(resources.of(ListenerSet), key=lambda each: each.meta.age):
        parent = _parent(each, findings)
        if parent is None:
            continue
        if (gateway := by_key.get(parent)) is not None:
            drafts[parent].append(ListenerSetDraft(spec=each, refused=_refusal(each, gateway, namespaces, findings)))
        elif parent not in known:
            hint = "add the Gateway, or correct name and namespace"
            findings.warn(
                each.parent_ref.at, each.meta.key, each.parent_ref.path, f"{parent} does not exist", hint, Code.PARENT
            )
        elif parent in broken:
            hint = "correct them first"
            findings.warn(
                each.parent_ref.at, each.meta.key, each.parent_ref.path, f"{parent} has errors", hint, Code.PARENT
            )
    return drafts


def set_accepted(draft: ListenerSetDraft, gateway: GatewayDraft) -> Condition:
    """Return the Accepted condition of a ListenerSet of *gateway*."""
    if draft.refused is not None:
        return draft.refused
    verdict = gateway.verdict
    if not verdict.status:
        message = f"{gateway.spec.meta.key} is not accepted: {verdict.reason}"
        return Condition("Accepted", False, Reason.PARENT_NOT_ACCEPTED, message)
    invalid = [listener.spec.name for listener in draft.listeners if not listener.valid]
    if not invalid:
        return ACCEPTED
    some_valid = any(listener.serves for listener in draft.listeners)
    return Condition("Accepted", some_valid, Reason.LISTENERS_NOT_VALID, f"not valid: {listed(invalid)}")


def set_programmed(draft: ListenerSetDraft, gateway: GatewayDraft) -> Condition:
    """Return the Programmed condition of a ListenerSet of *gateway*."""
    accepted = set_accepted(draft, gateway)
    if not accepted.status:
        return accepted._replace(type="Programmed")
    if not gateway.usable:
        message = f"{gateway.spec.meta.key} is not programmed: {gateway.programmed.reason}"
        return Condition("Programmed", False, Reason.PARENT_NOT_PROGRAMMED, message)
    return Condition("Programmed", True, Reason.PROGRAMMED)


def _parent(each: ListenerSet, findings: Findings) -> ResourceKey | None:
    ref = each.parent_ref
    if (ref.group, ref.kind) != (GATEWAY_GROUP, "Gateway"):
        kind = f"{ref.group}/{ref.kind}".lstrip("/")
        message = f"parents of kind {kind} are not supported: the listeners do not serve"
        findings.warn(ref.at, each.meta.key, ref.path, message, "name a Gateway", Code.PARENT)
        return None
    return ResourceKey("Gateway", ref.namespace or each.meta.namespace, ref.name)


def _refusal(each: ListenerSet, gateway: Gateway, namespaces: Namespaces, findings: Findings) -> Condition | None:
    """Return Accepted=False where *gateway* takes no listeners from the namespace of *each*."""
    allowed, own = gateway.allowed_listeners, gateway.meta.namespace
    if namespaces.admit(allowed, own, each.meta.namespace):
        return None
    asked = f"{allowed.from_}" + (", whose selector its labels do not match" if allowed.from_ == "Selector" else "")
    message = f"{gateway.meta.key} takes no ListenerSets from namespace {each.meta.namespace} ({_ALLOW}: {asked})"
    hint = f"set {_ALLOW} of the Gateway to All, Same or Selector, or put the ListenerSet where it takes them from"
    told = f"{Reason.NOT_ALLOWED}: {message}"
    findings.warn(each.parent_ref.at, each.meta.key, each.parent_ref.path, told, hint, Code.NOT_ALLOWED)
    return Condition("Accepted", False, Reason.NOT_ALLOWED, message)
