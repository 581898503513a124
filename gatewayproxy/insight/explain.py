"""`gatewayproxy explain`: print a Decision for people and for programs. Pure; `insight.picture` draws it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from gatewayproxy.insight.decision import Decision
from gatewayproxy.insight.effects import cluster_text, effects, filter_steps
from gatewayproxy.insight.misses import Contender, Miss
from gatewayproxy.insight.outcomes import Answer, Outcome
from gatewayproxy.insight.requests import describe
from gatewayproxy.insight.stream_misses import contender_text
from gatewayproxy.insight.unaccepted import Unaccepted, Unserving
from gatewayproxy.insight.wording import aligned, certificate_text, printable

__all__ = ["answers_well", "reason_text", "route_text", "to_json", "to_text", "to_tree"]

MISSES_SHOWN: Final = 10
LISTENERS_SHOWN: Final = 8
_TITLE_WIDTH: Final = 13


def answers_well(decision: Decision) -> bool:
    """Return whether the request reaches a backend, or gets an answer that is no error."""
    answers = [decision.answer] if decision.answer is not None else [each.answer for each in decision.outcomes]
    return any(each is None or 100 <= each.status < 400 or each.reason == "http_inside" for each in answers)


def to_text(decision: Decision, *, every: bool = False) -> str:
    """Return *decision* for a terminal; *every*: all the misses, not just the nearest."""
    lines = [printable(describe(decision.request)), "", *_way(decision)]
    lines += _section("BACKENDS", _backends(decision.outcomes))
    lines += _section("LISTENERS", _listeners(decision, every=every))
    lines += _section("LISTENERS THAT DO NOT SERVE", _unserving(decision.unserving, every=every))
    shown = decision.missed if every else decision.missed[:MISSES_SHOWN]
    rest = len(decision.missed) - len(shown)
    more = [f"and {rest} more: --all"] if rest else []
    lines += _section("OTHER MATCHES, nearest miss first", [*_misses(shown), *more])
    nowhere = [each for each in decision.unaccepted if not each.partly]
    partly = [each for each in decision.unaccepted if each.partly]
    lines += _section("ROUTES THAT NO LISTENER HAS", _unaccepted(nowhere, every=every))
    lines += _section("ROUTES THAT NOT ALL LISTENERS HAVE", _unaccepted(partly, every=every))
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _way(decision: Decision) -> Iterator[str]:
    """Yield the way of the request from the listener to the answer, one title each."""
    for title, text in _facts(decision):
        first, *others = text.split("\n")
        yield f"  {title:<{_TITLE_WIDTH}}{printable(first)}"
        yield from (f"  {'':<{_TITLE_WIDTH}}{printable(other)}" for other in others)


def _facts(decision: Decision) -> Iterator[tuple[str, str]]:
    if decision.assumed:
        yield "assumed", decision.assumed
    why = next((each.why for each in decision.listeners if each.chosen), "")
    yield "listener", "\n".join(filter(None, (decision.listener or "none", why)))
    if decision.certificates:
        missing = [f"does not name {decision.unnamed}: clients refuse it"] if decision.unnamed else []
        yield "certificate", "\n".join([*map(certificate_text, decision.certificates), *missing])
    yield "route", route_text(decision)
    if decision.winner is not None:
        yield "match", f"{decision.winner.position}: {contender_text(decision.winner)}"
    steps = filter_steps(decision)
    if steps:
        yield "filters", "\n".join(steps)
    yield from effects(decision)
    if decision.answer is not None:
        yield "answer", _answer(decision.answer)


def route_text(decision: Decision) -> str:
    """Return the route and rule that take the request: `HTTPRoute shop/cart rule 2 (checkout)`, or "none"."""
    entry = decision.entry
    return "none" if entry is None else f"{entry.label.route_text} rule {entry.label.rule_text}"


def reason_text(answer: Answer) -> str:
    """Return why the gateway answers: `no_rule: no rule of the host's routes matches this request`."""
    return f"{answer.reason}: {answer.detail or answer.meaning}"


def _answer(answer: Answer) -> str:
    call = [f"to a gRPC client: {answer.call}"] if answer.call else []
    return "\n".join([f"{answer.status or 'the connection ends'}  {reason_text(answer)}", *call, *answer.lines])


def _backends(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for each in outcomes:
        share = f"{each.share * 100:.4g} %"
        if each.answer is not None:
            told = f"{each.answer.status or 'the connection ends'}  {reason_text(each.answer)}"
            yield f"{share:>6}  {each.name or 'the rule itself'}: {told}"
            call = [f"to a gRPC client: {each.answer.call}"] if each.answer.call else []
            yield from (f"{'':>8}  {line}" for line in (*call, *each.answer.lines))
        elif each.cluster is not None:
            yield f"{share:>6}  {each.name}  {cluster_text(each.cluster)}"
            yield from (f"{'':>8}mirrored: {mirror}" for mirror in each.mirrors)
    for title, lines in _heads(outcomes):
        yield ""
        yield f"{title}:"
        yield from (f"  {line}" for line in lines)


def _heads(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what goes up, once for all backends that get the same."""
    by_head: dict[tuple[str, ...], list[str]] = {}
    for each in outcomes:
        if each.head:
            by_head.setdefault(each.head, []).append(each.name)
    for head, names in by_head.items():
        yield ("the request that goes up" if len(by_head) == 1 else f"what {', '.join(names)} gets"), head


