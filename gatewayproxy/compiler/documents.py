"""Bytes to located trees: the one reader of YAML and JSON, made for hostile input. Pure.

`parse` takes one text and returns its objects (documents, and the items of `kind: List`) as `Document`s, and every
problem with file and line. A flaw inside a document fences that document; a syntax error ends the text, since nothing
after it has a certain meaning, but what came before stays.

The trees come straight from parser events. They are plain dicts, lists and scalars; each dict knows its line
(`Located`), and the lines of single fields are found by a second look at the object's text, only when a problem needs
them (`Document.lines`). Scalars follow the JSON schema of YAML 1.2: only true, false, null, ~ and decimal numbers are
not strings, so `on`, `no`, `012`, `0x50`, `1:30` and dates are. Merge keys and tags other than !!str are refused.
Aliases share what their anchor built, and count against MAX_NODES as often as they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from math import isinf
from re import DOTALL, Match
from re import compile as regex
from typing import Final, Protocol

import yaml

from gatewayproxy.fields import Located, Path, path_text
from gatewayproxy.model.names import Origin
from gatewayproxy.model.source import Source
from gatewayproxy.model.status import Problem, Severity

__all__ = [
    "MAX_DEPTH", "MAX_FILE_BYTES", "MAX_FLAWS", "MAX_NODES", "MAX_OBJECT_CHARS", "MAX_SCALAR_CHARS", "Document",
    "ParsedFile", "parse",
]  # fmt: skip

MAX_FILE_BYTES: Final = 32 << 20  # a text; refused unread
MAX_NODES: Final = 2_000_000  # scalars and collections of a text, aliases expanded; ends the text
MAX_DEPTH: Final = 64  # nested collections; ends the text
MAX_OBJECT_CHARS: Final = 3 << 20  # one object, what an API server takes in one request; fences it
MAX_SCALAR_CHARS: Final = 2 << 20  # one string (a Secret may hold 1 MiB, 1.4 in base64); fences its document
MAX_FLAWS: Final = 50  # flaws reported of one document

# The C parser of libyaml where PyYAML has it, five times the speed of the Python one; the events are the same.
_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_SCALAR: Final[type[object]] = yaml.ScalarEvent
_ALIAS: Final[type[object]] = yaml.AliasEvent
_MAPPING: Final[type[object]] = yaml.MappingStartEvent
_MAPPING_END: Final[type[object]] = yaml.MappingEndEvent
_SEQUENCE: Final[type[object]] = yaml.SequenceStartEvent
_SEQUENCE_END: Final[type[object]] = yaml.SequenceEndEvent
_DOCUMENT: Final[type[object]] = yaml.DocumentStartEvent
_DOCUMENT_END: Final[type[object]] = yaml.DocumentEndEvent
_STREAM_END: Final[type[object]] = yaml.StreamEndEvent
_NODES: Final = (_SCALAR, _ALIAS, _MAPPING, _SEQUENCE)

_WORDS: Final[dict[str, object]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_NUMBER: Final = regex(r"[-+]?(?:(?P<int>0|[1-9][0-9]*)|(?:(?:0|[1-9][0-9]*)\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)")
_NUMBER_START: Final = frozenset("0123456789+-.")
_PLAIN_TAGS: Final = frozenset({"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:str", "!"})
_SURROGATES: Final = regex(r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|.)", DOTALL)


class _Mark(Protocol):
    index: int  # in characters
    line: int  # 0-based
    column: int


class _Event(Protocol):
    """What we use of PyYAML's events; *value* and *implicit* are a scalar's, *tag* also a collection's."""

    anchor: str | None
    tag: str | None
    value: str
    implicit: tuple[bool, bool]  # (plain and untagged, quoted and untagged)
    start_mark: _Mark
    end_mark: _Mark


