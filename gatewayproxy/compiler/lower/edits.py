"""Fold the head ops of a rule and of one of its backendRefs into one HeadEdit, and bind redirects. Pure.

Ops are folded in order, the rule's before the backendRef's, so a later one acts on the outcome of the earlier:
Set = cut and append, Add = append, Remove = cut, also what was appended so far. A later host or path rewrite
replaces an earlier one. What depends on where a request matched (its prefix, its listener) is settled here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, assert_never

from gatewayproxy.compiler.lower.precedence import prefix_key
from gatewayproxy.model.headops import Add, HeadEdit, HeadOp, Host, Path, Prefix, Redirect, Remove, Respond, Set
from gatewayproxy.model.plan import Listener
from gatewayproxy.model.protocols import Protocol
from gatewayproxy.model.traffic import Cors
from gatewayproxy.wire.origins import actual_lines

__all__ = ["NO_CORS_FIELDS", "bind_redirect", "cors_fields", "fold"]

# What only a CORS filter may say, where there is one.
NO_CORS_FIELDS: Final[tuple[HeadOp, ...]] = tuple(
    Remove(b"access-control-" + name)
    for name in (
        b"allow-origin", b"allow-credentials", b"expose-headers", b"allow-methods", b"allow-headers", b"max-age",
    )
)  # fmt: skip
_WELL_KNOWN: Final = {"http": 80, "https": 443}


def cors_fields(cors: Cors) -> tuple[HeadOp, ...]:
    """Return how the answers of backends are edited: what they say of CORS goes, what every client is told is put in.

    What depends on the request's origin is put in beside the traffic.
    """
    lines = actual_lines(cors, None).split(b"\r\n")[:-1] if cors.uniform else []
    return *NO_CORS_FIELDS, *(Add(*line.split(b": ", 1)) for line in lines)


class _Fold:
    """A HeadEdit in the making."""

    __slots__ = ("_bound", "cut", "host", "lines", "path", "prefix")

    def __init__(self, bound: bytes) -> None:
        self._bound = bound  # the match's prefix
        self.cut: set[bytes] = set()
        self.lines: list[tuple[bytes, bytes]] = []
        self.host: bytes | None = None
        self.path: bytes | None = None
        self.prefix: tuple[int, bytes] | None = None

    def apply(self, op: HeadOp) -> None:
        """Let *op* act on what came before."""
        match op:
            case Set(name, value):
                self._remove(name)
                self.lines.append((name, value))
            case Add(name, value):
                self.lines.append((name, value))
            case Remove(name):
                self._remove(name)
            case Host(host):
                self.host = host
            case Path(path):
                self.path, self.prefix = path, None
            case Prefix():
                self.path, self.prefix = None, _bind_prefix(op, self._bound)
            case _:
                assert_never(op)

    def _remove(self, name: bytes) -> None:
        key = name.lower()
        self.cut.add(key)
        self.lines = [line for line in self.lines if line[0].lower() != key]

    def edit(self) -> HeadEdit | None:
        """Return the outcome, None where nothing changes."""
        edit = HeadEdit(
            cut=frozenset(self.cut),
            append=b"".join(b"%b: %b\r\n" % line for line in self.lines),
            host=self.host,
            path=self.path,
            prefix=self.prefix,
        )
        return None if edit == _NOTHING else edit


_NOTHING: Final = HeadEdit()


def fold(ops: Sequence[HeadOp], prefix: bytes = b"") -> HeadEdit | None:
    """Return *ops* as one edit; ReplacePrefixMatch is bound to *prefix*, the matched PathPrefix as written."""
    if not ops:
        return None
    folding = _Fold(prefix)
    for op in ops:
        folding.apply(op)
    return folding.edit()


def bind_redirect(redirect: Redirect, listener: Listener, prefix: bytes) -> Respond:
    """Return the answer of *redirect* for requests that *listener* took by *prefix* (HTTPRequestRedirectFilter)."""
    own_scheme = "https" if listener.protocol is Protocol.HTTPS else "http"
    scheme = redirect.scheme or own_scheme
    # HTTPRequestRedirectFilter.port: as given, else that of the scheme where one is given, else the listener's
    port = redirect.port or (_WELL_KNOWN.get(redirect.scheme) if redirect.scheme else None) or listener.port
    path = redirect.path
    return Respond(
        status=redirect.status,
        scheme=scheme.encode("ascii"),
        host=None if redirect.host is None else redirect.host.encode("ascii"),
        port=b"" if port == _WELL_KNOWN.get(scheme) else b":%d" % port,
        path=path.path if isinstance(path, Path) else None,
        prefix=_bind_prefix(path, prefix) if isinstance(path, Prefix) else None,
    )


def _bind_prefix(op: Prefix, prefix: bytes) -> tuple[int, bytes]:
    # "/foo" -> "/xyz" and "/foo" -> "/xyz/" are the same: the rest of the path brings its own "/"
    return len(prefix_key(prefix)), prefix_key(op.replacement)
