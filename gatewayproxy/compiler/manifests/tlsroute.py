"""TLSRoute: TLS connections by server name to weighted backends. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.compiler.manifests.references import ParentRef, read_parent_refs
from gatewayproxy.compiler.manifests.rules import ignore_default_gateways
from gatewayproxy.compiler.manifests.tcproute import L4Rule, read_l4_rules
from gatewayproxy.fields import Fields
from gatewayproxy.fields.shapes import HOSTNAME

__all__ = ["TLSRoute", "read"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSRoute:
    """TLSRoute.spec."""

    meta: Meta
    parent_refs: tuple[ParentRef, ...] = ()
    hostnames: tuple[str, ...] = ()  # () only in v1alpha2: any
    rules: tuple[L4Rule, ...] = ()


def read(meta: Meta, root: Fields, version: str) -> TLSRoute:
    """Read a TLSRoute; v1alpha2 is the laxer one (hostnames optional, several rules)."""
    spec = root.required_child("spec")
    ignore_default_gateways(spec)
    strict = version != "v1alpha2"
    hostnames = spec.texts("hostnames", HOSTNAME, most=1024, least=1 if strict else 0)
    for index, hostname in enumerate(hostnames):
        if strict and _is_ip(hostname):
            spec.error_at(
                "hostnames", index, f"{hostname} is an IP address", "TLS names servers by DNS name: write one"
            )
    return TLSRoute(
        meta=meta, parent_refs=read_parent_refs(spec), hostnames=hostnames, rules=read_l4_rules(spec, version)
    )


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