def _listeners(decision: Decision, *, every: bool) -> list[str]:
    """Return a line for each listener; where there are many, those of other ports are a number."""
    shown = decision.listeners
    if not every and len(shown) > LISTENERS_SHOWN:
        here = decision.port.port if decision.port is not None else 0
        near = [each for each in shown if each.chosen or each.port == here]
        shown = tuple(sorted(near, key=lambda each: not each.chosen)[:LISTENERS_SHOWN])
    rest = len(decision.listeners) - len(shown)
    if not rest and all(each.chosen for each in shown):
        return []  # there is but one, and it is told of already
    rows = [
        (
            "->" if each.chosen else "", each.name, f"{each.protocol} {each.port}", each.hostname or "any host",
            "" if each.chosen else each.why,
        )
        for each in shown
    ]  # fmt: skip
    return [*aligned(rows), *([f"and {rest} more: --all"] if rest else [])]


def _misses(missed: Sequence[Miss]) -> list[str]:
    """Return two lines for each: what it is, and why it did not take the request."""
    rules = [(_rule_of(each.contender), contender_text(each.contender)) for each in missed]
    why = (f"    {each.failed.name.lower()}: {each.detail}" for each in missed)
    return [line for pair in zip(aligned(rules), why, strict=True) for line in pair]


def _unaccepted(found: Sequence[Unaccepted], *, every: bool) -> Iterator[str]:
    """Yield two lines for each: the route, and what its status says."""
    shown = found if every else found[:MISSES_SHOWN]
    for each in shown:
        yield f"{each.kind} {each.name}  {each.reason}"
        yield f"    by {each.parent}{f': {each.message}' if each.message else ''}"
    if len(found) > len(shown):
        yield f"and {len(found) - len(shown)} more: --all"


def _unserving(found: Sequence[Unserving], *, every: bool) -> list[str]:
    """Return two lines for each: the listener, and what its status says."""
    shown = found if every else found[:LISTENERS_SHOWN]
    rows = [(each.name, f"{each.protocol} {each.port}", each.hostname or "any host") for each in shown]
    why = [f"    {each.reason}: {each.message}" for each in shown]
    more = [f"and {len(found) - len(shown)} more: --all"] if len(found) > len(shown) else []
    lines = [line for pair in zip(aligned(rows), why, strict=True) for line in pair] if rows else []
    return [*lines, *more]


