"""What the rules of several route kinds have in common. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from gatewayproxy.compiler.manifests.unserved import not_served
from gatewayproxy.fields import Fields
from gatewayproxy.fields.shapes import HEADER_NAME, HEADER_VALUE
from gatewayproxy.fields.text import Text

__all__ = [
    "IS_REGEX", "HeaderMatch", "check_matches", "check_rule_names", "check_unique", "ignore_default_gateways",
    "read_header_matches",
]  # fmt: skip

MAX_MATCHES: Final = 128  # of all rules of a route together
IS_REGEX: Final = {"Exact": False, "RegularExpression": True}


class HeaderMatch(NamedTuple):
    """HTTPHeaderMatch and GRPCHeaderMatch; *name* as written (compares case-insensitively)."""

    name: str
    value: str
    regex: bool = False


def read_header_matches(match: Fields, shape: Text = HEADER_VALUE) -> tuple[HeaderMatch, ...]:
    """Read `headers` of a match, values of *shape*."""
    if not match.has("headers"):
        match.ignore("headers")
        return ()
    headers = tuple(
        HeaderMatch(item.text("name", HEADER_NAME), item.text("value", shape), item.choice("type", IS_REGEX, False))
        for item in match.items("headers", most=16)
    )
    check_unique(match, "headers", [header.name for header in headers])
    return headers


def check_unique(match: Fields, name: str, names: Sequence[str]) -> None:
    """No two entries of list *name* may have one name, letter by letter."""
    for index, own in enumerate(names):
        if own in names[:index]:
            match.error_at(name, index, f'"{own}" is listed twice', "remove one of the two")


def check_matches(spec: Fields, n_matches: int) -> None:
    """Note an error where the rules of a route have more matches together than there may be."""
    if n_matches > MAX_MATCHES:
        spec.error("rules", f"have {n_matches} matches together, {MAX_MATCHES} is the most", "split the route in two")


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
