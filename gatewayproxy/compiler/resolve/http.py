"""HTTPRoutes to rules of the Plan. Pure.

A rule that cannot be matched (a pattern RE2 refuses) is dropped; a rule whose filters cannot be honoured keeps its
matches and answers 500, for a request it would have caught must not slip to a wider rule (HTTPRouteFilter: "the
filter MUST NOT be skipped"). In both cases the rest of the route serves (RouteConditionPartiallyInvalid).
"""

from __future__ import annotations

from collections.abc import Sequence

from gatewayproxy.compiler.manifests.filters import Filter
from gatewayproxy.compiler.manifests.httproute import HTTPRoute, HTTPRouteMatch, HTTPRouteRule
from gatewayproxy.compiler.manifests.references import BackendRef
from gatewayproxy.compiler.resolve.backends import Backends, Target
from gatewayproxy.compiler.resolve.conditions import Findings
from gatewayproxy.compiler.resolve.drafts import RESOLVED
from gatewayproxy.compiler.resolve.references import Subject
from gatewayproxy.compiler.resolve.routes import RouteDraft, age_of
from gatewayproxy.fields import BackendObjectReference
from gatewayproxy.fields.shapes import GATEWAY_GROUP
from gatewayproxy.filters import combine
from gatewayproxy.model.plan import Backend, Cluster, FilterChain, HeaderTest, Match, PathKind, QueryTest, Route, Rule
from gatewayproxy.model.refusals import FILTER_UNSUPPORTED, NO_BACKENDS, refuse
from gatewayproxy.model.status import Condition, Reason
from gatewayproxy.routing.patterns import pattern_error

__all__ = ["resolve_http_route"]

_PLAIN = FilterChain()


def resolve_http_route(route: HTTPRoute, backends: Backends, findings: Findings) -> RouteDraft:
    """Return the route's rules and what is wrong with them, before it is attached anywhere."""
    work = _Work(route, backends, findings)
    rules = tuple(
        resolved for index, rule in enumerate(route.rules) if (resolved := work.rule(index, rule)) is not None
    )
    flaw, partial = work.verdicts()
    return RouteDraft(
        spec=route,
        hostnames=route.hostnames,
        route=Route(key=route.meta.key, created=age_of(route.meta), rules=rules),
        resolved=work.resolved,
        flaw=flaw,
        partial=partial,
    )


class _Work:
    """The resolution of one route."""

    __slots__ = ("backends", "findings", "flaws", "resolved", "route", "subject")

    def __init__(self, route: HTTPRoute, backends: Backends, findings: Findings) -> None:
        self.route = route
        self.backends = backends
        self.findings = findings
        self.subject = Subject(GATEWAY_GROUP, "HTTPRoute", route.meta.namespace)
        self.resolved = RESOLVED
        self.flaws: dict[int, str] = {}  # rule index -> what makes it unusable

    def verdicts(self) -> tuple[Condition | None, Condition | None]:
        """Return Accepted=False where no rule is usable, else PartiallyInvalid=True where some are not."""
        if not self.flaws:
            return None, None
        what = "; ".join(f"{index}: {flaw}" for index, flaw in self.flaws.items())
        message = f"Dropped Rule {what}"
        if len(self.flaws) == len(self.route.rules):
            return Condition("Accepted", False, Reason.UNSUPPORTED_VALUE, message), None
        return None, Condition("PartiallyInvalid", True, Reason.UNSUPPORTED_VALUE, message)

    def rule(self, index: int, rule: HTTPRouteRule) -> Rule | None:
        """Return rule *index*; None where it can match nothing."""
        if flaw := next((flaw for match in rule.matches if (flaw := _flaw(match))), ""):
            self._drop(index, rule, flaw, "write it in the syntax of RE2: without look-around and back-references")
            return None
        matches = tuple(_match(match) for match in rule.matches)
        filters = self._chain(index, rule, rule.filters)
        backends = tuple(self._backend(index, rule, ref) for ref in rule.backend_refs)
        refusal = filters.refusal
        if refusal is None and filters.redirect is None and not any(backend.weight for backend in backends):
            what = "all its backendRefs have weight 0" if backends else "it has no backendRefs"
            refusal = refuse(NO_BACKENDS, f"rule {index} of {self.route.meta.key}: {what}")
        return Rule(
            index=index,
            name=rule.name,
            matches=matches,
            filters=filters,
            backends=backends,
            request_timeout_s=rule.request_timeout_s or 0.0,
            backend_timeout_s=rule.backend_request_timeout_s or 0.0,
            refusal=refusal,
        )

    def _backend(self, index: int, rule: HTTPRouteRule, backend: BackendRef) -> Backend:
        target = self.backends.target(backend.ref, self.subject)
        if target.refusal is not None:
            self._note(backend.ref, target, target.refusal.detail)
        return Backend(
            name=target.name,
            weight=backend.weight,
            cluster=target.cluster,
            refusal=target.refusal,
            filters=self._chain(index, rule, backend.filters),
        )

    def _chain(self, index: int, rule: HTTPRouteRule, filters: Sequence[Filter]) -> FilterChain:
        if not filters:
            return _PLAIN
        return combine(self._filter(index, rule, each) for each in filters)

    def _filter(self, index: int, rule: HTTPRouteRule, each: Filter) -> FilterChain:
        if each.spec is None:
            detail = f"filter {each.type} is not supported"
            self._drop(index, rule, f"{detail}, its requests get 500", "remove the filter, or the rule")
            return FilterChain(refusal=refuse(FILTER_UNSUPPORTED, detail))
        clusters: dict[BackendObjectReference, Cluster] = {}
        for ref in each.references:
            target = self.backends.target(ref, self.subject)
            if target.cluster is not None:
                clusters[ref] = target.cluster
            elif target.refusal is not None:
                self._note(ref, target, f"not mirrored: {target.refusal.detail}")
        return each.spec.lower(clusters)

    def _drop(self, index: int, rule: HTTPRouteRule, flaw: str, hint: str) -> None:
        self.flaws.setdefault(index, flaw)
        self.findings.error(rule.at, self.route.meta.key, rule.path, f"{Reason.UNSUPPORTED_VALUE}: {flaw}", hint)

    def _note(self, ref: BackendObjectReference, target: Target, detail: str) -> None:
        condition = target.condition
        self.resolved = condition if condition and self.resolved.status else self.resolved
        reason = f"{condition.reason}: " if condition else ""
        self.findings.warn(ref.at, self.route.meta.key, ref.path, f"{reason}{detail}", target.hint)


def _flaw(match: HTTPRouteMatch) -> str:
    """Return what is wrong with the patterns of *match*, or ""."""
    patterns = [match.path] if match.path_kind is PathKind.REGEX else []
    patterns += [header.value for header in match.headers if header.regex]
    patterns += [query.value for query in match.query_params if query.regex]
    for pattern in patterns:
        if error := pattern_error(pattern.encode()):
            return f"regular expression {pattern!r}: {error}"
    return ""


def _match(match: HTTPRouteMatch) -> Match:
    return Match(
        path_kind=match.path_kind,
        path=match.path.encode(),
        method=match.method.encode() if match.method else None,
        headers=tuple(HeaderTest(h.name.lower().encode(), h.value.encode(), h.regex) for h in match.headers),
        query=tuple(QueryTest(q.name.encode(), q.value.encode(), q.regex) for q in match.query_params),
    )
