"""Located trees to typed objects: finds the kind, reads metadata and the rest, says what is wrong and where. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from gatewayproxy.compiler.documents import MAX_FILE_PROBLEMS, ParsedFile, parse
from gatewayproxy.compiler.manifests import KINDS
from gatewayproxy.compiler.manifests.foreign import advice
from gatewayproxy.compiler.manifests.meta import DEFAULT_NAMESPACE, Meta, read_meta
from gatewayproxy.compiler.manifests.resources import ReadObject, Resources, gather
from gatewayproxy.fields import Fields, Located, Path, Reading, close_match
from gatewayproxy.fields.shapes import EXPERIMENTAL_GROUP, GATEWAY_GROUP
from gatewayproxy.model.codes import Code
from gatewayproxy.model.names import Origin, ResourceKey
from gatewayproxy.model.source import Source
from gatewayproxy.model.status import Problem, Severity

__all__ = ["LINT_IGNORE", "ReadFile", "gather_files", "read_document", "read_file", "read_source"]

# Kinds of the Gateway API that exist and are not served yet; a misspelt kind must not look like one of them.
_LATER: Final = ("XBackend", "XListenerSet", "XMesh")
_OWN_PREFIX: Final = "gatewayproxy.io/"  # of annotations
LINT_IGNORE: Final = "gatewayproxy.io/lint-ignore"  # of any object: see `insight.lint.silence`
_GROUPS: Final = (GATEWAY_GROUP, EXPERIMENTAL_GROUP, "gatewayproxy.io")  # whose kinds we know, all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFile:
    """All of one text; depends on nothing else, so an unchanged text need not be read again."""

    file: str
    objects: tuple[ReadObject, ...] = ()
    problems: tuple[Problem, ...] = ()  # of no object: what could not be parsed


class Readable(Protocol):
    """An object's tree, and where its fields are written."""

    @property
    def file(self) -> str: ...
    @property
    def tree(self) -> Located: ...
    def origins(self, paths: Collection[Path]) -> Mapping[Path, Origin]: ...


def read_source(source: Source) -> ReadFile:
    """Parse and read one text; never raises for content."""
    return read_file(parse(source))


def read_file(parsed: ParsedFile) -> ReadFile:
    """Read every object of a parsed text."""
    objects: list[ReadObject] = []
    n_problems = len(parsed.problems)
    for document in parsed.documents:
        found = read_document(document, tell=n_problems < MAX_FILE_PROBLEMS)
        objects.append(found)
        n_problems += len(found.problems)
    return ReadFile(file=parsed.file, objects=tuple(objects), problems=parsed.problems)


def gather_files(files: Iterable[ReadFile]) -> Resources:
    """Return the objects of all *files* together."""
    kept = tuple(files)
    return gather(
        (found for file in kept for found in file.objects), (problem for file in kept for problem in file.problems)
    )


def read_document(
    document: Readable, *, tell: bool = True, file_of: Callable[[Located], str | None] | None = None
) -> ReadObject:
    """Read one object; without *tell* its problems are one, whatever they are. *file_of*: see `Reading`."""
    reading = Reading(document.file, file_of)
    root = reading.open(document.tree)
    api_version, kind_name = _what_it_is(root)
    group, _, version = api_version.rpartition("/")
    kind = KINDS.get((group, kind_name)) if api_version else None
    if kind is None:
        meant = _report_unserved(root, kind_name, group) if api_version and kind_name else None
        root.ignore(*document.tree)
        key = _key_as_written(document, kind_name) if reading.finish() else None
        problems = _problems(reading, key, document, tell)
        return ReadObject(meta=None, resource=None, problems=problems, meant=_meant_key(document, meant))
    root.ignore("status")
    meta = read_meta(root, kind=kind_name, namespaced=kind.namespaced, name=kind.name, api_version=api_version)
    _check_annotations(reading, meta, kind.annotations)
    if version in kind.versions:
        if version in kind.deprecated:
            newest = _api_version(group, kind_name)
            told = f"version {version} of {kind_name} is deprecated"
            root.warn("apiVersion", told, f"write apiVersion: {newest}", Code.DEPRECATED)
        resource = kind.read(meta, root, version)
    else:
        _report_version(root, kind_name, group, version)
        root.ignore(*document.tree)
        resource = None
    sound = reading.finish()
    if not (sound or _is_named(document, meta)):
        return ReadObject(meta=None, resource=None, problems=_problems(reading, None, document, tell))
    problems = _problems(reading, meta.key, document, tell)
    return ReadObject(meta=meta, resource=resource if sound else None, problems=problems)


