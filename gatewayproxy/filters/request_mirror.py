"""RequestMirror: copy some requests to another backend, ignore its answers (HTTPRequestMirrorFilter). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gatewayproxy.fields import BackendObjectReference, Fields, read_backend_object_reference
from gatewayproxy.model.plan import Cluster, FilterChain, MirrorTo

__all__ = ["Spec", "read"]

_INT32: Final = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """Where copies go, and of which share of the requests."""

    backend: BackendObjectReference
    numerator: int = 1
    denominator: int = 1

    @property
    def references(self) -> tuple[BackendObjectReference, ...]:
        """The backend that gets the copies."""
        return (self.backend,)

    def lower(self, clusters: Mapping[BackendObjectReference, Cluster]) -> FilterChain:
        """Return the mirror; none where its backend did not resolve, which leaves the requests alone."""
        cluster = clusters.get(self.backend)
        if cluster is None or self.numerator == 0:
            return FilterChain()
        return FilterChain(mirrors=(MirrorTo(cluster=cluster, numerator=self.numerator, denominator=self.denominator),))


def read(fields: Fields) -> Spec:
    """Read `requestMirror`; without percent or fraction every request is copied."""
    backend = read_backend_object_reference(fields.required_child("backendRef"))
    percent = fields.integer("percent", 0, 100, None)
    fraction = fields.child("fraction")
    if percent is not None and fraction is not None:
        fields.error("percent", "cannot go with fraction", "keep one of the two")
    if fraction is None:
        return Spec(backend=backend) if percent is None else Spec(backend=backend, numerator=percent, denominator=100)
    numerator = fraction.integer("numerator", 0, _INT32)
    denominator = fraction.integer("denominator", 1, _INT32, 100)
    if numerator > denominator:
        fraction.error("numerator", f"{numerator} is more than the denominator", f"write at most {denominator}")
    return Spec(backend=backend, numerator=numerator, denominator=denominator)