class _TooMuchError(Exception):
    """A bound of the whole text is reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One object as written."""

    file: str
    tree: Located
    text: str = field(repr=False)  # of this object alone, first line padded to its column
    first_line: int  # of *text* in the file

    def lines(self, paths: Collection[Path]) -> dict[Path, int]:
        """Return the line of each path, that of the nearest enclosing field where a path does not exist."""
        found = _find_lines(self.text, self.first_line, _with_parents(paths))
        return {path: _nearest(found, path, self.tree.line) for path in paths}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFile:
    """What a text holds."""

    file: str
    documents: tuple[Document, ...] = ()
    problems: tuple[Problem, ...] = ()


def parse(source: Source) -> ParsedFile:
    """Parse one text; never raises for content."""
    problems: list[Problem] = []
    if len(source.text) > MAX_FILE_BYTES:
        message = f"has {len(source.text)} bytes, {MAX_FILE_BYTES} is the most"
        problems.append(_problem(source.file, 0, message, "split it into several files"))
        return ParsedFile(file=source.file, problems=tuple(problems))
    try:
        text = source.text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = source.text.count(b"\n", 0, error.start) + 1
        hint = "save the file as UTF-8"
        problems.append(_problem(source.file, line, f"is not UTF-8 text ({error.reason})", hint))
        return ParsedFile(file=source.file, problems=tuple(problems))
    if source.file.endswith(".json"):
        text = _SURROGATES.sub(_joined, text)
    documents: list[Document] = []
    try:
        for raw in _Builder(text).documents():
            documents += _objects(source.file, text, raw, problems)
    except yaml.YAMLError as error:
        problems.append(_syntax_problem(source.file, text, error))
    except _TooMuchError as error:
        line, message, hint = error.args
        problems.append(_problem(source.file, line, message, hint))
    return ParsedFile(file=source.file, documents=tuple(documents), problems=tuple(problems))


# -- documents and list items ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Span:
    """Where an object stands in the text: character indexes, 1-based line, 0-based column."""

    start: int
    line: int
    column: int
    end: int = 0

    def cut(self, text: str) -> str:
        return " " * self.column + text[self.start : self.end]


@dataclass(slots=True)
class _Flaw:
    path: list[str | int]  # innermost first
    line: int
    message: str
    hint: str
    duplicate: bool = False  # of a key: the line of the first one is worth telling


@dataclass(slots=True)
class _Raw:
    """A document as it comes from the events."""

    tree: object
    span: _Span
    spans: dict[int, _Span]  # of mappings in lists directly below the root, by id
    flaws: list[_Flaw]


def _objects(file: str, text: str, raw: _Raw, problems: list[Problem]) -> Iterator[Document]:
    """Yield the sound objects of a document; note what is wrong with the others."""
    tree = raw.tree
    _report_flaws(file, text, raw, problems)
    if isinstance(tree, Located) and _is_list(tree):
        yield from _items(file, text, raw, tree, problems)
    elif raw.flaws or tree is None:
        return
    elif not isinstance(tree, Located):
        hint = "write apiVersion, kind, metadata and spec; separate objects by a line ---"
        problems.append(_problem(file, raw.span.line, "is not an object, but a list or a word", hint))
    elif document := _document(file, text, tree, raw.span, problems):
        yield document


def _items(file: str, text: str, raw: _Raw, tree: Located, problems: list[Problem]) -> Iterator[Document]:
    items = tree["items"]
    paths = [flaw.path[::-1] for flaw in raw.flaws]
    if any(len(path) < 2 or path[0] != "items" for path in paths):
        return  # the list itself is broken
    if not isinstance(items, list):
        if items is not None:
            problems.append(_problem(file, tree.line, "must be a list", 'start each object with "- "', "items"))
        return
    broken = {path[1] for path in paths}
    for index, item in enumerate(items):
        if index in broken:
            continue
        if not isinstance(item, Located):
            problems.append(_problem(file, tree.line, "is not an object", "remove it", f"items[{index}]"))
        elif document := _document(file, text, item, raw.spans.get(id(item), raw.span), problems):
            yield document


