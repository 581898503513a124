"""The guard at work: counts while the gateway runs, compares after each reload, and takes a bad one back.

Between reloads it samples the workers' counters, so that it knows how the rules did over the last window. After a
reload it looks again and again until the window ends (`ops.guard` judges); where something got worse, the documents
that served before are put back in force, the history says so, and what is on disk is not tried again until it changes.
A reload within the window of another one joins it: both are compared with what served before both, and that comes back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from gatewayproxy.model.refusals import REFUSALS
from gatewayproxy.ops import logs
from gatewayproxy.ops.archive import Archive, Cause, now
from gatewayproxy.ops.control import Control
from gatewayproxy.ops.guard import Counts, RuleName, Sample, Touched, Verdict, judge
from gatewayproxy.ops.snapshot import Snapshot

__all__ = ["Guard", "sample_of"]

log = logging.getLogger(__name__)

LOOKS: Final = 30  # at a reload, within the window
_SAMPLES: Final = 5  # kept between reloads: the oldest is a window ago, the newest a quarter of one
_LEAST_PAUSE_S: Final = 0.25
_MOST_TRIES: Final = 3  # at taking a reload back
_UNMATCHED: Final = frozenset(("no_route", "no_rule"))
# Reasons of `dataplane.protocols.answers` with a status of class 5xx, for which no client is to blame.
FAILURES: Final = frozenset(REFUSALS) | {
    "auth_failed", "auth_overflow", "auth_timeout", "bad_response", "connect_failed", "connect_timeout",
    "deadline_exceeded", "dns_failed", "internal_error", "no_extended_connect", "redirect_loop", "request_timeout",
    "response_head_too_large", "retries_failed", "retry_budget", "upstream_closed", "upstream_overflow",
    "upstream_queue_timeout", "upstream_refused", "upstream_reset", "upstream_timeout", "upstream_tls_failed",
}  # fmt: skip


@dataclass(slots=True)
class _Watch:
    """One reload, or several within a window, under the guard's eye."""

    ends_at: float
    generation: int  # the newest
    good: int  # what served before
    documents: bytes  # of that
    touched: Touched
    before: Sample
    ever: Sample  # counters at the reload
    verdict: Verdict | None = None
    tries: int = 0


