"""Which Gateways reach which backends, through the routes attached to them: whose status speaks of whom. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from gatewayproxy.compiler.manifests.filters import Filter
from gatewayproxy.compiler.manifests.grpcroute import GRPCRouteRule
from gatewayproxy.compiler.manifests.httproute import HTTPRouteRule
from gatewayproxy.compiler.resolve.backends import Backends
from gatewayproxy.compiler.resolve.drafts import GatewayDraft
from gatewayproxy.compiler.resolve.references import Subject
from gatewayproxy.compiler.resolve.routes import RouteDraft
from gatewayproxy.fields import BackendObjectReference
from gatewayproxy.fields.shapes import GATEWAY_GROUP
from gatewayproxy.model.names import ResourceKey
from gatewayproxy.model.protocols import TlsMode

__all__ = ["Reach", "gateways_by_backend"]

Reach = Mapping[ResourceKey, tuple[ResourceKey, ...]]  # backend -> Gateways, in their order


def gateways_by_backend(
    gateways: Iterable[GatewayDraft], routes: Iterable[RouteDraft], backends: Backends, *, passed_through: bool
) -> Reach:
    """Return the Gateways that reach each backend that a route of theirs names, whether it is there or not.

    TLS that is *passed_through* does not count for policies: what they ask for on the way has no part in it.
    """
    named = {draft.spec.meta.key: tuple(_named(draft, backends)) for draft in routes if draft.flaw is None}
    reach: dict[ResourceKey, dict[ResourceKey, None]] = {}
    for gateway in gateways:
        for listener in gateway.merged():
            if listener.tls_mode is TlsMode.PASSTHROUGH and not passed_through:
                continue
            for attachment in listener.attachments:
                for backend in named.get(attachment.route.key, ()):
                    reach.setdefault(backend, {})[gateway.spec.meta.key] = None
    return {backend: tuple(found) for backend, found in reach.items()}


def _named(draft: RouteDraft, backends: Backends) -> Iterator[ResourceKey]:
    meta = draft.spec.meta
    subject = Subject(GATEWAY_GROUP, meta.key.kind, meta.namespace)
    for ref in _references(draft):
        backend = backends.object_of(ref, subject)
        if backend is not None:
            yield backend


def _references(draft: RouteDraft) -> Iterator[BackendObjectReference]:
    for rule in draft.spec.rules:
        if isinstance(rule, HTTPRouteRule | GRPCRouteRule):
            yield from _of_filters(rule.filters)
        for backend in rule.backend_refs:
            yield backend.ref
            yield from _of_filters(backend.filters)


def _of_filters(filters: Iterable[Filter]) -> Iterator[BackendObjectReference]:
    for each in filters:
        yield from each.references
