"""Filters of rules and backendRefs of HTTPRoutes and GRPCRoutes: one file each. `FILTERS` is the whole registry. Pure.

A file reads its member of the filter union into a `FilterSpec`, which lowers to its part of a `FilterChain` once the
backends that it refers to are known; most refer to none (`fields.edits.LocalFilter`). A type that is not in the
registry is not implemented: requests of its rule fail, the filter is never skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from gatewayproxy.fields import BackendObjectReference, Fields
from gatewayproxy.filters import (
    cors,
    external_auth,
    request_header_modifier,
    request_mirror,
    request_redirect,
    response_header_modifier,
    url_rewrite,
)
from gatewayproxy.model.headops import Add, HeadOp, Remove, Set
from gatewayproxy.model.plan import Cluster, ExternalAuth, FilterChain

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

    member: str  # of the unions HTTPRouteFilter and GRPCRouteFilter
    read: Callable[[Fields], FilterSpec]  # from that member's mapping
    of_calls: bool = False  # a GRPCRouteFilterType, too
    repeats: bool = False  # may occur more than once in a rule


FILTERS: Final[dict[str, FilterKind]] = {  # by HTTPRouteFilter.type
    "RequestHeaderModifier": FilterKind(
        member="requestHeaderModifier", read=request_header_modifier.read, of_calls=True
    ),
    "ResponseHeaderModifier": FilterKind(
        member="responseHeaderModifier", read=response_header_modifier.read, of_calls=True
    ),
    "RequestRedirect": FilterKind(member="requestRedirect", read=request_redirect.read),
    "URLRewrite": FilterKind(member="urlRewrite", read=url_rewrite.read),
    "RequestMirror": FilterKind(member="requestMirror", read=request_mirror.read, of_calls=True, repeats=True),
    "CORS": FilterKind(member="cors", read=cors.read),
    "ExternalAuth": FilterKind(member="externalAuth", read=external_auth.read, repeats=True),
}


def combine(chains: Iterable[FilterChain]) -> FilterChain:
    """Return the filters of a rule or backendRef as one chain, in list order; the first redirect or refusal answers."""
    parts = tuple(chains)
    request, auths = _in_order(parts)
    return FilterChain(
        request=request,
        auths=auths,
        response=tuple(op for part in parts for op in part.response),
        redirect=next((part.redirect for part in parts if part.redirect is not None), None),
        mirrors=tuple(mirror for part in parts for mirror in part.mirrors),
        cors=next((part.cors for part in parts if part.cors is not None), None),
        refusal=next((part.refusal for part in parts if part.refusal is not None), None),
    )


def _in_order(parts: Iterable[FilterChain]) -> tuple[tuple[HeadOp, ...], tuple[ExternalAuth, ...]]:
    """Return the edits of requests behind the last server that is asked, and the servers, with those before each.

    Of what comes before, they see the edits of fields; Host and path they see as the client sent them.
    """
    ops: list[HeadOp] = []
    auths: list[ExternalAuth] = []
    for part in parts:
        for auth in part.auths:
            before = tuple(op for op in ops if isinstance(op, (Set, Add, Remove)))
            auths.append(replace(auth, before=before))
            ops = [op for op in ops if not isinstance(op, (Set, Add, Remove))]
        ops += part.request
    return tuple(ops), tuple(auths)
