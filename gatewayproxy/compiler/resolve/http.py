"""HTTPRoutes to rules of the Plan. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gatewayproxy.compiler.manifests.httproute import HTTPRoute, HTTPRouteMatch, HTTPRouteRule
from gatewayproxy.compiler.resolve.backends import Backends
from gatewayproxy.compiler.resolve.conditions import Findings
from gatewayproxy.compiler.resolve.routes import RouteDraft
from gatewayproxy.compiler.resolve.rules import RouteWork, header_tests
from gatewayproxy.model.plan import Match, PathKind, QueryTest, Rule

__all__ = ["resolve_http_route"]


def resolve_http_route(route: HTTPRoute, backends: Backends, findings: Findings) -> RouteDraft:
    """Return the route's rules and what is wrong with them, before it is attached anywhere."""
    work = RouteWork(route, backends, findings)
    return work.draft([_rule(work, index, rule) for index, rule in enumerate(route.rules)])


def _rule(work: RouteWork, index: int, rule: HTTPRouteRule) -> Rule | None:
    patterns = (pattern for match in rule.matches for pattern in _patterns(match))
    resolved = work.rule(index, rule, tuple(_match(match) for match in rule.matches), patterns)
    if resolved is None:
        return None
    if rule.retry is None and rule.request_timeout_s is None and rule.backend_request_timeout_s is None:
        return resolved
    return replace(
        resolved,
        retry=rule.retry,
        request_timeout_s=rule.request_timeout_s or 0.0,
        backend_timeout_s=rule.backend_request_timeout_s or 0.0,
    )


def _patterns(match: HTTPRouteMatch) -> Iterator[str]:
    if match.path_kind is PathKind.REGEX:
        yield match.path
    yield from (header.value for header in match.headers if header.regex)
    yield from (query.value for query in match.query_params if query.regex)


def _match(match: HTTPRouteMatch) -> Match:
    return Match(
        path_kind=match.path_kind,
        path=match.path.encode(),
        method=match.method.encode() if match.method else None,
        headers=header_tests(match.headers),
        query=tuple(QueryTest(q.name.encode(), q.value.encode(), q.regex) for q in match.query_params),
    )
