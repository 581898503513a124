"""A configuration as lints see it: objects as read, what they mean, and the texts for what nobody here reads. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeVar, cast

from gatewayproxy.compiler.documents import Document, parse
from gatewayproxy.compiler.manifests import Resources
from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.fields import Path
from gatewayproxy.model.names import Origin, ResourceKey
from gatewayproxy.model.plan import Plan
from gatewayproxy.model.source import Source
from gatewayproxy.model.status import StatusReport
from gatewayproxy.routing.table import RoutingTable

__all__ = ["Config", "Foreign", "mappings", "path_of"]

T = TypeVar("T")

_STEP: Final = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """An object of a kind that is not served here, such as cert-manager's Issuer."""

    key: ResourceKey
    origin: Origin
    api_version: str
    tree: Mapping[str, object]

    @property
    def spec(self) -> Mapping[str, object]:
        """spec, {} where it is no mapping."""
        return _mapping(self.tree.get("spec"))

    @property
    def annotations(self) -> Mapping[str, object]:
        """metadata.annotations, {} where it is no mapping."""
        return _mapping(_mapping(self.tree.get("metadata")).get("annotations"))


@dataclass(frozen=True, kw_only=True)
class Config:
    """What lints look at. `plan`, `table` and `status` are what serves; `resources` is what is written."""

    plan: Plan
    table: RoutingTable
    status: StatusReport
    resources: Resources
    sources: Sequence[Source]
    now: float = 0.0  # Unix seconds; 0: dates are not judged

    @cached_property
    def metas(self) -> Mapping[ResourceKey, Meta]:
        """Every object of a kind we know, those with errors too."""
        return {meta.key: meta for meta in self.resources.metas}

    @cached_property
    def foreign(self) -> tuple[Foreign, ...]:
        """Objects of other API groups, in source order."""
        passed_over = {each.origin.file for each in self.status.problems if each.key and each.key not in self.metas}
        return tuple(
            found for file in sorted(passed_over) for document in self.documents(file) if (found := _foreign(document))
            and found.key not in self.metas
        )  # fmt: skip

    @cached_property
    def _parsed(self) -> dict[str, tuple[Document, ...]]:
        return {}

    @cached_property
    def _by_file(self) -> Mapping[str, Source]:
        return {source.file: source for source in self.sources}

    @cached_property
    def _made(self) -> dict[object, object]:
        return {}

    def once(self, make: Callable[[Config], T]) -> T:
        """Return what *make*, a function of a module, makes of this; it is asked once."""
        if make not in self._made:
            self._made[make] = make(self)
        return cast("T", self._made[make])

    def documents(self, file: str) -> tuple[Document, ...]:
        """Return the objects of a text as they are written; it is parsed when it is first asked for."""
        if file not in self._parsed:
            source = self._by_file.get(file)
            self._parsed[file] = parse(source).documents if source is not None else ()
        return self._parsed[file]

    def annotations(self, key: ResourceKey) -> Mapping[str, object]:
        """Return the annotations of an object, whatever its kind."""
        meta = self.metas.get(key)
        if meta is not None:
            return meta.annotations
        return next((each.annotations for each in self.foreign if each.key == key), {})

    def place(self, key: ResourceKey, fields: Path) -> Origin:
        """Return where a field is written, or the nearest one around it."""
        home = self._home(key)
        if home is None:
            return Origin("", 0)
        document = next((each for each in self.documents(home.file) if each.tree.line == home.line), None)
        return document.origins((fields,))[fields] if document is not None else home

    def _home(self, key: ResourceKey) -> Origin | None:
        meta = self.metas.get(key)
        if meta is not None:
            return meta.origin
        return next((each.origin for each in self.foreign if each.key == key), None)


def path_of(field: str) -> Path:
    """Return the path that "spec.rules[0].matches" spells."""
    return tuple(int(index) if index else name for index, name in _STEP.findall(field))


def _foreign(document: Document) -> Foreign | None:
    tree = document.tree
    metadata = _mapping(tree.get("metadata"))
    kind, name, namespace = tree.get("kind"), metadata.get("name"), metadata.get("namespace", "default")
    api_version = tree.get("apiVersion")
    if not (isinstance(kind, str) and isinstance(name, str) and isinstance(namespace, str)):
        return None
    key = ResourceKey(kind, namespace, name)
    origin = Origin(document.file, tree.line)
    return Foreign(key=key, origin=origin, api_version=api_version if isinstance(api_version, str) else "", tree=tree)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def mappings(value: object) -> Iterator[Mapping[str, object]]:
    """Yield the mappings of a list, or none."""
    items: Iterable[object] = value if isinstance(value, list) else ()
    yield from (item for item in items if isinstance(item, Mapping))
