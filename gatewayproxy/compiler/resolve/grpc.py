"""GRPCRoutes to rules of the Plan. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gatewayproxy.compiler.manifests.grpcroute import GRPCRoute, GRPCRouteMatch
from gatewayproxy.compiler.resolve.backends import Backends
from gatewayproxy.compiler.resolve.conditions import Findings
from gatewayproxy.compiler.resolve.routes import RouteDraft
from gatewayproxy.compiler.resolve.rules import RouteWork, header_tests
from gatewayproxy.model.codes import Code
from gatewayproxy.model.plan import GRPCMatch

__all__ = ["resolve_grpc_route"]


def resolve_grpc_route(route: GRPCRoute, backends: Backends, findings: Findings) -> RouteDraft:
    """Return the route's rules and what is wrong with them, before it is attached anywhere."""
    if not route.rules:  # unlike an HTTPRoute it has no default rule
        meta = route.meta
        findings.warn(
            meta.origin,
            meta.key,
            "spec.rules",
            "has no rules: nothing is routed",
            "add rules with backendRefs",
            Code.NO_RULES,
        )
    work = RouteWork(route, backends, findings)
    return work.draft(
        work.rule(
            index,
            rule,
            tuple(_match(match) for match in rule.matches),
            (pattern for match in rule.matches for pattern in _patterns(match)),
        )
        for index, rule in enumerate(route.rules)
    )


def _patterns(match: GRPCRouteMatch) -> Iterator[str]:
    if match.method.regex:
        yield from (match.method.service, match.method.method)
    yield from (header.value for header in match.headers if header.regex)


def _match(match: GRPCRouteMatch) -> GRPCMatch:
    service, method, regex = match.method
    return GRPCMatch(service=service.encode(), method=method.encode(), regex=regex, headers=header_tests(match.headers))
