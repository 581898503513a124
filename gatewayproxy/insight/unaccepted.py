"""Routes that no listener of a parent has, or not all; listeners that do not serve: what their status says. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from gatewayproxy.model.codes import Code
from gatewayproxy.model.names import ResourceKey, widening
from gatewayproxy.model.status import ObjectStatus, Problem, StatusReport

__all__ = ["Unaccepted", "Unserving", "unaccepted", "unserving"]


class Unaccepted(NamedTuple):
    """A route and a parent that does not have it."""

    kind: str
    name: str  # "namespace/name"
    parent: str  # "Gateway infra/web section http"
    reason: str
    message: str
    hostnames: tuple[str, ...]
    rules: Sequence[Any] = ()  # as written
    partly: bool = False  # other listeners of the parent do have it


class Unserving(NamedTuple):
    """A listener that is written down and does not serve."""

    name: str  # "namespace/gateway/listener"
    protocol: str
    port: int
    hostname: str  # "" = any
    reason: str
    message: str


_PARENTS: Final = ("Gateway", "ListenerSet")
_TELLING: Final = ("ResolvedRefs", "Accepted", "Programmed")  # of conditions, that which says most first


def unaccepted(report: StatusReport, kinds: Iterable[str], host: str) -> tuple[Unaccepted, ...]:
    """Return the routes of *kinds* that have *host* ("": any) and are not accepted, or not by all, in source order."""
    wanted, covering = frozenset(kinds), set(widening(host))
    conflicts: dict[ResourceKey | None, list[Problem]] = {}
    for problem in report.problems:
        if problem.code == Code.HOST_CONFLICT:
            conflicts.setdefault(problem.key, []).append(problem)
    found: list[Unaccepted] = []
    for each in report.objects:
        if each.key.kind in wanted and each.status:
            names = _hostnames(each.manifest)
            if not names or not host or not covering.isdisjoint(names):
                refused = list(_of(each, names))
                told = {one.parent for one in refused}
                partly = (_lost_to_another(each, problem, names) for problem in conflicts.get(each.key, ()))
                found += [*refused, *(one for one in partly if one is not None and one.parent not in told)]
    return tuple(found)


def _lost_to_another(route: ObjectStatus, problem: Problem, names: tuple[str, ...]) -> Unaccepted | None:
    """Return the parent of *problem*, some of whose listeners gave hostnames to a route of another kind."""
    spec = route.manifest.get("spec")
    refs = _list(spec.get("parentRefs")) if isinstance(spec, Mapping) else ()
    at = problem.field.partition("[")[2].partition("]")[0]
    ref = refs[int(at)] if at.isdigit() and int(at) < len(refs) else None
    if not isinstance(ref, Mapping):
        return None
    parent, rules = (
        _parent_text(ref, route.key.namespace),
        _list(spec.get("rules")) if isinstance(spec, Mapping) else (),
    )
    reason, _, message = problem.message.partition(": ")
    return Unaccepted(route.key.kind, route.key.full_name, parent, reason, message, names, rules, partly=True)


def _of(route: ObjectStatus, names: tuple[str, ...]) -> Iterator[Unaccepted]:
    spec = route.manifest.get("spec")
    rules = _list(spec.get("rules")) if isinstance(spec, Mapping) else ()
    for parent in route.status.get("parents", ()):
        for condition in parent["conditions"]:
            if condition["type"] == "Accepted" and condition["status"] != "True":
                ref = _parent_text(parent["parentRef"], route.key.namespace)
                reason, message = condition["reason"], condition.get("message", "")
                yield Unaccepted(route.key.kind, route.key.full_name, ref, reason, message, names, rules)


def _parent_text(ref: Mapping[str, Any], namespace: str) -> str:
    section = f" section {ref['sectionName']}" if ref.get("sectionName") else ""
    port = f" port {ref['port']}" if ref.get("port") else ""
    return f"{ref.get('kind', 'Gateway')} {ref.get('namespace') or namespace}/{ref.get('name', '')}{section}{port}"


def _hostnames(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Return spec.hostnames as far as they are such: the manifest is as somebody wrote it."""
    spec = manifest.get("spec")
    names = spec.get("hostnames") if isinstance(spec, Mapping) else None
    return tuple(name.lower() for name in _list(names) if isinstance(name, str))


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def unserving(report: StatusReport, port: int, host: str) -> tuple[Unserving, ...]:
    """Return the listeners of *port* (0: any) that have *host* ("": any) and do not serve, in source order."""
    covering = set(widening(host))
    found = (each for item in report.objects if item.key.kind in _PARENTS for each in _unserving(item))
    return tuple(
        each
        for each in found
        if port in (0, each.port) and (not each.hostname or not host or each.hostname.lower() in covering)
    )


def _unserving(item: ObjectStatus) -> Iterator[Unserving]:
    spec = item.manifest.get("spec")
    listeners = spec.get("listeners") if isinstance(spec, Mapping) else None
    written = {
        each.get("name"): each
        for each in _list(listeners)
        if isinstance(each, Mapping) and isinstance(each.get("name"), str)
    }
    prefix = "" if item.key.kind == "Gateway" else f"{item.key.kind}/"
    for status in item.status.get("listeners", ()):
        failed = {each["type"]: each for each in status["conditions"] if each["status"] == "False"}
        if "Programmed" in failed:
            said = next(failed[name] for name in _TELLING if name in failed)
            own = written.get(status["name"], {})
            port = own.get("port")
            yield Unserving(
                f"{prefix}{item.key.full_name}/{status['name']}",
                str(own.get("protocol", "")),
                port if isinstance(port, int) else 0,
                str(own.get("hostname") or ""),
                said["reason"],
                said.get("message", ""),
            )
