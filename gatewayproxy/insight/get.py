"""`gatewayproxy get`: choose objects and print them as kubectl would, with computed status.

In: Kubernetes objects as dicts (from manifests, or from a running gateway's /status) and what was asked. Out: text.
Pure: the clock is an argument.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gatewayproxy.errors import UsageError
from gatewayproxy.insight.jsonpath import render
from gatewayproxy.insight.kinds import KINDS, KindInfo, find_kind
from gatewayproxy.insight.yaml_text import to_yaml

__all__ = ["OUTPUTS", "Asked", "Found", "ask", "choose", "known_output", "show"]

Object = Mapping[str, Any]
OUTPUTS: Final = ("table", "wide", "name", "json", "yaml", "jsonpath=TEMPLATE")
_GAP: Final = "   "


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What `get` was asked for."""

    kinds: tuple[KindInfo, ...]
    names: tuple[str, ...] = ()  # () = every one
    namespace: str | None = "default"  # None = all namespaces


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What there is of it, in the order of the kinds asked, then namespace and name."""

    objects: tuple[Object, ...]
    missing: tuple[str, ...] = ()  # a message for each name that is not there


def ask(kind: str, names: Sequence[str], *, namespace: str | None) -> Asked:
    """Read `KIND[,KIND...] [NAME...]`, `KIND/NAME` or `all`; raise UsageError."""
    if "/" in kind:
        kind, _, name = kind.partition("/")
        names = (name, *names)
    kinds = KINDS if kind.lower() == "all" else tuple(dict.fromkeys(find_kind(word) for word in kind.split(",")))
    if names and len(kinds) > 1:
        raise UsageError("a NAME goes with one kind: write get KIND NAME")
    return Asked(kinds=kinds, names=tuple(names), namespace=namespace)


def choose(objects: Iterable[Object], asked: Asked) -> Found:
    """Return the objects that *asked* means."""
    order = {(info.group, info.kind): number for number, info in enumerate(asked.kinds)}
    scoped = {info.kind for info in asked.kinds if info.namespaced}
    chosen = []
    for each in objects:
        number = order.get((each.get("apiVersion", "").rpartition("/")[0], each.get("kind", "")))
        namespace, name = _namespace(each), _name(each)
        elsewhere = each.get("kind") in scoped and asked.namespace not in (None, namespace)
        if number is None or elsewhere or (asked.names and name not in asked.names):
            continue
        chosen.append((number, namespace, name, each))
    chosen.sort(key=lambda entry: entry[:3])
    there = {name for _, _, name, _ in chosen}
    missing = [f'{asked.kinds[0].resource} "{name}" not found' for name in asked.names if name not in there]
    return Found(objects=tuple(each for *_, each in chosen), missing=tuple(missing))


def show(found: Found, asked: Asked, output: str, *, now: float) -> str:
    """Return *found* in the form *output*; *now* is Unix seconds, for ages. Raises UsageError."""
    form, _, template = known_output(output).partition("=")
    if form in ("table", "wide"):
        return _tables(found.objects, asked, wide=form == "wide", now=now)
    if form == "name":
        return "".join(f"{_info(each).label(_name(each))}\n" for each in found.objects)
    tree = found.objects[0] if len(asked.names) == 1 and len(found.objects) == 1 else _list(found.objects)
    if form == "json":
        return json.dumps(tree, indent=4, ensure_ascii=False) + "\n"
    if form == "yaml":
        return to_yaml(tree)
    return render(template, tree)


def known_output(output: str) -> str:
    """Return *output* if it is one of OUTPUTS; raise UsageError."""
    form, _, template = output.partition("=")
    if form == "jsonpath":
        if not template:
            raise UsageError("jsonpath wants a template: -o jsonpath='{.metadata.name}'")
    elif output not in OUTPUTS:
        raise UsageError(f"{output!r} is none of {', '.join(OUTPUTS)}")
    return output


def _list(objects: Sequence[Object]) -> Object:
    return {"apiVersion": "v1", "items": list(objects), "kind": "List"}


def _tables(objects: Sequence[Object], asked: Asked, *, wide: bool, now: float) -> str:
    by_kind: dict[KindInfo, list[Object]] = {}
    for each in objects:
        by_kind.setdefault(_info(each), []).append(each)
    prefixed = len(asked.kinds) > 1
    return "\n".join(
        _table(info, group, prefixed=prefixed, namespaces=asked.namespace is None, wide=wide, now=now)
        for info, group in by_kind.items()
    )


def _table(
    info: KindInfo, objects: Sequence[Object], *, prefixed: bool, namespaces: bool, wide: bool, now: float
) -> str:
    namespaces = namespaces and info.namespaced
    columns = [column for column in info.columns if not column.wide]
    extra = [column for column in info.columns if column.wide and wide]
    head = ["NAMESPACE"] * namespaces + ["NAME", *(column.title for column in columns), "AGE"]
    rows = [head + [column.title for column in extra]]
    for each in objects:
        name = info.label(_name(each)) if prefixed else _name(each)
        cells = [name, *(column.cell(each) for column in columns), _age(each, now)]
        rows.append([_namespace(each)] * namespaces + cells + [column.cell(each) for column in extra])
    return _aligned(rows)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    shown = [[cell or "<none>" for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = (_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown)
    return "\n".join(lines) + "\n"


def _age(each: Object, now: float) -> str:
    """Return the age as kubectl writes it; files seldom have a creationTimestamp."""
    created = each.get("metadata", {}).get("creationTimestamp")
    try:
        seconds = now - datetime.datetime.fromisoformat(str(created)).timestamp()
    except ValueError:
        return "<unknown>"
    return duration(max(0, int(seconds)))


def duration(seconds: int) -> str:
    """Return a time span in at most two units: 90s, 5m30s, 3h, 2d4h, 400d."""
    for limit, unit, size, smaller in _SPANS:
        if seconds < limit:
            whole, rest = divmod(seconds, size)
            part = rest // smaller[1] if smaller and whole < 10 else 0
            return f"{whole}{unit}" + (f"{part}{smaller[0]}" if smaller and part else "")
    return f"{seconds // 31_536_000}y"


_SPANS: Final = (
    (120, "s", 1, None),
    (3 * 3600, "m", 60, ("s", 1)),
    (48 * 3600, "h", 3600, ("m", 60)),
    (730 * 86_400, "d", 86_400, ("h", 3600)),
)
_BY_KIND: Final = {info.kind: info for info in KINDS}


def _info(each: Object) -> KindInfo:
    return _BY_KIND[each["kind"]]


def _name(each: Object) -> str:
    return str(each.get("metadata", {}).get("name", ""))


def _namespace(each: Object) -> str:
    return str(each.get("metadata", {}).get("namespace", "default"))