def _what_it_is(root: Fields) -> tuple[str, str]:
    """Return apiVersion and kind; where there is neither, it is said once that this is no manifest."""
    if root.has("apiVersion") or root.has("kind"):
        return root.text("apiVersion"), root.text("kind")
    hint = "add both; a file that is for another program: move it elsewhere, or begin its name with a dot"
    root.error("", "is no Kubernetes object: it has neither apiVersion nor kind", hint)
    return "", ""


def _is_named(document: Readable, meta: Meta) -> bool:
    """Tell whether name and namespace are sound; an object without may be any one, and stands for none."""
    metadata = document.tree.get("metadata")
    namespace = metadata.get("namespace") if isinstance(metadata, dict) else None
    return bool(meta.name) and (not meta.namespace or namespace in (None, meta.namespace))


def _problems(reading: Reading, key: ResourceKey | None, document: Readable, tell: bool) -> tuple[Problem, ...]:
    """Return what was found; without *tell* only the worst of it, at the line the object starts."""
    if tell:
        return reading.problems(key, document.origins)
    found = reading.problems(key, lambda paths: dict.fromkeys(paths, Origin(document.file, document.tree.line)))
    return tuple(sorted(found, key=lambda problem: problem.severity is not Severity.ERROR)[:1])


def _check_annotations(reading: Reading, meta: Meta, known: Sequence[str]) -> None:
    """Warn of annotations under our name that mean nothing, at least here."""
    for key in meta.annotations:
        if key.startswith(_OWN_PREFIX) and key not in known and key != LINT_IGNORE:
            close = close_match(key, known)
            hint = f"did you mean {close}?" if close else f"known here: {', '.join(known) or 'none'}"
            path = ("metadata", "annotations", key)
            reading.add(path, "unknown annotation, ignored", hint, Severity.WARNING, code=Code.IGNORED)


def _report_version(root: Fields, name: str, group: str, version: str) -> None:
    served = ", ".join(f"{group}/{known}" if group else known for known in KINDS[group, name].versions)
    root.error("apiVersion", f"{name} has no version {version!r:.80}", f"write one of: {served}")


def _report_unserved(root: Fields, name: str, group: str) -> tuple[str, str] | None:
    """Say why the object is passed over: a kind we do not serve (yet), or not one of the Gateway API.

    Return group and kind that a slip of the pen may have hidden.
    """
    if group in _GROUPS and name in _LATER:
        hint = "nothing serves it here: do not rely on it"
        root.warn("kind", f"{name} is not implemented yet, passed over", hint, Code.PASSED_OVER)
    elif group in _GROUPS:
        known_here = [known for known_group, known in KINDS if known_group == group]
        close = close_match(name, [*known_here, *_LATER])
        hint = f"did you mean {close}?" if close else f"known: {', '.join(known_here)}"
        root.warn("kind", f"unknown kind {name!r:.80}, passed over", hint, Code.PASSED_OVER)
        return (group, close) if (group, close) in KINDS else None
    else:
        right = [other for other, known in KINDS if known == name]
        hint = f"did you mean apiVersion {_api_version(right[0], name)}?" if right else advice(name)
        told = f"{name!r:.80} of API group {group!r:.80} is not known here, passed over"
        root.warn("kind", told, hint, Code.PASSED_OVER)
        # Other groups have Gateways and Services of their own: one letter, or no group at all, is a slip.
        if right and (not group or close_match(group, right, 0.9)):
            return right[0], name
    return None


def _api_version(group: str, kind: str) -> str:
    version = KINDS[group, kind].versions[0]
    return f"{group}/{version}" if group else version


def _meant_key(document: Readable, meant: tuple[str, str] | None) -> ResourceKey | None:
    key = _key_as_written(document, meant[1]) if meant is not None else None
    if key is None or meant is None or KINDS[meant].namespaced:
        return key
    return key._replace(namespace="")


def _key_as_written(document: Readable, kind: str) -> ResourceKey | None:
    """Name an object that is passed over, as far as it can be named."""
    metadata = document.tree.get("metadata")
    if not isinstance(metadata, dict) or not kind:
        return None
    name, namespace = metadata.get("name"), metadata.get("namespace", DEFAULT_NAMESPACE)
    return ResourceKey(kind, namespace, name) if isinstance(name, str) and isinstance(namespace, str) else None
