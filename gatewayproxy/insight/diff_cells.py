"""Where two virtual hosts do different things: regions of (path, method, header, query), each with both entries. Pure.

All paths are parted by the paths that either side names: what equals one, what lies under one and under no narrower
one. Such a part has one list of candidates on each side, and the two lists are split, condition by condition of those
that come first, until both have come to an entry or are the same. So what is found is exact, and nothing else differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from gatewayproxy.insight.diff_outcomes import Outcome
from gatewayproxy.insight.examples import example
from gatewayproxy.insight.regions import (
    ANY,
    EMPTY,
    EVERYTHING,
    PATH,
    Condition,
    How,
    Region,
    Test,
    Texts,
    candidate_conditions,
)
from gatewayproxy.routing.table import Candidate, RouteEntry, VirtualHost

__all__ = ["MAX_CELLS", "Cell", "Chain", "End", "Key", "Place", "Side", "Step", "TooMany", "cells", "parts", "places"]

MAX_CELLS: Final = 20_000  # splits of one virtual host, large ones counted as several; beyond, it is not examined

End = RouteEntry | Outcome  # an Outcome: what becomes of requests that no entry takes
Key = Callable[[End], int]  # equal for what does the same


class TooMany(Exception):
    """Telling apart what two virtual hosts do takes more than MAX_CELLS."""


class Side(NamedTuple):
    """What one table does with the requests of a host: by *vhost*; *otherwise*: what its rules do not take."""

    vhost: VirtualHost | None
    otherwise: Outcome


class Cell(NamedTuple):
    """Requests of a host for which the two sides come to *old* and *new*, which do different things."""

    region: Region
    old: End
    new: End


class Place(NamedTuple):
    """A part of all paths: those of *test* but of no other test of `places` within it."""

    test: Test
    exact: bool


class Step(NamedTuple):
    """A candidate that is left: what it still asks for, and what it leads to."""

    conditions: tuple[Condition, ...]
    end: End


Chain = tuple[Step, ...]
Found = tuple[Cell, ...]


def cells(old: Side, new: Side, key: Key) -> tuple[Cell, ...]:
    """Return the cells of two sides, neighbours that differ alike made one. Raises TooMany."""
    budget = [MAX_CELLS]
    found: dict[Test, Found] = {}
    kept: dict[Test, list[Test]] = {}  # by place: the narrower ones that differ otherwise
    for place in places((old, new)):
        chains = _chain(old, place), _chain(new, place)
        own = tuple(_different(*chains, key, budget))
        wider = _around(place.test, kept)
        if wider is not None and _alike(found[wider], own, key):
            continue
        found[place.test], kept[place.test] = own, []
        if wider is not None:
            kept[wider].append(place.test)
    return tuple(
        cell._replace(region=region)
        for test, narrower in kept.items()
        for cell in found[test]
        if (region := _within(cell.region, test, narrower)) is not None
    )


def places(sides: Sequence[Side]) -> list[Place]:
    """Return the parts of all paths that the sides tell apart, wider ones first."""
    layers = [layer for side in sides if side.vhost is not None for layer in side.vhost.layers]
    prefixes = {b"", *(path for layer in layers for path in layer.prefix)}
    exact = {path for layer in layers for path in layer.exact}
    under = [
        Place(Test(How.UNDER, path), False) for path in sorted(prefixes, key=lambda path: (path.count(b"/"), path))
    ]
    return under + [Place(Test(How.EQUALS, path), True) for path in sorted(exact)]


def parts(side: Side) -> Iterator[tuple[Texts, Chain]]:
    """Yield the parts of all paths that *side* tells apart, with the candidates of each, in order."""
    narrower: dict[Test, list[Test]] = {}
    found = places((side,))
    for place in found:
        wider = _around(place.test, narrower)
        if wider is not None:
            narrower[wider].append(place.test)
        narrower[place.test] = []
    for place in found:  # a chain at a time: each has all regular expressions of the host
        yield Texts((place.test,), tuple(narrower[place.test])), _chain(side, place)


def _around(test: Test, known: dict[Test, list[Test]]) -> Test | None:
    """Return the narrowest of *known* that *test* lies within."""
    path = test.text
    if test.how is How.UNDER:
        path = path[: path.rfind(b"/")] if path else b""
        if not test.text:
            return None
    while Test(How.UNDER, path) not in known and path:
        path = path[: max(path.rfind(b"/"), 0)]
    return Test(How.UNDER, path)


def _alike(one: Found, other: Found, key: Key) -> bool:
    def plain(found: Found) -> list[tuple[Region, int, int]]:
        return [(cell.region, key(cell.old), key(cell.new)) for cell in found]

    return plain(one) == plain(other)


def _within(region: Region, test: Test, narrower: Sequence[Test]) -> Region | None:
    texts = region.of(PATH).narrowed(test, True)
    if texts is None:
        return None
    told = texts.fails
    if len(told) <= _TIDIED:
        told = tuple(each for each in texts.fails if not (each.is_open and _is_vain(texts, each)))
    # The narrower ones lie within *test*, and apart from each other: there is nothing to simplify.
    return Region({**region.parts, PATH: texts._replace(fails=(*told, *narrower))})


_TIDIED: Final = 20  # exceptions of a region that are looked at one by one


def _is_vain(texts: Texts, test: Test) -> bool:
    """Return whether *test*, which is to fail, fails for all that passes what is to hold."""
    both = Texts(texts.holds).narrowed(test, True)
    return both is None or example("PATH", both) is EMPTY


# --- the candidates of a place


def _chain(side: Side, place: Place) -> Chain:
    """Return the candidates that *side* asks for paths of *place*, in order; the last one asks for nothing."""
    steps = []
    for candidate in _candidates(side.vhost, place) if side.vhost is not None else ():
        conditions = candidate_conditions(candidate)
        if place.exact:
            path = place.test.text
            if not all(test.holds(path) for dim, test in conditions if dim == PATH):
                continue
            conditions = [each for each in conditions if each.dim != PATH]
        steps.append(Step(tuple(conditions), candidate.entry))
        if not conditions:
            return tuple(steps)
    return (*steps, Step((), side.otherwise))


def _candidates(vhost: VirtualHost, place: Place) -> Iterator[Candidate]:
    """Yield the candidates of `routing.match.find_entry`, in its order."""
    for layer in vhost.layers:
        path = place.test.text
        if place.exact:
            yield from layer.exact.get(path, ())
        yield from layer.regexes
        while True:
            yield from layer.prefix.get(path, ())
            if not path:
                break
            path = path[: max(path.rfind(b"/"), 0)]


# --- splitting


def _different(old: Chain, new: Chain, key: Key, budget: list[int]) -> Iterator[Cell]:
    for region, before, after in _split(old, new, key, budget):
        if key(before) != key(after):
            yield Cell(region, before, after)


class _Fork(NamedTuple):
    """A region that was split, by *condition*, into the nodes numbered *failing* and *passing* (-1: empty)."""

    region: Region
    condition: Condition
    failing: int
    passing: int


def _split(old: Chain, new: Chain, key: Key, budget: list[int]) -> Iterator[Cell]:
    """Yield the regions in which the chains come to entries that differ; those that were split in vain are made one."""
    waiting = [(0, EVERYTHING, old, new)]
    forks: dict[int, _Fork] = {}
    found: dict[int, list[Cell]] = {}
    n_nodes = 1
    while waiting:
        node, region, before, after = waiting.pop()
        before, after = _left(before, region), _left(after, region)
        if _signature(before, key) == _signature(after, key):
            continue
        condition = _deciding(before, after, key)
        if condition is None:
            found[node] = [Cell(region, before[0].end, after[0].end)]
            continue
        # What a split costs grows with the conditions that are left, times the exceptions that each is held against.
        budget[0] -= 1 + (len(before) + len(after)) * len(region.of(condition.dim).fails) // 500
        if budget[0] < 0:
            raise TooMany
        parts = [_narrowed(region, condition, passes) for passes in (False, True)]
        numbers = [n_nodes + at if part is not None else -1 for at, part in enumerate(parts)]
        n_nodes += len(parts)
        forks[node] = _Fork(region, condition, *numbers)
        waiting += [(at, part, before, after) for at, part in zip(numbers, parts, strict=True) if part is not None]
    for node in sorted(forks, reverse=True):  # a node's number is below those of its parts
        found[node] = list(_joined(forks[node], found, key))
    yield from found.get(0, ())


def _narrowed(region: Region, condition: Condition, passes: bool) -> Region | None:
    part = region.narrowed(condition, passes)
    if part is None or not any(test.is_open for test in part.of(condition.dim).holds):
        return part
    # PERF: patterns that contradict each other are not split further, 46 -> 2 s for the worst of 150 random pairs.
    return part if example(condition.dim.part.name, part.of(condition.dim)) is not EMPTY else None


def _deciding(before: Chain, after: Chain, key: Key) -> Condition | None:
    """Return the condition to split by: of the first steps that differ, else of those before; None: all is decided."""
    pairs = list(zip(before, after, strict=False))
    at = next(at for at, pair in enumerate(pairs) if _signature(pair[:1], key) != _signature(pair[1:], key))
    steps = (*pairs[at], *before[:at])
    return next((step.conditions[0] for step in steps if step.conditions), None)


def _joined(fork: _Fork, found: dict[int, list[Cell]], key: Key) -> Iterator[Cell]:
    """Yield the cells of both parts, and one for two that the fork alone tells apart."""
    dim, test = fork.condition
    whole = fork.region.of(dim)
    failing, passing = whole.narrowed(test, False), whole.narrowed(test, True)

    def name(cell: Cell) -> tuple[int, int, Region]:
        others = {other: texts for other, texts in cell.region.parts.items() if other != dim}
        return key(cell.old), key(cell.new), Region(others)

    twins = {name(cell): cell for cell in found.get(fork.passing, ()) if cell.region.of(dim) == passing}
    for cell in found.get(fork.failing, ()):
        twin = twins.pop(name(cell), None) if cell.region.of(dim) == failing else None
        if twin is None:
            yield cell
        else:
            parts = {**name(cell)[2].parts, dim: whole}
            yield cell._replace(region=Region({each: texts for each, texts in parts.items() if texts != ANY}))
            found[fork.passing].remove(twin)
    yield from found.get(fork.passing, ())


def _signature(chain: Sequence[Step], key: Key) -> list[tuple[tuple[Condition, ...], int]]:
    return [(step.conditions, key(step.end)) for step in chain]


def _left(chain: Chain, region: Region) -> Chain:
    """Return *chain* without what requests of *region* never meet, and without conditions that they all pass."""
    steps = []
    for step in chain:
        conditions = _open(step.conditions, region)
        if conditions is None:
            continue
        steps.append(Step(conditions, step.end))
        if not conditions:
            break
    return tuple(steps)


def _open(conditions: Sequence[Condition], region: Region) -> tuple[Condition, ...] | None:
    """Return those of *conditions* that some of *region* fail; None: all of it fails one."""
    left = []
    for condition in conditions:
        texts = region.of(condition.dim)
        if texts.narrowed(condition.test, True) is None:
            return None
        if texts.narrowed(condition.test, False) is not None:
            left.append(condition)
    return tuple(left)
