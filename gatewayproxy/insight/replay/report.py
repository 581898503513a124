"""A replay's Counts into a Report: rules with their hits, requests that nothing takes, decisions that change. Pure.

With two configurations, *now* is the first and *then* the second. With one, what changes is what the log says became of
a request: of a log of ours its rule, or the reason of its answer; of any other, a good answer where none is given now.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gatewayproxy.insight.decision import decide
from gatewayproxy.insight.misses import Miss, match_text
from gatewayproxy.insight.offline import Compiled
from gatewayproxy.insight.outcomes import is_stream
from gatewayproxy.insight.ports import PortTable
from gatewayproxy.insight.replay.counts import Case, Counts, Tally, Verdict
from gatewayproxy.insight.replay.deciding import candidates_of
from gatewayproxy.insight.replay.fixes import fix_for, nearest_of
from gatewayproxy.insight.requests import Request, describe
from gatewayproxy.insight.unattached import attach_fix, unattached
from gatewayproxy.routing.refused import refused_text
from gatewayproxy.routing.table import RouteEntry, RoutingTable, RuleLabel

__all__ = ["Change", "Missing", "Report", "RuleUse", "report", "shape_of"]

_IDENTIFIER: Final = re.compile(rb"(?<=/)(?:[0-9]+|[0-9A-Fa-f-]{16,})(?=/|$)")
_GOOD: Final = ("1xx", "2xx", "3xx")
_WITHOUT_RULE: Final = ("no_rule", "no_route", "unknown_sni")  # what a route more could mend
_PARTLY: Final = "%"  # in what a rule answers: to a share of its requests
Named = tuple[str, str, int]  # kind, route, index of the rule
Refused = Mapping[Named, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleUse:
    """A rule, on all of its listeners: what it got of the log."""

    name: str  # "HTTPRoute shop/cart rule 2 (checkout)"
    n: int = 0
    last_at: float = 0.0  # Unix seconds
    n_then: int = 0  # by the second configuration
    reachable: bool = True  # False: other rules take all that it could match
    here: bool = True  # in the first configuration
    there: bool = False  # in the second
    answers: str = ""  # what the first refuses its requests with: "500 ref_not_permitted"
    answers_then: str = ""
    said_n: int = 0  # lines that, as the log says, this rule took
    said_at: float = 0.0  # the last of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A request that nothing takes."""

    request: str
    alike: int  # so many other paths differ by no more than identifiers
    answer: str  # "404 no_rule"
    n: int  # of all of them
    last_at: float
    where: str  # file:line of one
    nearest: str  # the match that came nearest, and what it lacked; "" without any
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Lines whose decision is another one."""

    was: str
    now: str
    n: int
    last_at: float
    witness: str
    where: str
    same_backends: bool = False  # another rule, which leads to the same backends


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All there is to tell of a replay. Shares are of *decided*."""

    decided: int
    unread: int
    unread_at: str  # "file:line: how it begins", "" where every line was read
    hostless: int
    unsaid: tuple[tuple[str, int], ...]  # header fields that rules ask for and lines do not say, and how many lines
    two: bool  # there is a second configuration
    rules: tuple[RuleUse, ...]
    missing: tuple[Missing, ...]  # the most frequent ones
    n_missing: int  # lines that nothing takes
    n_refused: int  # lines whose rule refuses some, or all
    missing_low: int  # a count of `missing` may be so much too low
    changes: tuple[Change, ...]

    @property
    def n_changed(self) -> int:
        """Return how many lines have another decision."""
        return sum(change.n for change in self.changes)

    @property
    def never_hit(self) -> tuple[RuleUse, ...]:
        """Return the rules of the first configuration that no line hits."""
        return tuple(use for use in self.rules if use.here and not use.n)


def report(counts: Counts, here: Compiled, there: Compiled | None, *, top: int) -> Report:
    """Return what *counts* say; *top*: how many missing requests to look into."""
    tallies = [tally for tally in (*counts.cases.values(), *counts.missed.values()) if tally.n]
    at = counts.unread_at
    refused = _refused_rules(here.table)
    return Report(
        decided=counts.decided,
        unread=counts.unread,
        unread_at=f"{at[0]}:{at[1]}: {at[2].decode('utf-8', 'backslashreplace')}" if at is not None else "",
        hostless=counts.hostless,
        unsaid=_unsaid(tallies),
        two=there is not None,
        rules=tuple(_rules(tallies, here, there)),
        missing=tuple(_missing(counts, here, top)),
        n_missing=sum(tally.n for tally in tallies if tally.case.now.refused),
        n_refused=sum(tally.n for tally in tallies if _named(tally.case.now) in refused),
        missing_low=counts.missed_low,
        changes=tuple(_changes(tallies, refused, _refused_rules(there.table) if there is not None else refused)),
    )


