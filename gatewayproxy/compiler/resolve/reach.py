"""Which Gateways reach which Services, through the routes attached to them: the ancestors of policies. Pure."""

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

__all__ = ["Reach", "gateways_by_service"]

Reach = Mapping[tuple[str, str], tuple[ResourceKey, ...]]  # (namespace, Service) -> Gateways, in their order


def gateways_by_service(gateways: Iterable[GatewayDraft], routes: Iterable[RouteDraft], backends: Backends) -> Reach:
    """Return the Gateways that reach each Service that a route of theirs names, whether it is there or not.

    TLS that is passed through does not count: what the gateway does on the way to a backend has no part in it.
    """
    services = {draft.spec.meta.key: tuple(_services(draft, backends)) for draft in routes if draft.flaw is None}
    reach: dict[tuple[str, str], dict[ResourceKey, None]] = {}
    for gateway in gateways:
        for listener in gateway.merged():
            if listener.tls_mode is TlsMode.PASSTHROUGH:
                continue
            for attachment in listener.attachments:
                for service in services.get(attachment.route.key, ()):
                    reach.setdefault(service, {})[gateway.spec.meta.key] = None
    return {service: tuple(found) for service, found in reach.items()}


def _services(draft: RouteDraft, backends: Backends) -> Iterator[tuple[str, str]]:
    meta = draft.spec.meta
    subject = Subject(GATEWAY_GROUP, meta.key.kind, meta.namespace)
    for ref in _references(draft):
        service = backends.service_of(ref, subject)
        if service is not None:
            yield service


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
