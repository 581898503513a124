"""Write a tree of dicts, lists and scalars as YAML, laid out as `kubectl get -o yaml` does.

Keys keep their order; lists stand at the indent of their key; strings are quoted only where a reader would take them
for something else. Pure, and the inverse of `compiler.documents` for everything a manifest may hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["to_yaml"]

# A plain scalar that cannot be mistaken: no indicator in front, no ": " or " #" within, no blank at the ends.
_PLAIN: Final = re.compile(r"[A-Za-z_/][\w./*+@()=~^,-]*(?:[ :][\w./*+@()=~^,-]+)*", re.ASCII)
# Words and numbers of YAML 1.1 and 1.2 that a reader turns into something else than a string.
_RESERVED: Final = re.compile(r"(?i:true|false|yes|no|on|off|y|n|null|nan|inf|\.nan|[-+]?\.inf|~)")
_UNPRINTABLE: Final = re.compile(r"[\x7f-\xa0\xad\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")


def to_yaml(tree: Any) -> str:
    """Return *tree* as one YAML document, ended by a newline."""
    return "\n".join(_lines(tree, "")) + "\n"


def _lines(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _entry(f"{indent}{_scalar(key)}:", item, indent)
    elif isinstance(value, list | tuple) and value:
        for item in value:
            yield from _item(item, indent)
    else:
        yield indent + _scalar(value)


def _entry(head: str, value: Any, indent: str) -> Iterator[str]:
    """Write a key, *head*, and its value."""
    if isinstance(value, Mapping) and value:
        yield head
        yield from _lines(value, indent + "  ")
    elif isinstance(value, list | tuple) and value:
        yield head
        yield from _lines(value, indent)
    elif isinstance(value, str) and _is_block(value):
        yield head + (" |" if value.endswith("\n") else " |-")
        yield from (f"{indent}  {line}" if line else "" for line in value.removesuffix("\n").split("\n"))
    else:
        yield f"{head} {_scalar(value)}"


def _item(value: Any, indent: str) -> Iterator[str]:
    """Write a list item: its first line follows the dash."""
    if isinstance(value, str) and _is_block(value):
        yield from _entry(f"{indent}-", value, indent)
        return
    first, *rest = _lines(value, indent + "  ")
    yield f"{indent}- {first[len(indent) + 2 :]}"
    yield from rest


def _is_block(text: str) -> bool:
    """Tell whether *text* reads better as a block: several lines, which a block gives back unchanged."""
    body = text.removesuffix("\n")
    return "\n" in body and body == body.strip() and body.replace("\n", "").replace("\t", "").isprintable()


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and not _RESERVED.fullmatch(value)
        return value if plain else _quoted(value)
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, list | tuple):
        return "[]"
    return "null" if value is None else json.dumps(value)


def _quoted(text: str) -> str:
    """Return *text* in double quotes; what does not print is escaped."""
    return _UNPRINTABLE.sub(lambda found: f"\\U{ord(found[0]):08x}", json.dumps(text, ensure_ascii=False))
