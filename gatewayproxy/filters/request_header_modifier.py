"""RequestHeaderModifier: set, add and remove header fields of the request (HTTPHeaderFilter). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gatewayproxy.fields import BackendObjectReference, Fields
from gatewayproxy.fields.edits import read_header_modifier
from gatewayproxy.model.headops import HeadOp
from gatewayproxy.model.plan import Cluster, FilterChain

__all__ = ["Spec", "read"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What to do to the request's header fields."""

    ops: tuple[HeadOp, ...] = ()

    @property
    def references(self) -> tuple[BackendObjectReference, ...]:
        """None: this filter needs no backend."""
        return ()

    def lower(self, clusters: Mapping[BackendObjectReference, Cluster]) -> FilterChain:
        """Return the edits of the request head."""
        return FilterChain(request=self.ops)


def read(fields: Fields) -> Spec:
    """Read `requestHeaderModifier`."""
    return Spec(ops=read_header_modifier(fields))
