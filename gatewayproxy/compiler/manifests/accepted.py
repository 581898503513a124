"""Accepted versions: what stays in force when the text of an object goes bad. Pure.

An API server refuses an update that is structurally wrong, and the version before it serves on. `hold` does the same
for files: an object with errors is stood for by the version that was accepted last, as long as the object is written
down at all. One that was never accepted has none, and is fenced.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.compiler.manifests.patch import Patch
from gatewayproxy.compiler.manifests.reader import ReadFile, read_document
from gatewayproxy.compiler.manifests.resources import ReadObject, Resource
from gatewayproxy.fields import Located, Path
from gatewayproxy.model.names import Origin, ResourceKey
from gatewayproxy.model.source import HeldObject
from gatewayproxy.model.status import Held, Problem, Severity

__all__ = ["Accepted", "accepted_of", "held_objects", "hold", "recalled"]


class Accepted(NamedTuple):
    """A version of an object that serves."""

    meta: Meta
    resource: Resource
    generation: int  # the newest one that had it as its text


def accepted_of(files: Iterable[ReadFile], generation: int) -> dict[ResourceKey, Accepted]:
    """Return the versions in *files*, which serve as *generation*; those that `hold` put there keep their own."""
    accepted: dict[ResourceKey, Accepted] = {}
    for file in files:
        for each in file.objects:
            # A Patch has been applied already: one with errors is `patches`' to judge, and its target to hold.
            if each.meta is not None and each.resource is not None and not isinstance(each.resource, Patch):
                since = each.held.generation if each.held is not None else generation
                accepted.setdefault(each.meta.key, Accepted(each.meta, each.resource, since))
    return accepted


def hold(files: Iterable[ReadFile], accepted: Mapping[ResourceKey, Accepted]) -> list[ReadFile]:
    """Return *files*, with the accepted version in the place of each object that has errors.

    One with a slip in its kind or apiVersion is held too, unless the object that it was is written down elsewhere.
    """
    read = list(files)
    written = {each.meta.key for file in read for each in file.objects if each.meta is not None}
    seen: set[ResourceKey] = set()  # of two objects with one key the first counts
    held: list[ReadFile] = []
    for file in read:
        objects = tuple(_held(each, accepted, seen, written) for each in file.objects)
        held.append(file if objects == file.objects else replace(file, objects=objects))
    return held


def _held(
    found: ReadObject, accepted: Mapping[ResourceKey, Accepted], seen: set[ResourceKey], written: set[ResourceKey]
) -> ReadObject:
    key = found.meta.key if found.meta is not None else found.meant
    if key is None or key in seen or (found.meta is None and key in written):
        return found
    seen.add(key)
    version = accepted.get(key) if found.resource is None else None
    if version is None:
        return found
    return ReadObject(
        meta=version.meta,
        resource=version.resource,
        problems=tuple(_told(found, version.generation)),
        held=Held(key, found.meta.origin if found.meta is not None else found.problems[0].origin, version.generation),
    )


def _told(found: ReadObject, generation: int) -> Iterator[Problem]:
    """Yield the problems of *found*; what must be mended says what serves meanwhile."""
    for problem in found.problems:
        if problem.severity is Severity.ERROR or found.meta is None:
            hint = f"{problem.hint or 'mend it'}; until then the version of generation {generation} stays in force"
            problem = replace(problem, hint=hint, severity=Severity.ERROR)
        yield problem


# --- for a compiler that starts anew


def held_objects(files: Iterable[ReadFile]) -> Iterator[HeldObject]:
    """Yield the versions that `hold` put into *files*."""
    for file in files:
        for each in file.objects:
            if each.held is not None and each.meta is not None:
                meta = each.meta
                yield HeldObject(meta.origin.file, meta.origin.line, each.held.generation, meta.manifest)


def recalled(objects: Iterable[HeldObject]) -> dict[ResourceKey, Accepted]:
    """Return the versions that `held_objects` told of."""
    accepted: dict[ResourceKey, Accepted] = {}
    for held in objects:
        found = read_document(_Recalled(held))
        if found.meta is not None and found.resource is not None:
            accepted[found.meta.key] = Accepted(found.meta, found.resource, held.generation)
    return accepted


class _Recalled:
    """A HeldObject as a document; of its lines, only the first is known."""

    def __init__(self, held: HeldObject) -> None:
        self.file = held.file
        self._line = held.line
        self.tree = self._located(held.manifest)

    def origins(self, paths: Collection[Path]) -> dict[Path, Origin]:
        return dict.fromkeys(paths, Origin(self.file, self._line))

    def _located(self, tree: Mapping[str, object]) -> Located:
        located = Located((name, self._node(value)) for name, value in tree.items())
        located.line = self._line
        return located

    def _node(self, value: object) -> object:
        if isinstance(value, dict):
            return self._located(value)
        return [self._node(item) for item in value] if isinstance(value, list) else value
