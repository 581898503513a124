"""Bytes to located objects: the one reader of YAML and JSON, made for hostile input. Pure.

`parse` takes one text and returns its objects (documents, and the items of `kind: List`) as `Document`s, and every
problem with file and line. A flaw inside an object fences that object; a syntax error ends the text, since nothing
after it has a certain meaning, but what came before stays.

Scalars follow the JSON schema of YAML 1.2: only true, false, null, ~ and decimal numbers are not strings, so `on`,
`no`, `012`, `0x50`, `1:30` and dates are. Merge keys and tags other than !!str are refused.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from re import Match
from re import compile as regex
from typing import Final

from gatewayproxy.compiler.documents.events import (
    MAX_DEPTH,
    MAX_FLAWS,
    MAX_NODES,
    MAX_SCALAR_CHARS,
    BrokenTextError,
    Raw,
    Span,
    build,
    find_lines,
)
from gatewayproxy.fields import Located, Path, path_text
from gatewayproxy.model.codes import Code
from gatewayproxy.model.names import Origin
from gatewayproxy.model.source import MAX_SOURCE_BYTES, Source
from gatewayproxy.model.status import Problem, Severity

__all__ = [
    "MAX_DEPTH", "MAX_FILE_PROBLEMS", "MAX_FLAWS", "MAX_NODES", "MAX_OBJECTS", "MAX_OBJECT_CHARS",
    "MAX_SCALAR_CHARS", "Document", "ParsedFile", "ParsedValues", "parse", "parse_values",
]  # fmt: skip

MAX_OBJECT_CHARS: Final = 3 << 20  # one object, what an API server takes in one request; fences it
MAX_OBJECTS: Final = 50_000  # of a text; ends it
MAX_FILE_PROBLEMS: Final = 1_000  # told of a text; the others are counted as one

# A run of escaped backslashes, or a pair of surrogates; matching the runs keeps "\\\\ud83d" from looking like one.
_SURROGATES: Final = regex(r"(?:\\\\)++|\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One object as written."""

    file: str
    tree: Located
    span: Span
    text: str = field(repr=False)  # the whole file's

    def origins(self, paths: Collection[Path]) -> dict[Path, Origin]:
        """Return the place of each path, as `lines` does."""
        return {path: Origin(self.file, line) for path, line in self.lines(paths).items()}

    def lines(self, paths: Collection[Path]) -> dict[Path, int]:
        """Return the line of each path, that of the nearest enclosing field where a path does not exist."""
        found = find_lines(self.span.cut(self.text), self.span.line, _with_parents(paths))
        return {path: _nearest(found, path, self.tree.line) for path in paths}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFile:
    """What a text holds."""

    file: str
    documents: tuple[Document, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedValues:
    """The documents of a text that need be no objects, each with its line."""

    values: tuple[tuple[object, int], ...] = ()
    problems: tuple[Problem, ...] = ()


def parse_values(source: Source) -> ParsedValues:
    """Parse one text whose documents are any values; one with a flaw is left out. Never raises for content."""
    parsing = _Parsing(source.file)
    text = parsing.decode(source.text)
    values: list[tuple[object, int]] = []
    try:
        for raw in build(text) if text is not None else ():
            parsing.report_flaws(text or "", raw)
            if not raw.flaws and raw.tree is not None:
                values.append((raw.tree, raw.span.line))
    except BrokenTextError as error:
        parsing.add(error.line, error.message, error.hint)
    return ParsedValues(values=tuple(values), problems=parsing.result().problems)


def parse(source: Source) -> ParsedFile:
    """Parse one text; never raises for content."""
    parsing = _Parsing(source.file)
    text = parsing.decode(source.text)
    if text is None:
        return parsing.result()
    try:
        for raw in build(text):
            parsing.take(text, raw)
    except BrokenTextError as error:
        parsing.add(error.line, error.message, error.hint)
    return parsing.result()


class _Parsing:
    """The documents and problems of one text, as they come."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._documents: list[Document] = []
        self._problems: list[Problem] = []

    def result(self) -> ParsedFile:
        """Return what was found."""
        return ParsedFile(file=self._file, documents=tuple(self._documents), problems=tuple(self._problems))

    def add(self, line: int, message: str, hint: str, path: str = "") -> None:
        """Note an error."""
        if len(self._problems) > MAX_FILE_PROBLEMS:
            return
        if len(self._problems) == MAX_FILE_PROBLEMS:
            line, message, hint, path = 0, "has more problems than these", "mend these first", ""
        self._problems.append(
            Problem(
                origin=Origin(self._file, line),
                severity=Severity.ERROR,
                key=None,
                field=path,
                message=message,
                hint=hint,
                code=Code.MALFORMED,
            )
        )

    def decode(self, data: bytes) -> str | None:
        """Return the text of *data*; None, and an error, where it is none."""
        if len(data) > MAX_SOURCE_BYTES:
            self.add(0, f"has {len(data)} bytes, {MAX_SOURCE_BYTES} is the most", "split it into several files")
            return None
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            self.add(line, f"is not UTF-8 text ({error.reason})", "save the file as UTF-8")
            return None
        return _SURROGATES.sub(_joined, text) if self._file.endswith(".json") else text

    def take(self, text: str, raw: Raw) -> None:
        """Take the sound objects of a document; note what is wrong with the others."""
        self.report_flaws(text, raw)
        tree = raw.tree
        if isinstance(tree, Located) and _is_list(tree):
            self._take_items(text, raw, tree)
        elif raw.flaws or tree is None:
            return
        elif isinstance(tree, Located):
            self._take_object(text, tree, raw.span)
        else:
            hint = "write apiVersion, kind, metadata and spec; separate objects by a line ---"
            if isinstance(tree, list) and any(isinstance(item, Located) and "op" in item for item in tree):
                hint = "this is a JSON Patch: name the file in a Patch, which says what to apply it to"
            self.add(raw.span.line, "is not an object, but a list or a word", hint)

    def _take_items(self, text: str, raw: Raw, tree: Located) -> None:
        items = tree["items"]
        paths = [flaw.path[::-1] for flaw in raw.flaws]
        if any(len(path) < 2 or path[0] != "items" for path in paths):
            return  # the list itself is broken
        if not isinstance(items, list):
            if items is not None:
                self.add(tree.line, "must be a list", 'start each object with "- "', "items")
            return
        broken = {path[1] for path in paths}
        for index, item in enumerate(items):
            span = raw.spans.pop(id(item), None)  # each once: an alias is no object of its own
            if index in broken:
                continue
            if isinstance(item, Located) and span is not None:
                self._take_object(text, item, span)
            else:
                line = find_lines(raw.span.cut(text), raw.span.line, {("items", index)}).get(
                    ("items", index), tree.line
                )
                self.add(line, "is not an object", "write it out, or remove it", f"items[{index}]")

    def _take_object(self, text: str, tree: Located, span: Span) -> None:
        n_chars = span.end - span.start
        if n_chars > MAX_OBJECT_CHARS:
            message = f"the object has {n_chars} characters, {MAX_OBJECT_CHARS} is the most"
            self.add(span.line, message, "split it into several objects")
            return
        if len(self._documents) == MAX_OBJECTS:
            raise BrokenTextError(span.line, f"holds more than {MAX_OBJECTS} objects", "split it into several files")
        self._documents.append(Document(file=self._file, tree=tree, span=span, text=text))

    def report_flaws(self, text: str, raw: Raw) -> None:
        """Note what is wrong inside of a document."""
        paths = [tuple(reversed(flaw.path)) for flaw in raw.flaws]
        duplicates = {path for path, flaw in zip(paths, raw.flaws, strict=True) if flaw.duplicate}
        first = find_lines(raw.span.cut(text), raw.span.line, duplicates) if duplicates else {}
        for path, flaw in zip(paths, raw.flaws, strict=True):
            message = flaw.message
            if flaw.duplicate and path in first:
                message = f"is there twice, first in line {first[path]}"
            self.add(flaw.line, message, flaw.hint, path_text(path))


def _is_list(tree: Located) -> bool:
    """Tell a `kind: List` (or PodList ...) from an object."""
    kind = tree.get("kind")
    return isinstance(kind, str) and kind.endswith("List") and "items" in tree


def _with_parents(paths: Collection[Path]) -> set[Path]:
    return {path[:n] for path in paths for n in range(1, len(path) + 1)}


def _nearest(lines: dict[Path, int], path: Path, line: int) -> int:
    for n in range(len(path), 0, -1):
        if path[:n] in lines:
            return lines[path[:n]]
    return line


def _joined(found: Match[str]) -> str:
    """Return a JSON surrogate pair as the character it stands for; other escapes as they are."""
    if found[1] is None:
        return found[0]
    return chr(0x10000 + ((int(found[1], 16) - 0xD800) << 10) + int(found[2], 16) - 0xDC00)