def _is_list(tree: Located) -> bool:
    """Tell a `kind: List` (or PodList ...) from an object."""
    kind = tree.get("kind")
    return isinstance(kind, str) and kind.endswith("List") and "items" in tree


def _document(file: str, text: str, tree: Located, span: _Span, problems: list[Problem]) -> Document | None:
    if span.end - span.start > MAX_OBJECT_CHARS:
        message = f"the object has {span.end - span.start} characters, {MAX_OBJECT_CHARS} is the most"
        problems.append(_problem(file, span.line, message, "split it into several objects"))
        return None
    return Document(file=file, tree=tree, text=span.cut(text), first_line=span.line)


def _report_flaws(file: str, text: str, raw: _Raw, problems: list[Problem]) -> None:
    paths = [tuple(reversed(flaw.path)) for flaw in raw.flaws]
    duplicates = {path for path, flaw in zip(paths, raw.flaws, strict=True) if flaw.duplicate}
    first = _find_lines(raw.span.cut(text), raw.span.line, duplicates) if duplicates else {}
    for path, flaw in zip(paths, raw.flaws, strict=True):
        message = flaw.message
        if flaw.duplicate and path in first:
            message = f"is there twice, first in line {first[path]}"
        problems.append(_problem(file, flaw.line, message, flaw.hint, path_text(path)))


# -- events to trees -------------------------------------------------------------------------------------------------


