"""Rules of two compilations: which came, which went, which can take requests no longer, and which can again. Pure.

A rule is alive if some request comes to it, on any listener. Behind what goes before it there may be nothing left:
`insight.regions` takes that away, and asks for an example of the rest. In doubt a rule is alive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.insight.diff.cells import SEARCH, Chain, Side, TooMany, Work, parts
from gatewayproxy.insight.diff.outcomes import Outcome
from gatewayproxy.insight.regions import EMPTY, PATH, Region, Texts, example_of, region_where
from gatewayproxy.insight.requests import Request
from gatewayproxy.model.plan import Plan
from gatewayproxy.routing.table import (
    HostIndex,
    PathIndex,
    Port,
    RouteEntry,
    RoutingTable,
    SniIndex,
    SniTarget,
    VirtualHost,
)

__all__ = ["MAX_PIECES", "RuleChanges", "RuleName", "entries_of", "rule_changes", "targets_of", "vhosts_of"]

MAX_PIECES: Final = 500  # what may be left of a rule, in regions; a rule of more is taken to be alive
MAX_STEPS: Final = 2_000_000  # looks at candidates, for all hosts of a table; of the rules of the rest nothing is said
_NOBODY: Final = Outcome("", ())


class RuleName(NamedTuple):
    """A rule, by its name where it has one, else by its index."""

    kind: str  # "HTTPRoute"
    route: str  # "namespace/name"
    rule: str

    def __str__(self) -> str:
        return f"{self.kind} {self.route} rule {self.rule}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleChanges:
    """What became of the rules, each in the order of the manifests that have it."""

    gained: tuple[RuleName, ...] = ()
    lost: tuple[RuleName, ...] = ()
    dead: tuple[RuleName, ...] = ()  # there before and now, and nothing comes to it any more
    alive: tuple[RuleName, ...] = ()  # there before and now, and something comes to it at last
    born_dead: tuple[RuleName, ...] = ()  # new, and nothing comes to it
    doubted: tuple[RuleName, ...] = ()  # of hosts too large to tell if something comes to it


def rule_changes(old: tuple[Plan, RoutingTable], new: tuple[Plan, RoutingTable]) -> RuleChanges:
    """Return what became of the rules of *old*."""
    before, after = _rules(old[0]), _rules(new[0])
    lived, live = _living(old[1]), _living(new[1])
    doubted = lived.doubted | live.doubted
    sure = [name for name in after if name in before and name not in doubted]
    gained = [name for name in after if name not in before]
    return RuleChanges(
        gained=tuple(gained),
        lost=tuple(name for name in before if name not in after),
        dead=tuple(name for name in sure if name in lived.names and name not in live.names),
        alive=tuple(name for name in sure if name in live.names and name not in lived.names),
        born_dead=tuple(name for name in gained if name not in live.names and name not in doubted),
        doubted=tuple(name for name in after if name in doubted),
    )


def _rules(plan: Plan) -> dict[RuleName, None]:
    return {
        RuleName(route.key.kind, route.key.full_name, rule.name or str(rule.index)): None
        for listener in plan.listeners
        for route, _ in listener.attachments
        for rule in route.rules
    }


class _Living(NamedTuple):
    names: set[RuleName]  # of rules that some request, connection or datagram comes to
    doubted: set[RuleName]  # of rules of hosts that were not looked at to the end


def _living(table: RoutingTable) -> _Living:
    alive: set[RuleName] = set()
    doubted: set[RuleName] = set()
    seen: set[int] = set()
    work = Work(MAX_STEPS)
    for port in table.ports:
        for entry in _stream_entries(port):
            alive.add(_name(entry))
        for vhost in vhosts_of(port.http):
            if id(vhost) not in seen:
                seen.add(id(vhost))
                try:
                    for path, chain in parts(Side(vhost, _NOBODY), work):
                        alive.update(_alive(path, chain, alive, work))
                except TooMany:
                    doubted.update(_name(entry) for entry in _entries_of(vhost))
    return _Living(alive, doubted - alive)


def _alive(path: Texts, chain: Chain, known: set[RuleName], work: Work) -> Iterator[RuleName]:
    """Yield the rules of *chain*, not *known* yet, that some request for one of *path* comes to. Raises TooMany."""
    work.spend(len(chain))
    names = [_name(step.end) if isinstance(step.end, RouteEntry) else None for step in chain]
    if known.issuperset(name for name in names if name is not None):
        return
    before: list[Region] = []
    for step, name in zip(chain, names, strict=True):
        region = region_where(step.conditions)
        if region is None:
            continue
        if name is not None and name not in known and _reached(region, before, path, work):
            yield name
        before.append(region)


def _reached(region: Region, before: list[Region], path: Texts, work: Work) -> bool:
    """Return whether requests of *region* for one of *path* are left behind what goes *before*."""
    work.spend(len(before))
    earlier = [each for each in before if not region.is_apart(each)]
    if not earlier:
        return _has_some(region, path, work)
    if _is_passed_by(region, earlier, path, work):
        return True
    left = [region]
    for each in earlier:
        work.spend(sum(1 + len(piece.of(PATH).fails) // 8 for piece in left))
        left = [rest for piece in left for rest in piece.minus(each)]
        if len(left) > MAX_PIECES:
            return True
    return any(_has_some(piece, path, work) for piece in left)


def _is_passed_by(region: Region, earlier: list[Region], path: Texts, work: Work) -> bool:
    """Return whether the first request that comes to mind is left. PERF: mostly it is, and nothing to be taken away."""
    whole = _on(region, path)
    if whole is None or len(path.fails) > MAX_PIECES:
        return False
    work.spend(SEARCH if whole.is_open else 1)
    made = example_of(whole)
    try:
        return isinstance(made, Request) and not made.odd and not any(each.has(made) for each in earlier)
    except RemoteProtocolError:  # no request can have this path
        return False


def _on(piece: Region, path: Texts) -> Region | None:
    texts = piece.of(PATH).meet(path)
    return None if texts is None else Region({**piece.parts, PATH: texts})


def _has_some(piece: Region, path: Texts, work: Work) -> bool:
    if len(path.fails) > MAX_PIECES:
        return True
    whole = _on(piece, path)
    if whole is None or not whole.is_open:
        return whole is not None
    work.spend(SEARCH)
    return example_of(whole) is not EMPTY


def _name(entry: RouteEntry) -> RuleName:
    label = entry.label
    return RuleName(label.kind, label.route, label.rule_name or str(label.rule))


# --- what a table has


def vhosts_of(index: HostIndex | None) -> Iterator[VirtualHost]:
    """Yield the virtual hosts of *index*, some of them again and again."""
    if index is not None:
        yield from (*index.exact.values(), *index.wildcard.values(), *((index.default,) if index.default else ()))


def targets_of(index: SniIndex | None) -> Iterator[SniTarget]:
    """Yield the targets of *index*, some of them again and again."""
    if index is not None:
        yield from (*index.exact.values(), *index.wildcard.values(), *((index.default,) if index.default else ()))


def _stream_entries(port: Port) -> Iterator[RouteEntry]:
    entries = (port.tcp, port.udp, *(target.entry for target in targets_of(port.sni)))
    yield from (entry for entry in entries if entry is not None)


def entries_of(table: RoutingTable) -> dict[RouteEntry, None]:
    """Return every entry of *table*, once."""
    found: dict[RouteEntry, None] = {}
    for port in table.ports:
        found.update(dict.fromkeys(_stream_entries(port)))
        for layer in {id(layer): layer for vhost in vhosts_of(port.http) for layer in vhost.layers}.values():
            found.update(dict.fromkeys(_entries_in(layer)))
    return found


def _entries_of(vhost: VirtualHost) -> Iterator[RouteEntry]:
    for layer in vhost.layers:
        yield from _entries_in(layer)


def _entries_in(layer: PathIndex) -> Iterator[RouteEntry]:
    for candidates in (*layer.exact.values(), layer.regexes, *layer.prefix.values()):
        yield from (candidate.entry for candidate in candidates)
