"""The rules in force: since when each is as it is, how often it was hit, and when last.

The compiling child lists the rules of a table (`listed`); the supervisor keeps a `Ledger` of them. A rule is known by
its listener, its route and its name, or by its place in the route where it has none: as long as it is there, its
counts go on. It changes when its matches change, its place or what it does, and then its generation is told anew.

Nothing is written on the way of a request for this: hits are what the workers count anyway, and a rule's last hit is
when a look at the counters found more than the look before. There is one every LOOK_S, and one for every page.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from gatewayproxy.ops.snapshot import RowName, Snapshot
from gatewayproxy.routing.refused import refused_text
from gatewayproxy.routing.table import RouteEntry, RuleLabel

__all__ = ["LOOK_S", "Ledger", "RuleName", "RuleState", "listed"]

LOOK_S: Final = 10.0
_DIGEST_BYTES: Final = 8


class RuleName(NamedTuple):
    """A rule, as long as it stays; *rule* is its name, or its place."""

    listener: str
    kind: str
    route: str
    rule: str


class RuleState:
    """What is known of a rule in force. Times are Unix seconds, 0.0 = never."""

    __slots__ = (
        "active", "answers", "counted", "digest", "generation", "hits", "index", "last_hit_at", "name",
        "rule_name", "since",
    )  # fmt: skip

    def __init__(self, name: RuleName, index: int, rule_name: str, digest: str, answers: str = "") -> None:
        self.name = name
        self.index = index
        self.rule_name = rule_name
        self.digest = digest
        self.answers = answers  # what it refuses requests with, in the place of backends: `refused_text`
        self.generation = 0  # the first one that had it as it is
        self.since = 0.0
        self.hits = 0  # exchanges and streams that began; never less than before
        self.counted = 0  # by the workers, at the last look
        self.active = 0
        self.last_hit_at = 0.0  # when that was seen


class Ledger:
    """All rules in force."""

    def __init__(self) -> None:
        self._rules: dict[RuleName, RuleState] = {}
        self._counted: dict[RuleName, int] = {}  # at the last look, of rules that are gone too

    def __iter__(self) -> Iterator[RuleState]:
        return iter(list(self._rules.values()))

    def adopt(self, rules: Iterable[Sequence[Any]], generation: int, now: float) -> None:
        """Take the rules that `listed` told of the table of *generation*, which serves from *now* on."""
        old, new = self._rules, {}
        for listener, kind, route, index, rule_name, digest, answers in sorted(rules, key=tuple):
            name = RuleName(listener, kind, route, rule_name or str(index))
            state = new[name] = RuleState(name, index, rule_name, digest, answers)
            state.generation, state.since = generation, now
            known = old.get(name)
            if known is None:
                state.counted = self._counted.get(name, 0)  # when it was there before
                continue
            state.hits, state.counted, state.active = known.hits, known.counted, known.active
            state.last_hit_at = known.last_hit_at
            if known.digest == digest:
                state.generation, state.since = known.generation, known.since
        self._rules = new

    def look(self, total: Snapshot, now: float) -> None:
        """Take the counters that *total* has *now*."""
        hits: dict[RuleName, int] = {}
        active: dict[RuleName, int] = {}
        for row_name, row in total.rows.items():
            name = _name(row_name)
            hits[name] = hits.get(name, 0) + row.hits
            active[name] = active.get(name, 0) + row.active
        self._counted = hits
        for name, state in self._rules.items():
            n = hits.get(name, 0)
            if n > state.counted:
                state.hits += n - state.counted
                state.last_hit_at = now
            # Less than before: a flow has moved to another rule, or workers have begun to count anew.
            state.counted, state.active = n, active.get(name, 0)


def _name(row: RowName) -> RuleName:
    return RuleName(row.listener, row.kind, row.route, row.rule_name or str(row.rule))


def listed(claims: Iterable[tuple[Hashable, RouteEntry]]) -> list[list[Any]]:
    """Return [listener, kind, route, index, name, digest, what it refuses with] of every rule of a table.

    *claims*: what leads to which entry. The digest tells two tables' rules apart; it is the same in any process.
    """
    digests: dict[RuleLabel, int] = {}
    answers: dict[RuleLabel, str] = {}
    texts: dict[Hashable, str] = {}
    for claim, entry in claims:
        digest = _digest(_text(claim, texts).encode() + entry.fingerprint)
        digests[entry.label] = digests.get(entry.label, 0) + digest  # a sum has no order
        if entry.label not in answers:
            answers[entry.label] = refused_text(entry)
    return [[*_words(label), f"{digest % (1 << 64):016x}", answers[label]] for label, digest in digests.items()]


def _words(label: RuleLabel) -> tuple[str, str, str, int, str]:
    return label.listener, label.kind, label.route, label.rule, label.rule_name


def _text(claim: Hashable, texts: dict[Hashable, str]) -> str:
    """Return *claim* as text that is the same in any process; *texts* keeps those of the sets of hosts."""
    if not isinstance(claim, tuple):
        return repr(claim)
    hosts, *rest = claim
    known = texts.get(hosts)
    if known is None:
        known = texts[hosts] = repr(sorted(hosts) if isinstance(hosts, frozenset) else hosts)
    return known + repr(rest)


def _digest(content: bytes) -> int:
    return int.from_bytes(blake2b(content, digest_size=_DIGEST_BYTES).digest(), "big")
