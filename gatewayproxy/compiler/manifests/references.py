"""What objects call each other by: parentRefs, backendRefs, references to Secrets and other objects. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from gatewayproxy.compiler.manifests.filters import Filter, FilterMembers, read_filters
from gatewayproxy.fields import BackendObjectReference, Fields, read_backend_object_reference
from gatewayproxy.fields.shapes import GATEWAY_GROUP, GROUP, KIND, NAMESPACE, OBJECT_NAME, PORT, SECTION_NAME
from gatewayproxy.model.names import Origin

__all__ = [
    "BackendRef", "ObjectReference", "ParentRef", "read_backend_refs", "read_object_reference", "read_parent_refs",
    "read_secret_reference",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentRef:
    """ParentReference: the Gateway (or one of its listeners) a route wants to attach to."""

    name: str
    namespace: str | None  # None: the route's own
    group: str
    kind: str
    section_name: str | None  # a listener's name
    port: int | None
    at: Origin
    path: str  # "spec.parentRefs[0]"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendRef:
    """BackendRef of any kind of route: a backend, its share, and what happens only to requests sent there."""

    ref: BackendObjectReference
    weight: int = 1
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectReference:
    """A reference to a Secret, a ConfigMap, or parameters."""

    name: str
    namespace: str | None  # None: that of the object the reference stands in
    group: str
    kind: str
    at: Origin
    path: str


def read_parent_refs(spec: Fields) -> tuple[ParentRef, ...]:
    """Read spec.parentRefs, which must be distinct."""
    refs = tuple(_read_parent_ref(item) for item in spec.items("parentRefs", most=32))
    if len(refs) > 1:
        _check_distinct(spec, refs)
    return refs


def read_backend_refs(rule: Fields, *, filters: FilterMembers | None = None, least: int = 0) -> tuple[BackendRef, ...]:
    """Read backendRefs of *rule*; those of some kinds of routes have *filters* of their own."""
    return tuple(_read_backend_ref(item, filters) for item in rule.items("backendRefs", most=16, least=least))


def read_secret_reference(fields: Fields) -> ObjectReference:
    """Read a SecretObjectReference: group and kind default to a Secret."""
    return ObjectReference(
        name=fields.text("name", OBJECT_NAME),
        namespace=fields.text("namespace", NAMESPACE, None),
        group=fields.text("group", GROUP, ""),
        kind=fields.text("kind", KIND, "Secret"),
        at=fields.at,
        path=fields.path_text,
    )


def read_object_reference(fields: Fields, *, namespaced: bool) -> ObjectReference:
    """Read an ObjectReference, or (not *namespaced*) a LocalObjectReference: group and kind are required."""
    return ObjectReference(
        name=fields.text("name", OBJECT_NAME),
        namespace=fields.text("namespace", NAMESPACE, None) if namespaced else None,
        group=fields.text("group", GROUP),
        kind=fields.text("kind", KIND),
        at=fields.at,
        path=fields.path_text,
    )


def _read_parent_ref(fields: Fields) -> ParentRef:
    return ParentRef(
        name=fields.text("name", OBJECT_NAME),
        namespace=fields.text("namespace", NAMESPACE, None),
        group=fields.text("group", GROUP, GATEWAY_GROUP),
        kind=fields.text("kind", KIND, "Gateway"),
        section_name=fields.text("sectionName", SECTION_NAME, None),
        port=fields.integer("port", *PORT, None),
        at=fields.at,
        path=fields.path_text,
    )


def _read_backend_ref(fields: Fields, filters: FilterMembers | None) -> BackendRef:
    return BackendRef(
        ref=read_backend_object_reference(fields),
        weight=fields.integer("weight", 0, 1_000_000, 1),
        filters=() if filters is None else read_filters(fields, filters),
    )


def _check_distinct(spec: Fields, refs: tuple[ParentRef, ...]) -> None:
    """Two references to one parent must both name sections (or ports), and differ in them."""
    seen: dict[Hashable, set[Hashable]] = {}
    styles: dict[Hashable, tuple[bool, bool]] = {}
    for index, ref in enumerate(refs):
        parent = (ref.group, ref.kind, ref.namespace, ref.name)
        style = (ref.section_name is None, ref.port is None)
        places = seen.setdefault(parent, set())
        if styles.setdefault(parent, style) != style:
            hint = "give sectionName (or port) in all parentRefs to this parent, or in none"
            spec.error_at(
                "parentRefs", index, "sectionName or port is given in only some references to one parent", hint
            )
        elif (ref.section_name, ref.port) in places:
            spec.error_at(
                "parentRefs", index, "names the same parent and section again", "remove it, or name another sectionName"
            )
        places.add((ref.section_name, ref.port))
