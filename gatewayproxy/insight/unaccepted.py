"""Routes that no listener accepted, which no request can come to: what their status says, for who asks why. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from gatewayproxy.model.names import widening
from gatewayproxy.model.status import ObjectStatus, StatusReport

__all__ = ["Unaccepted", "unaccepted"]


class Unaccepted(NamedTuple):
    """A route and a parent that does not have it."""

    kind: str
    name: str  # "namespace/name"
    parent: str  # "Gateway infra/web section http"
    reason: str
    message: str
    hostnames: tuple[str, ...]


def unaccepted(report: StatusReport, kinds: Iterable[str], host: str) -> tuple[Unaccepted, ...]:
    """Return the routes of *kinds* that have *host* ("": any) and are not accepted, in source order."""
    wanted, covering = frozenset(kinds), set(widening(host))
    found: list[Unaccepted] = []
    for each in report.objects:
        if each.key.kind in wanted and each.status:
            names = _hostnames(each.manifest)
            if not names or not host or not covering.isdisjoint(names):
                found += _of(each, names)
    return tuple(found)


def _of(route: ObjectStatus, names: tuple[str, ...]) -> Iterator[Unaccepted]:
    for parent in route.status.get("parents", ()):
        for condition in parent["conditions"]:
            if condition["type"] == "Accepted" and condition["status"] != "True":
                ref = _parent_text(parent["parentRef"], route.key.namespace)
                yield Unaccepted(
                    route.key.kind, route.key.full_name, ref, condition["reason"], condition.get("message", ""), names
                )


def _parent_text(ref: Mapping[str, Any], namespace: str) -> str:
    section = f" section {ref['sectionName']}" if ref.get("sectionName") else ""
    port = f" port {ref['port']}" if ref.get("port") else ""
    return f"{ref.get('kind', 'Gateway')} {ref.get('namespace') or namespace}/{ref.get('name', '')}{section}{port}"


def _hostnames(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Return spec.hostnames as far as they are such: the manifest is as somebody wrote it."""
    spec = manifest.get("spec")
    names = spec.get("hostnames") if isinstance(spec, Mapping) else None
    return tuple(name.lower() for name in names if isinstance(name, str)) if isinstance(names, (list, tuple)) else ()
