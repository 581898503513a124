"""JSONPath templates as kubectl reads them: `{.items[*].metadata.name}`, filters, `{range}...{end}`, quoted literals.

In: a template and a tree of dicts, lists and scalars. Out: text. Values found by one expression are joined by a space;
strings print bare, everything else as compact JSON. A path that leads nowhere prints nothing (kubectl allows missing
keys). Pure; a template that is not understood raises UsageError and names the place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from gatewayproxy.errors import UsageError

__all__ = ["render"]

Step = Callable[[Any], Iterator[Any]]  # a value -> the values one step further

_NAME: Final = re.compile(r"(?:[^\s.\[\]{}()'\"|,=<>!?@$*\\]|\\.)+")
_INT: Final = re.compile(r"-?\d+")
_SLICE: Final = re.compile(r"(-?\d*):(-?\d*)(?::(-?\d+))?")
_QUOTED: Final = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""")
_OPERATOR: Final = re.compile(r"==|!=|<=|>=|<|>")
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r"}
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": lambda left, right: bool(left == right),
    "!=": lambda left, right: bool(left != right),
    "<": lambda left, right: bool(left < right),
    ">": lambda left, right: bool(left > right),
    "<=": lambda left, right: bool(left <= right),
    ">=": lambda left, right: bool(left >= right),
}


class Text(NamedTuple):
    """Literal output."""

    text: str


class Query(NamedTuple):
    """`{.a.b}`: the values found, joined by a space."""

    steps: tuple[Step, ...]


class Range(NamedTuple):
    """`{range .items[*]}...{end}`: *body* once for each value found, `.` and `@` being that value."""

    steps: tuple[Step, ...]
    body: tuple[Node, ...]


Node = Text | Query | Range


def render(template: str, tree: Any) -> str:
    """Return the text of *template* over *tree*; raise UsageError where it cannot be read."""
    nodes, rest = _nodes(_chunks(template), inside=False)
    assert not rest
    return "".join(_output(nodes, tree))


def _output(nodes: Sequence[Node], value: Any) -> Iterator[str]:
    for node in nodes:
        match node:
            case Text(text):
                yield text
            case Query(steps):
                yield " ".join(_scalar(found) for found in _walk(steps, value))
            case Range(steps, body):
                for found in _walk(steps, value):
                    yield from _output(body, found)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _walk(steps: Sequence[Step], value: Any) -> Iterator[Any]:
    found: Iterator[Any] = iter((value,))
    for step in steps:
        found = _through(step, found)
    return found


def _through(step: Step, values: Iterator[Any]) -> Iterator[Any]:
    for value in values:
        yield from step(value)


# --- reading a template


def _chunks(template: str) -> list[tuple[bool, str]]:
    """Split *template* into (is it in braces, text) pieces."""
    chunks = []
    at = 0
    while at < len(template):
        if template[at] != "{":
            end = template.find("{", at)
            end = len(template) if end < 0 else end
            chunks.append((False, template[at:end]))
            at = end
            continue
        end = _closing_brace(template, at + 1)
        chunks.append((True, template[at + 1 : end].strip()))
        at = end + 1
    return chunks


def _closing_brace(template: str, at: int) -> int:
    while at < len(template):
        if template[at] == "}":
            return at
        quoted = _QUOTED.match(template, at)
        at = quoted.end() if quoted else at + 1
    raise UsageError("unclosed '{': write '}' at the end of the expression")


def _nodes(chunks: list[tuple[bool, str]], *, inside: bool) -> tuple[tuple[Node, ...], list[tuple[bool, str]]]:
    """Read nodes up to the `{end}` of the range we are *inside*, or to the end; return them and what is left."""
    nodes: list[Node] = []
    while chunks:
        (in_braces, text), *chunks = chunks
        if not in_braces:
            nodes.append(Text(text))
        elif text == "end":
            if not inside:
                raise UsageError("{end} without {range ...} before it")
            return tuple(nodes), chunks
        elif text.startswith("range ") or text == "range":
            body, chunks = _nodes(chunks, inside=True)
            nodes.append(Range(_Reader(text[5:].strip()).path(), body))
        else:
            nodes.extend(_expressions(text))
    if inside:
        raise UsageError("{range ...} without {end}")
    return tuple(nodes), chunks


def _expressions(text: str) -> Iterator[Node]:
    """Read what stands between braces: quoted literals and paths, one after another."""
    reader = _Reader(text)
    while not reader.done:
        literal = reader.quoted()
        yield Query(reader.path()) if literal is None else Text(literal)
        reader.blank()


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), text)


