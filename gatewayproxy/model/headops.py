"""What filters lower to: a closed set of instructions on a message head, and its byte-ready form.

A filter's `lower` emits `HeadOp`s; `compiler.lower` folds all ops of a rule and of one of its backendRefs into a
single `HeadEdit`, which `wire.edit` applies in one pass over the head. Field names compare case-insensitively.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Add", "HeadEdit", "HeadOp", "Host", "Path", "Prefix", "Redirect", "Remove", "Respond", "Set"]


@dataclass(frozen=True, slots=True)
class Set:
    """Replace every line of field *name* by one."""

    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Add:
    """Append a line; existing lines stay."""

    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Remove:
    """Drop every line of field *name*."""

    name: bytes


@dataclass(frozen=True, slots=True)
class Host:
    """Replace the authority sent upstream (URLRewrite.hostname)."""

    host: bytes


@dataclass(frozen=True, slots=True)
class Path:
    """Replace the whole path, keep the query (ReplaceFullPath)."""

    path: bytes


@dataclass(frozen=True, slots=True)
class Prefix:
    """Replace the matched prefix (ReplacePrefixMatch); lowering binds it to the match's prefix."""

    replacement: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """RequestRedirect as written; None = field absent. Lowering binds it to a listener (`Respond`)."""

    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    path: Path | Prefix | None = None
    status: int = 302


HeadOp = Set | Add | Remove | Host | Path | Prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadEdit:
    """All edits of one head, ready to apply. An absent edit is None where this type is optional."""

    cut: frozenset[bytes] = frozenset()  # lower-case names whose lines are dropped
    append: bytes = b""  # whole lines, each ended by CRLF
    host: bytes | None = None  # new authority
    path: bytes | None = None  # new path, query kept
    prefix: tuple[int, bytes] | None = None  # (bytes of path to cut, what to put there); b"" result becomes b"/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Respond:
    """A redirect bound to a listener: Location = scheme "://" host port path ["?" query]."""

    status: int
    scheme: bytes  # b"https"
    host: bytes | None  # None: the request's host without its port
    port: bytes  # b":8443", or b"" where it is the scheme's own
    path: bytes | None = None
    prefix: tuple[int, bytes] | None = None  # as HeadEdit.prefix
