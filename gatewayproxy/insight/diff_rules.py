"""Rules of two compilations: which came, which went, which can take requests no longer, and which can again. Pure.

A rule is alive if some request comes to it, on any listener. Behind what goes before it there may be nothing left:
`insight.regions` takes that away, and asks for an example of the rest. In doubt a rule is alive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from gatewayproxy.insight.diff_cells import Chain, Side, parts
from gatewayproxy.insight.diff_outcomes import Outcome
from gatewayproxy.insight.regions import EMPTY, PATH, Region, Texts, example_of, region_where
from gatewayproxy.model.plan import Plan
from gatewayproxy.routing.table import HostIndex, Port, RouteEntry, RoutingTable, SniIndex, SniTarget, VirtualHost

__all__ = ["MAX_PIECES", "RuleChanges", "RuleName", "entries_of", "living", "rule_changes", "targets_of", "vhosts_of"]

MAX_PIECES: Final = 500  # what may be left of a rule, in regions; a rule of more is taken to be alive
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


def rule_changes(old: tuple[Plan, RoutingTable], new: tuple[Plan, RoutingTable]) -> RuleChanges:
    """Return what became of the rules of *old*."""
    before, after = _rules(old[0]), _rules(new[0])
    lived, live = living(old[1]), living(new[1])
    both = [name for name in after if name in before]
    gained = [name for name in after if name not in before]
    return RuleChanges(
        gained=tuple(gained),
        lost=tuple(name for name in before if name not in after),
        dead=tuple(name for name in both if name in lived and name not in live),
        alive=tuple(name for name in both if name in live and name not in lived),
        born_dead=tuple(name for name in gained if name not in live),
    )


def _rules(plan: Plan) -> dict[RuleName, None]:
    return {
        RuleName(route.key.kind, route.key.full_name, rule.name or str(rule.index)): None
        for listener in plan.listeners
        for route, _ in listener.attachments
        for rule in route.rules
    }


def living(table: RoutingTable) -> frozenset[RuleName]:
    """Return the rules of *table* that some request, connection or datagram comes to."""
    alive: set[RuleName] = set()
    seen: set[int] = set()
    for port in table.ports:
        for entry in _stream_entries(port):
            alive.add(_name(entry))
        for vhost in vhosts_of(port.http):
            if id(vhost) not in seen:
                seen.add(id(vhost))
                for path, chain in parts(Side(vhost, _NOBODY)):
                    alive.update(_alive(path, chain, alive))
    return frozenset(alive)


def _alive(path: Texts, chain: Chain, known: set[RuleName]) -> Iterator[RuleName]:
    """Yield the rules of *chain*, not *known* yet, that some request for one of *path* comes to."""
    before: list[Region] = []
    for conditions, end in chain:
        region = region_where(conditions)
        if region is None:
            continue
        name = _name(end) if isinstance(end, RouteEntry) else None
        if name is not None and name not in known and _reached(region, before, path):
            yield name
        before.append(region)


def _reached(region: Region, before: list[Region], path: Texts) -> bool:
    left = [region]
    for earlier in before:
        left = [piece for each in left for piece in each.minus(earlier)]
        if len(left) > MAX_PIECES:
            return True
    return any(_has_some(piece, path) for piece in left)


def _has_some(piece: Region, path: Texts) -> bool:
    texts = piece.of(PATH).meet(path)
    if texts is None:
        return False
    whole = Region({**piece.parts, PATH: texts})
    return not whole.is_open or example_of(whole) is not EMPTY


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
            for candidates in (*layer.exact.values(), layer.regexes, *layer.prefix.values()):
                found.update((candidate.entry, None) for candidate in candidates)
    return found
