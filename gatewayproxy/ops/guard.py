"""Whether a reload made things worse: counters before and after, and a test that chance seldom passes. Pure.

Looked at are the rules that a reload changed: those that changed and were asked before, each by itself; and, of each
listener, all that were changed, added or removed together, so that a rule under a new name, or none at all, is seen. An
error is an answer of class 5xx, or a call of gRPC whose status says as much, a backend's or our own. Where changed
rules of a listener get less than they did and its 404s for want of a route or rule grow, as many of these as explain
the loss are errors of theirs. Streams have no status: those that we failed ourselves are counted by listener. Datagrams
are no subject: one client that sends again and again would pass for many.

The test is Fisher's exact one, one-sided, of equal error shares before and after. It is made again and again while the
guard watches, and of many rules, so each one may go wrong with probability ALPHA / (looks x subjects) at most: all of
them together, with ALPHA. What is significant but small is none of the guard's business: the share must rise by
LEAST_RISE, too.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

__all__ = ["Counts", "RuleName", "Sample", "Touched", "Verdict", "fisher", "judge"]

ALPHA: Final = 0.01  # of reverting a reload that changed no error share, whatever is looked at and how often
LEAST_RISE: Final = 0.05  # of the error share
LEAST_REQUESTS: Final = 10  # before, and after; with fewer nothing is judged
LEAST_ERRORS: Final = 5  # after
MAX_JOINED: Final = 20_000  # names that reloads changed, each within the window of the one before
_WITH_STATUS: Final = ("HTTPRoute ", "GRPCRoute ")
_DATAGRAMS: Final = "UDPRoute "


class Counts(NamedTuple):
    """Finished requests, and how many of them were errors."""

    n: int = 0
    errors: int = 0

    def plus(self, other: Counts) -> Counts:
        """Return the sum."""
        return Counts(self.n + other.n, self.errors + other.errors)

    def since(self, other: Counts) -> Counts:
        """Return what has come since *other*; counters that started anew have come since."""
        if self.n < other.n:
            return self
        return Counts(self.n - other.n, max(0, self.errors - other.errors))

    @property
    def share(self) -> float:
        """Return the share of errors."""
        return self.errors / self.n if self.n else 0.0

    def __str__(self) -> str:
        return f"{self.errors}/{self.n}"


class RuleName(NamedTuple):
    """A rule as `ops.reload` names it, and its listener."""

    text: str  # "HTTPRoute shop/cart rule 0 on shop/web/http"
    listener: str


@dataclass(frozen=True, slots=True)
class Sample:
    """All counters at one time, summed over workers."""

    at: float = 0.0  # monotonic, seconds
    rules: Mapping[RuleName, Counts] = field(default_factory=dict)
    unmatched: Mapping[str, int] = field(default_factory=dict)  # 404s of our own, by listener
    failures: Mapping[str, int] = field(default_factory=dict)  # failures of our own that HTTP tells by a 5xx, likewise

    def since(self, other: Sample) -> Sample:
        """Return what has come since *other*; `at` is then how long that took."""
        return Sample(
            self.at - other.at,
            {name: counts.since(other.rules.get(name, Counts())) for name, counts in self.rules.items()},
            {name: n - other.unmatched.get(name, 0) for name, n in self.unmatched.items()},
            {name: n - other.failures.get(name, 0) for name, n in self.failures.items()},
        )


@dataclass(frozen=True, slots=True)
class Touched:
    """What a reload changed, by names of rules."""

    changed: frozenset[str] = frozenset()
    added: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    everything: bool = False  # it is not known: all rules count as changed

    def joined(self, other: Touched) -> Touched:
        """Return what both changed; where that is more than MAX_JOINED names, everything."""
        both = Touched(self.changed | other.changed, self.added | other.added, self.removed | other.removed)
        n_names = len(both.changed) + len(both.added) + len(both.removed)
        return Touched(everything=True) if self.everything or other.everything or n_names > MAX_JOINED else both

    @property
    def nothing(self) -> bool:
        """Return whether there is nothing to watch."""
        return not (self.everything or self.changed or self.added or self.removed)

    def has(self, name: str) -> bool:
        """Return whether rule *name* is among them."""
        return self.everything or name in self.changed or name in self.added or name in self.removed


class Verdict(NamedTuple):
    """What got worse, and by how much."""

    subject: str  # a rule, or those of a listener
    before: Counts
    after: Counts
    p: float  # of so many errors or more by chance

    def __str__(self) -> str:
        return f"{self.subject}: errors {self.before} before, {self.after} after, p = {self.p:.1e}"


def judge(before: Sample, after: Sample, touched: Touched, *, ever: Sample, looks: int) -> Verdict | None:
    """Return what got worst between two stretches of time, None if nothing did.

    *ever*: all that was counted until the reload, for rules that are asked too seldom to be judged by *before*;
    *looks*: how often this is asked of one reload.
    """
    subjects = list(_subjects(before, after, touched, ever))
    threshold = ALPHA / (max(1, looks) * max(1, len(subjects)))
    found = [verdict for verdict in map(_tested, subjects) if verdict is not None and verdict.p < threshold]
    return min(found, key=lambda each: each.p, default=None)


def _subjects(before: Sample, after: Sample, touched: Touched, ever: Sample) -> Iterator[tuple[str, Counts, Counts]]:
    """Yield each subject with its counts before and after."""
    by_listener: dict[str, list[RuleName]] = {}
    for name in sorted({*before.rules, *after.rules, *ever.rules}):
        if touched.has(name.text) and not name.text.startswith(_DATAGRAMS):
            by_listener.setdefault(name.listener, []).append(name)
    for listener, names in by_listener.items():
        for name in names:
            then = _past([name], before, ever)
            if then.n:
                yield name.text, then, _sum([name], after)
        now = _sum(names, after)
        lost = _lost(listener, before, after, _sum(names, before).n, now.n)
        yield f"rules changed on {listener}", _past(names, before, ever), now.plus(Counts(lost, lost))
        streams = [name for name in names if not name.text.startswith(_WITH_STATUS)]
        if streams:
            then = _failed(listener, streams, before)
            then = then if then.n >= LEAST_REQUESTS else _failed(listener, streams, ever)
            yield f"streams of rules changed on {listener}", then, _failed(listener, streams, after)


def _failed(listener: str, names: Collection[RuleName], sample: Sample) -> Counts:
    """Return streams of rules *names*, and how many of their listener we failed, which no status tells.

    A listener that takes streams takes no requests: no failure of one is among them (`model.protocols`).
    """
    errors = sample.failures.get(listener, 0)
    return Counts(max(errors, _sum(names, sample).n), errors)  # a stream that gets nowhere is not counted by its rule


def _past(names: Collection[RuleName], before: Sample, ever: Sample) -> Counts:
    recent = _sum(names, before)
    return recent if recent.n >= LEAST_REQUESTS else _sum(names, ever)


def _sum(names: Collection[RuleName], sample: Sample) -> Counts:
    found = [sample.rules[name] for name in names if name in sample.rules]
    return Counts(sum(each.n for each in found), sum(each.errors for each in found))


def _lost(listener: str, before: Sample, after: Sample, n_before: int, n_after: int) -> int:
    """Return how many 404s of our own are requests that changed rules used to get."""
    if before.at <= 0:
        return 0
    pace = after.at / before.at
    more = after.unmatched.get(listener, 0) - before.unmatched.get(listener, 0) * pace
    missing = n_before * pace - n_after
    return max(0, int(min(more, missing)))


def _tested(subject: tuple[str, Counts, Counts]) -> Verdict | None:
    name, before, after = subject
    enough = before.n >= LEAST_REQUESTS and after.n >= LEAST_REQUESTS and after.errors >= LEAST_ERRORS
    if not enough or after.share - before.share < LEAST_RISE:
        return None
    return Verdict(name, before, after, fisher(before, after))


def fisher(before: Counts, after: Counts) -> float:
    """Return the probability of `after.errors` or more errors after, were the shares equal: Fisher, one-sided.

    The hypergeometric tail, summed from its first term on until what is left no longer counts. 1 where the share did
    not rise: there, it would be a half or more.
    """
    if after.share <= before.share:
        return 1.0
    errors = before.errors + after.errors
    most = min(errors, after.n)
    k = after.errors
    term = math.exp(
        _log_choose(errors, k)
        + _log_choose(before.n + after.n - errors, after.n - k)
        - _log_choose(before.n + after.n, after.n)
    )
    total = term
    while k < most:
        term *= (errors - k) * (after.n - k) / ((k + 1) * (before.n - errors + k + 1))
        k += 1
        total += term
        if term < total * 1e-12:
            break
    return min(1.0, total)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
