"""Apply Patches to the objects they name, before anything is made of those. Pure.

In: what was read, and the texts it was read from. Out: the same, without the files that Patches name (they hold
patches, not objects), the patched objects read anew. In a patch file each document is one patch: a list is a JSON Patch
(RFC 6902), a mapping a merge patch (RFC 7396). Patches apply in reading order, their `files` as listed, those of a "*"
by name.

A file is applied whole or not at all. One that fails is a text that cannot be read: its problems name no object, so
that a reload keeps the table in force (`ops.reload`) rather than serve a Gateway half patched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from gatewayproxy.compiler.documents import ParsedValues, parse_values
from gatewayproxy.compiler.manifests import ReadObject
from gatewayproxy.compiler.manifests.meta import DEFAULT_NAMESPACE
from gatewayproxy.compiler.manifests.patch import Patch
from gatewayproxy.compiler.manifests.reader import ReadFile, read_document
from gatewayproxy.compiler.patches.operations import Grafts, PatchError, apply_operation, merge
from gatewayproxy.fields import Located, Path, path_text
from gatewayproxy.model.codes import Code
from gatewayproxy.model.names import Origin, ResourceKey
from gatewayproxy.model.source import Source
from gatewayproxy.model.status import Problem, Severity

__all__ = ["apply_patches"]

_HELD: Final = "until then a reload keeps the configuration in force"


def apply_patches(files: Iterable[ReadFile], sources: Iterable[Source]) -> list[ReadFile]:
    """Return *files*, read from *sources*, with every Patch applied; problems are added to them."""
    read = list(files)
    found = [each for file in read for each in file.objects if each.meta is not None and each.meta.key.kind == "Patch"]
    if not found:
        return read
    patching = _Patching(sources)
    patches = list(patching.sound(found))
    named = {patch.meta.key: list(patching.files_of(patch)) for patch in patches}
    manifests = patching.without_named(read)
    for patch in patches:
        patching.apply(patch, named[patch.meta.key], manifests)
    return [*map(patching.patched, manifests), ReadFile(file="", problems=tuple(patching.problems))]


class _Patching:
    """All Patches of one compilation."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = {source.file: source for source in sources}
        self._values: dict[str, ParsedValues] = {}  # of the files that Patches name
        self._targets: dict[ResourceKey, _Target] = {}
        self.problems: list[Problem] = []

    def sound(self, found: Iterable[ReadObject]) -> Iterator[Patch]:
        """Yield the Patches without errors; of two with one name the first counts."""
        seen: set[ResourceKey] = set()
        for each in found:
            assert each.meta is not None
            if not isinstance(each.resource, Patch):
                self._add(each.meta.origin, f"{each.meta.key} is not applied: it has errors", f"mend them; {_HELD}")
            elif each.meta.key not in seen:
                seen.add(each.meta.key)
                yield each.resource

    def files_of(self, patch: Patch) -> Iterator[str]:
        """Yield the sources that *patch* names, in order, and parse each as patches."""
        for pattern in patch.files:
            matching = [file for file in self._sources if pattern.matches(file)]
            if patch.meta.origin.file in matching:
                message = f"{pattern.text} names the manifest of {patch.meta.key} itself"
                self._add(patch.meta.origin, message, f"keep patches in files of their own; {_HELD}", "spec.files")
                continue
            if not matching:
                message = f"{pattern.text} of {patch.meta.key} names no file that was read"
                hint = "the path is relative to this manifest; its file must be one of those that are served"
                self._add(patch.meta.origin, message, f"{hint}; {_HELD}", "spec.files")
            for file in matching:
                self._parse(file)
                yield file

    def without_named(self, files: Iterable[ReadFile]) -> list[ReadFile]:
        """Return the files that hold objects: a patch is none, though it may look like one."""
        return [file for file in files if file.file not in self._values]

    def apply(self, patch: Patch, named: Iterable[str], manifests: Iterable[ReadFile]) -> None:
        """Apply the files of one Patch to its target."""
        target = self._target(patch, manifests)
        if target is None:
            message = f"there is no {patch.target} for {patch.meta.key} to change"
            self._add(patch.meta.origin, message, f"add it, or correct spec.target; {_HELD}", "spec.target")
            return
        for file in named:
            values = self._values[file]
            failed = None if values.problems else target.patch(file, values)
            if failed is not None:
                self.problems.append(failed)

    def patched(self, file: ReadFile) -> ReadFile:
        """Return *file* with the objects in it that have been patched read anew."""
        return replace(file, objects=tuple(map(self._read_anew, file.objects)))

    def _read_anew(self, found: ReadObject) -> ReadObject:
        target = self._targets.get(found.meta.key) if found.meta is not None else None
        if target is None or target.meta is not found.meta:
            return found
        return read_document(target, file_of=target.file_of)

    def _target(self, patch: Patch, manifests: Iterable[ReadFile]) -> _Target | None:
        """Return the object that *patch* changes; one of a kind without namespaces is found by its name."""
        keys = (patch.target, patch.target._replace(namespace=""))
        for file in manifests:
            for found in file.objects:
                if found.meta is not None and found.meta.key in keys:
                    return self._targets.setdefault(found.meta.key, _Target(found))
        return None

    def _parse(self, file: str) -> None:
        if file not in self._values:
            self._values[file] = parse_values(self._sources[file])
            self.problems.extend(self._values[file].problems)

    def _add(self, origin: Origin, message: str, hint: str, field: str = "") -> None:
        self.problems.append(_problem(origin, field, message, hint))