class _Reader:
    """A cursor over one expression."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    @property
    def done(self) -> bool:
        return self.at >= len(self.text)

    def take(self, literal: str) -> bool:
        """Step over *literal* if it stands here."""
        here = self.text.startswith(literal, self.at)
        self.at += len(literal) * here
        return here

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def blank(self) -> None:
        while self.take(" "):
            pass

    def quoted(self) -> str | None:
        found = self.match(_QUOTED)
        return _unescape(found[1] if found[1] is not None else found[2]) if found else None

    def refuse(self, wanted: str) -> UsageError:
        return UsageError(f"at {self.text[self.at :]!r} of {self.text!r}: expected {wanted}")

    def path(self) -> tuple[Step, ...]:
        """Read `$.a['b'][0]..c`; stop at what cannot continue a path."""
        start = self.at
        steps: list[Step] = []
        if not self.take("$"):
            self.take("@")
        while not self.done:
            step = self.step()
            if step is None:
                break
            steps.append(step)
        if self.at == start:
            raise self.refuse("a path like .metadata.name, or a quoted text")
        return tuple(steps)

    def step(self) -> Step | None:
        if self.take(".."):
            return _descendants_then(self.child() if not self.take("[") else self.bracket())
        if self.take("["):
            return self.bracket()
        if self.take("."):
            return _itself if self.done or self.text[self.at] in " [),=<>!" else self.child()
        return None

    def child(self) -> Step:
        if self.take("*"):
            return _children
        name = self.match(_NAME)
        if name is None:
            raise self.refuse("a field name")
        return _field(re.sub(r"\\(.)", r"\1", name[0]))

    def bracket(self) -> Step:
        """Read what follows `[`, with its `]`."""
        self.blank()
        if self.take("?("):
            step = self.filter()
        else:
            members = [self.member()]
            while self.take(","):
                members.append(self.member())
            step = members[0] if len(members) == 1 else _union(members)
        self.blank()
        if not self.take("]"):
            raise self.refuse("']'")
        return step

    def member(self) -> Step:
        self.blank()
        if self.take("*"):
            return _children
        name = self.quoted()
        if name is not None:
            return _field(name)
        part = self.match(_SLICE)
        if part:
            return _slice(slice(*(int(bound) if bound else None for bound in part.groups())))
        index = self.match(_INT)
        if index is None:
            raise self.refuse("an index, a slice, *, or a quoted name")
        return _index(int(index[0]))

    def filter(self) -> Step:
        """Read `@.type=="Ready")`, what follows `[?(`."""
        left = self.operand()
        self.blank()
        operator = self.match(_OPERATOR)
        right = self.operand() if operator else None
        self.blank()
        if not self.take(")"):
            raise self.refuse("')'")
        return _filter(left, _COMPARE[operator[0]] if operator else None, right)

    def operand(self) -> tuple[Step, ...]:
        self.blank()
        literal = self.quoted()
        if literal is not None:
            return (_constant(literal),)
        if self.text.startswith(("@", "$", "."), self.at):
            return self.path()
        word = self.match(re.compile(r"[\w.+-]+"))
        if word is None:
            raise self.refuse("@.field, a number, true, false or a quoted text")
        try:
            return (_constant(json.loads(word[0])),)
        except ValueError:
            raise self.refuse(f"quotes around {word[0]}") from None


# --- steps


def _itself(value: Any) -> Iterator[Any]:
    yield value


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _field(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _index(index: int) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= index < len(value):
            yield value[index]

    return step


def _slice(part: slice) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list):
            yield from value[part]

    return step


def _union(members: Sequence[Step]) -> Step:
    def step(value: Any) -> Iterator[Any]:
        for member in members:
            yield from member(value)

    return step


def _constant(constant: Any) -> Step:
    def step(_: Any) -> Iterator[Any]:
        yield constant

    return step


def _filter(left: Sequence[Step], compare: Callable[[Any, Any], bool] | None, right: Sequence[Step] | None) -> Step:
    def holds(value: Any) -> bool:
        found = list(_walk(left, value))
        if compare is None:
            return bool(found)
        wanted = list(_walk(right or (), value))
        try:
            return len(found) == len(wanted) == 1 and compare(found[0], wanted[0])
        except TypeError:  # 1 < "a" is false, not an error
            return False

    def step(value: Any) -> Iterator[Any]:
        yield from filter(holds, _children(value))

    return step


def _descendants_then(then: Step) -> Step:
    def step(value: Any) -> Iterator[Any]:
        yield from then(value)
        for child in _children(value):
            yield from step(child)

    return step
