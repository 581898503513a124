"""HTTPRoute: requests by host, path, method, headers and query to filters and weighted backends. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from re import compile as regex
from typing import Final, NamedTuple

from gatewayproxy.compiler.manifests.filters import HTTP_FILTERS, Filter, read_filters
from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.compiler.manifests.references import BackendRef, ParentRef, read_backend_refs, read_parent_refs
from gatewayproxy.compiler.manifests.rules import (
    IS_REGEX,
    HeaderMatch,
    check_matches,
    check_rule_names,
    check_unique,
    ignore_default_gateways,
    read_header_matches,
)
from gatewayproxy.compiler.manifests.traffic import SessionPersistence, read_retry, read_session_persistence
from gatewayproxy.fields import Fields, Text
from gatewayproxy.fields.shapes import DURATION, HEADER_NAME, HOSTNAME, SECTION_NAME, duration_s
from gatewayproxy.model.codes import Code
from gatewayproxy.model.names import Origin
from gatewayproxy.model.plan import PathKind
from gatewayproxy.model.traffic import Retry

__all__ = ["HTTPQueryParamMatch", "HTTPRoute", "HTTPRouteMatch", "HTTPRouteRule", "read"]

PATH: Final = Text("a path of at most 1024 characters", longest=1024)
QUERY_VALUE: Final = Text("a value of 1 to 1024 characters", shortest=1, longest=1024)

_PATH_KINDS: Final = {kind.value: kind for kind in PathKind}
_METHODS: Final = {
    name: name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
}
_PATH_CHARACTERS: Final = regex(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+")
_NOT_IN_PATHS: Final = ("//", "/./", "/../", "%2f", "%2F", "#")
_NOT_AT_THE_END: Final = ("/..", "/.")


class HTTPQueryParamMatch(NamedTuple):
    """HTTPQueryParamMatch; case-sensitive."""

    name: str
    value: str
    regex: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPRouteMatch:
    """HTTPRouteMatch, defaults applied."""

    path_kind: PathKind = PathKind.PREFIX
    path: str = "/"  # or the regular expression
    method: str | None = None
    headers: tuple[HeaderMatch, ...] = ()
    query_params: tuple[HTTPQueryParamMatch, ...] = ()
    at: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPRouteRule:
    """HTTPRouteRule; *matches* has at least one."""

    name: str = ""
    matches: tuple[HTTPRouteMatch, ...]
    filters: tuple[Filter, ...] = ()
    backend_refs: tuple[BackendRef, ...] = ()
    request_timeout_s: float | None = None  # None: not given; 0.0: switched off
    backend_request_timeout_s: float | None = None
    retry: Retry | None = None
    session: SessionPersistence | None = None
    at: Origin
    path: str  # "spec.rules[0]"


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPRoute:
    """HTTPRoute.spec."""

    meta: Meta
    parent_refs: tuple[ParentRef, ...] = ()
    hostnames: tuple[str, ...] = ()
    rules: tuple[HTTPRouteRule, ...] = ()


def read(meta: Meta, root: Fields, version: str) -> HTTPRoute:
    """Read an HTTPRoute."""
    spec = root.required_child("spec")
    ignore_default_gateways(spec)
    return HTTPRoute(
        meta=meta,
        parent_refs=read_parent_refs(spec),
        hostnames=spec.texts("hostnames", HOSTNAME, most=16),
        rules=_read_rules(spec),
    )


def _read_rules(spec: Fields) -> tuple[HTTPRouteRule, ...]:
    if not spec.has("rules"):
        spec.ignore("rules")
        match = HTTPRouteMatch(at=spec.at)
        return (HTTPRouteRule(matches=(match,), at=spec.at, path="spec.rules[0]"),)
    rules = tuple(_read_rule(item) for item in spec.items("rules", least=1, most=16))
    check_matches(spec, sum(len(rule.matches) for rule in rules))
    check_rule_names(spec, [rule.name for rule in rules])
    return rules


def _read_rule(fields: Fields) -> HTTPRouteRule:
    request_s, backend_request_s = _read_timeouts(fields)
    rule = HTTPRouteRule(
        name=fields.text("name", SECTION_NAME, ""),
        matches=_read_matches(fields),
        filters=read_filters(fields, HTTP_FILTERS),
        backend_refs=read_backend_refs(fields, filters=HTTP_FILTERS),
        request_timeout_s=request_s,
        backend_request_timeout_s=backend_request_s,
        retry=read_retry(fields),
        session=read_session_persistence(fields),
        at=fields.at,
        path=fields.path_text,
    )
    if rule.backend_refs and any(filter_.type == "RequestRedirect" for filter_ in rule.filters):
        hint = "remove backendRefs: the redirect answers"
        fields.error("filters", "RequestRedirect must not be used together with backendRefs", hint)
    _check_prefix_replacement(fields, rule)
    return rule


def _read_timeouts(rule: Fields) -> tuple[float | None, float | None]:
    fields = rule.child("timeouts")
    if fields is None:
        return None, None
    request = fields.text("request", DURATION, None)
    backend_request = fields.text("backendRequest", DURATION, None)
    request_s = duration_s(request) if request else None
    backend_request_s = duration_s(backend_request) if backend_request else None
    if request_s and backend_request_s and backend_request_s > request_s:
        message = f"{backend_request} is longer than the request timeout {request}"
        fields.error("backendRequest", message, "make it shorter, or request longer", code=Code.TIMEOUTS)
    return request_s, backend_request_s


def _read_matches(rule: Fields) -> tuple[HTTPRouteMatch, ...]:
    matches = tuple(_read_match(item) for item in rule.items("matches", most=64))
    return matches or (HTTPRouteMatch(at=rule.at),)


def _read_match(fields: Fields) -> HTTPRouteMatch:
    path_kind, path = _read_path(fields)
    return HTTPRouteMatch(
        path_kind=path_kind,
        path=path,
        method=fields.choice("method", _METHODS, None),
        headers=read_header_matches(fields),
        query_params=_read_query_params(fields),
        at=fields.at,
    )


def _read_path(match: Fields) -> tuple[PathKind, str]:
    fields = match.child("path")
    if fields is None:
        return PathKind.PREFIX, "/"
    kind = fields.choice("type", _PATH_KINDS, PathKind.PREFIX)
    value = fields.text("value", PATH, "/")
    if kind is not PathKind.REGEX and (flaw := _flaw_of_path(value)):
        fields.error("value", flaw, "write an absolute path such as /api/v1, percent-encoded where needed")
    return kind, value


def _flaw_of_path(path: str) -> str:
    if not path.startswith("/"):
        return 'must start with "/"'
    for part in _NOT_IN_PATHS:
        if part in path:
            return f'must not contain "{part}"'
    for part in _NOT_AT_THE_END:
        if path.endswith(part):
            return f'must not end with "{part}"'
    return "" if _PATH_CHARACTERS.fullmatch(path) else "has characters that a path cannot have"


def _read_query_params(match: Fields) -> tuple[HTTPQueryParamMatch, ...]:
    if not match.has("queryParams"):
        match.ignore("queryParams")
        return ()
    params = tuple(
        HTTPQueryParamMatch(
            item.text("name", HEADER_NAME), item.text("value", QUERY_VALUE), item.choice("type", IS_REGEX, False)
        )
        for item in match.items("queryParams", most=16)
    )
    check_unique(match, "queryParams", [param.name for param in params])
    return params


def _check_prefix_replacement(fields: Fields, rule: HTTPRouteRule) -> None:
    """ReplacePrefixMatch needs exactly one match, by PathPrefix: else it is unclear what to replace."""
    is_one = len(rule.matches) == 1 and fields.tree.get("matches") != []  # SPEC: [] is not the default, absence is
    if is_one and rule.matches[0].path_kind is PathKind.PREFIX:
        return
    own = [("filters", filter_) for filter_ in rule.filters]
    backends = [("backendRefs", filter_) for ref in rule.backend_refs for filter_ in ref.filters]
    for name, filter_ in own + backends:
        if filter_.replaces_prefix:
            message = f"ReplacePrefixMatch in {filter_.type} needs exactly one match in the rule, of type PathPrefix"
            fields.error(name, message, "give the rule one PathPrefix match, or use ReplaceFullPath")
