"""Ways through the objects of a configuration that several lints go. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, get_args

from gatewayproxy.compiler.manifests.gateway import Gateway, Listener
from gatewayproxy.compiler.manifests.grpcroute import GRPCRoute, GRPCRouteRule
from gatewayproxy.compiler.manifests.httproute import HTTPRoute, HTTPRouteRule
from gatewayproxy.compiler.manifests.listenerset import ListenerSet
from gatewayproxy.compiler.manifests.references import ObjectReference
from gatewayproxy.compiler.manifests.tcproute import TCPRoute
from gatewayproxy.compiler.manifests.tlsroute import TLSRoute
from gatewayproxy.compiler.manifests.udproute import UDPRoute
from gatewayproxy.compiler.manifests.xbackend import XBackend
from gatewayproxy.fields import BackendObjectReference
from gatewayproxy.fields.shapes import GATEWAY_GROUP
from gatewayproxy.insight.lint.config import Config
from gatewayproxy.model.names import ListenerKey, ResourceKey
from gatewayproxy.model.plan import Listener as PlanListener
from gatewayproxy.model.plan import Rule

__all__ = [
    "AnyRoute", "Reference", "attached", "backends_of", "calls", "listener_fields", "parent_of", "references", "routes",
    "secret_references", "written_listeners",
]  # fmt: skip

AnyRoute = HTTPRoute | GRPCRoute | TCPRoute | TLSRoute | UDPRoute


class Reference(NamedTuple):
    """One object names another."""

    group: str  # of who refers
    kind: str
    namespace: str
    to_group: str
    to_kind: str
    to_namespace: str
    to_name: str


def routes(config: Config) -> Iterator[AnyRoute]:
    """Yield every route that could be read."""
    for kind in get_args(AnyRoute):
        yield from config.resources.of(kind)


def calls(config: Config) -> Iterator[tuple[ResourceKey, HTTPRouteRule | GRPCRouteRule]]:
    """Yield every rule of HTTPRoutes and GRPCRoutes, with its route."""
    for route in routes(config):
        for rule in route.rules:
            if isinstance(rule, HTTPRouteRule | GRPCRouteRule):
                yield route.meta.key, rule


def written_listeners(config: Config) -> Iterator[tuple[ResourceKey, Listener]]:
    """Yield every listener that could be read, with the Gateway or ListenerSet it is written in."""
    parents: tuple[Gateway | ListenerSet, ...] = (*config.resources.of(Gateway), *config.resources.of(ListenerSet))
    for parent in parents:
        for listener in parent.listeners:
            yield parent.meta.key, listener


def listener_fields(config: Config) -> dict[tuple[ResourceKey, str], str]:
    """Return the field of each listener, such as "spec.listeners[0]", by parent and name."""
    return {(parent, listener.name): listener.path for parent, listener in written_listeners(config)}


def parent_of(key: ListenerKey) -> ResourceKey:
    """Return the Gateway or ListenerSet of a listener."""
    return ResourceKey(key.kind, key.namespace, key.parent)


def backends_of(route: AnyRoute) -> Iterator[BackendObjectReference]:
    """Yield all that a route names as backends, those of its filters too."""
    for rule in route.rules:
        if isinstance(rule, HTTPRouteRule | GRPCRouteRule):
            yield from (ref for each in rule.filters for ref in each.references)
        for backend in rule.backend_refs:
            yield backend.ref
            yield from (ref for each in backend.filters for ref in each.references)


def secret_references(config: Config) -> Iterator[tuple[ResourceKey, ObjectReference]]:
    """Yield every reference to a Secret or ConfigMap that a grant may be for, with who refers."""
    for parent, listener in written_listeners(config):
        yield from ((parent, ref) for ref in (listener.tls.certificate_refs if listener.tls is not None else ()))
    for gateway in config.resources.of(Gateway):
        frontend = gateway.frontend_tls
        for validation in (frontend.default, *frontend.per_port.values()):
            yield from ((gateway.meta.key, ref) for ref in (validation.ca_refs if validation is not None else ()))
        if gateway.client_certificate_ref is not None:
            yield gateway.meta.key, gateway.client_certificate_ref
    for backend in config.resources.of(XBackend):
        if backend.tls is not None and backend.tls.certificate_ref is not None:
            yield backend.meta.key, backend.tls.certificate_ref


def references(config: Config) -> Iterator[Reference]:
    """Yield every reference that a ReferenceGrant may permit, those within one namespace too."""
    for route in routes(config):
        own = (GATEWAY_GROUP, route.meta.key.kind, route.meta.namespace)
        for to in backends_of(route):
            yield Reference(*own, to.group, to.kind, to.namespace or route.meta.namespace, to.name)
    for key, ref in secret_references(config):
        group = config.metas[key].api_version.rpartition("/")[0]
        namespace = ref.namespace or key.namespace
        yield Reference(group, key.kind, key.namespace, ref.group, ref.kind, namespace, ref.name)


def attached(config: Config) -> Iterator[tuple[PlanListener, ResourceKey, Rule]]:
    """Yield every rule that serves, once for each listener, with its route."""
    for listener in config.plan.listeners:
        for attachment in listener.attachments:
            for rule in attachment.route.rules:
                yield listener, attachment.route.key, rule
