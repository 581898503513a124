"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7396) on located trees. Pure.

Trees are persistent: an operation copies the mappings and lists on the way to its place and shares all others, so a
patch that fails half-way leaves nothing behind, and a value that two places share (a YAML alias) changes in one only.

DEVIATION: appending to a list whose items are known by name (`NAMED_LISTS`) what is there already, equal, does nothing:
RFC 6902 would append it again, and applying a set of patches twice would double every listener. A different item of the
same name is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from re import compile as regex
from typing import Final

from gatewayproxy.compiler.documents import MAX_DEPTH
from gatewayproxy.fields import Located, close_match

__all__ = ["MAX_ADDED_NODES", "NAMED_LISTS", "Grafts", "PatchError", "apply_operation", "merge"]

MAX_ADDED_NODES: Final = 200_000  # values that all patches of an object add to it; `copy` could double it for ever
NAMED_LISTS: Final = frozenset({("spec", "listeners")})  # list maps of the CRDs by `name`, as far as patches append

Pointer = tuple[str, ...]
Container = Located | list[object]

_INDEX: Final = regex(r"0|[1-9][0-9]{0,8}")
_ESCAPE: Final = regex(r"~(?![01])")
_ABSENT: Final = object()


class PatchError(Exception):
    """The operation cannot be applied; *field* is the member of the operation that is at fault."""

    def __init__(self, field: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message
        self.hint = hint


class Grafts:
    """What patches have put into one object: bounded, and each mapping remembers its file."""

    def __init__(self) -> None:
        self._left = MAX_ADDED_NODES
        self._files: dict[int, tuple[Located, str]] = {}  # by id; the mapping is kept, so that its id stays its own

    def file_of(self, node: Located) -> str | None:
        """Return the patch file that *node* was written in, None for the object's own."""
        found = self._files.get(id(node))
        return found[1] if found is not None else None

    def take(self, value: object, depth: int, file: str | None = None) -> None:
        """Count *value*, which goes *depth* levels deep, and note the *file* of its mappings; PatchError at a bound."""
        self._left -= 1
        if self._left < 0:
            raise PatchError("value", f"patches add more than {MAX_ADDED_NODES} values", "split the object")
        if not isinstance(value, Located | list):
            return
        if depth >= MAX_DEPTH:
            raise PatchError("path", f"nests deeper than {MAX_DEPTH} levels", "flatten it")
        if file is not None and isinstance(value, Located):
            self._files[id(value)] = (value, file)
        for child in value.values() if isinstance(value, Located) else value:
            self.take(child, depth + 1, file)

    def copied(self, node: Container) -> Container:
        """Return a copy of *node* alone, which comes from the same place."""
        if isinstance(node, list):
            return list(node)
        copy = Located(node)
        copy.line = node.line
        if (file := self.file_of(node)) is not None:
            self._files[id(copy)] = (copy, file)
        return copy


# --- RFC 6902


def apply_operation(tree: object, operation: Located, grafts: Grafts, file: str) -> object:
    """Return *tree* after one operation, written in *file*; PatchError where RFC 6902 says it fails."""
    name = operation.get("op")
    apply = _OPERATIONS.get(name) if isinstance(name, str) else None
    if apply is None:
        close = close_match(name, _OPERATIONS) if isinstance(name, str) else ""
        hint = f"did you mean {close}?" if close else f"write one of {', '.join(_OPERATIONS)}"
        raise PatchError("op", f"{name!r:.80} is no operation" if "op" in operation else "is required", hint)
    return apply(tree, operation, grafts, file)


def _apply_add(tree: object, operation: Located, grafts: Grafts, file: str) -> object:
    path, value = _pointer(operation, "path"), _value(operation)
    if path[-1:] == ("-",) and path[:-1] in NAMED_LISTS and _is_there(tree, path[:-1], value):
        return tree
    grafts.take(value, len(path), file)
    return _added(tree, path, value, grafts)


def _apply_remove(tree: object, operation: Located, grafts: Grafts, file: str) -> object:
    return _removed(tree, _pointer(operation, "path"), "path", grafts)


def _apply_replace(tree: object, operation: Located, grafts: Grafts, file: str) -> object:
    path, value = _pointer(operation, "path"), _value(operation)
    _find(tree, path, "path")
    grafts.take(value, len(path), file)
    return _edited(tree, path, lambda node, token: _put(node, token, value), grafts) if path else value


def _apply_move(tree: object, operation: Located, grafts: Grafts, file: str) -> object:
    source, path = _pointer(operation, "from"), _pointer(operation, "path")
    if path[: len(source)] == source and path != source:
        raise PatchError("path", "is inside what is to be moved", "move to a place outside of it")
    value = _find(tree, source, "from")
    grafts.take(value, len(path))
    return _added(_removed(tree, source, "from", grafts), path, value, grafts) if path != source else tree


def _apply_copy(tree: object, operation: Located, grafts: Grafts, file: str) -> object:
    source, path = _pointer(operation, "from"), _pointer(operation, "path")
    value = _find(tree, source, "from")
    grafts.take(value, len(path))
    return _added(tree, path, value, grafts)


def _apply_test(tree: object, operation: Located, grafts: Grafts, file: str) -> object:
    if not _same(_find(tree, _pointer(operation, "path"), "path"), _value(operation)):
        raise PatchError("value", "is not what is there", "the object has changed: write the patch for what it is now")
    return tree


_OPERATIONS: Final[dict[str, Callable[[object, Located, Grafts, str], object]]] = {
    "add": _apply_add,
    "remove": _apply_remove,
    "replace": _apply_replace,
    "move": _apply_move,
    "copy": _apply_copy,
    "test": _apply_test,
}


def _pointer(operation: Located, field: str) -> Pointer:
    """Return the JSON Pointer (RFC 6901) in *field*."""
    text = operation.get(field)
    if not isinstance(text, str):
        raise PatchError(field, "is required, a string", "write a path such as /spec/listeners/-")
    if text and (text[0] != "/" or _ESCAPE.search(text)):
        hint = 'begin with "/"; inside a name write "~1" for "/" and "~0" for "~"'
        raise PatchError(field, f'"{text:.80}" is no JSON pointer', hint)
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in text.split("/")[1:])