def _unsaid(tallies: Sequence[Tally]) -> tuple[tuple[str, int], ...]:
    found: dict[bytes, int] = {}
    for tally in tallies:
        for name in tally.case.unsaid:
            found[name] = found.get(name, 0) + tally.n
    return tuple((name.decode("latin-1"), n) for name, n in sorted(found.items()))


# --- rules


def _rules(tallies: Sequence[Tally], here: Compiled, there: Compiled | None) -> Iterator[RuleUse]:
    mine, others = _names(here), _names(there) if there is not None else {}
    reachable = {_of(entry.label) for entry in _entries(here.table)}
    refused, refused_then = _refused_rules(here.table), _refused_rules(there.table) if there is not None else {}
    now, then, said = _Use(), _Use(), _Use()
    for tally in tallies:
        case = tally.case
        now.note(_named(case.now), tally)
        then.note(_named(case.then), tally)
        said.note(case.said.text if case.said.ours else None, tally)
    for named in {**mine, **others}:
        name = mine.get(named) or others[named]
        yield RuleUse(
            name=name,
            n=now.n.get(named, 0),
            last_at=now.last_at.get(named, 0.0),
            n_then=then.n.get(named, 0),
            reachable=named in reachable or named not in mine,
            here=named in mine,
            there=named in others,
            said_n=said.n.get(name, 0),
            said_at=said.last_at.get(name, 0.0),
            answers=refused.get(named, ""),
            answers_then=refused_then.get(named, ""),
        )


class _Use:
    """Lines and last times by what was used."""

    def __init__(self) -> None:
        self.n: dict[object, int] = {}
        self.last_at: dict[object, float] = {}

    def note(self, name: object, tally: Tally) -> None:
        self.n[name] = self.n.get(name, 0) + tally.n
        self.last_at[name] = max(self.last_at.get(name, 0.0), tally.last_at)


def _named(verdict: Verdict | None) -> Named | None:
    return _of(verdict.rule) if verdict is not None and verdict.rule is not None else None


def _of(label: RuleLabel) -> Named:
    return label.kind, label.route, label.rule


def _names(compiled: Compiled) -> dict[Named, str]:
    """Return every rule of the plan that is attached to a listener, in plan order."""
    names: dict[Named, str] = {}
    for listener in compiled.plan.listeners:
        for route, _ in listener.attachments:
            for rule in route.rules:
                label = RuleLabel("", route.key.kind, route.key.full_name, rule.index, rule.name)
                names[_of(label)] = f"{label.route_text} rule {label.rule_text}"
    return names


def _entries(table: RoutingTable) -> Iterator[RouteEntry]:
    entries: list[RouteEntry | None] = [candidate.entry for candidate in candidates_of(table)]
    for port in table.ports:
        entries += [port.tcp, port.udp]
        if port.sni is not None:
            targets = (*port.sni.exact.values(), *port.sni.wildcard.values(), port.sni.default)
            entries += [target.entry for target in targets if target is not None]
    return (entry for entry in entries if entry is not None)


def _refused_rules(table: RoutingTable) -> dict[Named, str]:
    """Return the rules of *table* that answer in the place of backends, and what: "500 ref_not_permitted"."""
    texts = {_of(entry.label): refused_text(entry) for entry in _entries(table)}
    return {named: text for named, text in texts.items() if text}


# --- what nothing takes


