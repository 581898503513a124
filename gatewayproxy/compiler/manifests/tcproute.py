"""TCPRoute: connections of a TCP listener to weighted backends. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.compiler.manifests.references import BackendRef, ParentRef, read_backend_refs, read_parent_refs
from gatewayproxy.compiler.manifests.rules import check_rule_names, ignore_default_gateways
from gatewayproxy.fields import Fields
from gatewayproxy.fields.shapes import SECTION_NAME
from gatewayproxy.model.names import Origin

__all__ = ["L4Rule", "TCPRoute", "read", "read_l4_rules"]


@dataclass(frozen=True, slots=True, kw_only=True)
class L4Rule:
    """TCPRouteRule and TLSRouteRule."""

    name: str = ""
    backend_refs: tuple[BackendRef, ...] = ()
    at: Origin
    path: str  # "spec.rules[0]"


@dataclass(frozen=True, slots=True, kw_only=True)
class TCPRoute:
    """TCPRoute.spec."""

    meta: Meta
    parent_refs: tuple[ParentRef, ...] = ()
    rules: tuple[L4Rule, ...] = ()


def read(meta: Meta, root: Fields, version: str) -> TCPRoute:
    """Read a TCPRoute of v1 (one rule) or v1alpha2."""
    spec = root.required_child("spec")
    ignore_default_gateways(spec)
    return TCPRoute(meta=meta, parent_refs=read_parent_refs(spec), rules=read_l4_rules(spec, version))


def read_l4_rules(spec: Fields, version: str) -> tuple[L4Rule, ...]:
    """Read spec.rules: exactly one, up to 16 in v1alpha2."""
    items = spec.items("rules", least=1, most=16 if version == "v1alpha2" else 1)
    rules = tuple(_read_rule(item) for item in items)
    check_rule_names(spec, [rule.name for rule in rules])
    return rules


def _read_rule(fields: Fields) -> L4Rule:
    return L4Rule(
        name=fields.text("name", SECTION_NAME, ""),
        backend_refs=read_backend_refs(fields, least=1),
        at=fields.at,
        path=fields.path_text,
    )