class _Step(NamedTuple):
    """A merge patch, or one operation of a JSON Patch."""

    value: object
    line: int
    number: int | None = None  # of the operation in its list


class _Target:
    """An object under patches; in the end a document that is read as any other."""

    def __init__(self, found: ReadObject) -> None:
        assert found.meta is not None
        assert isinstance(found.meta.manifest, Located)
        self.meta = found.meta
        self.file = found.meta.origin.file
        self.tree = found.meta.manifest
        self._grafts = Grafts()

    def patch(self, file: str, values: ParsedValues) -> Problem | None:
        """Apply the patches of one file, all or none; return why none."""
        tree = self.tree
        for step in _steps(values):
            try:
                tree = self._after(tree, step, file)
            except PatchError as error:
                path = (error.field,) if error.field else ()
                field = path_text(path if step.number is None else (step.number, *path))
                message = f"{error.message}; nothing of this file is applied to {self.meta.key}"
                return _problem(Origin(file, step.line), field, message, f"{error.hint}; {_HELD}")
        self.tree = tree
        return None

    def _after(self, tree: Located, step: _Step, file: str) -> Located:
        if not isinstance(step.value, Located):
            raise PatchError("", "is no mapping", "write a list of operations (RFC 6902), or a merge patch")
        if step.number is None:
            after = merge(tree, step.value, self._grafts, file)
        else:
            after = apply_operation(tree, step.value, self._grafts, file)
        if not isinstance(after, Located) or not _is_called(after, self.meta.key):
            raise PatchError("", "changes kind, name or namespace", "a patch changes an object, it makes no other one")
        return after

    def file_of(self, node: Located) -> str | None:
        """Return the patch that *node* was written in, None for the object's own file."""
        return self._grafts.file_of(node)

    def origins(self, paths: Collection[Path]) -> dict[Path, Origin]:
        """Return where each path is written: the mapping around it, in the object's own file or in a patch."""
        return {path: self._origin(path) for path in paths}

    def _origin(self, path: Path) -> Origin:
        node: object = self.tree
        nearest = self.tree
        for part in path:
            node = _item(node, part)
            nearest = node if isinstance(node, Located) else nearest
        return Origin(self._grafts.file_of(nearest) or self.file, nearest.line)


def _steps(values: ParsedValues) -> Iterator[_Step]:
    for value, line in values.values:
        if isinstance(value, list):
            for index, item in enumerate(value):
                yield _Step(item, item.line if isinstance(item, Located) else line, index)
        else:
            yield _Step(value, line)


def _item(node: object, part: str | int) -> object:
    if isinstance(node, Located) and isinstance(part, str):
        return node.get(part)
    if isinstance(node, list) and isinstance(part, int) and part < len(node):
        return node[part]
    return None


def _is_called(tree: Located, key: ResourceKey) -> bool:
    metadata = tree.get("metadata")
    if not isinstance(metadata, Located):
        return False
    namespace = metadata.get("namespace") or DEFAULT_NAMESPACE
    same_place = not key.namespace or namespace == key.namespace
    return same_place and tree.get("kind") == key.kind and metadata.get("name") == key.name


def _problem(origin: Origin, field: str, message: str, hint: str) -> Problem:
    return Problem(
        origin=origin, severity=Severity.ERROR, key=None, field=field, message=message, hint=hint, code=Code.PATCH
    )
