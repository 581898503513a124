"""What rules do with the requests that they take, where a part of it comes to nothing. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from gatewayproxy.compiler.manifests.httproute import HTTPRoute, HTTPRouteRule
from gatewayproxy.fields import BackendObjectReference
from gatewayproxy.insight.lint.config import Config
from gatewayproxy.insight.lint.rule import Finding, Lint
from gatewayproxy.insight.lint.walk import attached, calls, routes
from gatewayproxy.model.headops import Add, HeadOp, Remove, Set
from gatewayproxy.model.names import ResourceKey
from gatewayproxy.model.plan import Rule
from gatewayproxy.model.traffic import Retry

__all__ = ["LINTS"]

_MAX_DOUBLINGS: Final = 4  # of the backoff, as `dataplane.protocols.retries` has it
_CORS: Final = b"access-control-"
_STREAMS: Final = ("TCPRoute", "TLSRoute", "UDPRoute")

_Named = Mapping[bytes, Set | Add | Remove]  # operations by lower-case name: a filter has one for each


# --- operations on headers


def moot_operations(config: Config) -> Iterator[Finding]:
    """Yield operations on headers that other filters of the rule leave without effect, or repeat."""
    for route, rule in {(route, rule.index): (route, rule) for _, route, rule in attached(config)}.values():
        requests = [_named(each.filters.request) for each in rule.backends]
        yield from _moot(route, rule, "request", _named(rule.filters.request), requests)
        responses = [_named(each.filters.response) for each in rule.backends]
        yield from _moot(route, rule, "response", _named(rule.filters.response), responses)
        if rule.filters.cors is not None:
            yield from _under_cors(route, rule, responses)


def _named(ops: Sequence[HeadOp]) -> _Named:
    return {op.name.lower(): op for op in ops if isinstance(op, Set | Add | Remove)}


def _moot(route: ResourceKey, rule: Rule, way: str, outer: _Named, inner: Sequence[_Named]) -> Iterator[Finding]:
    field = f"spec.rules[{rule.index}]"
    for name, op in outer.items():
        later = [ops.get(name) for ops in inner]
        if later and not isinstance(op, Remove) and all(isinstance(each, Set | Remove) for each in later):
            message = f"{_told(op)} in the {way}, and each backendRef sets or removes it again"
            yield Finding(route, f"{field}.filters", message, "keep the operation in one of the two places")
    for index, ops in enumerate(inner):
        for name, op in ops.items():
            if outer.get(name) == op and not isinstance(op, Set):
                what = "removed already" if isinstance(op, Remove) else "there already, with this value"
                message = f"{_told(op)} in the {way}: by the filters of the rule it is {what}"
                place = f"{field}.backendRefs[{index}].filters"
                yield Finding(route, place, message, "keep the operation in one of the two places")


def _under_cors(route: ResourceKey, rule: Rule, inner: Sequence[_Named]) -> Iterator[Finding]:
    field = f"spec.rules[{rule.index}]"
    places = [(f"{field}.filters", _named(rule.filters.response))]
    places += [(f"{field}.backendRefs[{index}].filters", ops) for index, ops in enumerate(inner)]
    for place, ops in places:
        for name, op in ops.items():
            if name.startswith(_CORS) and not isinstance(op, Remove):
                message = f"{_told(op)} in the response, where a CORS filter has the only word"
                yield Finding(route, place, message, "say it in the CORS filter, and remove the operation")


def _told(op: Set | Add | Remove) -> str:
    verb = {Set: "sets", Add: "adds", Remove: "removes"}[type(op)]
    return f"{verb} {op.name.decode('ascii', 'replace')}"


# --- backends


def weightless_rules(config: Config) -> Iterator[Finding]:
    """Yield rules all of whose backendRefs have weight 0."""
    for route in routes(config):
        for rule in route.rules:
            answers = isinstance(rule, HTTPRouteRule) and any(each.type == "RequestRedirect" for each in rule.filters)
            if rule.backend_refs and not answers and not any(each.weight for each in rule.backend_refs):
                what = "connections end at once" if route.meta.key.kind in _STREAMS else "requests are answered 500"
                hint = "give one of them a weight above 0, or remove the rule"
                yield Finding(route.meta.key, f"{rule.path}.backendRefs", f"weight 0 everywhere: {what}", hint)


def mirrors_to_itself(config: Config) -> Iterator[Finding]:
    """Yield mirrors to a backend that gets the requests anyway."""
    for key, rule in calls(config):
        backends = {_identity(each.ref, key) for each in rule.backend_refs if each.weight}
        for each in (*rule.filters, *(each for backend in rule.backend_refs for each in backend.filters)):
            copied = [
                ref for ref in each.references if each.type == "RequestMirror" and _identity(ref, key) in backends
            ]
            for ref in copied:
                message = f"copies requests to {ref.kind} {ref.name}, which serves this rule: it sees them twice"
                yield Finding(key, each.path, message, "mirror to another backend, or remove the filter")


def _identity(ref: BackendObjectReference, route: ResourceKey) -> tuple[str, str, str, str, int | None]:
    return ref.group, ref.kind, ref.namespace or route.namespace, ref.name, ref.port


def sessions_at_rest(config: Config) -> Iterator[Finding]:
    """Yield backends of weight 0 that endless sessions still lead to."""
    for _, route, rule in attached(config):
        session = rule.session
        if session is None or session.absolute_s or not any(each.weight for each in rule.backends):
            continue
        resting = [each.name for each in rule.backends if not each.weight and each.cluster is not None]
        if resting:
            message = f"sessions without absoluteTimeout keep clients at {', '.join(resting)}, of weight 0"
            hint = "write sessionPersistence.absoluteTimeout, for example 1h, so that it is empty some day"
            yield Finding(route, f"spec.rules[{rule.index}].backendRefs", message, hint)


# --- retries


def hopeless_retries(config: Config) -> Iterator[Finding]:
    """Yield retries for which `timeouts.request` leaves no time."""
    for route in config.resources.of(HTTPRoute):
        for rule in route.rules:
            limit_s = rule.request_timeout_s
            if rule.retry is None or not limit_s:
                continue
            field, waits_s = f"{rule.path}.retry", _waits_s(rule.retry, limit_s)
            n_fit = sum(each < limit_s for each in waits_s)
            tried_s = rule.backend_request_timeout_s or 0.0
            hint = "make request longer, or backoff, attempts or backendRequest less"
            if n_fit < min(rule.retry.attempts, len(waits_s)):
                message = (
                    f"{n_fit} of {rule.retry.attempts} retries begin before request ({limit_s:g}s) runs out: backoff"
                )
                yield Finding(route.meta.key, field, message, hint)
            elif tried_s and tried_s + rule.retry.backoff_s >= limit_s:
                message = f"a try that takes backendRequest ({tried_s:g}s) leaves nothing of request ({limit_s:g}s)"
                yield Finding(route.meta.key, field, message, hint)


def _waits_s(retry: Retry, limit_s: float) -> list[float]:
    """Return when each retry begins at the earliest, up to the first that is too late."""
    at_s, found = 0.0, list[float]()
    for number in range(min(retry.attempts, 10_000)):
        at_s += retry.backoff_s * 2 ** min(number, _MAX_DOUBLINGS)
        found.append(at_s)
        if at_s >= limit_s:
            break
    return found


LINTS: Final[Mapping[str, Lint]] = {
    "GW402": Lint(
        title="operation on a header that comes to nothing",
        meaning="Filters of a rule and of its backendRefs, or a CORS filter beside them, act on one field: what is set "
        "first is overwritten, or a value stands there twice.",
        fix="Keep one operation for each field.",
        find=moot_operations,
    ),
    "GW403": Lint(
        title="weights that are all 0",
        meaning="No backendRef of the rule gets requests. All are answered 500, connections end at once.",
        fix="Give a backendRef a weight above 0, or remove the rule.",
        find=weightless_rules,
    ),
    "GW409": Lint(
        title="mirror to the backend that serves the rule",
        meaning="The backend gets each request and its copy. What is not idempotent happens twice.",
        fix="Mirror to another backend, or remove the filter.",
        find=mirrors_to_itself,
    ),
    "GW410": Lint(
        title="sessions that keep a backend of weight 0 busy",
        meaning="A session leads to its endpoint whatever the weights say. Without absoluteTimeout a backend of weight "
        "0 never runs empty, so a canary or an old version cannot be taken away without harm.",
        fix="Write sessionPersistence.absoluteTimeout.",
        find=sessions_at_rest,
    ),
    "GW412": Lint(
        title="retries that there is no time for",
        meaning="timeouts.request bounds a request with all its retries. Where backoff, or one try of backendRequest, "
        "fills it, the retries that are written never happen.",
        fix="Make request longer, or backoff, attempts or backendRequest less.",
        find=hopeless_retries,
    ),
}
