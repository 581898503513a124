"""What the rules lacked to take a request: the first predicate that a match failed, and the nearest match of a host.

`failure` asks one match piece by piece, by the machine's own `find_entry`: its path, then with its method, then with
each of its header and query tests. Tools ask it of every match of a plan. The data plane asks `Nearest` for the one
match that came closest, at a bounded cost: what may be near is found by bisection, and at most MAX_EXAMINED are asked.
Pure.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from enum import IntEnum
from itertools import chain, islice, takewhile
from typing import Final, NamedTuple

from gatewayproxy.routing.match import Request, find_entry
from gatewayproxy.routing.table import Candidate, HostIndex, ListenerLabel, PathIndex, VirtualHost

__all__ = [
    "MAX_EXAMINED", "MAX_KEYS", "Failure", "Near", "NearHost", "Nearest", "Placed", "Predicate", "failure", "n_common",
    "placed",
]  # fmt: skip

MAX_EXAMINED: Final = 32  # matches asked for one request
MAX_KEYS: Final = 4_096  # paths of a layer, or hosts of a port, among which the nearest is looked for: the first ones
MAX_LAYERS: Final = 1_024  # whose paths are kept in order
_BESIDE: Final = 4  # matches asked on either side of where a path would stand
_LABEL: Final = ListenerLabel(0, "-")


class Predicate(IntEnum):
    """What a match was found wanting in, in the order in which it is asked. The higher, the nearer the miss."""

    PORT = 0
    LISTENER = 1
    HOST = 2
    PATH = 3  # of a GRPCRoute: the service
    METHOD = 4
    HEADER = 5
    QUERY = 6
    PRECEDENCE = 7  # it fits, and another one goes before it


class Placed(NamedTuple):
    """A candidate, and the path that it stands behind in its index; *path* of a pattern is the pattern."""

    candidate: Candidate
    path: bytes
    prefix: bool = False
    call: bool = False  # of a GRPCRoute: "/service/method"


class Failure(NamedTuple):
    """The first predicate that a match failed; *nearness* sorts failures of one predicate, nearer is greater."""

    failed: Predicate
    nearness: tuple[int, ...]
    name: bytes = b""  # of the header field or query parameter


class Near(NamedTuple):
    """The match of a host that came closest to a request."""

    placed: Placed
    failure: Failure
    n_rules: int  # of the host


class NearHost(NamedTuple):
    """The host that is most like one that nobody has; *hostname* as a manifest writes it."""

    hostname: str
    vhost: VirtualHost


def placed(layers: Iterable[PathIndex], *, call: bool = False) -> Iterator[Placed]:
    """Yield every candidate of *layers*; *call*: they are of GRPCRoutes."""
    for layer in layers:
        for prefix, paths in ((False, layer.exact), (True, layer.prefix)):
            for path, candidates in paths.items():
                yield from (Placed(each, path, prefix, call) for each in candidates)
        yield from (_pattern(each, call) for each in layer.regexes)


def _pattern(candidate: Candidate, call: bool) -> Placed:
    return Placed(candidate, candidate.regex or (candidate.call.service if candidate.call else b""), call=call)


def failure(match: Placed, request: Request) -> Failure | None:
    """Return what *match*, were it the only one, lacks to take *request*; None: nothing.

    Of two that fail in their fields, the one that passes more tests is nearer.
    """
    candidate = match.candidate
    size = len(match.path)
    bare = replace(
        candidate, method=None, headers=(), query=(), bare=candidate.regex is None and candidate.call is None
    )
    if not _passes(_of_service(match, bare), request):
        wanted = match.path[1:] if match.path[:1] == b"/" else match.path
        return Failure(Predicate.PATH, (n_common(_service(wanted) if match.call else wanted, request.path[1:]),))
    if not _passes(match._replace(candidate=bare), request):  # of a call: its method
        return Failure(Predicate.METHOD, (size,))
    bare = replace(bare, bare=False)
    if not _passes(match._replace(candidate=replace(bare, method=candidate.method)), request):
        return Failure(Predicate.METHOD, (size,))
    headers = [
        each.name
        for each in candidate.headers
        if not _passes(match._replace(candidate=replace(bare, headers=(each,))), request)
    ]
    if headers:
        return Failure(Predicate.HEADER, (-len(headers), size), headers[0])
    query = [
        each.name
        for each in candidate.query
        if not _passes(match._replace(candidate=replace(bare, query=(each,))), request)
    ]
    return Failure(Predicate.QUERY, (-len(query), size), query[0]) if query else None


def _service(path: bytes) -> bytes:
    return path.partition(b"/")[0]


def _of_service(match: Placed, bare: Candidate) -> Placed:
    """Return *match* with nothing but its path left; of a call: with nothing but its service."""
    call = bare.call
    if call is not None:
        return match._replace(candidate=replace(bare, call=call._replace(method=b"")))
    if match.call and not match.prefix:
        return Placed(bare, b"/" + _service(match.path[1:]), prefix=True, call=True)
    return match._replace(candidate=bare)


def _passes(match: Placed, request: Request) -> bool:
    candidates = (match.candidate,)
    if match.candidate.regex is not None or match.candidate.call is not None:
        index = PathIndex(regexes=candidates)
    elif match.prefix:
        index = PathIndex(prefix={match.path: candidates}, depth=match.path.count(b"/"))
    else:
        index = PathIndex(exact={match.path: candidates})
    return find_entry(VirtualHost(listener=_LABEL, layers=(index,)), request) is not None


def n_common(one: Sequence[object], other: Sequence[object]) -> int:
    """Return how many items both begin with."""
    same = (mine == theirs for mine, theirs in zip(one, other, strict=False))
    return sum(1 for _ in takewhile(bool, same))


# --- the nearest of a host


class Nearest:
    """Finds what came closest, among the hosts of one port. What it needs in order is put so at the first question."""

    def __init__(self, index: HostIndex) -> None:
        self._index = index
        self._layers: dict[PathIndex, tuple[bytes, ...]] = {}  # their paths in order
        self._n_rules: dict[VirtualHost, int] = {}
        self._hosts: tuple[tuple[bytes, VirtualHost], ...] | None = None  # by name from its end

    def match(self, vhost: VirtualHost, request: Request) -> Near | None:
        """Return the match of *vhost* that came closest to *request*, which none took; None if there is no match."""
        asked: set[Placed] = set()
        best: tuple[Failure, Placed] | None = None
        for stage in (self._fitting, self._beside):
            for each in islice(stage(vhost, request.path), MAX_EXAMINED - len(asked)):
                found = failure(each, request) if each not in asked else None
                asked.add(each)
                if found is not None and (best is None or found[:2] > best[0][:2]):
                    best = found, each
            if best is not None and best[0].failed >= Predicate.HEADER:
                break  # what stands beside the path fails before that
        return Near(best[1], best[0], self._count(vhost)) if best is not None else None

    def host(self, host: bytes) -> NearHost | None:
        """Return the host with rules whose end is most like that of *host* (`host_key` form); None: there is none."""
        if self._hosts is None:
            names = chain(self._index.exact.items(), self._index.wildcard.items())
            self._hosts = tuple(sorted((name[::-1], each) for name, each in islice(names, MAX_KEYS) if each.layers))
        backwards = host[::-1]
        at = bisect_left(self._hosts, (backwards,))
        beside = self._hosts[max(at - _BESIDE, 0) : at + _BESIDE]
        near = max(beside, default=None, key=lambda x: (n_common(x[0], backwards), n_common(x[0][::-1], host)))
        if near is None:
            return None
        name = near[0][::-1].decode("latin-1")
        return NearHost("*" + name if name[:1] == "." else name, near[1])

    def _fitting(self, vhost: VirtualHost, path: bytes) -> Iterator[Placed]:
        """Yield what has *path*, and what its patterns may have."""
        for layer in vhost.layers:
            yield from _behind(layer, [path])
            yield from _behind(layer, _prefixes(path, layer.depth))
        for layer in vhost.layers:
            yield from (_pattern(each, each.entry.grpc) for each in layer.regexes)

    def _beside(self, vhost: VirtualHost, path: bytes) -> Iterator[Placed]:
        """Yield what has the paths beside which *path* would stand in their order, or any method of its service."""
        for layer in vhost.layers:
            keys = self._ordered(layer)
            for wanted in (path, path[: path.find(b"/", 1) + 1] or path):
                at = bisect_left(keys, wanted)
                yield from _behind(layer, keys[max(at - 1, 0) : at + 1])
                yield from _behind(layer, keys[max(at - _BESIDE, 0) : at + _BESIDE])

    def _ordered(self, layer: PathIndex) -> tuple[bytes, ...]:
        known = self._layers.get(layer)
        if known is None:
            if len(self._layers) >= MAX_LAYERS:
                self._layers.clear()
            known = self._layers[layer] = tuple(sorted(islice(chain(layer.exact, layer.prefix), MAX_KEYS)))
        return known

    def _count(self, vhost: VirtualHost) -> int:
        known = self._n_rules.get(vhost)
        if known is None:
            if len(self._n_rules) >= MAX_LAYERS:
                self._n_rules.clear()
            found = {each.candidate.entry for each in islice(placed(vhost.layers), MAX_KEYS)}
            known = self._n_rules[vhost] = len(found)
        return known


def _behind(layer: PathIndex, paths: Iterable[bytes]) -> Iterator[Placed]:
    for path in paths:
        yield from (Placed(each, path, False, each.entry.grpc) for each in layer.exact.get(path, ()))
        yield from (Placed(each, path, True, each.entry.grpc) for each in layer.prefix.get(path, ()))


def _prefixes(path: bytes, depth: int) -> Iterator[bytes]:
    """Yield *path* cut behind each of its first *depth* segments, the longest first, and b"", which is "/"."""
    parts = path.split(b"/", depth + 1)[: depth + 1]
    for n in range(len(parts), 0, -1):
        yield b"/".join(parts[:n])
