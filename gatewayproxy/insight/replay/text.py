"""Print the Report of a replay: text for a terminal, Markdown for a review, JSON for programs. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from gatewayproxy.insight.replay.report import Change, Missing, Report, RuleUse
from gatewayproxy.insight.replay.times import time_text
from gatewayproxy.insight.wording import aligned, printable

__all__ = ["FORMS", "to_json", "to_markdown", "to_text"]

CHANGES_SHOWN: Final = 20  # the others are a number; JSON has them all
_SECTION: Final = {
    "changes": "CHANGED DECISIONS, most lines first",
    "missing": "NOTHING TAKES THESE, most lines first",
    "never": "NEVER HIT",
    "rules": "RULES",
}


def to_text(report: Report) -> str:
    """Return *report* for a terminal."""
    lines = [*_summary(report)]
    lines += _section("changes", _changes(report))
    lines += _section("missing", _missing(report))
    lines += _section("never", aligned([_never_row(use) for use in report.never_hit]))
    lines += _section("rules", aligned(_rule_rows(report)))
    return "".join(f"{printable(line).rstrip()}\n" for line in lines)


def _section(title: str, lines: Iterable[str]) -> list[str]:
    body = [f"  {line}" for line in lines]
    return ["", _SECTION[title], *body] if body else []


def _summary(report: Report) -> Iterator[str]:
    changed = f", {_share(report.n_changed, report)} of the decisions change" if _compared(report) else ""
    refused = f", {_share(report.n_refused, report)} go to rules that refuse them" if report.n_refused else ""
    yield f"{_count(report.decided, 'request')}: nothing takes {_share(report.n_missing, report)}{refused}{changed}"
    yield from _caveats(report)


def _compared(report: Report) -> bool:
    return report.two or bool(report.changes)


def _caveats(report: Report) -> Iterator[str]:
    if report.hostless:
        hostless = _count(report.hostless, "line")
        yield f"{hostless} without a host left out -> -H 'Host: shop.example' says which one"
    if report.unread:
        lines = f"{_count(report.unread, 'line')} of no form that is known, or without a request"
        yield f"{lines}; gatewayproxy replay --help names the forms; the first: {report.unread_at}"
    for name, n in report.unsaid:
        asked = f"for hosts with rules that ask for {name}, which no line has"
        yield f"{_count(n, 'request')} {asked} -> -H '{name}: ...'"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _share(n: int, report: Report) -> str:
    return f"{n:,} ({100 * n / report.decided if report.decided else 0:.3g} %)"


def _changes(report: Report) -> Iterator[str]:
    for change in report.changes[:CHANGES_SHOWN]:
        yield f"{_share(change.n, report)}  {change.was}"
        yield f"    -> {change.now}{_kept(change)}"
        yield f"    such as {change.witness}  {change.where}"
    rest = report.changes[CHANGES_SHOWN:]
    if rest:
        yield f"and {len(rest)} more kinds of change, {sum(each.n for each in rest):,} requests: -o json"


def _kept(change: Change) -> str:
    return ", to the same backends" if change.same_backends and "the same rule" not in change.now else ""


def _missing(report: Report) -> Iterator[str]:
    for each in report.missing:
        yield f"{_share(each.n, report)}  {each.answer}  {each.request}{_more(each)}"
        if each.nearest:
            yield f"    nearest  {each.nearest}"
        if each.fix:
            yield f"    ->       {each.fix}"
    if report.missing and report.missing_low:
        yield f"more paths than can be counted: each count may be up to {report.missing_low:,} too low"


def _more(missing: Missing) -> str:
    return f" and {missing.alike:,} {'path' if missing.alike == 1 else 'paths'} like it" if missing.alike else ""


def _never_row(use: RuleUse) -> tuple[str, str]:
    return use.name, _why_never(use)


def _why_never(use: RuleUse) -> str:
    if not use.reachable:
        return "other rules take all that it could match"
    if use.said_n:
        return (
            f"took {use.said_n:,} of these requests when they were logged, the last {time_text(use.said_at)}".rstrip()
        )
    return ""


def _rule_rows(report: Report) -> list[tuple[str, ...]]:
    used = sorted((use for use in report.rules if use.n or use.n_then), key=lambda use: (-use.n, -use.n_then))
    if not used:
        return []
    head = ("hits", "share", *(("hits then",) if report.two else ()), "last hit", "rule")
    return [head, *(_rule_row(use, report) for use in used)]


def _rule_row(use: RuleUse, report: Report) -> tuple[str, ...]:
    share = f"{100 * use.n / report.decided if report.decided else 0:.3g} %"
    then = (f"{use.n_then:,}" if use.there else "gone",) if report.two else ()
    return (f"{use.n:,}" if use.here else "new", share, *then, time_text(use.last_at) or "-", use.name + _answers(use))


def _answers(use: RuleUse) -> str:
    """Return what the rule answers in the place of backends: who only looks at hits would take it for served."""
    now, then = use.answers, use.answers_then
    if not use.there or now == then:
        return f": answers {now}" if now else ""
    return f": answers {now}, then {then or 'no longer'}" if now else f": then answers {then}"


# --- Markdown


def to_markdown(report: Report) -> str:
    """Return *report* for a comment of a review."""
    lines = [f"**{next(_summary(report))}**", "", *(f"- {_code_free(each)}" for each in _caveats(report))]
    changes = [(_share(x.n, report), x.was, x.now + _kept(x), _code(x.witness)) for x in report.changes[:CHANGES_SHOWN]]
    lines += _table("Changed decisions", ("requests", "from", "to", "such as"), changes)
    missing = [(_share(x.n, report), x.answer, _code(x.request) + _more(x), x.nearest, x.fix) for x in report.missing]
    lines += _table("Nothing takes these", ("requests", "answer", "request", "nearest miss", "what to do"), missing)
    lines += _table("Never hit", ("rule", ""), [_never_row(use) for use in report.never_hit])
    rows = _rule_rows(report)
    lines += _table("Rules", rows[0], rows[1:]) if rows else []
    return "".join(f"{printable(line)}\n" for line in lines)


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    cells = ["| " + " | ".join(map(_code_free, row)) + " |" for row in rows]
    return ["", f"### {title}", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|", *cells]


def _code(text: str) -> str:
    return f"`{text.replace('`', '%60')}`"


def _code_free(text: str) -> str:
    """Return *text* so that a table cell cannot end in it, nor markup begin."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


