"""Texts of manifests as they may be shown: what a Secret holds is not in them. Pure.

A Secret is shown as its name and the names of its entries, on one line that is YAML and JSON; patches of Secrets, and
texts that cannot be read to the end (there may be a Secret in them), not at all. Everything else stays as it was
written, comments too, but for private keys in PEM, plain or in base64, wherever they turn up.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from binascii import Error as NoBase64Error
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from gatewayproxy.compiler.documents import Document, parse, parse_values
from gatewayproxy.compiler.manifests.patch import Pattern
from gatewayproxy.model.source import Source

__all__ = ["WITHHELD", "shown_texts"]

WITHHELD: Final = "(withheld)"
_SHOWN_FIELDS: Final = ("name", "namespace")
_PEM: Final = re.compile(
    r"(-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY-----).*?(?:-----END [A-Z0-9 ]{0,30}PRIVATE KEY-----|\Z)", re.DOTALL
)
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{40,}(?:\s+[A-Za-z0-9+/=]+)*=*")


def shown_texts(sources: Sequence[Source]) -> list[tuple[str, str]]:
    """Return names and texts of *sources*, without secrets."""
    parsed = [parse(source) for source in sources]
    patches = [each for file in parsed for each in file.documents if each.tree.get("kind") == "Patch"]
    of_secrets = [pattern for each in patches if _is_secret(_at(each, "target", "kind")) for pattern in _files(each)]
    of_others = [pattern for each in patches for pattern in _files(each)]
    shown: list[tuple[str, str]] = []
    for source, file in zip(sources, parsed, strict=True):
        if any(pattern.matches(source.file) for pattern in of_secrets):
            text = _not_shown(source, "it patches a Secret")
        elif any(pattern.matches(source.file) for pattern in of_others):
            broken = bool(parse_values(source).problems)
            text = _unreadable(source) if broken else _decoded(source)
        elif file.problems:
            text = _unreadable(source)
        else:
            text = _without_secrets(file.documents) if file.documents else _decoded(source)
        shown.append((source.file, _without_keys(text)))
    return shown


def _decoded(source: Source) -> str:
    return source.text.decode("utf-8-sig", "replace")


def _unreadable(source: Source) -> str:
    return _not_shown(source, "it cannot be read to its end, and may hold a Secret")


def _not_shown(source: Source, why: str) -> str:
    return f"# {len(source.text)} bytes {WITHHELD}: {why}\n"


def _is_secret(kind: object) -> bool:
    return isinstance(kind, str) and "secret" in kind.casefold()  # misspelt, it is no less secret


def _at(patch: Document, *path: str) -> object:
    node: object = patch.tree.get("spec")
    for name in path:
        node = node.get(name) if isinstance(node, Mapping) else None
    return node


def _files(patch: Document) -> Iterator[Pattern]:
    files = _at(patch, "files")
    for text in files if isinstance(files, list) else ():
        if isinstance(text, str):
            yield Pattern.of(patch.file, text)


def _without_secrets(documents: Sequence[Document]) -> str:
    """Return the text that *documents* are of, with a line in the place of each Secret."""
    text = documents[0].text
    parts: list[str] = []
    at = 0
    for each in sorted(documents, key=lambda each: each.span.start):
        if _is_secret(each.tree.get("kind")):
            end = each.span.end
            parts += text[at : each.span.start], _line(each), "\n" if text[end - 1 : end] == "\n" else ""
            at = end
    return "".join((*parts, text[at:]))


def _line(secret: Document) -> str:
    tree = secret.tree
    metadata = tree.get("metadata")
    named = metadata if isinstance(metadata, Mapping) else {}
    entries = [tree.get(name) for name in ("data", "stringData")]
    shown = {
        "apiVersion": tree.get("apiVersion"),
        "kind": tree["kind"],
        "metadata": {name: named[name] for name in _SHOWN_FIELDS if isinstance(named.get(name), str)},
        "data": {name: WITHHELD for some in entries if isinstance(some, Mapping) for name in some},
    }
    return json.dumps(shown, ensure_ascii=False, default=lambda _: WITHHELD)


def _without_keys(text: str) -> str:
    return _BASE64.sub(_judged, _PEM.sub(rf"\1 {WITHHELD}", text))


def _judged(found: re.Match[str]) -> str:
    packed = "".join(found[0].split()).rstrip("=")
    try:
        holds_key = b"PRIVATE KEY" in b64decode(packed + "=" * (-len(packed) % 4))
    except NoBase64Error:
        holds_key = b"PRIVATE KEY" in b64decode(packed[: len(packed) // 4 * 4])
    return WITHHELD if holds_key else found[0]
