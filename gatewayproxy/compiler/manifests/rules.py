"""What the rules of every route kind have in common. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from gatewayproxy.compiler.manifests.unserved import not_served
from gatewayproxy.fields import Fields

__all__ = ["check_rule_names", "ignore_default_gateways"]


def check_rule_names(spec: Fields, names: Sequence[str]) -> None:
    """Rule names must be unique within the route; "" is no name."""
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        if name and seen.setdefault(name, index) != index:
            message = f'the name "{name}" is already that of rules[{seen[name]}]'
            spec.error_at("rules", index, message, "give each rule a name of its own")


def ignore_default_gateways(spec: Fields) -> None:
    """Read useDefaultGateways (GEP-3793), which we do not serve."""
    if spec.choice("useDefaultGateways", {"All": True, "None": False}, False):
        not_served(spec, "useDefaultGateways")
