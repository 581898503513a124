"""Regular languages over bytes: is there a text that some patterns match and others do not? The shortest. Pure.

Patterns are RE2's, read as `routing.patterns` compiles them. What an expression still expects after a byte is another
expression, its derivative (Brzozowski, "Derivatives of Regular Expressions", J. ACM 11, 1964), so intersection and
complement cost nothing to say; expressions are numbered, and two that read alike have one number. The search goes
breadth first, a byte of every class that the expression tells apart at a time, and gives up after MAX_STATES.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

__all__ = ["ALL_BYTES", "MAX_STATES", "Language", "TooLarge", "byte_mask"]

MAX_STATES: Final = 2_000  # expressions that one search meets; beyond, nothing is said
ALL_BYTES: Final = (1 << 256) - 1
# Of the bytes that would do, the one that reads best stands in an example.
_LIKED: Final = b"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-_/.~:=&"
_ORDER: Final = bytes(dict.fromkeys(_LIKED + bytes(range(0x21, 0x7F)) + b" " + bytes(range(256))))

Node = int
NEVER: Final = 0
EMPTY: Final = 1


class TooLarge(Exception):
    """The search met more than MAX_STATES expressions."""


class _Expression(NamedTuple):
    op: str  # "never", "empty", "bytes", "then", "or", "and", "star", "not"
    parts: tuple[Node, ...] = ()
    mask: int = 0  # of "bytes": bit n is byte n


def byte_mask(members: Iterable[int]) -> int:
    """Return the set of *members* as a mask."""
    mask = 0
    for member in members:
        mask |= 1 << member
    return mask


class Language:
    """Makes expressions, and looks for texts. One for each question: what it numbers, it keeps."""

    def __init__(self) -> None:
        self._expressions = [_Expression("never"), _Expression("empty")]
        self._numbers = {each: number for number, each in enumerate(self._expressions)}
        self._nullable: dict[Node, bool] = {}
        self._classes: dict[Node, frozenset[int]] = {}
        self._after: dict[int, Node] = {}  # by node and byte
        self.anything = self._node("star", (self._node("bytes", (), ALL_BYTES),))

    def _node(self, op: str, parts: tuple[Node, ...] = (), mask: int = 0) -> Node:
        expression = _Expression(op, parts, mask)
        number = self._numbers.get(expression)
        if number is None:
            number = self._numbers[expression] = len(self._expressions)
            self._expressions.append(expression)
        return number

    def one_of(self, mask: int) -> Node:
        """Return one byte of *mask*."""
        return self._node("bytes", (), mask) if mask else NEVER

    def literal(self, text: bytes) -> Node:
        """Return *text* itself."""
        return self.then(*(self.one_of(1 << byte) for byte in text))

    def then(self, *parts: Node) -> Node:
        """Return *parts* one after another."""
        result = EMPTY
        for part in reversed(parts):
            result = self._pair(part, result)
        return result

    def _pair(self, first: Node, rest: Node) -> Node:
        if NEVER in (first, rest):
            return NEVER
        if first == EMPTY:
            return rest
        if rest == EMPTY:
            return first
        expression = self._expressions[first]
        if expression.op == "then":  # kept as a list that leans to the right, so that equal texts have equal numbers
            return self._pair(expression.parts[0], self._pair(expression.parts[1], rest))
        return self._node("then", (first, rest))

    def either(self, *parts: Node) -> Node:
        """Return any of *parts*."""
        flat = {each for part in parts for each in self._flat("or", part)} - {NEVER}
        if self.anything in flat:
            return self.anything
        return flat.pop() if len(flat) == 1 else self._node("or", tuple(sorted(flat))) if flat else NEVER

    def both(self, *parts: Node) -> Node:
        """Return what is in all of *parts*."""
        flat = {each for part in parts for each in self._flat("and", part)} - {self.anything}
        if NEVER in flat:
            return NEVER
        return flat.pop() if len(flat) == 1 else self._node("and", tuple(sorted(flat))) if flat else self.anything

    def star(self, part: Node) -> Node:
        """Return *part* any number of times."""
        if part in (NEVER, EMPTY) or self._expressions[part].op == "star":
            return EMPTY if part in (NEVER, EMPTY) else part
        return self._node("star", (part,))

    def no(self, part: Node) -> Node:
        """Return every text but those of *part*."""
        expression = self._expressions[part]
        if expression.op == "not":
            return expression.parts[0]
        if part == NEVER:
            return self.anything
        return NEVER if part == self.anything else self._node("not", (part,))

    def maybe(self, part: Node) -> Node:
        """Return *part* or nothing."""
        return self.either(EMPTY, part)

    def _flat(self, op: str, part: Node) -> tuple[Node, ...]:
        expression = self._expressions[part]
        return expression.parts if expression.op == op else (part,)

    def takes_nothing(self, node: Node) -> bool:
        """Return whether the text without bytes is of *node*."""
        known = self._nullable.get(node)
        if known is not None:
            return known
        op, parts, _ = self._expressions[node]
        match op:
            case "empty" | "star":
                answer = True
            case "then" | "and":
                answer = all(map(self.takes_nothing, parts))
            case "or":
                answer = any(map(self.takes_nothing, parts))
            case "not":
                answer = not self.takes_nothing(parts[0])
            case _:
                answer = False
        self._nullable[node] = answer
        return answer

    def after(self, node: Node, byte: int) -> Node:
        """Return what *node* expects behind *byte*."""
        key = node << 8 | byte
        known = self._after.get(key)
        if known is None:
            known = self._after[key] = self._derived(node, byte)
        return known

    def _derived(self, node: Node, byte: int) -> Node:
        op, parts, mask = self._expressions[node]
        match op:
            case "bytes":
                return EMPTY if mask >> byte & 1 else NEVER
            case "then":
                first, rest = parts
                behind = self._pair(self.after(first, byte), rest)
                return self.either(behind, self.after(rest, byte)) if self.takes_nothing(first) else behind
            case "or":
                return self.either(*(self.after(part, byte) for part in parts))
            case "and":
                return self.both(*(self.after(part, byte) for part in parts))
            case "star":
                return self._pair(self.after(parts[0], byte), node)
            case "not":
                return self.no(self.after(parts[0], byte))
            case _:
                return NEVER

    def classes(self, node: Node) -> frozenset[int]:
        """Return masks that part all bytes: *node* makes no difference between bytes of one of them."""
        known = self._classes.get(node)
        if known is not None:
            return known
        op, parts, mask = self._expressions[node]
        found = frozenset((ALL_BYTES,))
        if op == "bytes":
            found = frozenset((mask, ALL_BYTES & ~mask)) - {0}
        elif op == "then" and not self.takes_nothing(parts[0]):
            found = self.classes(parts[0])
        else:
            for part in parts:
                found = frozenset(one & other for one in found for other in self.classes(part)) - {0}
        self._classes[node] = found
        return found

    def shortest(self, node: Node) -> bytes | None:
        """Return the shortest text of *node*, of liked bytes; None: there is none. Raises TooLarge."""
        seen = {node}
        queue = deque([(node, b"")])
        while queue:
            state, text = queue.popleft()
            if self.takes_nothing(state):
                return text
            for byte in sorted((_best(mask) for mask in self.classes(state)), key=_ORDER.index):
                behind = self.after(state, byte)
                if behind != NEVER and behind not in seen:
                    seen.add(behind)
                    queue.append((behind, text + bytes((byte,))))
            if len(seen) > MAX_STATES:
                raise TooLarge
        return None


@lru_cache(maxsize=1_024)
def _best(mask: int) -> int:
    return next(byte for byte in _ORDER if mask >> byte & 1)
