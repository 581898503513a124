"""YAML events to located trees, within bounds. The one importer of yaml. Pure.

`build` yields the documents of a text one by one; `find_lines` is the second look, for the lines of single fields. A
tree is plain dicts, lists and scalars; each dict knows its line. Aliases share what their anchor built, and count
against MAX_NODES as often as they are used. Recursion is bounded by MAX_DEPTH.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from math import isinf
from re import compile as regex
from typing import Final, Protocol

import yaml

from gatewayproxy.fields import Located, Path

__all__ = [
    "MAX_DEPTH", "MAX_FLAWS", "MAX_NODES", "MAX_SCALAR_CHARS", "BrokenTextError", "Flaw", "Raw", "Span", "build",
    "find_lines",
]  # fmt: skip

MAX_NODES: Final = 2_000_000  # scalars and collections of a text, aliases expanded; ends the text
MAX_DEPTH: Final = 64  # nested collections; ends the text
MAX_SCALAR_CHARS: Final = 2 << 20  # one string (a Secret may hold 1 MiB, 1.4 in base64); fences its document
MAX_FLAWS: Final = 50  # flaws told of one document

_RENDER: Final = "a template ({{ ... }}) is no manifest: render it first (helm template CHART)"

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
_NUMBER: Final = regex(
    r"[-+]?(?:(?P<int>0|[1-9][0-9]*)|(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)"
)
_NUMBER_START: Final = frozenset("0123456789+-.")
_PLAIN_TAGS: Final = frozenset({"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:str", "!"})


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


class BrokenTextError(Exception):
    """The text cannot be followed further: a syntax error, or a bound of the whole text."""

    def __init__(self, line: int, message: str, hint: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message
        self.hint = hint


@dataclass(slots=True)
class Span:
    """Where an object stands in the text: character indexes, 1-based line, 0-based column."""

    start: int
    line: int
    column: int
    end: int = 0

    def cut(self, text: str) -> str:
        return " " * self.column + text[self.start : self.end]


@dataclass(slots=True)
class Flaw:
    path: list[str | int]  # innermost first
    line: int
    message: str
    hint: str
    duplicate: bool = False  # of a key: the line of the first one is worth telling


@dataclass(slots=True)
class Raw:
    """A document as it comes from the events."""

    tree: object
    span: Span
    spans: dict[int, Span]  # of mappings in lists directly below the root, by id
    flaws: list[Flaw]


def build(text: str) -> Iterator[Raw]:
    """Yield every document of *text*; raise BrokenTextError where it cannot be followed further."""
    builder = _Builder(text)
    try:
        yield from builder.documents()
    except yaml.YAMLError as error:
        raise _syntax_error(text, error) from None
    finally:
        builder.close()


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
        self._flaws: list[Flaw] = []
        self._spans: dict[int, Span] = {}

    def documents(self) -> Iterator[Raw]:
        """Yield every document."""
        while (kind := type(self._next())) is not _STREAM_END:
            if kind is _DOCUMENT:
                yield self._document()

    def close(self) -> None:
        """Free the parser."""
        self._loader.dispose()

    def _document(self) -> Raw:
        self._anchors, self._flaws, self._spans = {}, [], {}
        root = self._next()
        span = _span(root.start_mark)
        tree = self._value(root)
        span.end = self._next().end_mark.index
        return Raw(tree, span, self._spans, self._flaws)

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
        if self._n_nodes > MAX_NODES:
            self._check_nodes(event)
        if event.implicit[0]:  # plain and without a tag
            if value in _WORDS:
                return self._anchored(event, _WORDS[value])
            if value[0] in _NUMBER_START:
                return self._anchored(event, _number(value))
        elif event.tag is not None and event.tag not in _PLAIN_TAGS:
            self._flaw(event, f"has the tag {event.tag:.80}", "remove the tag: values are plain data")
        if len(value) > MAX_SCALAR_CHARS:
            message = f"is a string of {len(value)} characters, {MAX_SCALAR_CHARS} is the most"
            self._flaw(event, message, "keep large data in a file of its own")
        return self._anchored(event, value)

    def _anchored(self, event: _Event, value: object) -> object:
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, 1)
        return value

    def _alias(self, event: _Event) -> object:
        self._n_nodes += 1
        self._check_nodes(event)
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
        span = _span(event.start_mark)
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
            raise BrokenTextError(line, f"nests deeper than {MAX_DEPTH} levels", "flatten it")
        if event.tag is not None and event.tag not in _PLAIN_TAGS:
            self._flaw(event, f"has the tag {event.tag:.80}", "remove the tag: values are plain data")

    def _check_nodes(self, event: _Event) -> None:
        if self._n_nodes > MAX_NODES:
            line = event.start_mark.line + 1
            message = f"holds more than {MAX_NODES} values, aliases expanded"
            raise BrokenTextError(line, message, "split it into several files; use fewer aliases")

    def _key(self, event: _Event) -> str | None:
        """Return a key not met before in this text; None, and a flaw, where it cannot be one."""
        if type(event) is not _SCALAR:
            self._value(event)
            self._flaw(event, "has a key that is not a string", f"write a word, then a colon; {_RENDER}")
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

    def _flaw(self, event: _Event, message: str, hint: str) -> Flaw | None:
        if len(self._flaws) >= MAX_FLAWS:
            return None
        flaw = Flaw([], event.start_mark.line + 1, message, hint)
        self._flaws.append(flaw)
        return flaw


def _span(start: _Mark) -> Span:
    return Span(start.index, start.line + 1, start.column)


def _prefix(flaws: list[Flaw], start: int, key: str | int | None) -> None:
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


def find_lines(text: str, first_line: int, paths: Collection[Path]) -> dict[Path, int]:
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
    while len(lines) < len(wanted) and type(event := read()) is not _DOCUMENT_END:
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


def _syntax_error(text: str, error: yaml.YAMLError) -> BrokenTextError:
    hint = "mend this; what follows in the file was not read"
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 0
        what = ", ".join(part for part in (error.context, error.problem) if part)
        if mark is not None and text[mark.index : mark.index + 1] == "\t":
            what, hint = f"{what}: a tab", "indent with spaces, not with tabs"
        elif mark is not None and "{{" in text[text.rfind("\n", 0, mark.index) + 1 :].partition("\n")[0]:
            hint = _RENDER
    elif isinstance(error, yaml.reader.ReaderError) and isinstance(error.character, int):
        line = text.encode().count(b"\n", 0, error.position) + 1
        what = f"holds the character U+{error.character:04X}"
    else:
        line, what = 0, str(error)
    return BrokenTextError(line, f"is not valid YAML: {what}", hint)
