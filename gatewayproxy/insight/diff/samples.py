"""What is asked where two virtual hosts are too large to be compared to the end: requests of their matches. Pure.

Each match of either side makes a request; those that only one side has come first, then the rest, evenly spread. What
was not asked is counted, and never taken to be the same.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from gatewayproxy.insight.diff.cells import Key, Side
from gatewayproxy.insight.diff.outcomes import Outcome
from gatewayproxy.insight.regions import (
    HOST,
    PATH,
    Condition,
    How,
    Test,
    candidate_conditions,
    example_of,
    region_where,
)
from gatewayproxy.insight.requests import Request
from gatewayproxy.routing.table import VirtualHost

__all__ = ["MAX_ASKED", "MAX_LOOKS", "Move", "Sample", "sampled"]

MAX_ASKED: Final = 100  # requests of two virtual hosts
MAX_LOOKS: Final = 200_000  # matches of two virtual hosts that all requests of a sample may come by

Wanted = tuple[Condition, ...]


class Move(NamedTuple):
    """Requests of a sample that were treated like *old* and are like *new*; *witness*: the first of them."""

    old: Outcome
    new: Outcome
    n: int
    witness: Request


class Sample(NamedTuple):
    """What was asked of two sides that have *n_matches*; *moves*: what was treated otherwise, most requests first."""

    n_matches: int
    n_asked: int
    moves: tuple[Move, ...] = ()

    @property
    def n_moved(self) -> int:
        """Return how many of those asked are treated otherwise."""
        return sum(move.n for move in self.moves)


class Asked(Protocol):
    """Two tables, asked about a request."""

    def __call__(self, request: Request, /) -> tuple[Outcome, Outcome]: ...


def sampled(sides: tuple[Side, Side], key: Key, like: Request, ask: Asked) -> Sample:
    """Return what becomes of requests like *like*, whose host both *sides* serve, that their matches take."""
    old, new = (_matches(side.vhost, key) for side in sides)
    wanted = list(dict.fromkeys((*old, *new)))
    alone = [each for each in wanted if old.get(each) != new.get(each)]
    rest = [each for each in wanted if old.get(each) == new.get(each)]
    n_asked = min(MAX_ASKED, max(MAX_LOOKS // (len(wanted) + 1), 1))
    chosen = _spread(alone, n_asked)
    chosen += _spread(rest, n_asked - len(chosen))
    groups: dict[tuple[object, object], Move] = {}
    n_made = 0
    for made in (_request(each, like) for each in chosen):
        if made is None:
            continue
        n_made += 1
        before, after = ask(made)
        if before.facts != after.facts:
            name = before.facts, after.facts
            move = groups.get(name, Move(before, after, 0, made))
            groups[name] = move._replace(n=move.n + 1)
    return Sample(len(wanted), n_made, tuple(sorted(groups.values(), key=lambda move: -move.n)))


def _matches(vhost: VirtualHost | None, key: Key) -> dict[Wanted, int]:
    """Return what each match of *vhost* asks for, with the number of what it does; of those alike, the first."""
    found: dict[Wanted, int] = {}
    for layer in vhost.layers if vhost is not None else ():
        for path, candidates in (
            *((Test(How.EQUALS, path), each) for path, each in layer.exact.items()),
            (None, layer.regexes),
            *((Test(How.UNDER, path), each) for path, each in layer.prefix.items()),
        ):
            for candidate in candidates:
                asked = (*([Condition(PATH, path)] if path is not None else ()), *candidate_conditions(candidate))
                found.setdefault(asked, key(candidate.entry))
    return found


def _spread(of: list[Wanted], n: int) -> list[Wanted]:
    """Return *n* of these, evenly spread."""
    return of if len(of) <= n else [of[at * len(of) // n] for at in range(n)]


def _request(wanted: Wanted, like: Request) -> Request | None:
    region = region_where((Condition(HOST, Test(How.EQUALS, like.authority)), *wanted))
    made = example_of(region, like) if region is not None else None
    return made if isinstance(made, Request) else None