def _rule_of(contender: Contender) -> str:
    kind, name, rule = contender.is_of
    return f"{kind} {name} rule {rule}"


def _section(title: str, lines: Iterator[str] | list[str]) -> list[str]:
    body = [f"  {printable(line)}" for line in lines]
    return ["", title, *body] if body else []


# --- for programs


def to_json(decision: Decision) -> str:
    """Return *decision* as JSON: the tree of `to_tree`."""
    return json.dumps(to_tree(decision), indent=2) + "\n"


def to_tree(decision: Decision) -> dict[str, Any]:
    """Return *decision* as plain data. Keys stay; absent things are None or empty."""
    entry, port, winner = decision.entry, decision.port, decision.winner
    return {
        "request": describe(decision.request),
        "ok": answers_well(decision),
        "assumed": decision.assumed,
        "port": str(port.bound) if port is not None else None,
        "listener": decision.listener or None,
        "listeners": [
            {
                "name": each.name, "protocol": each.protocol, "port": each.port, "hostname": each.hostname,
                "chosen": each.chosen, "why": each.why,
            }
            for each in decision.listeners
        ],
        "certificates": [
            {"names": list(each.names), "digest": each.digest, "notAfter": each.not_after}
            for each in decision.certificates
        ],
        "unnamedHost": decision.unnamed or None,
        "kind": entry.label.kind if entry is not None else None,
        "route": entry.label.route if entry is not None else None,
        "rule": entry.label.rule if entry is not None else None,
        "ruleName": entry.label.rule_name if entry is not None else None,
        "match": {"index": winner.position, "text": contender_text(winner)} if winner is not None else None,
        "filters": list(filter_steps(decision)),
        "effects": [{"name": name, "text": text} for name, text in effects(decision)],
        "backends": [_outcome_tree(each) for each in decision.outcomes],
        "answer": _answer_tree(decision.answer),
        "missed": [_miss_tree(each) for each in decision.missed],
        "unaccepted": [_unaccepted_tree(each) for each in decision.unaccepted],
        "unserving": [each._asdict() for each in decision.unserving],
    }  # fmt: skip


def _outcome_tree(outcome: Outcome) -> dict[str, Any]:
    cluster, edit = outcome.cluster, outcome.response
    return {
        "name": outcome.name,
        "weight": outcome.weight,
        "share": round(outcome.share, 6),
        "endpoints": [each.address for each in cluster.endpoints] if cluster is not None else [],
        "dns": cluster.dns.address if cluster is not None and cluster.dns is not None else None,
        "request": list(outcome.head),
        "responseRemoves": sorted(name.decode("latin-1") for name in edit.cut) if edit is not None else [],
        "responseAdds": edit.append.decode("latin-1").split("\r\n")[:-1] if edit is not None else [],
        "mirrors": list(outcome.mirrors),
        "answer": _answer_tree(outcome.answer),
    }


def _answer_tree(answer: Answer | None) -> dict[str, Any] | None:
    if answer is None:
        return None
    return {
        "status": answer.status, "reason": answer.reason, "meaning": answer.meaning, "detail": answer.detail,
        "headers": list(answer.lines), "grpc": answer.call or None,
    }  # fmt: skip


def _unaccepted_tree(each: Unaccepted) -> dict[str, Any]:
    return {
        "kind": each.kind, "route": each.name, "parent": each.parent, "reason": each.reason, "message": each.message,
        "partly": each.partly,
    }  # fmt: skip


def _miss_tree(miss: Miss) -> dict[str, Any]:
    kind, name, rule = miss.contender.is_of
    return {
        "kind": kind, "route": name, "rule": rule, "match": miss.contender.position,
        "text": contender_text(miss.contender), "listener": str(miss.contender.listener.key),
        "failed": miss.failed.name.lower(), "detail": miss.detail,
    }  # fmt: skip
