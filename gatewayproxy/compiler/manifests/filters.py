"""filters of rules and backendRefs: a tagged union, its members read by the FILTERS registry. Pure.

ExtensionRef is the one member without an entry there: it names a filter of somebody else's. Its shape is checked, and
requests that meet it fail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gatewayproxy.fields import BackendObjectReference, Fields
from gatewayproxy.fields.shapes import GROUP, KIND, OBJECT_NAME
from gatewayproxy.filters import FILTERS, FilterSpec
from gatewayproxy.model.names import Origin
from gatewayproxy.model.status import Reason

__all__ = ["GRPC_FILTERS", "HTTP_FILTERS", "Filter", "FilterMembers", "read_filters"]

FilterMembers = Mapping[str, str]  # the filter types of a kind of route, each with its member of the union

_EXTENSION: Final = {"ExtensionRef": "extensionRef"}
HTTP_FILTERS: Final[FilterMembers] = {name: kind.member for name, kind in FILTERS.items()} | _EXTENSION
GRPC_FILTERS: Final[FilterMembers] = {name: kind.member for name, kind in FILTERS.items() if kind.of_calls} | _EXTENSION
_ONCE: Final = tuple(name for name, kind in FILTERS.items() if not kind.repeats)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """HTTPRouteFilter and GRPCRouteFilter; spec None = a filter we cannot honour: requests that meet it must fail."""

    type: str
    spec: FilterSpec | None
    at: Origin
    path: str  # "spec.rules[0].filters[0]"
    replaces_prefix: bool = False  # has a ReplacePrefixMatch: the rule must have one PathPrefix match

    @property
    def references(self) -> tuple[BackendObjectReference, ...]:
        """The backends the filter sends requests to."""
        return self.spec.references if self.spec is not None else ()


def read_filters(parent: Fields, members: FilterMembers) -> tuple[Filter, ...]:
    """Read `filters` of a rule or backendRef, each of one of the types of *members*."""
    if not parent.has("filters"):
        parent.ignore("filters")
        return ()
    filters = tuple(_read_filter(item, members) for item in parent.items("filters", most=16))
    _check_combination(parent, filters)
    return filters


def _read_filter(fields: Fields, members: FilterMembers) -> Filter:
    kind = fields.choice("type", {name: name for name in members})
    wanted = members[kind] if fields.tree.get("type") == kind else ""
    member = fields.child(wanted) if wanted else None
    if wanted and member is None and not fields.has(wanted):
        fields.error(wanted, f"is required for type {kind}", f"add {wanted}, or change type")
    for name in members.values():
        if name != wanted and fields.has(name) and wanted:
            fields.error(name, f"does not go with type {kind}", "remove it, or add a filter of its own type")
    fields.ignore(*members.values())
    return Filter(
        type=kind,
        spec=_read_member(kind, member) if member is not None else None,
        at=fields.at,
        path=fields.path_text,
        replaces_prefix=member is not None and _replaces_prefix(member),
    )


def _read_member(kind: str, member: Fields) -> FilterSpec | None:
    if kind in FILTERS:
        return FILTERS[kind].read(member)
    for name, text in (("group", GROUP), ("kind", KIND), ("name", OBJECT_NAME)):  # LocalObjectReference
        member.text(name, text)
    return None


def _replaces_prefix(member: Fields) -> bool:
    path = member.tree.get("path")
    return isinstance(path, dict) and path.get("type") == "ReplacePrefixMatch"


def _check_combination(parent: Fields, filters: tuple[Filter, ...]) -> None:
    counts = Counter(filter_.type for filter_ in filters)
    for kind in _ONCE:
        if counts[kind] > 1:
            parent.error("filters", f"{kind} stands there {counts[kind]} times", "merge them into one filter")
    if counts["RequestRedirect"] and counts["URLRewrite"]:
        message = "RequestRedirect and URLRewrite exclude each other"
        parent.error("filters", message, "remove one of the two", Reason.INCOMPATIBLE_FILTERS)
