"""The way of a request as an SVG: cards from the listener to the backends, and beside them what lost, and why. Pure.

What each card says is here, how cards are drawn in `insight.cards`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from gatewayproxy.insight.cards import Card, Row, draw
from gatewayproxy.insight.decision import Decision, ListenerVerdict
from gatewayproxy.insight.effects import cluster_text, effects, filter_steps
from gatewayproxy.insight.explain import answers_well, reason_text, route_text
from gatewayproxy.insight.misses import Miss
from gatewayproxy.insight.outcomes import Answer, Outcome
from gatewayproxy.insight.requests import describe
from gatewayproxy.insight.stream_misses import contender_text
from gatewayproxy.insight.unaccepted import Unaccepted, Unserving

__all__ = ["to_svg"]

_MISSES: Final = 6
_LISTENERS: Final = 5
_BACKENDS: Final = 8
_TOLD: Final = 3  # of them, above all
_STEPS: Final = 12
_NAMES: Final = 6  # of a certificate


def to_svg(decision: Decision) -> str:
    """Return *decision* as an SVG document."""
    good = answers_well(decision)
    return draw(
        describe(decision.request), _verdict(decision), list(_way(decision)), list(_beside(decision)), good=good
    )


def _verdict(decision: Decision) -> str:
    """Return in one line what becomes of the request."""
    if decision.answer is not None:
        return _told(decision.answer)
    shown = decision.outcomes[:_TOLD]
    if len(decision.outcomes) == 1:
        return f"goes to {shown[0].name}" if shown[0].answer is None else _told(shown[0].answer)
    rest = len(decision.outcomes) - len(shown)
    return ", ".join([*(_share_told(each) for each in shown), *([f"and {rest} more"] if rest else [])])


def _share_told(outcome: Outcome) -> str:
    where = f"to {outcome.name}" if outcome.answer is None else f"gets {outcome.answer.status} {outcome.answer.reason}"
    return f"{outcome.share * 100:.4g} % {where}"


def _told(answer: Answer) -> str:
    where = next((line.partition(": ")[2] for line in answer.lines if line.startswith("location: ")), "")
    if where:
        return f"{answer.status}  {answer.reason} to {where}"
    return f"{answer.status or 'the connection ends'}  {reason_text(answer)}"


# --- the way of the request


def _way(decision: Decision) -> Iterator[Card]:
    yield Card("Listener", tuple(_listener(decision)))
    if decision.entry is not None:
        yield Card("Route", tuple(_route(decision)))
    steps = filter_steps(decision)
    if steps:
        rows = [Row(f"{at}. {step}") for at, step in enumerate(steps[:_STEPS], 1)]
        yield Card("Filters", (*rows, *_more(len(steps) - _STEPS)))
    added = effects(decision)
    if added:
        yield Card("Policies", tuple(Row(text, pill=name) for name, text in added))
    yield _end(decision)


def _listener(decision: Decision) -> Iterator[Row]:
    chosen = next((each for each in decision.listeners if each.chosen), None)
    yield Row(decision.listener or "none", look="main", right=_speaks(chosen) if chosen is not None else "")
    if chosen is not None:
        yield Row(chosen.why, look="quiet")
    if decision.assumed:
        yield Row(decision.assumed, look="quiet", pill="assumed")
    for each in decision.certificates:
        rest = len(each.names) - _NAMES
        yield Row(", ".join(each.names[:_NAMES]) + (f" and {rest} more" if rest > 0 else ""), pill="certificate")
    if decision.unnamed:
        yield Row(f"it does not name {decision.unnamed}: clients refuse it", pill="warning", tone="bad")


def _speaks(verdict: ListenerVerdict) -> str:
    return f"{verdict.protocol} {verdict.port}"


def _route(decision: Decision) -> Iterator[Row]:
    yield Row(route_text(decision), look="main")
    if decision.winner is not None:
        yield Row(contender_text(decision.winner), look="mono")


def _end(decision: Decision) -> Card:
    tone = "good" if answers_well(decision) else "bad"
    if decision.answer is not None:
        return Card("Answer of the gateway", tuple(_answer(decision.answer)), tone)
    shown = decision.outcomes[:_BACKENDS]
    rows = [row for at, each in enumerate(shown) for row in _backend(each, at)]
    own = all(each.answer is not None and not each.name for each in decision.outcomes)
    title = "Answer of the gateway" if own else "Backends"
    return Card(title, (*rows, *_more(len(decision.outcomes) - _BACKENDS)), tone)


def _answer(answer: Answer) -> Iterator[Row]:
    yield Row(f"{answer.status or 'the connection ends'}  {answer.reason}", look="main")
    yield from (Row(text, look="quiet") for text in (answer.meaning, answer.detail) if text)
    if answer.call:
        yield Row(answer.call, look="quiet", pill="gRPC")
    yield from (Row(line, look="mono") for line in answer.lines)


def _backend(outcome: Outcome, at: int) -> Iterator[Row]:
    if outcome.answer is not None and not outcome.name:
        yield from _answer(outcome.answer)
        return
    share = f"{outcome.share * 100:.4g} %"
    yield Row(outcome.name, look="main", right=share, bar=outcome.share, gap=bool(at))
    if outcome.cluster is not None:
        yield Row(cluster_text(outcome.cluster), look="mono")
    if outcome.answer is not None:
        yield Row(_told(outcome.answer), look="quiet")
    yield from (Row(mirror, look="quiet", pill="mirrored") for mirror in outcome.mirrors)


# --- what lost


def _beside(decision: Decision) -> Iterator[Card]:
    others = [each for each in decision.listeners if not each.chosen]
    if others:
        rows = [row for at, each in enumerate(others[:_LISTENERS]) for row in _lost(each, at)]
        yield Card("Other listeners", (*rows, *_more(len(others) - _LISTENERS)), "lost")
    if decision.unserving:
        rows = [row for at, each in enumerate(decision.unserving[:_LISTENERS]) for row in _silent(each, at)]
        yield Card("Listeners that do not serve", (*rows, *_more(len(decision.unserving) - _LISTENERS)), "lost")
    if decision.missed:
        rows = [row for at, each in enumerate(decision.missed[:_MISSES]) for row in _miss(each, at)]
        yield Card("Other matches, nearest miss first", (*rows, *_more(len(decision.missed) - _MISSES)), "lost")
    if decision.unaccepted:
        rows = [row for at, each in enumerate(decision.unaccepted[:_MISSES]) for row in _nowhere(each, at)]
        yield Card("Routes that a listener lacks", (*rows, *_more(len(decision.unaccepted) - _MISSES)), "lost")


def _lost(verdict: ListenerVerdict, at: int) -> Iterator[Row]:
    yield Row(verdict.name, right=_speaks(verdict), gap=bool(at))
    yield Row(verdict.why, look="quiet")


def _silent(each: Unserving, at: int) -> Iterator[Row]:
    yield Row(each.name, right=f"{each.protocol} {each.port}", gap=bool(at))
    yield Row(each.message, look="quiet", pill=each.reason, tone="bad")


def _miss(miss: Miss, at: int) -> Iterator[Row]:
    kind, name, rule = miss.contender.is_of
    yield Row(f"{kind} {name} rule {rule}", gap=bool(at))
    yield Row(contender_text(miss.contender), look="mono")
    yield Row(miss.detail, look="quiet", pill=miss.failed.name.lower())


def _nowhere(each: Unaccepted, at: int) -> Iterator[Row]:
    yield Row(f"{each.kind} {each.name}", gap=bool(at))
    yield Row(f"by {each.parent}", look="quiet", pill=each.reason, tone="bad")
    if each.message:
        yield Row(each.message, look="quiet")


def _more(rest: int) -> Sequence[Row]:
    return (Row(f"and {rest} more", look="quiet", gap=True),) if rest > 0 else ()
