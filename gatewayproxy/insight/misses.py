"""Every match that could have taken a request, and the first predicate that it failed; nearest miss first. Pure.

A match is asked by the machine's own code: lowered alone, piece by piece (`routing.nearest.failure`). What passes
everything and still lost, lost by precedence.
Matches are those of the plan, for a table leaves out what can never win.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from gatewayproxy.compiler.lower.calls import call_layers
from gatewayproxy.compiler.lower.paths import Claimed, path_index
from gatewayproxy.compiler.lower.precedence import Claim, call_rank, host_rank, rank
from gatewayproxy.insight.wording import decoded
from gatewayproxy.model.names import widening
from gatewayproxy.model.plan import GRPCMatch, HeaderTest, Listener, Match, PathKind, Plan, QueryTest, Route, Rule
from gatewayproxy.routing.match import Request, query_params
from gatewayproxy.routing.nearest import Placed, Predicate, failure, n_common, placed
from gatewayproxy.routing.table import RouteEntry, RuleLabel

__all__ = ["Asked", "Contender", "Miss", "Predicate", "contenders", "match_text", "misses"]


class Contender(NamedTuple):
    """A match on a listener, with the hostnames of its route there: (effective, own)."""

    listener: Listener
    route: Route
    rule: Rule
    position: int  # of the match within its rule
    match: Match | GRPCMatch | None  # None: of a route of connections, which have no matches
    hostnames: tuple[tuple[str, str], ...]

    @property
    def is_of(self) -> tuple[str, str, int]:
        """Return kind and name of the route, and the index of the rule."""
        return self.route.key.kind, self.route.key.full_name, self.rule.index

    def became(self, entry: RouteEntry) -> bool:
        """Return whether *entry* of the table is what its rule became on its listener."""
        label = entry.label
        return self.is_of == (label.kind, label.route, label.rule) and str(self.listener.key) == label.listener


class Miss(NamedTuple):
    """A match that did not take a request: the first predicate it failed, in words, and how near it was."""

    contender: Contender
    failed: Predicate
    detail: str
    nearness: tuple[int, ...]  # sorts the misses of one predicate, nearer is greater


class Asked(NamedTuple):
    """A request as it was routed: where it came, and who owns its host."""

    request: Request
    host: str  # in `host_key` form
    here: frozenset[str]  # names of the listeners of the port
    owner: str  # name of the listener of the host, "" where there is none
    covering: frozenset[str]  # every hostname that has the host


def contenders(plan: Plan) -> Iterator[Contender]:
    """Yield every match of HTTPRoutes and GRPCRoutes, in plan order."""
    for listener in plan.listeners:
        for route, hostnames in listener.attachments:
            for rule in route.rules:
                for index, match in enumerate(rule.matches):
                    yield Contender(listener, route, rule, index, match, hostnames)


def misses(plan: Plan, asked: Asked, entry: RouteEntry | None) -> tuple[Contender | None, list[Miss]]:
    """Return the match by which *entry* took the request, and the misses of all others, nearest first.

    A match of a route that is on several listeners is there once, for the nearest.
    """
    fitting: list[Contender] = []
    missed: list[Miss] = []
    for contender in contenders(plan):
        miss = _miss(contender, asked)
        if miss is None:
            fitting.append(contender)
        else:
            missed.append(miss)
    fitting.sort(key=lambda each: _order(each, asked.host))
    winner = next((each for each in fitting if entry is not None and each.became(entry)), None)
    beaten = [
        Miss(each, Predicate.PRECEDENCE, _why_beaten(winner, each, asked.host), (-at,))
        for at, each in enumerate(fitting)
        if each is not winner
    ]
    return winner, _nearest(winner, [*beaten, *missed])


def _nearest(winner: Contender | None, missed: list[Miss]) -> list[Miss]:
    missed.sort(key=lambda miss: (miss.failed, miss.nearness), reverse=True)
    seen = {(*winner.is_of, winner.position)} if winner is not None else set()
    nearest = []
    for miss in missed:
        key = (*miss.contender.is_of, miss.contender.position)
        if key not in seen:
            seen.add(key)
            nearest.append(miss)
    return nearest


def _miss(contender: Contender, asked: Asked) -> Miss | None:
    """Return why *contender* cannot take the request, None where it can."""
    listener, name = contender.listener, str(contender.listener.key)
    if name not in asked.here:
        return Miss(
            contender, Predicate.PORT, f"{name} is on port {listener.port}", (int(_has_host(contender, asked)),)
        )
    if not _has_host(contender, asked):
        return _host_miss(contender, asked)
    if name != asked.owner:
        detail = f"the host belongs to {asked.owner}, whose hostname is narrower" if asked.owner else f"not on {name}"
        return Miss(contender, Predicate.LISTENER, detail, ())
    return _match_miss(contender, asked.request)


def _has_host(contender: Contender, asked: Asked) -> bool:
    covering = asked.covering
    return contender.listener.hostname in covering and any(own in covering for _, own in contender.hostnames)


def _host_miss(contender: Contender, asked: Asked) -> Miss:
    names = [effective or "any host" for effective, _ in contender.hostnames] or [contender.listener.hostname]
    alike = max(n_common(name[::-1], asked.host[::-1]) for name in names)
    return Miss(contender, Predicate.HOST, f"its hostnames are {', '.join(names)}", (alike,))


# --- one match, piece by piece

_ENTRY: Final = RouteEntry(index=0, label=RuleLabel("-", "-", "-", 0), fingerprint=b"")


def _match_miss(contender: Contender, request: Request) -> Miss | None:
    match = contender.match
    assert match is not None
    call = isinstance(match, GRPCMatch)
    found = failure(_alone(match), request)
    if found is None:
        return None
    match found.failed:
        case Predicate.PATH:
            detail = f"the {'call' if call else 'path'} is {_cut(request.path)}"
        case Predicate.METHOD:
            detail = f"the call is {_cut(request.path)}" if call else f"the method is {_cut(request.method)}"
        case Predicate.HEADER:
            detail = _field_detail("header", found.name, request.field(found.name))
        case _:
            detail = _field_detail("query parameter", found.name, query_params(request.query).get(found.name))
    return Miss(contender, found.failed, detail, found.nearness)


def _alone(match: Match | GRPCMatch) -> Placed:
    """Return what *match* is lowered to, were it the only one."""
    if isinstance(match, GRPCMatch):
        layers = call_layers([Claimed(Claim(match, 0.0, "", 0, 0), _ENTRY)])
        return next(placed(layers, call=True))
    return next(placed([path_index([Claimed(Claim(match, 0.0, "", 0, 0), _ENTRY)])]))


def _field_detail(what: str, name: bytes, value: bytes | None) -> str:
    said = "is absent" if value is None else f'is "{_cut(value)}"'
    return f"{what} {decoded(name)} {said}"


# --- precedence, in words

_CLAUSES: Final = (
    "an exact path goes before a pattern, and a pattern before a prefix", "a longer path goes first",
    "a match by method goes first", "more header matches go first", "more query matches go first",
    "the older route goes first", "the route whose name sorts first goes first", "the earlier rule goes first",
    "the earlier match of the rule goes first",
)  # fmt: skip
_CALL_CLAUSES: Final = (
    "an exact service goes before a pattern, and that before any",
    "a longer service goes first",
    "an exact method goes before a pattern, and that before any",
    "a longer method goes first",
    "more header matches go first",
    "the older route goes first",
    "the route whose name sorts first goes first",
    "the earlier rule goes first",
    "the earlier match of the rule goes first",
)


def _order(contender: Contender, host: str) -> tuple[object, ...]:
    """Return the sort key of what fits: the narrowest hostname of the route first, then the clauses of its kind."""
    covering = set(widening(host))
    own = min(host_rank(name) for _, name in contender.hostnames if name in covering)
    route = contender.route
    ties = (route.created, route.key.full_name, contender.rule.index, contender.position)
    match = contender.match
    assert match is not None
    if isinstance(match, GRPCMatch):
        return own, 1, call_rank(Claim(match, *ties))
    return own, 0, rank(Claim(match, *ties))


def _why_beaten(winner: Contender | None, beaten: Contender, host: str) -> str:
    if winner is None:
        return "it fits, but the gateway answers before it asks the rules"
    first, second = _order(winner, host), _order(beaten, host)
    by = f"{winner.route.key} rule {winner.rule.index}"
    if first[0] != second[0]:
        return f"it fits, but {by} has the narrower hostname"
    if first[1] != second[1]:
        return f"it fits, but {by} is of the kind that is asked first"
    clauses = _CALL_CLAUSES if isinstance(winner.match, GRPCMatch) else _CLAUSES
    one, other = first[2], second[2]
    assert isinstance(one, tuple)
    assert isinstance(other, tuple)
    at = next((at for at, (mine, theirs) in enumerate(zip(one, other, strict=True)) if mine != theirs), -1)
    return f"it fits, but {by} goes before it: {clauses[at]}"


def match_text(match: Match | GRPCMatch | None) -> str:
    """Return *match* in one line: `path under /cart, method GET, header x-beta = 1`."""
    parts: Sequence[str]
    if match is None:
        return "whatever comes"
    if isinstance(match, GRPCMatch):
        how = "~" if match.regex else "="
        parts = [f"{what} {how} {decoded(name)}" for what, name in _names(match) if name] or ["any call"]
        return ", ".join([*parts, *(_test_text("header", test) for test in match.headers)])
    parts = [f"{_KINDS[match.path_kind]} {decoded(match.path)}"]
    if match.method is not None:
        parts.append(f"method {decoded(match.method)}")
    headers = (_test_text("header", test) for test in match.headers)
    return ", ".join([*parts, *headers, *(_test_text("query", test) for test in match.query)])


_KINDS: Final = {PathKind.EXACT: "path =", PathKind.REGEX: "path ~", PathKind.PREFIX: "path under"}


def _names(match: GRPCMatch) -> tuple[tuple[str, bytes], tuple[str, bytes]]:
    return ("service", match.service), ("method", match.method)


def _test_text(what: str, test: HeaderTest | QueryTest) -> str:
    return f"{what} {decoded(test.name)} {'~' if test.regex else '='} {decoded(test.value)}"


def _cut(raw: bytes) -> str:
    """Return what a client sent, as every miss repeats it: long ones are cut."""
    text = decoded(raw[: _MOST_SAID * 4])
    return text if len(text) <= _MOST_SAID else f"{text[:_MOST_SAID]}..."


_MOST_SAID: Final = 160
