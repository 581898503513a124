"""ListenerSet: listeners that another team adds to a Gateway which allows it (GEP-1713). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gatewayproxy.compiler.manifests.gateway import Listener, read_listeners
from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.fields import Fields
from gatewayproxy.fields.shapes import GATEWAY_GROUP, GROUP, KIND, NAMESPACE, OBJECT_NAME
from gatewayproxy.model.names import Origin

__all__ = ["ListenerSet", "ParentGatewayRef", "read"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentGatewayRef:
    """ParentGatewayReference: the Gateway whose addresses the listeners are bound on."""

    name: str
    namespace: str | None  # None: the ListenerSet's own
    group: str
    kind: str
    at: Origin
    path: str  # "spec.parentRef"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSet:
    """ListenerSet.spec."""

    meta: Meta
    parent_ref: ParentGatewayRef
    listeners: tuple[Listener, ...] = ()


def read(meta: Meta, root: Fields, version: str) -> ListenerSet:
    """Read a ListenerSet."""
    spec = root.required_child("spec")
    return ListenerSet(
        meta=meta, parent_ref=_read_parent_ref(spec.required_child("parentRef")), listeners=read_listeners(spec)
    )


def _read_parent_ref(fields: Fields) -> ParentGatewayRef:
    return ParentGatewayRef(
        name=fields.text("name", OBJECT_NAME),
        namespace=fields.text("namespace", NAMESPACE, None),
        group=fields.text("group", GROUP, GATEWAY_GROUP),
        kind=fields.text("kind", KIND, "Gateway"),
        at=fields.at,
        path=fields.path_text,
    )
