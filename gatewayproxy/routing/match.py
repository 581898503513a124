"""find(): the one and only matching code, for traffic and for every tool. Pure.

Two questions: which VirtualHost has this host (`find_host`), and which entry of it takes the request (`find_entry`).
Cost does not grow with the number of hosts or routes: dict lookups by label of the host and by segment of the path.
It is bounded for any input: host names by MAX_NAME_BYTES, paths by the depth of the deepest prefix configured,
patterns by RE2's linear time, the query by one parse per request. Regular expressions of one virtual host are tried
one after another, as the Gateway API's precedence asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Protocol, TypeVar
from urllib.parse import unquote_to_bytes

from gatewayproxy.routing.patterns import matches
from gatewayproxy.routing.table import CallTest, Candidate, PathIndex, RouteEntry, VirtualHost

__all__ = ["MAX_NAME_BYTES", "NameIndex", "Request", "find_entry", "find_host", "host_key", "n_spelled"]

MAX_NAME_BYTES: Final = 253  # RFC 1035 §2.3.4 less the root; no key of an index is longer

T_co = TypeVar("T_co", covariant=True)


class Request(Protocol):
    """What matching may ask of a request; heads of any protocol version provide it."""

    @property
    def method(self) -> bytes: ...
    @property
    def path(self) -> bytes: ...  # without the query
    @property
    def query(self) -> bytes: ...  # after "?", b"" where there is none
    def field(self, name: bytes) -> bytes | None: ...  # lower-case name; repeated lines joined by ","


class NameIndex(Protocol[T_co]):
    """What `find_host` looks in: a HostIndex by Host, a SniIndex by server name."""

    @property
    def exact(self) -> Mapping[bytes, T_co]: ...
    @property
    def wildcard(self) -> Mapping[bytes, T_co]: ...
    @property
    def default(self) -> T_co | None: ...


def host_key(host: bytes) -> bytes:
    """Return *host* as the index spells it: lower-case, without port and without one trailing dot.

    *host* is a valid Host value (RFC 9110 §7.2) or server name; an IPv6 literal keeps its brackets.
    """
    if host[:1] == b"[":
        return host[: host.find(b"]") + 1].lower()
    name = host.partition(b":")[0].lower()
    return name[:-1] if name[-1:] == b"." else name


def find_host(index: NameIndex[T_co], host: bytes) -> T_co | None:
    """Return what *index* has for *host* (`host_key` form): exact, else longest wildcard suffix, else the default."""
    found = index.exact.get(host)
    if found is not None:
        return found
    wildcard = index.wildcard
    if wildcard and len(host) <= MAX_NAME_BYTES:
        dot = host.find(b".", 1)  # from 1: the wildcard stands for at least one label
        while dot > 0:
            found = wildcard.get(host[dot:])
            if found is not None:
                return found
            dot = host.find(b".", dot + 1)
    return index.default


def find_entry(vhost: VirtualHost, request: Request) -> RouteEntry | None:
    """Return the entry that takes *request*, by the precedence of its routes' kind, or None (404).

    A layer without a match for this request yields to the next wider hostname of the same listener.
    """
    for layer in vhost.layers:
        entry = _find_whole(layer, request) if layer.exact or layer.regexes else None
        if entry is None:
            entry = _find_prefix(layer, request)
        if entry is not None:
            return entry
    return None


def n_spelled(vhost: VirtualHost, request: Request, entry: RouteEntry) -> int:
    """Return how many bytes of the path are as a match of *entry*, which takes *request*, has them letter by letter."""
    path = request.path
    for layer in vhost.layers:
        if _takes(layer.exact.get(path, ()), request, entry):
            return len(path)
        for end in reversed(_ends(path, layer.depth)):
            if _takes(layer.prefix.get(path[:end], ()), request, entry):
                return end
    return 0


def _ends(path: bytes, depth: int) -> list[int]:
    """Return where the first *depth* segments of *path* end."""
    ends: list[int] = []
    end = 0
    while len(ends) < depth and end < len(path):
        end = path.find(b"/", end + 1)
        end = len(path) if end < 0 else end
        ends.append(end)
    return ends


def _takes(candidates: tuple[Candidate, ...], request: Request, entry: RouteEntry) -> bool:
    return any(each.entry is entry and _holds(each, request) for each in candidates)


def _find_whole(layer: PathIndex, request: Request) -> RouteEntry | None:
    """Return the entry that the whole path leads to: exact matches first, then regular expressions."""
    path = request.path
    for candidate in layer.exact.get(path, ()):
        if candidate.bare or _holds(candidate, request):
            return candidate.entry
    for candidate in layer.regexes:
        if candidate.regex is not None:
            fits = matches(candidate.regex, path)
        else:
            fits = candidate.call is not None and _call_fits(candidate.call, path)
        if fits and _holds(candidate, request):
            return candidate.entry
    return None


def _call_fits(call: CallTest, path: bytes) -> bool:
    """Return whether *path* is a call of the service and method of *call*."""
    service, _, method = path[1:].partition(b"/")
    for expected, name in ((call.service, service), (call.method, method)):
        if expected and not (matches(expected, name) if call.regex else expected == name):
            return False
    return True


def _find_prefix(layer: PathIndex, request: Request) -> RouteEntry | None:
    """Return the entry of the longest prefix that takes *request*: from `layer.depth` segments on, one less each time.

    PERF: benchmarks/routing, prefixes of one segment, 0.65 -> 0.35 us a lookup against a list of them made beforehand.
    """
    path = request.path
    prefix = layer.prefix
    left = layer.depth
    end = path.find(b"/", 1) if left else 0
    while end > 0 and left > 1:
        end = path.find(b"/", end + 1)
        left -= 1
    if end < 0:
        end = len(path)
    while True:
        for candidate in prefix.get(path[:end], ()):
            if candidate.bare or _holds(candidate, request):
                return candidate.entry
        if end <= 0:
            return None
        end = max(path.rfind(b"/", 0, end), 0)


def _holds(candidate: Candidate, request: Request) -> bool:
    """Return whether the predicates of *candidate* hold, all but its path."""
    if candidate.method is not None and candidate.method != request.method:
        return False
    for name, expected, regex in candidate.headers:
        value = request.field(name)
        if value is None or not (matches(expected, value) if regex else value == expected):
            return False
    if candidate.query:
        params = query_params(request.query)
        for name, expected, regex in candidate.query:
            value = params.get(name)
            if value is None or not (matches(expected, value) if regex else value == expected):
                return False
    return True


@lru_cache(maxsize=1)  # the candidates of one request ask for the same query one after another
def query_params(query: bytes) -> Mapping[bytes, bytes]:
    """Return the parameters of *query* after percent-decoding, "+" as space; the first occurrence of a name counts."""
    params: dict[bytes, bytes] = {}
    for pair in query.split(b"&"):
        if pair:
            name, _, value = pair.partition(b"=")
            params.setdefault(_decoded(name), _decoded(value))
    return params


def _decoded(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" ")) if b"%" in text or b"+" in text else text
