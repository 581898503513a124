"""GRPCRoute: calls by host, service, method and headers to filters and weighted backends. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from gatewayproxy.compiler.manifests.filters import GRPC_FILTERS, Filter, read_filters
from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.compiler.manifests.references import BackendRef, ParentRef, read_backend_refs, read_parent_refs
from gatewayproxy.compiler.manifests.rules import (
    IS_REGEX,
    HeaderMatch,
    check_matches,
    check_rule_names,
    ignore_default_gateways,
    read_header_matches,
)
from gatewayproxy.compiler.manifests.traffic import SessionPersistence, read_session_persistence
from gatewayproxy.fields import Fields, Text
from gatewayproxy.fields.shapes import HOSTNAME, SECTION_NAME
from gatewayproxy.model.names import Origin

__all__ = ["GRPCMethodMatch", "GRPCRoute", "GRPCRouteMatch", "GRPCRouteRule", "read"]

PATTERN: Final = Text("a regular expression of at most 1024 characters", longest=1024)
SERVICE: Final = Text(
    "a service with its package, such as shop.v1.Cart",
    r"\.?[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)*",
    longest=1024,
)
METHOD: Final = Text("a method such as AddItem", r"[A-Za-z_][A-Za-z_0-9]*", longest=1024)
HEADER_VALUE: Final = Text("a value of 1 to 4096 characters", shortest=1, longest=4096)


class GRPCMethodMatch(NamedTuple):
    """GRPCMethodMatch; "" is any service, or any method."""

    service: str = ""
    method: str = ""
    regex: bool = False


ANY_METHOD: Final = GRPCMethodMatch()


@dataclass(frozen=True, slots=True, kw_only=True)
class GRPCRouteMatch:
    """GRPCRouteMatch, defaults applied."""

    method: GRPCMethodMatch = ANY_METHOD
    headers: tuple[HeaderMatch, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GRPCRouteRule:
    """GRPCRouteRule; *matches* has at least one."""

    name: str = ""
    matches: tuple[GRPCRouteMatch, ...]
    filters: tuple[Filter, ...] = ()
    backend_refs: tuple[BackendRef, ...] = ()
    session: SessionPersistence | None = None
    at: Origin
    path: str  # "spec.rules[0]"


@dataclass(frozen=True, slots=True, kw_only=True)
class GRPCRoute:
    """GRPCRoute.spec."""

    meta: Meta
    parent_refs: tuple[ParentRef, ...] = ()
    hostnames: tuple[str, ...] = ()
    rules: tuple[GRPCRouteRule, ...] = ()


def read(meta: Meta, root: Fields, version: str) -> GRPCRoute:
    """Read a GRPCRoute."""
    spec = root.required_child("spec")
    ignore_default_gateways(spec)
    rules = tuple(_read_rule(item) for item in spec.items("rules", most=16))
    check_matches(spec, sum(len(rule.matches) for rule in rules))
    check_rule_names(spec, [rule.name for rule in rules])
    return GRPCRoute(
        meta=meta,
        parent_refs=read_parent_refs(spec),
        hostnames=spec.texts("hostnames", HOSTNAME, most=16),
        rules=rules,
    )


def _read_rule(fields: Fields) -> GRPCRouteRule:
    return GRPCRouteRule(
        name=fields.text("name", SECTION_NAME, ""),
        matches=tuple(_read_match(item) for item in fields.items("matches", most=64)) or (GRPCRouteMatch(),),
        filters=read_filters(fields, GRPC_FILTERS),
        backend_refs=read_backend_refs(fields, filters=GRPC_FILTERS),
        session=read_session_persistence(fields),
        at=fields.at,
        path=fields.path_text,
    )


def _read_match(fields: Fields) -> GRPCRouteMatch:
    return GRPCRouteMatch(method=_read_method(fields), headers=read_header_matches(fields, HEADER_VALUE))


def _read_method(match: Fields) -> GRPCMethodMatch:
    fields = match.child("method")
    if fields is None:
        return ANY_METHOD
    regex = fields.choice("type", IS_REGEX, False)
    service = fields.text("service", PATTERN if regex else SERVICE, "")
    method = fields.text("method", PATTERN if regex else METHOD, "")
    if not (fields.has("service") or fields.has("method")):
        match.error("method", "has neither service nor method", "add one of them, or remove method to match every call")
    return GRPCMethodMatch(service, method, regex)