class Guard:
    """Watches the reloads of *control*. `run` is its life."""

    def __init__(
        self, window_s: float, *, count: Callable[[], Awaitable[Snapshot]], control: Control, archive: Archive
    ) -> None:
        self.reverts = 0
        self._window_s = window_s
        self._count = count
        self._control = control
        self._archive = archive
        self._samples: deque[Sample] = deque(maxlen=_SAMPLES)
        self._marked = Sample()
        self._watch: _Watch | None = None
        self._begun = asyncio.Event()

    @property
    def state(self) -> dict[str, Any]:
        """Return what /status/reload says of it."""
        watch = self._watch
        left_s = round(max(0.0, watch.ends_at - time.monotonic()), 1) if watch is not None else 0.0
        watched = None if watch is None else {"generation": watch.generation, "good": watch.good, "left_s": left_s}
        return {"window_s": self._window_s, "reverts": self.reverts, "watching": watched}

    async def run(self) -> None:
        """Count and compare until cancelled."""
        while True:
            if await self._interrupted(self._pause_s()):
                continue  # a reload: from here on it looks more often
            try:
                await self._look()
            except Exception:
                log.exception("guard_crashed")

    async def mark(self) -> None:
        """Count, just before a table is replaced."""
        self._marked = await self._sample()

    def watch(self, cause: Cause, head: dict[str, Any], old: int, documents: bytes) -> None:
        """Watch what has replaced generation *old*; where somebody asked for it by number, watch nothing."""
        last, self._watch = self._watch, None
        touched = _touched(head["touched"])
        if not cause.guarded or (touched.nothing and last is None):
            return
        now = self._marked
        base = self._samples[0] if self._samples else now
        watch = _Watch(now.at + self._window_s, head["generation"], old, documents, touched, now.since(base), now)
        if last is not None:
            watch.good, watch.documents, watch.before, watch.ever = last.good, last.documents, last.before, last.ever
            watch.touched = touched.joined(last.touched)
        self._samples.clear()
        self._watch = watch
        self._begun.set()
        told = logs.fields(generation=watch.generation, good=watch.good, window_s=self._window_s)
        log.info("guard_watching", extra=told)

    async def _interrupted(self, pause_s: float) -> bool:
        """Wait; return True, early, if a watch has begun."""
        self._begun.clear()
        try:
            async with asyncio.timeout(pause_s):
                return await self._begun.wait()
        except TimeoutError:
            return False

    def _pause_s(self) -> float:
        parts = LOOKS if self._watch is not None else _SAMPLES - 1
        return max(_LEAST_PAUSE_S, self._window_s / parts)

    async def _sample(self) -> Sample:
        return sample_of(time.monotonic(), await self._count())

    async def _look(self) -> None:
        sample = await self._sample()
        watch = self._watch
        if watch is None:
            self._samples.append(sample)
            return
        if watch.verdict is None:
            watch.verdict = judge(
                watch.before, sample.since(watch.ever), watch.touched, ever=watch.ever, looks=LOOKS + 1
            )
        if watch.verdict is not None:
            await self._revert(watch, watch.verdict)
        elif sample.at >= watch.ends_at:
            self._watch = None
            self._samples.append(sample)
            log.info("guard_content", extra=logs.fields(generation=watch.generation, good=watch.good))

    async def _revert(self, watch: _Watch, verdict: Verdict) -> None:
        told = logs.fields(
            generation=watch.generation, back_to=watch.good, subject=verdict.subject, before=str(verdict.before),
            after=str(verdict.after), p=f"{verdict.p:.1e}",
        )  # fmt: skip
        log.error("guard_reverting", extra=told)
        watch.tries += 1
        how = {
            "back_to": watch.good, "at": now(), "subject": verdict.subject, "p": verdict.p,
            "before": verdict.before._asdict(), "after": verdict.after._asdict(),
        }  # fmt: skip
        history = self._archive.history
        history.mark_reverted(watch.generation, how)  # first: no reload may come between with the same
        cause = Cause("guard", of=watch.good, documents=watch.documents, instead_of=watch.generation)
        result = (await self._control.reload(cause))["result"]
        if result in ("applied", "unchanged"):
            self._watch = None
            self.reverts += 1
        elif result == "failed" and watch.tries == _MOST_TRIES:
            self._watch = None
            history.unmark(watch.generation)
            await self._archive.flush()
            hint = "the reload that made things worse stays in force; roll back by hand: gatewayproxy history"
            log.error("guard_failed", extra=logs.fields(generation=watch.generation, hint=hint))


def sample_of(at: float, snapshot: Snapshot) -> Sample:
    """Return what the guard looks at of *snapshot*, taken *at*."""
    rules: dict[RuleName, Counts] = {}
    for name, row in snapshot.rows.items():
        rule = RuleName(f"{name.kind} {name.route} rule {name.rule} on {name.listener}", name.listener)
        rules[rule] = rules.get(rule, Counts()).plus(Counts(sum(row.classes), row.errors))
    unmatched: dict[str, int] = {}
    failures: dict[str, int] = {}
    for (listener, reason), n in snapshot.reasons.items():
        counts = unmatched if reason in _UNMATCHED else failures
        if reason in _UNMATCHED or reason in FAILURES:
            counts[listener] = counts.get(listener, 0) + n
    return Sample(at, rules, unmatched, failures)


def _touched(names: dict[str, list[str]] | None) -> Touched:
    if names is None:
        return Touched(everything=True)
    return Touched(
        changed=frozenset(names["rules_changed"]),
        added=frozenset(names["rules_added"]),
        removed=frozenset(names["rules_removed"]),
    )
