"""Typed reads from a located tree: what a manifest says, or a list of everything that is wrong with it.

`Fields` wraps one mapping. Each read names a field, checks type and shape, and returns the value or its default; a
value that is refused adds a `Problem` (file, line, field path, what is wrong, what to write) to the `Reading` and
yields a harmless stand-in, so that one pass finds every problem. Fields that no read has named are unknown, and
`Reading.finish` says so: a reader cannot forget to check. null means absent, as for an API server. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum
from typing import Final, NamedTuple, TypeVar, overload

from gatewayproxy.fields.text import ANY_TEXT, Text
from gatewayproxy.fields.words import Path, close_match, count, kind_of, one_of, path_text, quote, spelled
from gatewayproxy.model.codes import Code
from gatewayproxy.model.names import Origin, ResourceKey
from gatewayproxy.model.status import Problem, Reason, Severity

__all__ = ["MAX_PROBLEMS", "REQUIRED", "Fields", "Located", "Reading"]

T = TypeVar("T")
D = TypeVar("D")

MAX_PROBLEMS: Final = 50  # told of one object
_CODES: Final = {Severity.ERROR: Code.MALFORMED, Severity.WARNING: Code.IGNORED}  # of what has none of its own


class _Required(Enum):
    REQUIRED = "the field must be there"


REQUIRED: Final = _Required.REQUIRED


class Located(dict[str, object]):
    """A mapping and the 1-based line it starts on."""

    __slots__ = ("line",)
    line: int


class _Found(NamedTuple):
    """A problem, its place still to be looked up."""

    path: Path
    severity: Severity
    message: str
    hint: str
    reason: Reason | None = None
    code: str = ""


class Reading:
    """The reading of one object, and what it finds; `problems` looks up the places, all in one go."""

    __slots__ = ("_file_of", "_found", "_opened", "file")

    def __init__(self, file: str, file_of: Callable[[Located], str | None] | None = None) -> None:
        """*file_of*: the file of a mapping that is not from *file*; None: all are."""
        self.file = file
        self._file_of = file_of
        self._found: list[_Found] = []
        self._opened: list[Fields] = []

    def open(self, tree: Located) -> Fields:
        """Return the whole object, ready to be read."""
        fields = Fields(self, tree, None, "")
        self._opened.append(fields)
        return fields

    def origin(self, tree: Located) -> Origin:
        """Return where *tree* starts."""
        file = self._file_of(tree) if self._file_of is not None else None
        return Origin(file or self.file, tree.line)

    def adopt(self, fields: Fields) -> None:
        """Have *fields* searched for unknown fields by `finish`."""
        self._opened.append(fields)

    def add(
        self, path: Path, message: str, hint: str = "", severity: Severity = Severity.ERROR,
        reason: Reason | None = None, code: str = "",
    ) -> None:  # fmt: skip
        """Note a problem of the field at *path*; beyond MAX_PROBLEMS of an object they are only counted as one."""
        if len(self._found) < MAX_PROBLEMS:
            self._found.append(_Found(path, severity, message, hint, reason, code))
        elif len(self._found) == MAX_PROBLEMS:
            self._found.append(_Found((), Severity.ERROR, "has more problems than these", "mend these first"))

    @property
    def n_found(self) -> int:
        """How many problems there are so far."""
        return len(self._found)

    def finish(self) -> bool:
        """Note the fields no read has named; return whether the object is free of errors. Ends the reading."""
        for fields in self._opened:
            fields.report_unknown()
        self._opened.clear()  # they name this reading: a cycle less for the collector, dozens of objects an HTTPRoute
        return not any(found.severity is Severity.ERROR for found in self._found)

    def problems(
        self, key: ResourceKey | None, origins: Callable[[Collection[Path]], Mapping[Path, Origin]]
    ) -> tuple[Problem, ...]:
        """Return what was found as problems of object *key*; *origins* maps field paths to places."""
        if not self._found:
            return ()
        origin_of = origins({found.path for found in self._found})
        return tuple(
            Problem(
                origin=origin_of[found.path],
                severity=found.severity,
                key=key,
                field=path_text(found.path),
                message=found.message,
                hint=found.hint,
                reason=found.reason,
                code=found.code or _CODES[found.severity],
            )
            for found in self._found
        )


class Fields:
    """One mapping being read."""

    __slots__ = ("_reading", "_seen", "_tree", "name", "up")

    def __init__(self, reading: Reading, tree: Located, up: Fields | None, name: str | int) -> None:
        self._reading = reading
        self._tree = tree
        self._seen: list[str] = []
        self.up = up
        self.name = name

    @property
    def at(self) -> Origin:
        """The place this mapping starts."""
        return self._reading.origin(self._tree)

    @property
    def path(self) -> Path:
        """The field path of this mapping."""
        parts: list[str | int] = []
        fields: Fields | None = self
        while fields is not None and fields.name != "":
            parts.append(fields.name)
            fields = fields.up
        return tuple(reversed(parts))

    @property
    def path_text(self) -> str:
        """The field path as people write it: spec.rules[0].backendRefs[1]."""
        return path_text(self.path)

    @property
    def tree(self) -> Mapping[str, object]:
        """The mapping as written."""
        return self._tree

    def has(self, name: str) -> bool:
        """Tell whether the field is there (null is not there)."""
        return self._tree.get(name) is not None

    def error(self, name: str, message: str, hint: str = "", reason: Reason | None = None, code: str = "") -> None:
        """Note an error of field *name* ("" = of this mapping); *reason* and *code*: see Problem."""
        self._reading.add((*self.path, name) if name else self.path, message, hint, reason=reason, code=code)

    def warn(self, name: str, message: str, hint: str = "", code: str = "") -> None:
        """Note a warning: the object stays in use."""
        self._reading.add((*self.path, name) if name else self.path, message, hint, Severity.WARNING, code=code)

    def error_at(self, name: str, index: int, message: str, hint: str = "", code: str = "") -> None:
        """Note an error of item *index* of list *name*."""
        self._reading.add((*self.path, name, index), message, hint, code=code)

    def error_of_key(self, name: str, key: str, message: str, hint: str = "") -> None:
        """Note an error of entry *key* of mapping *name*."""
        self._reading.add((*self.path, name, key), message, hint)

    @overload
    def text(self, name: str, rule: Text = ...) -> str: ...
    @overload
    def text(self, name: str, rule: Text, default: str) -> str: ...
    @overload
    def text(self, name: str, rule: Text, default: None) -> str | None: ...

    def text(self, name: str, rule: Text = ANY_TEXT, default: str | _Required | None = REQUIRED) -> str | None:
        """Return string *name*, which must have the shape *rule*."""
        self._seen.append(name)
        value = self._tree.get(name)
        if value is None:
            return self._absent(name, default, "")
        if type(value) is str:
            if rule.shortest <= len(value) <= rule.longest and (rule.match is None or rule.match(value)):
                return value
            self.error(name, rule.flaw(value), f"write {rule.expect}", code=rule.code)
        else:
            word = spelled(value)
            hint = f"write {rule.expect}" if rule.flaw(word) else f"quote it: {name}: {quote(word)}"
            self._wrong_type(name, value, "a string", hint)
        return ""

    @overload
    def integer(self, name: str, low: int, high: int) -> int: ...
    @overload
    def integer(self, name: str, low: int, high: int, default: int) -> int: ...
    @overload
    def integer(self, name: str, low: int, high: int, default: None) -> int | None: ...

    def integer(self, name: str, low: int, high: int, default: int | _Required | None = REQUIRED) -> int | None:
        """Return integer *name*, low <= value <= high."""
        self._seen.append(name)
        value = self._tree.get(name)
        if value is None:
            return self._absent(name, default, low)
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is int:
            if low <= value <= high:
                return value
            self.error(name, f"{value} is out of range", f"write a number from {low} to {high}")
        else:
            self._wrong_type(name, value, "an integer", f"write a number from {low} to {high}, without quotes")
        return low

    @overload
    def boolean(self, name: str, default: bool) -> bool: ...
    @overload
    def boolean(self, name: str, default: None) -> bool | None: ...

    def boolean(self, name: str, default: bool | None) -> bool | None:
        """Return boolean *name*."""
        self._seen.append(name)
        value = self._tree.get(name)
        if value is None:
            return default
        if type(value) is bool:
            return value
        self._wrong_type(name, value, "a boolean", "write true or false")
        return default

    @overload
    def choice(self, name: str, options: Mapping[str, T]) -> T: ...
    @overload
    def choice(self, name: str, options: Mapping[str, T], default: D) -> T | D: ...

    def choice(self, name: str, options: Mapping[str, T], default: D | _Required = REQUIRED) -> T | D:
        """Return what *options* has for the word in field *name*."""
        self._seen.append(name)
        value = self._tree.get(name)
        stand_in = next(iter(options.values()))
        if value is None:
            return self._absent(name, default, stand_in)
        if type(value) is str:
            if value in options:
                return options[value]
            hint = one_of(value, options)
            self.error(name, f"{quote(value)} is not a known value", hint, Reason.UNSUPPORTED_VALUE)
        else:
            self._wrong_type(name, value, "a string", one_of("", options))
        return stand_in

    def child(self, name: str) -> Fields | None:
        """Return mapping *name*, or None where it is absent."""
        self._seen.append(name)
        value = self._tree.get(name)
        if value is None:
            return None
        if type(value) is not Located:
            self._wrong_type(name, value, "a mapping", f"write the fields of {name} indented below it")
            return None
        return self._descend(value, self, name)

    def required_child(self, name: str) -> Fields:
        """Return mapping *name*; where it is missing or no mapping, an error and an empty one that adds no more."""
        n_found = self._reading.n_found
        fields = self.child(name)
        if fields is not None:
            return fields
        if self._reading.n_found == n_found:
            self.error(name, "is required", f"add the mapping {name}")
        return _Void(self._reading, self, name)

    def text_map(
        self, name: str, rule: Text = ANY_TEXT, *, most: int = 1 << 30, secret: bool = False
    ) -> dict[str, str]:
        """Return a mapping of any keys to strings of shape *rule*; {} where absent. No problem tells a *secret*."""
        self._seen.append(name)
        value = self._tree.get(name)
        if value is None:
            return {}
        if type(value) is not Located:
            self._wrong_type(name, None if secret else value, "a mapping of strings", f"write {name}: {{key: value}}")
            return {}
        if len(value) > most:
            self.error(name, f"has {len(value)} entries, {most} is the most", "remove some")
        out: dict[str, str] = {}
        for key, item in value.items():
            if type(item) is str and not (flaw := rule.flaw(item)):
                out[key] = item
            elif type(item) is str:
                self._reading.add((*self.path, name, key), flaw, f"write {rule.expect}", code=rule.code)
            else:
                shown = None if secret else item
                hint = f"quote it: {key}: {quote(spelled(shown))}"
                self.error_of_key(name, key, f"must be a string{_but(shown)}", hint)
        return out

    def items(self, name: str, *, most: int = 1 << 30, least: int = 0) -> list[Fields]:
        """Return the mappings of list *name*; [] where absent (an error if *least* > 0)."""
        out: list[Fields] = []
        up = Fields(self._reading, self._tree, self, name)
        for index, value in enumerate(self._list(name, least, most)):
            if type(value) is Located:
                out.append(self._descend(value, up, index))
            else:
                self._wrong_item(name, index, value, "a mapping")
        return out

    def texts(
        self, name: str, rule: Text = ANY_TEXT, *, most: int = 1 << 30, least: int = 0, unique: bool = False
    ) -> tuple[str, ...]:
        """Return the strings of list *name*."""
        out: list[str] = []
        for index, value in enumerate(self._list(name, least, most)):
            if type(value) is not str:
                self._wrong_item(name, index, value, "a string")
            elif flaw := rule.flaw(value):
                self._reading.add((*self.path, name, index), flaw, f"write {rule.expect}", code=rule.code)
            elif unique and value in out:
                self.error_at(name, index, f"{quote(value)} is listed twice", "remove one of the two")
            else:
                out.append(value)
        return tuple(out)

    def integers(self, name: str, low: int, high: int, *, unique: bool = False) -> tuple[int, ...]:
        """Return the integers of list *name*."""
        out: list[int] = []
        for index, value in enumerate(self._list(name, 0, 1 << 30)):
            if type(value) is float and value.is_integer():
                value = int(value)
            if type(value) is not int:
                self._wrong_item(name, index, value, "an integer")
            elif not low <= value <= high:
                self.error_at(name, index, f"{value} is out of range", f"write a number from {low} to {high}")
            elif unique and value in out:
                self.error_at(name, index, f"{value} is listed twice", "remove one of the two")
            else:
                out.append(value)
        return tuple(out)

    def ignore(self, *names: str) -> None:
        """Name fields that are known and carry nothing for us."""
        self._seen.extend(names)

    # -- the rare half -------------------------------------------------------------------------------------------

    def report_unknown(self) -> None:
        """Note every field that no read has named."""
        if len(self._tree) <= len(self._seen) and self._tree.keys() <= set(self._seen):
            return
        for name in self._tree:
            if self._reading.n_found > MAX_PROBLEMS:
                return
            if name not in self._seen:
                close = close_match(name, self._seen)
                known = ", ".join(sorted(set(self._seen)))
                hint = f"did you mean {close}?" if close else f"known here: {known}"
                self.error(name, "unknown field", hint, code=Code.UNKNOWN_FIELD)

    def _descend(self, tree: Located, up: Fields, name: str | int) -> Fields:
        fields = Fields(self._reading, tree, up, name)
        self._reading.adopt(fields)
        return fields

    def _absent(self, name: str, default: D | _Required, stand_in: T) -> T | D:
        if default is not REQUIRED:
            return default
        self.error(name, "is required", f"add {name}")
        return stand_in

    def _list(self, name: str, least: int, most: int) -> Sequence[object]:
        self._seen.append(name)
        value = self._tree.get(name)
        if value is None:
            if least:
                self.error(name, "is required", f"add the list {name} with at least {count(least)}")
            return ()
        if type(value) is not list:
            self._wrong_type(name, value, "a list", f'start each entry of {name} with "- "')
            return ()
        if len(value) < least:
            self.error(name, f"has {len(value)} entries", f"write at least {count(least)}")
        if len(value) > most:
            self.error(name, f"has {len(value)} entries, {most} is the most", "split it into several objects")
            return value[:most]
        return value

    def _wrong_type(self, name: str, value: object, wanted: str, hint: str) -> None:
        self.error(name, f"must be {wanted}{_but(value)}", hint)

    def _wrong_item(self, name: str, index: int, value: object, wanted: str) -> None:
        self.error_at(name, index, f"must be {wanted}, not {kind_of(value)}", f"write {wanted} here")


class _Void(Fields):
    """Stands in for a mapping that is missing: its absence is reported, its fields are not asked for again."""

    __slots__ = ()

    def __init__(self, reading: Reading, up: Fields, name: str) -> None:
        tree = Located()
        tree.line = up.at.line
        super().__init__(reading, tree, up, name)

    def error(self, name: str, message: str, hint: str = "", reason: Reason | None = None, code: str = "") -> None:
        return


def _but(value: object) -> str:
    return "" if value is None else f", not {kind_of(value)}"
