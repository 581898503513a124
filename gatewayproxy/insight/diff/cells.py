"""Where two virtual hosts do different things: regions of (path, method, header, query), each with both entries. Pure.

All paths are parted by the paths that either side names: what equals one, what lies under one and under no narrower
one. Such a part has one list of candidates on each side, and the two lists are split, condition by condition of those
that come first, until both have come to an entry or are the same. So what is found is exact, and nothing else differs.
All that is looked at is counted (Work), and what takes more than its bound raises TooMany.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from gatewayproxy.insight.diff.outcomes import Outcome
from gatewayproxy.insight.examples import example
from gatewayproxy.insight.regions import (
    ANY,
    EMPTY,
    EVERYTHING,
    PATH,
    Condition,
    Dim,
    How,
    Region,
    Test,
    Texts,
    candidate_conditions,
)
from gatewayproxy.routing.table import Candidate, RouteEntry, VirtualHost

__all__ = [
    "MAX_STEPS", "SEARCH", "Cell", "Chain", "End", "Key", "Place", "Side", "Step", "TooMany", "Work", "cells", "parts",
    "places",
]  # fmt: skip

MAX_STEPS: Final = 4_000_000  # looks at a condition or an exception, for all of a diff; a look takes about 1 us
SEARCH: Final = 500  # looks that a search for a text that patterns match counts as

End = RouteEntry | Outcome  # an Outcome: what becomes of requests that no entry takes
Key = Callable[[End], int]  # equal for what does the same


class TooMany(Exception):
    """Telling apart what two virtual hosts do takes more than is left of MAX_STEPS."""


class Work:
    """What may still be spent, in looks; counted, so that the same is found on every machine."""

    def __init__(self, most: int | None = None) -> None:
        self.left = MAX_STEPS if most is None else most

    def spend(self, n: int) -> None:
        """Take *n* off; raise TooMany if that is more than is left."""
        self.left -= n
        if self.left < 0:
            raise TooMany


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
    """A candidate that is left: what it still asks for, what it leads to, and the number of what that does."""

    conditions: tuple[Condition, ...]
    end: End
    number: int

    def does(self, other: Step) -> bool:
        """Return whether both do the same with the same requests."""
        return self.number == other.number and self.conditions == other.conditions


Chain = tuple[Step, ...]
Found = tuple[Cell, ...]


def cells(old: Side, new: Side, key: Key, work: Work) -> tuple[Cell, ...]:
    """Return the cells of two sides, neighbours that differ alike made one. Raises TooMany."""
    chains = _Chains(key, work)
    found: dict[Test, Found] = {}
    kept: dict[Test, list[Test]] = {}  # by place: the narrower ones that differ otherwise
    for place in places((old, new)):
        own = tuple(_split(chains.of(old, place), chains.of(new, place), key, work))
        work.spend(1 + len(own))
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
        if (region := _within(cell.region, test, narrower, work)) is not None
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


def parts(side: Side, work: Work) -> Iterator[tuple[Texts, Chain]]:
    """Yield the parts of all paths that *side* tells apart, with the candidates of each, in order. Raises TooMany."""
    chains = _Chains(lambda _: 0, work)
    narrower: dict[Test, list[Test]] = {}
    found = places((side,))
    for place in found:
        wider = _around(place.test, narrower)
        if wider is not None:
            narrower[wider].append(place.test)
        narrower[place.test] = []
    for place in found:  # a chain at a time: each has all regular expressions of the host
        yield Texts((place.test,), tuple(narrower[place.test])), chains.of(side, place)


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

    return len(one) == len(other) and plain(one) == plain(other)


def _within(region: Region, test: Test, narrower: Sequence[Test], work: Work) -> Region | None:
    work.spend(1 + len(narrower))
    texts = region.of(PATH).narrowed(test, True)
    if texts is None:
        return None
    told = texts.fails
    if len(told) <= _TIDIED:
        told = tuple(each for each in texts.fails if not (each.is_open and _is_vain(texts, each, work)))
    # The narrower ones lie within *test*, and apart from each other; but maybe not within what else holds.
    others = [each for each in texts.holds if each.is_open]
    inside = [each for each in narrower if not any(each.apart(other) for other in others)] if others else narrower
    return Region({**region.parts, PATH: texts._replace(fails=(*told, *inside))})


_TIDIED: Final = 20  # exceptions of a region that are looked at one by one


def _is_vain(texts: Texts, test: Test, work: Work) -> bool:
    """Return whether *test*, which is to fail, fails for all that passes what is to hold."""
    work.spend(SEARCH)
    both = Texts(texts.holds).narrowed(test, True)
    return both is None or example("PATH", both) is EMPTY


# --- the candidates of a place


class _Chains:
    """The candidates of places as chains of steps; what one asks for is read once, and two that ask alike are one."""

    def __init__(self, key: Key, work: Work) -> None:
        self._key, self._work = key, work
        self._asked: dict[int, tuple[Condition, ...]] = {}  # by identity of a candidate, which its table keeps
        self._same: dict[tuple[Condition, ...], tuple[Condition, ...]] = {}

    def of(self, side: Side, place: Place) -> Chain:
        """Return the candidates that *side* asks for paths of *place*, in order; the last one asks for nothing."""
        steps: list[Step] = []
        for candidate in candidates(side.vhost, place) if side.vhost is not None else ():
            self._work.spend(1)
            conditions = self._conditions(candidate, place)
            if conditions is None:
                continue
            steps.append(Step(conditions, candidate.entry, self._key(candidate.entry)))
            if not conditions:
                return tuple(steps)
        return (*steps, Step((), side.otherwise, self._key(side.otherwise)))

    def _conditions(self, candidate: Candidate, place: Place) -> tuple[Condition, ...] | None:
        """Return what *candidate* asks for behind the path; None: of no path of *place* it can be had."""
        asked = self._asked.get(id(candidate))
        if asked is None:
            made = tuple(candidate_conditions(candidate))
            asked = self._asked[id(candidate)] = self._same.setdefault(made, made)
        if not asked or asked[0].dim != PATH:
            return asked
        paths = [test for dim, test in asked if dim == PATH]
        if not place.exact:
            return None if any(test.apart(place.test) for test in paths) else asked
        if not all(test.holds(place.test.text) for test in paths):
            return None
        return tuple(each for each in asked if each.dim != PATH)


def candidates(vhost: VirtualHost, place: Place) -> Iterator[Candidate]:
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


class _Fork(NamedTuple):
    """A region that was split, by *condition*, into the nodes numbered *failing* and *passing* (-1: empty)."""

    region: Region
    condition: Condition
    failing: int
    passing: int


class _Node(NamedTuple):
    """A region that is still to be looked at, with what is left of both chains; *hazy*: it may be empty."""

    number: int
    region: Region
    before: Chain
    after: Chain
    hazy: Dim | None = None


def _split(old: Chain, new: Chain, key: Key, work: Work) -> list[Cell]:
    """Return the regions in which the chains come to ends that differ; those that were split in vain are made one."""
    waiting = [_Node(0, EVERYTHING, old, new)]
    forks: dict[int, _Fork] = {}
    found: dict[int, list[Cell]] = {}
    n_nodes = 1
    while waiting:
        decided = _deciding(waiting.pop(), work)
        if decided is None:
            continue
        (number, region, before, after, _), condition = decided
        if condition is None:
            found[number] = [Cell(region, before[-1].end, after[-1].end)]
            continue
        work.spend(1 + len(before) + len(after) + len(region.of(condition.dim).fails))
        parts = [region.narrowed(condition, passes) for passes in (False, True)]
        numbers = [n_nodes + at if part is not None else -1 for at, part in enumerate(parts)]
        n_nodes += len(parts)
        forks[number] = _Fork(region, condition, *numbers)
        for at, part, passes in zip(numbers, parts, (False, True), strict=True):
            if part is not None:
                hazy = condition.dim if any(test.is_open for test in part.of(condition.dim).holds) else None
                left, right = _left(before, condition, passes), _left(after, condition, passes)
                waiting.append(_Node(at, part, left, right, hazy))
    for number in sorted(forks, reverse=True):  # a node's number is below those of its parts
        found[number] = _joined(forks[number], found, key)
    return found.get(0, [])


def _deciding(node: _Node, work: Work) -> tuple[_Node, Condition | None] | None:
    """Return *node* with the condition to split it by, None: all is decided; or None: nothing in it differs.

    First what the first steps ask that differ. Then what those before them ask, which are in both chains: where it is
    a single thing, all that passes it is treated alike.
    """
    number, region, before, after, hazy = node
    at = next((at for at, (one, two) in enumerate(zip(before, after, strict=False)) if not one.does(two)), None)
    work.spend(min(len(before), len(after)) if at is None else at + 1)
    if at is None:
        return None
    asked = before[at].conditions or after[at].conditions
    if not asked:
        shared = tuple(step for step in before[:at] if len(step.conditions) > 1)
        outside = _failing(region, [step.conditions[0] for step in before[:at] if len(step.conditions) == 1], work)
        if outside is None:
            return None
        node = _Node(number, outside, (*shared, before[at]), (*shared, after[at]), hazy)
        if not shared:
            return node, None
        asked = shared[0].conditions
    return None if _is_empty(node, work) else (node, asked[0])


def _failing(region: Region, conditions: Sequence[Condition], work: Work) -> Region | None:
    """Return the requests that fail all *conditions*; None: there are none."""
    outside: Region | None = region
    for condition in conditions:
        if outside is not None:
            work.spend(1 + len(outside.of(condition.dim).fails))
            outside = outside.narrowed(condition, False)
    return outside


def _is_empty(node: _Node, work: Work) -> bool:
    """Return whether patterns contradict each other. PERF: then it is not split, 46 -> 2 s for the worst of 150."""
    if node.hazy is None:
        return False
    work.spend(SEARCH)
    return example(node.hazy.part.name, node.region.of(node.hazy)) is EMPTY


def _joined(fork: _Fork, found: dict[int, list[Cell]], key: Key) -> list[Cell]:
    """Return the cells of both parts, and one for two that the fork alone tells apart."""
    failing, passing = found.pop(fork.failing, []), found.pop(fork.passing, [])
    dim, test = fork.condition
    whole = fork.region.of(dim)
    outside, inside = whole.narrowed(test, False), whole.narrowed(test, True)

    def name(cell: Cell) -> tuple[int, int, Region]:
        others = {other: texts for other, texts in cell.region.parts.items() if other != dim}
        return key(cell.old), key(cell.new), Region(others)

    twins = {name(cell): cell for cell in passing if cell.region.of(dim) == inside}
    for at, cell in enumerate(failing) if twins else ():
        twin = twins.pop(name(cell), None) if cell.region.of(dim) == outside else None
        if twin is not None:
            parts = {**name(cell)[2].parts, dim: whole}
            failing[at] = cell._replace(region=Region({each: texts for each, texts in parts.items() if texts != ANY}))
            passing.remove(twin)
    failing += passing  # PERF: longer by these alone; a chain of n steps is n forks, each with all cells behind it
    return failing


def _left(chain: Chain, condition: Condition, passes: bool) -> Chain:
    """Return *chain* without what no request that passes *condition*, or fails it, meets, and what each of them passes.

    PERF: held against this condition alone, as it was against those before it.
    """
    steps = []
    for step in chain:
        conditions = _open(step.conditions, condition, passes)
        if conditions is None:
            continue
        steps.append(step if conditions is step.conditions else step._replace(conditions=conditions))
        if not conditions:
            break
    return tuple(steps)


def _open(asked: tuple[Condition, ...], known: Condition, passes: bool) -> tuple[Condition, ...] | None:
    """Return those of *asked* that *known*, which holds or fails, leaves open; None: it rules one out."""
    dim, test = known
    left = asked
    for each in asked:
        if each.dim != dim:
            continue
        if test.apart(each.test) if passes else each.test.within(test):
            return None
        if passes and test.within(each.test):
            left = tuple(other for other in left if other != each)
    return left
