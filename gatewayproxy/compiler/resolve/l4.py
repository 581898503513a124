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
from gatewayproxy.model.codes import BY_REASON, Code
from gatewayproxy.model.plan import Backend, Route, Rule
from gatewayproxy.model.refusals import NO_BACKENDS, refuse

__all__ = ["StreamRoute", "resolve_stream_route"]

StreamRoute = TCPRoute | TLSRoute | UDPRoute


def resolve_stream_route(route: StreamRoute, backends: Backends, findings: Findings) -> RouteDraft:
    """Return the route's rules and what is wrong with them, before it is attached anywhere."""
    work = _StreamWork(route, backends, findings)
    if len(route.rules) > 1:
        traffic = "datagrams" if isinstance(route, UDPRoute) else "connections"
        message = f"only the first rule is used: nothing tells {traffic} of one listener apart"
        hint = "put it in a route of its own"
        findings.warn(route.rules[1].at, route.meta.key, route.rules[1].path, message, hint, Code.SHADOWED)
    is_tls = isinstance(route, TLSRoute)
    return RouteDraft(
        spec=route,
        hostnames=route.hostnames if isinstance(route, TLSRoute) else None,
        route=work.route(passed_through=is_tls),
        terminated=work.route() if is_tls else None,
        resolved=work.resolved,
    )


class _StreamWork:
    """The resolution of one route."""

    __slots__ = ("_backends", "_findings", "_route", "_subject", "_told", "resolved")

    def __init__(self, route: StreamRoute, backends: Backends, findings: Findings) -> None:
        self._route = route
        self._backends = backends
        self._findings = findings
        self._subject = Subject(GATEWAY_GROUP, route.meta.key.kind, route.meta.namespace)
        self._told: set[tuple[str, str]] = set()
        self.resolved = RESOLVED

    def route(self, *, passed_through: bool = False) -> Route:
        """Return the rules for connections that end here, or whose TLS is *passed_through*."""
        rules = tuple(
            _rule(index, rule, tuple(self._backend(ref, passed_through) for ref in rule.backend_refs))
            for index, rule in enumerate(self._route.rules)
        )
        return Route(key=self._route.meta.key, created=age_of(self._route.meta), rules=rules)

    def _backend(self, ref: BackendRef, passed_through: bool) -> Backend:
        target = self._backends.target(ref.ref, self._subject, passed_through=passed_through)
        condition = target.condition
        if condition and self.resolved.status:
            self.resolved = condition
        if target.refusal is not None and (ref.ref.path, target.refusal.detail) not in self._told:
            self._told.add((ref.ref.path, target.refusal.detail))
            message = f"{condition.reason}: {target.refusal.detail}" if condition else target.refusal.detail
            code = BY_REASON.get(target.refusal.reason, Code.BACKEND)
            self._findings.warn(ref.ref.at, self._route.meta.key, ref.ref.path, message, target.hint, code)
        return Backend(name=target.name, weight=ref.weight, cluster=target.cluster, refusal=target.refusal)


def _rule(index: int, rule: L4Rule, found: tuple[Backend, ...]) -> Rule:
    weighted = any(backend.weight for backend in found)
    refusal = None if weighted else refuse(NO_BACKENDS, "all its backendRefs have weight 0")
    return Rule(index=index, name=rule.name, backends=found, refusal=refusal)
