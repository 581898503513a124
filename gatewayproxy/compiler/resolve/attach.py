"""Which listeners a parentRef of a route reaches, and why not the others. Pure.

The order of the questions is the order of the reasons (ParentReference, AllowedRoutes): which listeners does the
parentRef select; do they allow the route's kind and namespace; do their hostnames meet the route's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gatewayproxy.compiler.manifests.gateway import FromNamespaces
from gatewayproxy.compiler.manifests.references import ParentRef
from gatewayproxy.compiler.manifests.selectors import LabelSelector
from gatewayproxy.compiler.resolve.conditions import listed
from gatewayproxy.compiler.resolve.drafts import ListenerDraft, ParentDraft
from gatewayproxy.compiler.resolve.hostnames import pairs
from gatewayproxy.model.status import Condition, Reason

__all__ = ["Joined", "Namespaces", "find_parents", "how_to_allow", "matches_selector"]

NAME_LABEL = "kubernetes.io/metadata.name"


class Joined(NamedTuple):
    """A listener that takes the route, and the hostnames it takes it for."""

    listener: ListenerDraft
    hostnames: tuple[tuple[str, str], ...]


class Namespaces:
    """Labels of namespaces; one without a document has the label Kubernetes gives every namespace."""

    def __init__(self, labels: Mapping[str, Mapping[str, str]]) -> None:
        self._labels = {name: {**given, NAME_LABEL: name} for name, given in labels.items()}

    def labels(self, name: str) -> Mapping[str, str]:
        """Return the labels of namespace *name*."""
        return self._labels.get(name) or {NAME_LABEL: name}

    def allow(self, listener: ListenerDraft, namespace: str) -> bool:
        """Tell whether a listener takes routes from *namespace*; "Same" is that of the object it is written in."""
        return self.admit(listener.spec.allowed_routes.namespaces, listener.key.namespace, namespace)

    def admit(self, allowed: FromNamespaces, own: str, namespace: str) -> bool:
        """Tell whether an object in namespace *own* allows others from *namespace*."""
        if allowed.from_ in ("All", "None"):
            return allowed.from_ == "All"
        if allowed.from_ == "Same":
            return namespace == own
        # Selector; where it is missing, nothing is selected.
        return allowed.selector is not None and matches_selector(allowed.selector, self.labels(namespace))


def matches_selector(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Tell whether *labels* satisfy every clause (metav1.LabelSelector)."""
    if any(labels.get(name) != value for name, value in selector.match_labels.items()):
        return False
    return all(_matches(e.key, e.operator, e.values, labels) for e in selector.match_expressions)


def _matches(key: str, operator: str, values: Iterable[str], labels: Mapping[str, str]) -> bool:
    match operator:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":  # an absent label is not in the list
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case _:
            return False


def find_parents(
    parent: ParentDraft, ref: ParentRef, *, kind: str, namespace: str, hostnames: tuple[str, ...] | None,
    namespaces: Namespaces,
) -> list[Joined] | Condition:  # fmt: skip
    """Return the listeners that take a route through *ref*, or Accepted=False.

    *hostnames* is None for route kinds that have none.
    """
    selected = [listener for listener in parent.listeners if _selects(ref, listener)]
    if not selected:
        return _no_parent(parent, ref)
    allowed = [li for li in selected if kind in li.kinds and namespaces.allow(li, namespace)]
    if not allowed:
        return _not_allowed(selected, kind, namespace)
    if hostnames is None:
        return [Joined(listener, (("", ""),)) for listener in allowed]
    joined = [Joined(listener, met) for listener in allowed if (met := pairs(listener.hostname, hostnames))]
    return joined or _no_hostname(allowed, hostnames)


def _selects(ref: ParentRef, listener: ListenerDraft) -> bool:
    if ref.section_name and ref.section_name != listener.spec.name:
        return False
    return ref.port is None or ref.port == listener.spec.port


def _no_parent(parent: ParentDraft, ref: ParentRef) -> Condition:
    wanted = [f"named {ref.section_name}"] if ref.section_name else []
    wanted += [f"on port {ref.port}"] if ref.port is not None else []
    have = listed([f"{li.spec.name}:{li.spec.port}" for li in parent.listeners])
    return _refused(
        Reason.NO_MATCHING_PARENT,
        f"{parent.spec.meta.key} has no listener {' '.join(wanted)}; it has {have}",
    )


def _not_allowed(selected: list[ListenerDraft], kind: str, namespace: str) -> Condition:
    by_kind = [listener for listener in selected if kind in listener.kinds]
    if not by_kind:
        names = listed([f"{li.spec.name} ({li.spec.protocol})" for li in selected])
        return _refused(Reason.NOT_ALLOWED_BY_LISTENERS, f"no {kind} is allowed by listener {names}")
    names = listed([f"{li.spec.name} (from: {_from_text(li.spec.allowed_routes.namespaces)})" for li in by_kind])
    return _refused(Reason.NOT_ALLOWED_BY_LISTENERS, f"namespace {namespace} is not allowed by listener {names}")


def how_to_allow(parent: ParentDraft, ref: ParentRef, kind: str) -> str:
    """Return what to write where no listener that *ref* selects allows routes of *kind*, or of their namespace."""
    selected = [listener for listener in parent.listeners if _selects(ref, listener)]
    by_kind = [listener for listener in selected if kind in listener.kinds]
    if not by_kind:
        return f"name a listener whose protocol takes {kind}s and whose allowedRoutes.kinds, if it has any, list them"
    if any(listener.spec.allowed_routes.namespaces.from_ == "Selector" for listener in by_kind):
        return "give the namespace the labels that the selector asks for, or widen allowedRoutes of the listener"
    return (
        "widen the listener by allowedRoutes: {namespaces: {from: All}}, or by a Selector; or have the route in "
        f"namespace {by_kind[0].key.namespace}"
    )


def _from_text(allowed: FromNamespaces) -> str:
    asked = allowed.selector if allowed.from_ == "Selector" else None
    return f"{allowed.from_} {asked or ''}".rstrip()


def _no_hostname(allowed: list[ListenerDraft], hostnames: tuple[str, ...]) -> Condition:
    theirs = listed([f"{li.spec.name} ({li.hostname or 'any'})" for li in allowed])
    return _refused(
        Reason.NO_MATCHING_LISTENER_HOSTNAME, f"hostnames {listed(hostnames)} meet none of listener {theirs}"
    )


def _refused(reason: Reason, message: str) -> Condition:
    return Condition("Accepted", False, reason, message)
