"""Patch: changes to another object, kept in files of their own (`kubectl patch`, for a folder). Pure.

    apiVersion: gatewayproxy.io/v1alpha1
    kind: Patch
    metadata: {name: listeners, namespace: infra}
    spec:
      target: {kind: Gateway, name: shared}
      files: ["listeners/*.json", annotations.yaml]

What the files hold, and what applying them means, is `compiler.patches`'.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Final

from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.fields import Fields, Text
from gatewayproxy.fields.shapes import KIND, NAMESPACE, OBJECT_NAME
from gatewayproxy.model.names import ResourceKey

__all__ = ["MAX_PATTERNS", "Patch", "Pattern", "read"]

MAX_PATTERNS: Final = 1_000
_PATTERN: Final = Text('a path with at most one "*", in the name of the file', r"([^*]*/)?[^*/]*\*?[^*/]*", shortest=1)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A path, relative to the manifest that names it; "*" stands for any part of a file's name."""

    text: str
    _before: str  # the star; the whole path where there is none
    _after: str | None

    @classmethod
    def of(cls, manifest: str, text: str) -> Pattern:
        """Return the pattern *text* of file *manifest*."""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(manifest), text))
        before, star, after = path.partition("*")
        return cls(text, before, after if star else None)

    def matches(self, file: str) -> bool:
        """Tell whether *file*, as a source is called, is meant."""
        path = posixpath.normpath(file)
        if self._after is None:
            return path == self._before
        middle = path[len(self._before) : len(path) - len(self._after)]
        fits = path.startswith(self._before) and path.endswith(self._after)
        return fits and len(path) >= len(self._before) + len(self._after) and "/" not in middle


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """Patch: the object it changes, and the files that say how."""

    meta: Meta
    target: ResourceKey
    files: tuple[Pattern, ...]


def read(meta: Meta, root: Fields, version: str) -> Patch:
    """Read a Patch; the namespace of its target is its own where none is given."""
    spec = root.required_child("spec")
    target = spec.required_child("target")
    kind = target.text("kind", KIND)
    if kind == "Patch":
        target.error("kind", "a Patch cannot be patched", "change it where it is written")
    key = ResourceKey(kind, target.text("namespace", NAMESPACE, meta.namespace), target.text("name", OBJECT_NAME))
    files = spec.texts("files", _PATTERN, least=1, most=MAX_PATTERNS, unique=True)
    return Patch(meta=meta, target=key, files=tuple(Pattern.of(meta.origin.file, text) for text in files))
