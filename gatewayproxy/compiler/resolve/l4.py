"""TCPRoutes, TLSRoutes and UDPRoutes to rules of the Plan. Pure.

A refusal here means that its share of the connections is closed, of the clients' datagrams dropped; weights count per
connection, or per client.
"""

from __future__ import annotations

from gatewayproxy.compiler.manifests.references import BackendRef
from gatewayproxy.compiler.manifests.tcproute import L4Rule, TCPRoute
from gatewayproxy.compiler.manifests.tlsroute import TLSRoute
from gatewayproxy.compiler.manifests.udproute import UDPRoute
from gatewayproxy.compiler.resolve.backends import Backends
from gatewayproxy.compiler.resolve.conditions import Findings
from gatewayproxy.compiler.resolve.drafts import RESOLVED
from gatewayproxy.compiler.resolve.references import Subject
from gatewayproxy.compiler.resolve.routes import RouteDraft, age_of
from gatewayproxy.fields.shapes import GATEWAY_GROUP
from gatewayproxy.model.plan import Backend, Route, Rule
from gatewayproxy.model.refusals import NO_BACKENDS, refuse
from gatewayproxy.model.status import Condition

__all__ = ["StreamRoute", "resolve_stream_route"]

StreamRoute = TCPRoute | TLSRoute | UDPRoute


def resolve_stream_route(route: StreamRoute, backends: Backends, findings: Findings) -> RouteDraft:
    """Return the route's rules and what is wrong with them, before it is attached anywhere."""
    subject = Subject(GATEWAY_GROUP, route.meta.key.kind, route.meta.namespace)
    resolved = RESOLVED
    rules: list[Rule] = []
    for index, rule in enumerate(route.rules):
        found: list[Backend] = []
        for ref in rule.backend_refs:
            backend, condition = _backend(route, ref, subject, backends, findings)
            found.append(backend)
            resolved = condition if condition and resolved.status else resolved
        rules.append(_rule(index, rule, tuple(found)))
    if len(rules) > 1:
        traffic = "datagrams" if isinstance(route, UDPRoute) else "connections"
        message = f"only the first rule is used: nothing tells {traffic} of one listener apart"
        findings.warn(route.rules[1].at, route.meta.key, route.rules[1].path, message, "put it in a route of its own")
    return RouteDraft(
        spec=route,
        hostnames=route.hostnames if isinstance(route, TLSRoute) else None,
        route=Route(key=route.meta.key, created=age_of(route.meta), rules=tuple(rules)),
        resolved=resolved,
    )


def _rule(index: int, rule: L4Rule, found: tuple[Backend, ...]) -> Rule:
    weighted = any(backend.weight for backend in found)
    refusal = None if weighted else refuse(NO_BACKENDS, "all its backendRefs have weight 0")
    return Rule(index=index, name=rule.name, backends=found, refusal=refusal)


def _backend(
    route: StreamRoute, ref: BackendRef, subject: Subject, backends: Backends, findings: Findings
) -> tuple[Backend, Condition | None]:
    target = backends.target(ref.ref, subject)
    condition = target.condition
    if target.refusal is not None:
        reason = f"{condition.reason}: " if condition else ""
        findings.warn(ref.ref.at, route.meta.key, ref.ref.path, f"{reason}{target.refusal.detail}", target.hint)
    backend = Backend(name=target.name, weight=ref.weight, cluster=target.cluster, refusal=target.refusal)
    return backend, condition
