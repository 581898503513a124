"""Rules of HTTPRoutes and GRPCRoutes: their filters and backendRefs, and those we cannot honour. Pure.

A rule that cannot be matched (a pattern RE2 refuses) is dropped; a rule whose filters cannot be honoured keeps its
matches and answers 500, for a request it would have caught must not slip to a wider rule (HTTPRouteFilter: "the
filter MUST NOT be skipped"). In both cases the rest of the route serves (RouteConditionPartiallyInvalid).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from gatewayproxy.compiler.manifests.filters import Filter
from gatewayproxy.compiler.manifests.grpcroute import GRPCRoute, GRPCRouteRule
from gatewayproxy.compiler.manifests.httproute import HTTPRoute, HTTPRouteRule
from gatewayproxy.compiler.manifests.references import BackendRef
from gatewayproxy.compiler.manifests.rules import HeaderMatch
from gatewayproxy.compiler.resolve.backends import Backends, Target
from gatewayproxy.compiler.resolve.conditions import Findings
from gatewayproxy.compiler.resolve.drafts import RESOLVED
from gatewayproxy.compiler.resolve.references import Subject
from gatewayproxy.compiler.resolve.routes import RouteDraft, age_of
from gatewayproxy.compiler.resolve.traffic import bind_session
from gatewayproxy.fields import BackendObjectReference
from gatewayproxy.fields.shapes import GATEWAY_GROUP
from gatewayproxy.filters import combine
from gatewayproxy.model.codes import BY_REASON, Code
from gatewayproxy.model.plan import Backend, FilterChain, GRPCMatch, HeaderTest, Match, Refusal, Route, Rule
from gatewayproxy.model.refusals import FILTER_UNSUPPORTED, NO_BACKENDS, refuse
from gatewayproxy.model.status import Condition, Reason
from gatewayproxy.model.traffic import Session
from gatewayproxy.routing.patterns import pattern_error

__all__ = ["RouteWork", "header_tests"]

_PLAIN = FilterChain()
_SpecRule = HTTPRouteRule | GRPCRouteRule


class RouteWork:
    """The resolution of one route."""

    __slots__ = ("_backends", "_findings", "_flaws", "_resolved", "_route", "_subject")

    def __init__(self, route: HTTPRoute | GRPCRoute, backends: Backends, findings: Findings) -> None:
        self._route = route
        self._backends = backends
        self._findings = findings
        self._subject = Subject(GATEWAY_GROUP, route.meta.key.kind, route.meta.namespace)
        self._resolved = RESOLVED
        self._flaws: dict[int, str] = {}  # rule index -> what makes it unusable

    def draft(self, rules: Iterable[Rule | None]) -> RouteDraft:
        """Return the route with those of *rules* that are not None, and what is wrong with it."""
        meta = self._route.meta
        kept = tuple(rule for rule in rules if rule is not None)
        flaw, partial = self._verdicts()
        return RouteDraft(
            spec=self._route,
            hostnames=self._route.hostnames,
            route=Route(key=meta.key, created=age_of(meta), rules=kept),
            resolved=self._resolved,
            flaw=flaw,
            partial=partial,
        )

    def rule(
        self, index: int, rule: _SpecRule, matches: tuple[Match | GRPCMatch, ...], patterns: Iterable[str]
    ) -> Rule | None:
        """Return rule *index* with *matches*; None where one of the *patterns* in them can match nothing."""
        if flaw := next((flaw for pattern in patterns if (flaw := _flaw(pattern))), ""):
            self._drop(index, rule, flaw, "write it in the syntax of RE2: without look-around and back-references")
            return None
        filters = self._chain(index, rule, rule.filters)
        backends = tuple(self._backend(index, rule, ref) for ref in rule.backend_refs)
        refusal = filters.refusal
        if refusal is None and filters.redirect is None and not any(backend.weight for backend in backends):
            what = "all its backendRefs have weight 0" if backends else "it has no backendRefs"
            refusal = refuse(NO_BACKENDS, f"rule {index} of {self._route.meta.key}: {what}")
        return Rule(
            index=index,
            name=rule.name,
            matches=matches,
            filters=filters,
            backends=backends,
            session=self._session(index, rule),
            refusal=refusal,
        )

    def _session(self, index: int, rule: _SpecRule) -> Session | None:
        """Return the session persistence of *rule*: its own, else that of the first of its Services that has one."""
        key = self._route.meta.key
        if rule.session is not None:
            return bind_session(rule.session, key, index, rule.name)
        services = [self._backends.service_of(ref.ref, self._subject) for ref in rule.backend_refs]
        spec, note = self._backends.traffic.session_of(each for each in services if each is not None)
        if note:
            hint = "target the other Services as well, or say sessionPersistence in the rule"
            self._findings.warn(rule.at, key, f"{rule.path}.backendRefs", note, hint, Code.SESSIONS)
        return bind_session(spec, key, index, rule.name) if spec is not None else None

    def _verdicts(self) -> tuple[Condition | None, Condition | None]:
        """Return Accepted=False where no rule is usable, else PartiallyInvalid=True where some are not."""
        if not self._flaws:
            return None, None
        what = "; ".join(f"{index}: {flaw}" for index, flaw in self._flaws.items())
        message = f"Dropped Rule {what}"
        if len(self._flaws) == len(self._route.rules):
            return Condition("Accepted", False, Reason.UNSUPPORTED_VALUE, message), None
        return None, Condition("PartiallyInvalid", True, Reason.UNSUPPORTED_VALUE, message)

    def _backend(self, index: int, rule: _SpecRule, backend: BackendRef) -> Backend:
        target = self._backends.target(backend.ref, self._subject)
        filters = self._chain(index, rule, backend.filters)
        if filters.cors is not None:  # a preflight names no backendRef, so the rule must answer it
            detail = "a CORS filter of a backendRef is not supported"
            self._drop(index, rule, f"{detail}, its requests fail", "move it to the filters of the rule")
            filters = FilterChain(refusal=refuse(FILTER_UNSUPPORTED, detail))
        if filters.auths:  # HTTPRouteFilterExternalAuth: "Support in HTTPRouteRule", and nowhere else
            detail = "an ExternalAuth filter of a backendRef is not supported"
            self._drop(index, rule, f"{detail}, its requests fail", "move it to the filters of the rule")
            filters = FilterChain(refusal=refuse(FILTER_UNSUPPORTED, detail))
        if target.refusal is not None:
            self._note(backend.ref, target, target.refusal.detail)
        return Backend(
            name=target.name,
            weight=backend.weight,
            cluster=target.cluster,
            refusal=target.refusal,
            filters=filters,
        )

    def _chain(self, index: int, rule: _SpecRule, filters: Sequence[Filter]) -> FilterChain:
        if not filters:
            return _PLAIN
        return combine(self._filter(index, rule, each) for each in filters)

    def _filter(self, index: int, rule: _SpecRule, each: Filter) -> FilterChain:
        if each.spec is None:
            detail = f"filter {each.type} is not supported"
            self._drop(index, rule, f"{detail}, its requests fail", "remove the filter, or the rule")
            return FilterChain(refusal=refuse(FILTER_UNSUPPORTED, detail))
        targets = {ref: self._backends.target(ref, self._subject) for ref in each.references}
        chain = each.spec.lower({ref: found.cluster for ref, found in targets.items() if found.cluster is not None})
        for ref, found in targets.items():
            missing = found.refusal
            if missing is None:
                continue
            what = "not mirrored" if chain.refusal is None else "no request passes"
            self._note(ref, found, f"{what}: {missing.detail}")
            if chain.refusal is not None:
                chain = replace(chain, refusal=Refusal(missing.status, chain.refusal.reason, missing.detail))
        return chain

    def _drop(self, index: int, rule: _SpecRule, flaw: str, hint: str) -> None:
        self._flaws.setdefault(index, flaw)
        told = f"{Reason.UNSUPPORTED_VALUE}: {flaw}"
        self._findings.error(rule.at, self._route.meta.key, rule.path, told, hint, Code.UNSUPPORTED)

    def _note(self, ref: BackendObjectReference, target: Target, detail: str) -> None:
        condition = target.condition
        self._resolved = condition if condition and self._resolved.status else self._resolved
        reason = f"{condition.reason}: " if condition else ""
        code = BY_REASON.get(target.refusal.reason if target.refusal else "", Code.BACKEND)
        self._findings.warn(ref.at, self._route.meta.key, ref.path, f"{reason}{detail}", target.hint, code)


def header_tests(headers: Sequence[HeaderMatch]) -> tuple[HeaderTest, ...]:
    """Return *headers* as the plan has them: of equivalent names only the first entry counts (HTTPHeaderMatch.name)."""
    tests: dict[str, HeaderTest] = {}
    for name, value, regex in headers:
        tests.setdefault(name.lower(), HeaderTest(name.lower().encode(), value.encode(), regex))
    return tuple(tests.values())


def _flaw(pattern: str) -> str:
    error = pattern_error(pattern.encode())
    return f"regular expression {pattern!r}: {error}" if error else ""
