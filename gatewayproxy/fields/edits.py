"""Shapes that filters share: modifiers of headers and paths, read as head ops; a filter without backends. Pure.

Refused beyond the CustomResourceDefinitions, since a head would not be what it seems: fields that frame a message or
belong to one connection, a second action on one name, and paths that are not absolute or hold "?" or "#".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gatewayproxy.fields.reading import Fields
from gatewayproxy.fields.shapes import HEADER_NAME, HEADER_VALUE, BackendObjectReference
from gatewayproxy.fields.text import Text
from gatewayproxy.model.headops import Add, HeadOp, Path, Prefix, Remove, Set
from gatewayproxy.model.plan import Cluster, FilterChain

__all__ = ["OWN_FIELDS", "LocalFilter", "read_header_modifier", "read_path_modifier"]

# RFC 9110 §7.6.1 (connection), RFC 9112 §6 (framing): what the gateway itself says on each of its two connections.
OWN_FIELDS: Final = frozenset({
    "connection", "content-length", "host", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding",
    "upgrade",
})  # fmt: skip
_MOST: Final = 16  # of set, of add, of remove
_ANY_NAME: Final = Text("a header name such as x-version")
_PATH: Final = r"/([A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*"  # RFC 3986 §3.3
_FULL: Final = Text("an absolute path such as /new, without query", _PATH, longest=1024)
_PREFIX: Final = Text('a path such as /new, or ""', rf"({_PATH})?", longest=1024)


@dataclass(frozen=True, slots=True)
class LocalFilter:
    """A filter as read that needs no backend: what it does is known at once."""

    chain: FilterChain

    @property
    def references(self) -> tuple[BackendObjectReference, ...]:
        """None."""
        return ()

    def lower(self, clusters: Mapping[BackendObjectReference, Cluster]) -> FilterChain:
        """Return what it does."""
        return self.chain


def read_header_modifier(fields: Fields) -> tuple[HeadOp, ...]:
    """Read HTTPHeaderFilter: set, then add, then remove; no name twice, so their order does not matter."""
    seen: set[str] = set()
    ops: list[HeadOp] = [Set(*_line(item, seen)) for item in fields.items("set", most=_MOST)]
    ops.extend(Add(*_line(item, seen)) for item in fields.items("add", most=_MOST))
    for index, name in enumerate(fields.texts("remove", _ANY_NAME, most=_MOST, unique=True)):
        if flaw := _flaw(name, seen):
            fields.error_at("remove", index, *flaw)
        ops.append(Remove(name.encode()))
    return tuple(ops)


def read_path_modifier(fields: Fields) -> Path | Prefix | None:
    """Read `path`, an HTTPPathModifier: a union of replaceFullPath and replacePrefixMatch."""
    modifier = fields.child("path")
    if modifier is None:
        return None
    members = {"ReplaceFullPath": "replaceFullPath", "ReplacePrefixMatch": "replacePrefixMatch"}
    wanted = modifier.choice("type", members)
    full = modifier.text("replaceFullPath", _FULL, None)
    prefix = modifier.text("replacePrefixMatch", _PREFIX, None)
    if not modifier.has(wanted):
        modifier.error(wanted, "is required by the type", f"add {wanted}, or change the type")
    for other in members.values():
        if other != wanted and modifier.has(other):
            modifier.error(other, "does not go with the type", "remove it, or change the type")
    if wanted == "replaceFullPath":
        return Path((full or "/").encode())
    return Prefix((prefix or "").encode())


def _line(item: Fields, seen: set[str]) -> tuple[bytes, bytes]:
    name = item.text("name", HEADER_NAME)
    value = item.text("value", HEADER_VALUE)
    if flaw := _flaw(name, seen):
        item.error("name", *flaw)
    return name.encode(), value.encode()


def _flaw(name: str, seen: set[str]) -> tuple[str, str] | None:
    """Return (what is wrong, what to do) with acting on *name*, which is noted in *seen*."""
    key = name.lower()
    if key in OWN_FIELDS:
        hint = "use a URLRewrite filter with hostname" if key == "host" else "remove this entry"
        return f"{name} is the gateway's own to write", hint
    if key and key in seen:
        return f"{name} has an action already", "keep one action a name; join several values with a comma"
    seen.add(key)
    return None
