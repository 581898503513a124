"""UDPRoute: datagrams of a UDP listener to weighted backends. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.compiler.manifests.references import ParentRef, read_parent_refs
from gatewayproxy.compiler.manifests.rules import ignore_default_gateways
from gatewayproxy.compiler.manifests.tcproute import L4Rule, read_l4_rules
from gatewayproxy.fields import Fields

__all__ = ["UDPRoute", "read"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UDPRoute:
    """UDPRoute.spec."""

    meta: Meta
    parent_refs: tuple[ParentRef, ...] = ()
    rules: tuple[L4Rule, ...] = ()


def read(meta: Meta, root: Fields, version: str) -> UDPRoute:
    """Read a UDPRoute of v1 (one rule) or v1alpha2."""
    spec = root.required_child("spec")
    ignore_default_gateways(spec)
    return UDPRoute(meta=meta, parent_refs=read_parent_refs(spec), rules=read_l4_rules(spec, version))