class _Builder:
    """Builds one document after the other from events; recursion is bounded by MAX_DEPTH."""

    def __init__(self, text: str) -> None:
        self._loader = _Loader(text)
        self._next: Callable[[], _Event] = self._loader.get_event
        self._n_nodes = 0
        self._depth = 0
        self._end = 0  # character index where the latest mapping ended
        self._keys: dict[str, str] = {}  # one string per distinct key, and known to be good
        self._anchors: dict[str, tuple[object, int]] = {}  # value, nodes
        self._flaws: list[_Flaw] = []
        self._spans: dict[int, _Span] = {}

    def documents(self) -> Iterator[_Raw]:
        """Yield every document; raise YAMLError or _TooMuchError where the text cannot be followed further."""
        try:
            while (kind := type(event := self._next())) is not _STREAM_END:
                if kind is _DOCUMENT:
                    yield self._document(event.start_mark)
        finally:
            self._loader.dispose()

    def _document(self, mark: _Mark) -> _Raw:
        self._anchors, self._flaws, self._spans = {}, [], {}
        span = _Span(mark.index, mark.line + 1, mark.column)
        tree = self._value(self._next())
        span.end = self._next().end_mark.index
        return _Raw(tree, span, self._spans, self._flaws)

    def _value(self, event: _Event) -> object:
        """Build the node that starts with *event*."""
        kind = type(event)
        if kind is _SCALAR:
            return self._scalar(event)
        if kind is _ALIAS:
            return self._alias(event)
        n_before = self._n_nodes
        self._enter(event)
        value = self._mapping(event) if kind is _MAPPING else self._sequence()
        self._depth -= 1
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._n_nodes - n_before)
        return value

    def _mapping(self, start: _Event) -> Located:
        out = Located()
        out.line = start.start_mark.line + 1
        read, flaws, keys = self._next, self._flaws, self._keys
        while type(event := read()) is not _MAPPING_END:
            n_flaws = len(flaws)
            key: str | None
            if type(event) is _SCALAR and event.value in keys and event.anchor is None and event.tag is None:
                key = keys[event.value]
            else:
                key = self._key(event)
            value = self._scalar(event) if type(event := read()) is _SCALAR else self._value(event)
            if len(flaws) > n_flaws:
                _prefix(flaws, n_flaws, key)
            if key is None:
                continue
            if key in out:
                self._duplicate(key, event)
            out.setdefault(key, value)
        self._end = event.end_mark.index
        return out

    def _sequence(self) -> list[object]:
        out: list[object] = []
        read, flaws = self._next, self._flaws
        is_items = self._depth == 2
        while type(event := read()) is not _SEQUENCE_END:
            n_flaws = len(flaws)
            if is_items and type(event) is _MAPPING:
                out.append(self._item(event))
            else:
                out.append(self._value(event))
            if len(flaws) > n_flaws:
                _prefix(flaws, n_flaws, len(out) - 1)
        return out

    def _scalar(self, event: _Event) -> object:
        value: str = event.value
        self._n_nodes += 1
        if event.implicit[0]:  # plain and without a tag
            if value in _WORDS:
                return _WORDS[value]
            if value[0] in _NUMBER_START:
                return self._anchored(event, _number(value))
        elif event.tag is not None and event.tag not in _PLAIN_TAGS:
            self._flaw(event, f"has the tag {event.tag:.80}", "remove the tag: values are plain data")
        if self._n_nodes > MAX_NODES:
            self._check_nodes(event)
        if len(value) > MAX_SCALAR_CHARS:
            message = f"is a string of {len(value)} characters, {MAX_SCALAR_CHARS} is the most"
            self._flaw(event, message, "keep large data in a file of its own")
        return self._anchored(event, value)

    def _anchored(self, event: _Event, value: object) -> object:
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, 1)
        return value

    def _alias(self, event: _Event) -> object:
        if event.anchor is None or event.anchor not in self._anchors:
            message = f"*{event.anchor:.80} refers to no anchor before it"
            self._flaw(event, message, "an anchor must come first, and cannot hold itself")
            return None
        value, n_nodes = self._anchors[event.anchor]
        self._n_nodes += n_nodes
        self._check_nodes(event)
        return value

    def _item(self, event: _Event) -> object:
        """Build a mapping in a list directly below the root, and note where it stands: it may be an object."""
        mark = event.start_mark
        span = _Span(mark.index, mark.line + 1, mark.column)
        value = self._value(event)
        span.end = self._end
        self._spans[id(value)] = span
        return value

    def _enter(self, event: _Event) -> None:
        self._n_nodes += 1
        self._check_nodes(event)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            line = event.start_mark.line + 1
            raise _TooMuchError(line, f"nests deeper than {MAX_DEPTH} levels", "flatten it")
        if event.tag is not None and event.tag not in _PLAIN_TAGS:
            self._flaw(event, f"has the tag {event.tag:.80}", "remove the tag: values are plain data")

    def _check_nodes(self, event: _Event) -> None:
        if self._n_nodes > MAX_NODES:
            line = event.start_mark.line + 1
            message = f"holds more than {MAX_NODES} values, aliases expanded"
            raise _TooMuchError(line, message, "split it into several files; use fewer aliases")

    def _key(self, event: _Event) -> str | None:
        """Return a key not met before in this text; None, and a flaw, where it cannot be one."""
        if type(event) is not _SCALAR:
            self._value(event)
            self._flaw(event, "has a key that is not a string", "write a word, then a colon")
            return None
        key = self._scalar(event)
        if type(key) is not str:
            self._flaw(event, f"has the key {event.value[:80]}, which is not a string", "quote it")
            return None
        if key == "<<" and event.implicit[0]:
            self._flaw(event, "merges mappings by <<, which is not supported", "write the fields out")
            return None
        return self._keys.setdefault(key, key)

    def _duplicate(self, key: str, event: _Event) -> None:
        flaw = self._flaw(event, "is there twice", "remove one of the two, or merge them")
        if flaw is not None:
            flaw.duplicate = True
            flaw.path.append(key)

    def _flaw(self, event: _Event, message: str, hint: str) -> _Flaw | None:
        if len(self._flaws) >= MAX_FLAWS:
            return None
        flaw = _Flaw([], event.start_mark.line + 1, message, hint)
        self._flaws.append(flaw)
        return flaw


def _prefix(flaws: list[_Flaw], start: int, key: str | int | None) -> None:
    """Put the flaws from *start* on, found below *key*, below it."""
    if key is not None:
        for flaw in flaws[start:]:
            flaw.path.append(key)


