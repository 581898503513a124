"""Routes that would take a request, had a listener them: advice names these before it has new ones written. Pure.

What a rule asks of a path and a method is read off the manifest, as somebody wrote it: nothing that no listener has is
in a plan. Header fields and query parameters are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from gatewayproxy.insight.unaccepted import Unaccepted, unaccepted
from gatewayproxy.model.names import Origin, ResourceKey
from gatewayproxy.model.status import ObjectStatus, StatusReport
from gatewayproxy.routing.patterns import matches, pattern_error

__all__ = ["attach_fix", "statuses", "unattached", "with_unattached"]

KINDS: Final = ("HTTPRoute", "GRPCRoute")
Tree = Mapping[str, Any]


def unattached(found: Iterable[Unaccepted], method: bytes, path: bytes) -> Unaccepted | None:
    """Return the first of *found*, routes that have the host, of which a rule asks for nothing else than this.

    Routes of connections ask for nothing but a host.
    """
    return next((each for each in found if each.kind not in KINDS or _may_take(each, method, path)), None)


def attach_fix(route: Unaccepted) -> str:
    """Return what to do about a request that *route* would take."""
    lacks = "has it on other listeners only" if route.partly else "has not got it"
    return f"{route.kind} {route.name} would take it, but {route.parent} {lacks}: {route.reason}, {route.message}"


def statuses(items: Iterable[object]) -> StatusReport:
    """Return the objects of /status; what is none is left out."""
    return StatusReport(objects=tuple(_object(each) for each in items if isinstance(each, Mapping)))


def with_unattached(misses: Iterable[Tree], report: StatusReport) -> list[Tree]:
    """Return *misses* of /misses; what mends one is told by the route that is there already, where one is."""
    mended: list[Tree] = []
    for miss in misses:
        host, method, path = (str(miss.get(name, "")) for name in ("host", "method", "path"))
        route = unattached(unaccepted(report, KINDS, host), method.encode(), path.encode())
        mended.append({**miss, "fix": attach_fix(route)} if route is not None else miss)
    return mended


def _object(item: Tree) -> ObjectStatus:
    metadata, status = (_tree(item.get(name)) for name in ("metadata", "status"))
    key = ResourceKey(
        str(item.get("kind", "")), str(metadata.get("namespace") or "default"), str(metadata.get("name", ""))
    )
    return ObjectStatus(key=key, origin=Origin(""), manifest=item, status=status)


# --- what a rule asks for


def _may_take(route: Unaccepted, method: bytes, path: bytes) -> bool:
    return not route.rules or any(_rule_may_take(route.kind, _tree(rule), method, path) for rule in route.rules)


def _rule_may_take(kind: str, rule: Tree, method: bytes, path: bytes) -> bool:
    asked = list(_trees(rule.get("matches")))
    if kind == "GRPCRoute":
        return not asked or any(_call_fits(_tree(each.get("method")), path) for each in asked)
    return not asked or any(
        each.get("method") in (None, method.decode("latin-1")) and _path_fits(_tree(each.get("path")), path)
        for each in asked
    )


def _path_fits(asked: Tree, path: bytes) -> bool:
    value = str(asked.get("value", "/")).encode()
    match asked.get("type", "PathPrefix"):
        case "Exact":
            return path == value
        case "RegularExpression":
            return not pattern_error(value) and matches(value, path)
        case _:
            prefix = value.rstrip(b"/")
            return path == prefix or path.startswith(prefix + b"/")


def _call_fits(asked: Tree, path: bytes) -> bool:
    if asked.get("type", "Exact") != "Exact":
        return True
    service, _, method = path[1:].partition(b"/")
    names = ((asked.get("service"), service), (asked.get("method"), method))
    return all(wanted is None or str(wanted).encode() == given for wanted, given in names)


def _trees(value: object) -> Iterator[Tree]:
    items: Sequence[object] = value if isinstance(value, (list, tuple)) else ()
    return (each for each in items if isinstance(each, Mapping))


def _tree(value: object) -> Tree:
    return value if isinstance(value, Mapping) else {}