def _value(operation: Located) -> object:
    if "value" not in operation:
        raise PatchError("value", "is required", "add value")
    return operation["value"]


def _added(tree: object, path: Pointer, value: object, grafts: Grafts) -> object:
    return _edited(tree, path, lambda node, token: _insert(node, token, value), grafts) if path else value


def _removed(tree: object, path: Pointer, field: str, grafts: Grafts) -> object:
    _find(tree, path, field)
    if not path:
        raise PatchError(field, "is the whole object", "name a field; to remove the object, remove its manifest")
    return _edited(tree, path, _drop, grafts)


def _edited(tree: object, path: Pointer, change: Callable[[Container, str], None], grafts: Grafts) -> object:
    """Return *tree* with the container of *path* changed."""
    if not isinstance(tree, Located | list):
        raise PatchError("path", f'leads to "{path[0]:.80}" inside of {_kind(tree)}', "check the path")
    node = grafts.copied(tree)
    if len(path) == 1:
        change(node, path[0])
    else:
        _put(node, path[0], _edited(_child(tree, path[0], "path"), path[1:], change, grafts))
    return node


def _find(tree: object, path: Pointer, field: str) -> object:
    for token in path:
        tree = _child(tree, token, field)
    return tree


def _child(node: object, token: str, field: str) -> object:
    if isinstance(node, Located) and token in node:
        return node[token]
    if isinstance(node, list) and _INDEX.fullmatch(token) and int(token) < len(node):
        return node[int(token)]
    if isinstance(node, Located):
        close = close_match(token, node)
        raise PatchError(field, f'"{token:.80}" is not there', f"did you mean {close}?" if close else "check the path")
    if isinstance(node, list):
        raise PatchError(field, f'"{token:.80}" is no item of a list of {len(node)}', "items are counted from 0")
    raise PatchError(field, f'leads to "{token:.80}" inside of {_kind(node)}', "check the path")


def _insert(node: Container, token: str, value: object) -> None:
    if isinstance(node, Located):
        node[token] = value
    elif token == "-":
        node.append(value)
    elif _INDEX.fullmatch(token) and int(token) <= len(node):
        node.insert(int(token), value)
    else:
        raise PatchError("path", f'"{token:.80}" is no place in a list of {len(node)}', 'write "-" for its end')


def _put(node: Container, token: str, value: object) -> None:
    if isinstance(node, Located):
        node[token] = value
    else:
        node[int(token)] = value


def _drop(node: Container, token: str) -> None:
    if isinstance(node, Located):
        del node[token]
    else:
        del node[int(token)]


def _is_there(tree: object, path: Pointer, value: object) -> bool:
    """Tell whether the list at *path* has this named item; PatchError if it has another one of that name."""
    items = _find(tree, path, "path")
    name = value.get("name") if isinstance(value, Located) else None
    if not isinstance(items, list) or not isinstance(name, str):
        return False
    for item in items:
        if isinstance(item, Located) and item.get("name") == name:
            if _same(item, value):
                return True
            hint = "give it another name, or change the one that is there by op: replace"
            raise PatchError("value", f'another item is named "{name:.80}"', hint)
    return False


def _same(one: object, other: object) -> bool:
    """Compare as RFC 6902 §4.6 does: true is not 1."""
    if isinstance(one, Located) and isinstance(other, Located):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _kind(value: object) -> str:
    words: Sequence[tuple[type, str]] = ((str, "a string"), (bool, "a boolean"), (int, "a number"), (float, "a number"))
    return next((word for known, word in words if isinstance(value, known)), "null")


# --- RFC 7396


def merge(tree: object, patch: object, grafts: Grafts, file: str) -> object:
    """Return *tree* after a merge patch, written in *file*."""
    return _merged(tree, patch, grafts, file, 0)


def _merged(tree: object, patch: object, grafts: Grafts, file: str, depth: int) -> object:
    if not isinstance(patch, Located):
        grafts.take(patch, depth, file)
        return patch
    if isinstance(tree, Located):
        node = grafts.copied(tree)
    else:
        node = Located()
        node.line = patch.line
        grafts.take(node, depth, file)
    assert isinstance(node, Located)
    for name, value in patch.items():
        if value is None:
            node.pop(name, None)
        else:
            node[name] = _merged(node.get(name, _ABSENT), value, grafts, file, depth + 1)
    return node