def _missing(counts: Counts, here: Compiled, top: int) -> Iterator[Missing]:
    groups: dict[tuple[object, ...], _Group] = {}
    for key, tally in counts.missed.items():
        alike = (key.listener, key.host, key.method, shape_of(key.path), key.case.now)
        groups.setdefault(alike, _Group(tally)).add(key.path, tally)
    ranked = sorted(groups.values(), key=lambda group: group.total.n, reverse=True)
    ports = PortTable(here.table)
    for group in ranked[:top]:
        witness, verdict = group.witness, group.total.case.now
        request = witness.request
        decision = decide(ports, request, here.plan, here.status)
        nearest = nearest_of(decision.missed, request)
        asked = verdict.reason in _WITHOUT_RULE
        route = unattached(decision.unaccepted, request.method, request.path) if asked else None
        yield Missing(
            request=_described(request),
            alike=len(group.paths) - 1,
            answer=verdict.text,
            n=group.total.n,
            last_at=group.total.last_at,
            where=f"{witness.file}:{witness.line}",
            nearest=_nearest_text(nearest),
            fix=attach_fix(route) if route is not None else fix_for(nearest, request, verdict.reason),
        )


def _described(request: Request) -> str:
    if is_stream(request) and request.listener:
        return f"{request.kind.value} on {request.listener}"
    return describe(request._replace(port=0, address=""))


class _Group:
    """Requests that differ by no more than identifiers in their paths."""

    def __init__(self, first: Tally) -> None:
        self.total = Tally(first.case, first.witness)
        self.paths: dict[bytes, int] = {}
        self.witness = first.witness  # of the most frequent path
        self._most = 0

    def add(self, path: bytes, tally: Tally) -> None:
        self.total.add(tally)
        n = self.paths[path] = self.paths.get(path, 0) + tally.n
        if n > self._most:
            self._most, self.witness = n, tally.witness


def shape_of(path: bytes) -> bytes:
    """Return *path* with "*" for every segment that looks like an identifier: digits, or long and hexadecimal."""
    return _IDENTIFIER.sub(b"*", path)


def _nearest_text(miss: Miss | None) -> str:
    if miss is None:
        return ""
    contender = miss.contender
    rule = f"{contender.route.key.kind} {contender.route.key.full_name} rule {contender.rule.index}"
    return f"{rule}: {match_text(contender.match)}; {miss.failed.name.lower()}: {miss.detail}"


# --- what changes


def _changes(tallies: Sequence[Tally], refused: Refused, refused_then: Refused) -> Iterator[Change]:
    merged: dict[tuple[str, str, bool], Tally] = {}
    for tally in tallies:
        case = tally.case
        answers = _refusal(case.now, refused) if case.then is None else _refusal(case.then, refused_then)
        found = _change(case, answers)
        if found is not None:
            merged.setdefault(found, Tally(case, tally.witness)).add(tally)
    for (was, now, same), tally in sorted(merged.items(), key=lambda item: (item[0][2], -item[1].n, item[0])):
        witness = tally.witness
        yield Change(
            was=was,
            now=now,
            n=tally.n,
            last_at=tally.last_at,
            witness=describe(witness.request._replace(port=0, address="")),
            where=f"{witness.file}:{witness.line}",
            same_backends=same,
        )


def _refusal(verdict: Verdict, refused: Refused) -> str:
    """Return what the rule of *verdict* answers in the place of backends, "" where it does not, or there is none."""
    named = _named(verdict)
    return refused.get(named, "") if named is not None else ""


def _change(case: Case, answers: str) -> tuple[str, str, bool] | None:
    """Return from what to what lines of *case* change, and whether the backends stay; None: they do not.

    *answers*: what the rule that takes them then answers in the place of backends.
    """
    now, then, said = case.now, case.then, case.said
    found = None
    if then is not None:
        found = _between(now, then)
    elif said.ours:
        found = None if said.text in ("", now.text) else (said.text, now.text, False)
    elif said.text in _GOOD and (now.refused or (answers and _PARTLY not in answers)):
        found = (f"answered with {said.text}", now.text, False)
    if found is None or not answers:
        return found
    was, text, same = found
    return was, f"{text}, which answers {answers}", same


def _between(now: Verdict, then: Verdict) -> tuple[str, str, bool] | None:
    if now.rule is None or then.rule is None:
        return None if now.text == then.text else (now.text, then.text, False)
    if now.fingerprint == then.fingerprint and now.reason == then.reason:
        return None
    if now.text != then.text:
        return now.text, then.text, bool(now.goes_to) and now.goes_to == then.goes_to
    if now.rule.listener != then.rule.listener:
        return f"{now.text} on {now.rule.listener}", f"on {then.rule.listener}", now.goes_to == then.goes_to
    if now.goes_to != then.goes_to:
        return f"{now.text} to {now.goes_to}", f"to {then.goes_to}", False
    return now.text, "the same rule, with other filters, timeouts or endpoints", True
