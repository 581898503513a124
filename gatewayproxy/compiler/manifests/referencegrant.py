"""ReferenceGrant: who may refer across namespaces to objects in the grant's own. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.fields import Fields
from gatewayproxy.fields.shapes import GROUP, KIND, NAMESPACE, OBJECT_NAME

__all__ = ["GrantFrom", "GrantTo", "ReferenceGrant", "read"]


class GrantFrom(NamedTuple):
    """ReferenceGrantFrom: the referring objects."""

    group: str
    kind: str
    namespace: str


class GrantTo(NamedTuple):
    """ReferenceGrantTo: the objects referred to; name None = all of that kind."""

    group: str
    kind: str
    name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceGrant:
    """ReferenceGrant.spec."""

    meta: Meta
    from_: tuple[GrantFrom, ...]
    to: tuple[GrantTo, ...]


def read(meta: Meta, root: Fields, version: str) -> ReferenceGrant:
    """Read a ReferenceGrant."""
    spec = root.required_child("spec")
    return ReferenceGrant(
        meta=meta,
        from_=tuple(_read_from(item) for item in spec.items("from", least=1, most=16)),
        to=tuple(_read_to(item) for item in spec.items("to", least=1, most=16)),
    )


def _read_from(item: Fields) -> GrantFrom:
    return GrantFrom(item.text("group", GROUP), item.text("kind", KIND), item.text("namespace", NAMESPACE))


def _read_to(item: Fields) -> GrantTo:
    return GrantTo(item.text("group", GROUP), item.text("kind", KIND), item.text("name", OBJECT_NAME, None))