def _number(text: str) -> object:
    """Return the number *text* spells, or *text*."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return text
    if found["int"] is not None and len(text) <= 20:
        return int(text)
    number = float(text)
    return text if isinf(number) else number


# -- second look: where is it? ---------------------------------------------------------------------------------------


def _find_lines(text: str, first_line: int, paths: Collection[Path]) -> dict[Path, int]:
    """Return the lines where *paths* first stand in *text*, a sound document or list item; absent where they do not."""
    wanted = set(paths)
    lines: dict[Path, int] = {}
    loader = _Loader(text)
    try:
        _walk(loader.get_event, wanted, lines, first_line)
    except yaml.YAMLError:
        pass  # the cut of a list item may end in a way that only the whole text makes sense of
    finally:
        loader.dispose()
    return lines


def _walk(read: Callable[[], _Event], wanted: set[Path], lines: dict[Path, int], first_line: int) -> None:
    """Follow the events of one document. A frame is a list's next index, or a mapping's key (None: wants one)."""
    frames: list[int | str | None] = []
    is_mapping: list[bool] = []
    while type(event := read()) is not _DOCUMENT_END:
        kind = type(event)
        if kind is _MAPPING_END or kind is _SEQUENCE_END:
            frames.pop()
            is_mapping.pop()
            _advance(frames, is_mapping)
            continue
        if kind not in _NODES:
            continue
        if frames and is_mapping[-1] and frames[-1] is None:
            frames[-1] = event.value if kind is _SCALAR else ""
            _note(frames, wanted, lines, event.start_mark.line + first_line)
            if kind is _SCALAR or kind is _ALIAS:
                continue
        elif frames and not is_mapping[-1]:
            _note(frames, wanted, lines, event.start_mark.line + first_line)
        if kind is _MAPPING or kind is _SEQUENCE:
            is_mapping.append(kind is _MAPPING)
            frames.append(None if is_mapping[-1] else 0)
        else:
            _advance(frames, is_mapping)


def _advance(frames: list[int | str | None], is_mapping: list[bool]) -> None:
    if frames:
        last = frames[-1]
        frames[-1] = None if is_mapping[-1] or not isinstance(last, int) else last + 1


def _note(frames: list[int | str | None], wanted: set[Path], lines: dict[Path, int], line: int) -> None:
    path = tuple(part for part in frames if part is not None)
    if path in wanted:
        lines.setdefault(path, line)


def _with_parents(paths: Collection[Path]) -> set[Path]:
    return {path[:n] for path in paths for n in range(1, len(path) + 1)}


def _nearest(lines: dict[Path, int], path: Path, line: int) -> int:
    for n in range(len(path), 0, -1):
        if path[:n] in lines:
            return lines[path[:n]]
    return line


# -- problems --------------------------------------------------------------------------------------------------------


def _problem(file: str, line: int, message: str, hint: str, path: str = "") -> Problem:
    return Problem(origin=Origin(file, line), severity=Severity.ERROR, key=None, field=path, message=message, hint=hint)


def _syntax_problem(file: str, text: str, error: yaml.YAMLError) -> Problem:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 0
        what = ", ".join(part for part in (error.context, error.problem) if part)
    elif isinstance(error, yaml.reader.ReaderError):
        line = text.encode().count(b"\n", 0, error.position) + 1
        what = f"holds the character U+{ord(chr(error.character)):04X}" if isinstance(error.character, int) else ""
        what = what or "holds a character that text cannot have"
    else:
        line, what = 0, str(error)
    hint = "indent with spaces, not with tabs" if "\\t" in what else "mend this; what follows in the file was not read"
    return _problem(file, line, f"is not valid YAML: {what}", hint)


def _joined(found: Match[str]) -> str:
    """Return a JSON surrogate pair as the character it stands for; other escapes as they are."""
    if found[1] is None:
        return found[0]
    return chr(0x10000 + ((int(found[1], 16) - 0xD800) << 10) + int(found[2], 16) - 0xDC00)
