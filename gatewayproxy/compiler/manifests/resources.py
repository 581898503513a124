"""Everything the manifests declare, typed, by kind and key. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, cast

from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.model.codes import Code
from gatewayproxy.model.names import ResourceKey
from gatewayproxy.model.status import Held, Problem, Severity

__all__ = ["ReadObject", "Resource", "Resources", "gather"]


class Resource(Protocol):
    """An object as the reader of its kind made it: frozen."""

    @property
    def meta(self) -> Meta: ...


T = TypeVar("T", bound=Resource)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadObject:
    """One object of a text: *resource* None = it is fenced (has errors), *meta* None = nobody can tell which."""

    meta: Meta | None
    resource: Resource | None
    problems: tuple[Problem, ...] = ()
    meant: ResourceKey | None = None  # passed over, though probably this one with a slip in kind or apiVersion
    held: Held | None = None  # the text has errors; *meta* and *resource* are the version in force


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """All objects, those of a kind in source order; no two have the same key."""

    by_type: Mapping[type[Resource], tuple[Resource, ...]] = field(default_factory=dict)
    fenced: tuple[Meta, ...] = ()  # have errors: shown, never served
    metas: tuple[Meta, ...] = ()  # of every object, the fenced ones too, in source order
    held: tuple[Held, ...] = ()  # served as they were accepted, not as they are written
    problems: tuple[Problem, ...] = ()

    def of(self, kind: type[T]) -> tuple[T, ...]:
        """Return all objects of *kind*, such as HTTPRoute."""
        return cast("tuple[T, ...]", self.by_type.get(kind, ()))


def gather(read: Iterable[ReadObject], problems: Iterable[Problem] = ()) -> Resources:
    """Return *read* as Resources. Of two objects with one key the first counts, the later one is an error."""
    seen: dict[ResourceKey, Meta] = {}
    by_type: defaultdict[type[Resource], list[Resource]] = defaultdict(list)
    fenced: list[Meta] = []
    held: list[Held] = []
    found = list(problems)
    for item in read:
        found.extend(item.problems)
        if item.meta is None:
            continue
        first = seen.setdefault(item.meta.key, item.meta)
        if first is not item.meta:
            found.append(_duplicate(item.meta, first))
        elif item.resource is None:
            fenced.append(item.meta)
        else:
            by_type[type(item.resource)].append(item.resource)
            held.extend((item.held,) if item.held is not None else ())

    return Resources(
        by_type={kind: tuple(objects) for kind, objects in by_type.items()},
        fenced=tuple(fenced),
        metas=tuple(seen.values()),
        held=tuple(held),
        problems=tuple(found),
    )


def _duplicate(meta: Meta, first: Meta) -> Problem:
    return Problem(
        origin=meta.origin,
        severity=Severity.ERROR,
        key=meta.key,
        field="metadata.name",
        message=f"{meta.key} is already declared at {first.origin}; that one counts",
        hint="remove one of the two, or give them different names; to change it from another file, use a Patch",
        code=Code.DUPLICATE,
    )
