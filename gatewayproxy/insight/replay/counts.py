"""What a replay counts: lines by case, with their last times, and the requests that nothing takes. Pure.

Sums are plain data and add up, so parts of a log may be counted apart. Their size is bounded by KEPT_MISSES here and by
KEPT_CASES where cases are made (`insight.replay`).
"""

from __future__ import annotations

from itertools import chain
from typing import Final, NamedTuple, TypeVar

from gatewayproxy.insight.ports import HTTP_INSIDE
from gatewayproxy.insight.replay.times import seconds_of
from gatewayproxy.insight.requests import Request
from gatewayproxy.routing.dispatch import PREFLIGHT
from gatewayproxy.routing.table import RuleLabel

__all__ = ["KEPT_MISSES", "Case", "Counts", "MissKey", "Said", "Tally", "Verdict", "Witness", "drop_rare"]

K = TypeVar("K")

KEPT_MISSES: Final = 20_000  # requests that nothing takes, by host, method and path; beyond, the rarer half is dropped
_ANSWERS: Final = frozenset((PREFLIGHT, "options_answered", HTTP_INSIDE))  # of our own, and no refusals


class Verdict(NamedTuple):
    """What a table does with a request: the rule that takes it, or the status and reason of the gateway's answer."""

    rule: RuleLabel | None = None
    fingerprint: bytes = b""  # of the entry, see `RouteEntry`
    reason: str = ""
    status: int = 0  # of an answer; 0: the connection ends
    goes_to: str = ""  # the backends of the rule, with their shares

    @property
    def text(self) -> str:
        """Return it as a person would say it: `HTTPRoute shop/cart rule 2`, `404 no_rule`."""
        if self.rule is not None:
            return f"{self.rule.route_text} rule {self.rule.rule_text}"
        return f"{self.status or 'no answer,'} {self.reason}"

    @property
    def refused(self) -> bool:
        """Return whether nothing takes the request."""
        return self.rule is None and self.reason not in _ANSWERS


class Said(NamedTuple):
    """What a log says became of a request: *text* as in `Verdict`; "" where it says nothing that can be compared."""

    text: str = ""
    ours: bool = False  # of a log of ours; of any other, *text* is the class of the status: "2xx"


class Case(NamedTuple):
    """What lines are counted by."""

    said: Said
    now: Verdict
    then: Verdict | None  # of the other table, where there is one
    unsaid: tuple[bytes, ...]  # header fields that rules of the host ask for, and that the log does not know


class Witness(NamedTuple):
    """A line that was counted: the request it was taken for, and its place."""

    alike: Request  # the request, but for its target
    target: bytes
    file: str
    line: int

    @property
    def request(self) -> Request:
        """Return the request."""
        return self.alike.with_target(self.target)


class Tally:
    """How many lines of *case*, and when the last of them was."""

    __slots__ = ("case", "last", "last_at", "n", "witness")

    def __init__(self, case: Case, witness: Witness) -> None:
        self.n = 0
        self.last: bytes | None = None  # as written
        self.last_at = 0.0  # Unix seconds, as far as `last` has been read; 0: no line with a time
        self.case = case
        self.witness = witness

    def settle(self) -> None:
        """Read the time of the last line."""
        if self.last:
            self.last_at = max(self.last_at, seconds_of(self.last))
            self.last = None

    def add(self, other: Tally) -> None:
        """Add the lines of *other*; both are settled."""
        self.n += other.n
        self.last_at = max(self.last_at, other.last_at)


class MissKey(NamedTuple):
    """What lines that nothing takes are counted by."""

    listener: str  # as logged
    host: bytes
    method: bytes
    path: bytes
    case: Case


class Counts:
    """Sums; picklable. A line is counted in `cases`, in `missed`, as unread, or as hostless."""

    def __init__(self) -> None:
        self.unread = 0
        self.unread_at: tuple[str, int, bytes] | None = None  # file, line, how it begins
        self.hostless = 0
        self.cases: dict[Case, Tally] = {}
        self.missed: dict[MissKey, Tally] = {}
        self.missed_low = 0  # a count of `missed` may be so much too low

    @property
    def decided(self) -> int:
        """Return how many lines a table was asked about."""
        return sum(tally.n for tally in chain(self.cases.values(), self.missed.values()))

    def add(self, other: Counts) -> None:
        """Add all of *other*, which comes after."""
        self.unread += other.unread
        self.unread_at = self.unread_at or other.unread_at
        self.hostless += other.hostless
        for case, tally in other.cases.items():
            self.cases.setdefault(case, Tally(case, tally.witness)).add(tally)
        for key, missed in other.missed.items():
            self.missed.setdefault(key, Tally(key.case, missed.witness)).add(missed)
        self.missed_low += other.missed_low
        self.prune()

    def prune(self) -> None:
        """Beyond KEPT_MISSES keep the more frequent half; the others stay counted in their cases."""
        if len(self.missed) <= KEPT_MISSES:
            return
        dropped = drop_rare(self.missed)
        self.missed_low += dropped[0][1].n
        for _, missed in dropped:
            self.cases.setdefault(missed.case, Tally(missed.case, missed.witness)).add(missed)


def drop_rare(missed: dict[K, Tally]) -> list[tuple[K, Tally]]:
    """Leave half of KEPT_MISSES in *missed*, which are more; return the others, most frequent first."""
    ranked = sorted(missed.items(), key=lambda item: item[1].n, reverse=True)
    missed.clear()
    missed.update(ranked[: KEPT_MISSES // 2])
    return ranked[KEPT_MISSES // 2 :]
