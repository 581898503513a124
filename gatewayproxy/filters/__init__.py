"""Filters of rules and backendRefs of HTTPRoutes and GRPCRoutes: one file each. `FILTERS` is the whole registry. Pure.

A file reads its member of the filter union into a `FilterSpec`, which lowers to its part of a `FilterChain` once the
backends that it refers to are known; most refer to none (`fields.edits.LocalFilter`). A type that is not in the
registry is not implemented: requests of its rule fail, the filter is never skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from gatewayproxy.fields import BackendObjectReference, Fields
from gatewayproxy.filters import (
    cors,
    request_header_modifier,
    request_mirror,
    request_redirect,
    response_header_modifier,
    url_rewrite,
)
from gatewayproxy.model.plan import Cluster, FilterChain

__all__ = ["FILTERS", "Clusters", "FilterKind", "FilterSpec", "combine"]

Clusters = Mapping[BackendObjectReference, Cluster]  # references that resolved; the others are not there


class FilterSpec(Protocol):
    """A filter as read; frozen."""

    @property
    def references(self) -> tuple[BackendObjectReference, ...]:
        """Backends it sends requests to."""

    def lower(self, clusters: Clusters) -> FilterChain:
        """Return what it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterKind:
    """A filter type."""

    member: str  # of the union HTTPRouteFilter
    read: Callable[[Fields], FilterSpec]  # from that member's mapping
    repeats: bool = False  # may occur more than once in a rule


FILTERS: Final[dict[str, FilterKind]] = {  # by HTTPRouteFilter.type
    "RequestHeaderModifier": FilterKind(member="requestHeaderModifier", read=request_header_modifier.read),
    "ResponseHeaderModifier": FilterKind(member="responseHeaderModifier", read=response_header_modifier.read),
    "RequestRedirect": FilterKind(member="requestRedirect", read=request_redirect.read),
    "URLRewrite": FilterKind(member="urlRewrite", read=url_rewrite.read),
    "RequestMirror": FilterKind(member="requestMirror", read=request_mirror.read, repeats=True),
    "CORS": FilterKind(member="cors", read=cors.read),
}


def combine(chains: Iterable[FilterChain]) -> FilterChain:
    """Return the filters of a rule or backendRef as one chain, in list order; the first redirect or refusal answers."""
    parts = tuple(chains)
    return FilterChain(
        request=tuple(op for part in parts for op in part.request),
        response=tuple(op for part in parts for op in part.response),
        redirect=next((part.redirect for part in parts if part.redirect is not None), None),
        mirrors=tuple(mirror for part in parts for mirror in part.mirrors),
        cors=next((part.cors for part in parts if part.cors is not None), None),
        refusal=next((part.refusal for part in parts if part.refusal is not None), None),
    )