# --- JSON


def to_json(report: Report) -> str:
    """Return *report* as JSON; times are UTC, null where there is none."""
    tree: dict[str, Any] = {
        "requests": report.decided,
        "unread": {"lines": report.unread, "first": report.unread_at or None},
        "withoutHost": report.hostless,
        "unsaidFields": [{"name": name, "requests": n} for name, n in report.unsaid],
        "missed": {"requests": report.n_missing, "countsLowBy": report.missing_low,
                   "top": [_missing_tree(each) for each in report.missing]},
        "refused": {"requests": report.n_refused},
        "changed": {"requests": report.n_changed, "kinds": [_change_tree(each) for each in report.changes]},
        "rules": [_rule_tree(each, two=report.two) for each in report.rules],
    }  # fmt: skip
    return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"


def _missing_tree(each: Missing) -> dict[str, Any]:
    return {**{name: value for name, value in asdict(each).items() if name not in ("n", "last_at")},
            "requests": each.n, "lastAt": time_text(each.last_at) or None}  # fmt: skip


def _change_tree(each: Change) -> dict[str, Any]:
    return {
        "from": each.was, "to": each.now, "requests": each.n, "lastAt": time_text(each.last_at) or None,
        "witness": each.witness, "where": each.where, "sameBackends": each.same_backends,
    }  # fmt: skip


def _rule_tree(use: RuleUse, *, two: bool) -> dict[str, Any]:
    then = {"hitsThen": use.n_then if use.there else None, "answersThen": use.answers_then or None} if two else {}
    return {
        "rule": use.name, "hits": use.n if use.here else None, **then, "lastHit": time_text(use.last_at) or None,
        "answers": use.answers or None, "reachable": use.reachable,
        "loggedHits": use.said_n, "loggedLast": time_text(use.said_at) or None,
    }  # fmt: skip


FORMS: Final = {"text": to_text, "json": to_json, "markdown": to_markdown}
