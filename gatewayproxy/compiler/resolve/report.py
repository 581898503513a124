"""Read the StatusReport off the drafts: every object as Kubernetes would show it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from gatewayproxy.compiler.manifests.gatewayclass import GatewayClass
from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.compiler.resolve.addresses import bound_addresses
from gatewayproxy.compiler.resolve.backends import BackendDraft
from gatewayproxy.compiler.resolve.clients import insecure_mode
from gatewayproxy.compiler.resolve.conditions import ConditionWriter, Tree
from gatewayproxy.compiler.resolve.drafts import GatewayDraft, ListenerDraft, ListenerSetDraft
from gatewayproxy.compiler.resolve.features import SUPPORTED_FEATURES
from gatewayproxy.compiler.resolve.listenersets import set_accepted, set_programmed
from gatewayproxy.compiler.resolve.policies import PolicyDraft
from gatewayproxy.compiler.resolve.reach import Reach
from gatewayproxy.compiler.resolve.routes import PARENT_KINDS, RouteDraft
from gatewayproxy.compiler.resolve.traffic import TrafficDraft
from gatewayproxy.fields.shapes import GATEWAY_GROUP
from gatewayproxy.model.names import ResourceKey
from gatewayproxy.model.protocols import PROTOCOLS
from gatewayproxy.model.status import Condition, ObjectStatus, Problem, Reason

__all__ = ["StatusWriter"]

_ROUTE_KINDS: Final = frozenset(kind for traits in PROTOCOLS.values() for kind in traits.route_kinds)
MAX_ANCESTORS: Final = 16  # PolicyStatus.ancestors; what further Gateways reach is spoken to in TLS all the same
MAX_BACKEND_PARENTS: Final = 32  # BackendStatus.parents; further Gateways reach it all the same
_SHOWN_OF_SECRETS: Final = frozenset({"apiVersion", "kind", "metadata", "type", "immutable"})
_REDACTED: Final = "(redacted)"
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


class StatusWriter:
    """Collects the status of our objects, then lays it beside what was written."""

    def __init__(self, controller_name: str, now: float) -> None:
        self._controller_name = controller_name
        self._conditions = ConditionWriter(now)
        self._status: dict[ResourceKey, Tree] = {}

    def add_class(self, gateway_class: GatewayClass, accepted: Condition) -> None:
        """Write the status of a GatewayClass of ours."""
        version = Condition("SupportedVersion", True, Reason.SUPPORTED_VERSION)
        self._status[gateway_class.meta.key] = {
            "conditions": self._conditions.write((accepted, version), gateway_class.meta.generation),
            "supportedFeatures": [{"name": name} for name in SUPPORTED_FEATURES],
        }

    def add_gateway(self, draft: GatewayDraft) -> None:
        """Write the status of a Gateway of ours and of its ListenerSets."""
        generation = draft.spec.meta.generation
        serving = frozenset(draft.serving())
        insecure = insecure_mode(draft.spec.frontend_tls)
        optional = (each for each in (draft.resolved, insecure) if each is not None)
        conditions = (draft.verdict, draft.programmed, *optional)
        self._status[draft.spec.meta.key] = {
            "addresses": [{"type": "IPAddress", "value": address} for address in bound_addresses(draft)],
            "conditions": self._conditions.write(conditions, generation),
            "listeners": [self._listener(each, draft, each in serving, generation) for each in draft.listeners],
        }
        if draft.sets or draft.spec.allowed_listeners.from_ != "None":
            n_attached = sum(set_accepted(each, draft).status for each in draft.sets)
            self._status[draft.spec.meta.key]["attachedListenerSets"] = n_attached
        for each in draft.sets:
            self._add_set(each, draft, serving)

    def _add_set(self, draft: ListenerSetDraft, gateway: GatewayDraft, serving: frozenset[ListenerDraft]) -> None:
        generation = draft.spec.meta.generation
        conditions = (set_accepted(draft, gateway), set_programmed(draft, gateway))
        self._status[draft.spec.meta.key] = {
            "conditions": self._conditions.write(conditions, generation),
            "listeners": [self._listener(each, gateway, each in serving, generation) for each in draft.listeners],
        }

    def add_route(self, draft: RouteDraft) -> None:
        """Write the status of a route; one that names no parent of ours gets none."""
        if not draft.parents:
            return
        meta = draft.spec.meta
        self._status[meta.key] = {
            "parents": [
                {
                    "parentRef": _parent_ref(
                        group=ref.group, kind=ref.kind, namespace=ref.namespace or meta.namespace, name=ref.name,
                        section=ref.section_name, port=ref.port,
                    ),
                    "controllerName": self._controller_name,
                    "conditions": self._conditions.write(conditions, meta.generation),
                }
                for ref, conditions in draft.parents
            ]
        }  # fmt: skip

    def add_policy(self, draft: PolicyDraft | TrafficDraft, reach: Reach) -> None:
        """Write the status of a policy: one entry for each Gateway that reaches a Service it targets."""
        meta = draft.spec.meta
        reached: dict[ResourceKey, list[str]] = {}
        for service in draft.services:
            for gateway in reach.get(ResourceKey("Service", meta.namespace, service), ()):
                reached.setdefault(gateway, []).append(service)
        self._status[meta.key] = {
            "ancestors": [
                {
                    "ancestorRef": {
                        "group": GATEWAY_GROUP, "kind": "Gateway", "namespace": gateway.namespace, "name": gateway.name,
                    },
                    "controllerName": self._controller_name,
                    "conditions": self._conditions.write(
                        (draft.accepted(services), *((draft.resolved,) if draft.resolved else ())), meta.generation
                    ),
                }
                for gateway, services in list(reached.items())[:MAX_ANCESTORS]
            ]
        }  # fmt: skip

    def add_backend(self, draft: BackendDraft, reach: Reach) -> None:
        """Write the status of a backend: one entry for each Gateway that reaches it."""
        meta = draft.meta
        self._status[meta.key] = {
            "parents": [
                {
                    "parentRef": _parent_ref(
                        group=GATEWAY_GROUP, kind="Gateway", namespace=gateway.namespace, name=gateway.name,
                        section=None, port=None,
                    ),
                    "controllerName": self._controller_name,
                    "conditions": self._conditions.write(draft.conditions, meta.generation),
                }
                for gateway in reach.get(meta.key, ())[:MAX_BACKEND_PARENTS]
            ]
        }  # fmt: skip

    def add_fenced(self, meta: Meta, flaws: Sequence[Problem], ours: frozenset[ResourceKey]) -> None:
        """Write Accepted=False for an object whose text has *flaws*; *ours* are the parents that may speak of it."""
        accepted = _fenced(meta, flaws)
        if meta.key.kind == "Gateway" or (meta.key.kind == "ListenerSet" and _written_gateway(meta) in ours):
            programmed = accepted._replace(type="Programmed")
            self._status[meta.key] = {"conditions": self._conditions.write((accepted, programmed), meta.generation)}
        elif meta.key.kind in _ROUTE_KINDS:
            parents = [
                {
                    "parentRef": ref,
                    "controllerName": self._controller_name,
                    "conditions": self._conditions.write((accepted,), meta.generation),
                }
                for ref in _written_parents(meta)
                if _key(ref) in ours
            ]
            if parents:
                self._status[meta.key] = {"parents": parents}

    def objects(self, metas: Iterable[Meta]) -> tuple[ObjectStatus, ...]:
        """Return every object, in the order of *metas*."""
        status = self._status
        return tuple(
            ObjectStatus(key=meta.key, origin=meta.origin, manifest=_shown(meta), status=status.get(meta.key, {}))
            for meta in metas
        )

    def _listener(self, draft: ListenerDraft, gateway: GatewayDraft, serves: bool, generation: int) -> Tree:
        return {
            "name": draft.spec.name,
            "supportedKinds": [{"group": GATEWAY_GROUP, "kind": kind} for kind in draft.kinds],
            "attachedRoutes": draft.n_attached,
            "conditions": self._conditions.write(
                (
                    draft.accepted,
                    _programmed(draft, gateway, serves),
                    draft.resolved,
                    draft.conflicted,
                    *((draft.overlapping,) if draft.overlapping else ()),
                ),
                generation,
            ),
        }


def _programmed(draft: ListenerDraft, gateway: GatewayDraft, serves: bool) -> Condition:
    if serves:
        return Condition("Programmed", True, Reason.PROGRAMMED)
    if draft.conflicted.status:
        return Condition("Programmed", False, draft.conflicted.reason, draft.conflicted.message)
    parent = gateway.programmed if gateway.verdict.status else gateway.verdict
    told = parent.message if draft.parent == gateway.spec.meta.key else parent.reason  # see ListenerDraft.title
    why = draft.flaw or f"{gateway.spec.meta.key} cannot serve: {told}"
    return Condition("Programmed", False, Reason.INVALID, why)


def _fenced(meta: Meta, flaws: Sequence[Problem]) -> Condition:
    """Return Accepted=False with the reason that all *flaws* have in common; Invalid is of those without one."""
    first = flaws[0]
    more = f", and {len(flaws) - 1} more (`gatewayproxy check` lists them)" if len(flaws) > 1 else ""
    message = f"{first.field}: {first.message}; {first.hint}{more}"
    reason = first.reason if all(each.reason is first.reason for each in flaws) else None
    if reason is None or meta.key.kind not in _ROUTE_KINDS:
        reason = Reason.INVALID
    return Condition("Accepted", False, reason, message)


def _parent_ref(*, group: str, kind: str, namespace: str, name: str, section: str | None, port: int | None) -> Tree:
    ref: Tree = {"group": group, "kind": kind, "namespace": namespace, "name": name}
    if section is not None:
        ref["sectionName"] = section
    if port is not None:
        ref["port"] = port
    return ref


def _key(ref: Tree) -> ResourceKey:
    return ResourceKey(ref["kind"], ref["namespace"], ref["name"])


def _written_gateway(meta: Meta) -> ResourceKey | None:
    """Return the Gateway of a ListenerSet that could not be read, as far as that makes sense."""
    spec = meta.manifest.get("spec")
    found = _written_parent(spec.get("parentRef"), meta.namespace) if isinstance(spec, Mapping) else None
    return _key(found) if found is not None else None


def _written_parents(meta: Meta) -> Iterator[Tree]:
    """Yield the parentRefs of a route that could not be read, as far as they make sense."""
    spec = meta.manifest.get("spec")
    written = spec.get("parentRefs") if isinstance(spec, Mapping) else None
    for ref in written if isinstance(written, list) else ():
        if (found := _written_parent(ref, meta.namespace)) is not None:
            yield found


def _written_parent(ref: object, own_namespace: str) -> Tree | None:
    if not isinstance(ref, Mapping) or not isinstance(ref.get("name"), str):
        return None
    kind = ref.get("kind", "Gateway")
    if kind not in PARENT_KINDS or ref.get("group", GATEWAY_GROUP) != GATEWAY_GROUP:
        return None
    namespace, section, port = ref.get("namespace"), ref.get("sectionName"), ref.get("port")
    return _parent_ref(
        group=GATEWAY_GROUP,
        kind=kind,
        namespace=namespace if isinstance(namespace, str) else own_namespace,
        name=ref["name"],
        section=section if isinstance(section, str) else None,
        port=port if isinstance(port, int) else None,
    )


def _shown(meta: Meta) -> Mapping[str, Any]:
    """Return the manifest as it may be shown: of a Secret, the names of its entries only.

    All else is left out but what cannot hold a secret: one under a misspelt field is no less secret.
    """
    if meta.key.kind != "Secret":
        return meta.manifest
    shown: Tree = {name: value for name, value in meta.manifest.items() if name in _SHOWN_OF_SECRETS}
    written = (meta.manifest.get(name) for name in ("data", "stringData"))
    shown["data"] = {key: _REDACTED for entries in written if isinstance(entries, Mapping) for key in entries}
    metadata = shown.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    if isinstance(annotations, Mapping) and isinstance(metadata, Mapping):
        kept = {key: value for key, value in annotations.items() if key != _LAST_APPLIED}
        shown["metadata"] = {**metadata, "annotations": kept}
    return shown
