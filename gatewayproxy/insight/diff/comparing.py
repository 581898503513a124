"""compare(): what is different for clients, and for connections, if one configuration takes the place of another. Pure.

In: two compilations. Out: a Diff. It compares tables, not texts: what is written otherwise and does the same is not in
it. `differences` finds where requests are treated otherwise, `rules` which rules live, `reload` what happens
to connections; `traffic` weighs it all with logs, `report` prints it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gatewayproxy.compiler.pipeline import Compiled
from gatewayproxy.insight.diff.differences import Difference, Progress, Tables, differences, pairs
from gatewayproxy.insight.diff.outcomes import Changed, Outcome, changes
from gatewayproxy.insight.diff.reload import Effect, certificates_of, clusters_of, effects_of
from gatewayproxy.insight.diff.rules import RuleChanges, rule_changes
from gatewayproxy.insight.requests import Kind
from gatewayproxy.model.plan import Certificate, Cluster
from gatewayproxy.routing.table import RoutingTable

__all__ = ["Change", "Diff", "Gone", "compare", "compare_tables"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Change:
    """One thing that changed, and where it shows."""

    title: str  # "shop/api-v1:80 -> 404"
    facts: tuple[Changed, ...]
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """What came and what went, by name: listeners, backends, certificates."""

    gained: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.gained or self.lost)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Diff:
    """What is different. *tables*: to ask both about more requests."""

    tables: Tables
    changes: tuple[Change, ...] = ()
    rules: RuleChanges
    listeners: Gone
    backends: Gone
    certificates: Gone
    effects: tuple[Effect, ...] = ()

    @property
    def same(self) -> bool:
        """Return whether neither clients nor connections could tell."""
        return not (self.changes or self.listeners or self.certificates or any(each.ends for each in self.effects))

    @property
    def differences(self) -> list[Difference]:
        """Return where requests are treated otherwise, in the order of the changes."""
        return [each for change in self.changes for each in change.differences]


def compare(old: Compiled, new: Compiled, *, progress: Progress | None = None) -> Diff:
    """Return what is different when *new* takes the place of *old*; *progress* is told how far it has come."""
    rules = rule_changes((old.plan, old.table), (new.plan, new.table))
    return compare_tables(old.table, new.table, rules, progress=progress)


def compare_tables(
    old: RoutingTable, new: RoutingTable, rules: RuleChanges | None = None, *, progress: Progress | None = None
) -> Diff:
    """Return what is different between two tables; without plans, *rules* are those of a caller who has them."""
    tables = Tables(old, new)
    same = old.digest == new.digest
    found = [] if same else [x for pair in pairs(old, new) for x in differences(pair, tables, progress)]
    before, after = ({label.name: None for port in table.ports for label in port.listeners} for table in (old, new))
    return Diff(
        tables=tables,
        changes=tuple(_changes(found)),
        rules=rules or RuleChanges(),
        listeners=_gone(before, after),
        backends=_gone(_names(clusters_of(old)), _names(clusters_of(new))),
        certificates=_gone(_shown(old), _shown(new)),
        effects=effects_of(old, new),
    )


def _changes(found: Iterable[Difference]) -> list[Change]:
    groups: dict[object, list[Difference]] = {}
    for each in found:
        groups.setdefault((each.kind, *_what_changed(each)), []).append(each)
    return [_change(each) for each in sorted(groups.values(), key=_order)]


def _what_changed(each: Difference) -> tuple[object, ...]:
    """Return what differences of one change have in common: the change of facts, or both outcomes."""
    if _destinations(each.old) == _destinations(each.new):
        return changes(each.old, each.new)
    return each.old.facts, each.new.facts


def _destinations(outcome: Outcome) -> set[str]:
    return {fact.what for fact in outcome.facts if fact.what.startswith(("backend ", "answer"))}


def _order(group: list[Difference]) -> tuple[bool, bool, int]:
    first = group[0]
    whole = first.pair.old is None or first.pair.new is None
    return not whole, first.kind is not Kind.HTTP, -len(group)


def _change(group: list[Difference]) -> Change:
    old, new = group[0].old, group[0].new
    changed = changes(old, new)
    title = f"{old.brief} -> {new.brief}"
    if not group[0].examined:
        title = "too large to be compared to the end"
    elif old.brief == new.brief or _destinations(old) == _destinations(new):
        title = _title(changed)
    return Change(title=title, facts=changed, differences=tuple(group))


def _title(changed: tuple[Changed, ...]) -> str:
    first = changed[0]
    more = f", and {len(changed) - 1} more" if len(changed) > 1 else ""
    return f"{first.what}: {first.old or 'none'} -> {first.new or 'none'}{more}"


def _gone(before: Mapping[str, object], after: Mapping[str, object]) -> Gone:
    return Gone(
        gained=tuple(name for name in after if name not in before),
        lost=tuple(name for name in before if name not in after),
    )


def _names(clusters: Iterable[Cluster]) -> dict[str, None]:
    return dict.fromkeys(sorted(cluster.name for cluster in clusters))


def _shown(table: RoutingTable) -> dict[str, None]:
    return {
        f"{_certificate(certificate)} on {', '.join(listeners)}": None
        for certificate, listeners in certificates_of(table).values()
    }


def _certificate(certificate: Certificate) -> str:
    return f"{', '.join(certificate.names) or 'without names'} ({certificate.digest[:12]})"
