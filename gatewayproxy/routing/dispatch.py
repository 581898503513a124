"""dispatch(): what becomes of a request whose virtual host is known, for traffic and for every tool. Pure.

Rules are asked last: a connection may have been opened for another listener (421, RFC 9110 §15.5.20), an OPTIONS may
be for the gateway itself (RFC 9110 §7.6.2, §9.3.7) or for a CORS filter, and a path may have two readings that lead to
different rules (docs/decisions/002-path-ambiguity.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from gatewayproxy.routing.match import Request, find_entry, n_spelled
from gatewayproxy.routing.table import ListenerLabel, RouteEntry, VirtualHost

__all__ = ["PREFLIGHT", "Dispatched", "Incoming", "dispatch", "unmatched"]

PREFLIGHT: Final = "preflight"
_OTHER_SCHEME: Final = "the target's scheme is not that of the connection"


class Incoming(Request, Protocol):
    """A request as it came: what a gateway looks at before it asks the rules."""

    @property
    def scheme(self) -> bytes | None: ...  # of an absolute-form target
    @property
    def odd(self) -> bool: ...  # its path has other readings
    @property
    def max_forwards(self) -> int: ...  # -1: absent
    def other_paths(self, spelled: int = 0) -> tuple[bytes, ...]: ...  # its other readings after so many bytes


class Dispatched(NamedTuple):
    """The entry that takes a request, or the *reason* why the gateway answers, in the name of *entry* if there is one.

    PREFLIGHT: the CORS filter of *entry* answers.
    """

    entry: RouteEntry | None
    reason: str = ""
    detail: str = ""


class _Variant:
    """A request with another method or path."""

    __slots__ = ("field", "method", "path", "query")

    def __init__(self, request: Request, *, method: bytes | None = None, path: bytes | None = None) -> None:
        self.method = request.method if method is None else method
        self.path = request.path if path is None else path
        self.query = request.query
        self.field: Callable[[bytes], bytes | None] = request.field


def dispatch(vhost: VirtualHost | None, request: Incoming, listener: ListenerLabel | None, scheme: bytes) -> Dispatched:
    """Return what becomes of *request* for *vhost*; None: no listener of the port has its host.

    *listener*: whose server name the connection asked for, None in clear text. *scheme*: the connection's.
    """
    if vhost is None:
        return Dispatched(None, "no_route")
    if listener is not None and listener.scope != vhost.listener.scope:
        return Dispatched(None, "misdirected")
    if request.scheme is not None and request.scheme != scheme:
        return Dispatched(None, "misdirected", _OTHER_SCHEME)
    if request.method == b"OPTIONS":
        if request.path == b"*" or request.max_forwards == 0:
            return Dispatched(None, "options_answered")
        asked = _preflight_entry(vhost, request)
        if asked is not None:
            return Dispatched(asked, PREFLIGHT)
    entry = find_entry(vhost, request)
    if request.odd and not _same_rule(vhost, request, entry):
        return Dispatched(None, "ambiguous_path")
    return Dispatched(entry, "" if entry is not None else unmatched(vhost))


def unmatched(vhost: VirtualHost) -> str:
    """Return the reason why *vhost* has no entry for a request."""
    return "no_rule" if vhost.layers else "no_route"


def _same_rule(vhost: VirtualHost, request: Incoming, entry: RouteEntry | None) -> bool:
    """Return whether every reading of the path leads to *entry*. What its rule spells out has no other reading."""
    spelled = n_spelled(vhost, request, entry) if entry is not None else 0
    return all(find_entry(vhost, _Variant(request, path=path)) is entry for path in request.other_paths(spelled))


def _preflight_entry(vhost: VirtualHost, request: Incoming) -> RouteEntry | None:
    """Return the entry whose CORS filter answers *request*, of method OPTIONS; None where that is not one.

    That is the entry of the request that a preflight announces. What it cannot tell are the header fields that a match
    may ask for: so the entry of the OPTIONS request itself is the second choice.
    """
    method = request.field(b"access-control-request-method")
    if method is None or request.field(b"origin") is None:
        return None
    if not request.odd:
        announced = find_entry(vhost, _Variant(request, method=method))
        if announced is not None and announced.cors is not None:
            return announced
    entry = find_entry(vhost, request)
    if entry is None or entry.cors is None or (request.odd and not _same_rule(vhost, request, entry)):
        return None
    return entry
