"""What a table, or two, would do with the lines of logs.

A `Replay` is fed blocks of whole lines and asked for its `Counts`. Lines with one sketch (`lines`) are alike but
for their targets: where their requests come to is found once, and their rules are asked once for each target
(`ports.ByTarget`). Memory is bounded: KEPT_SKETCHES and KEPT_TARGETS are remembered, KEPT_CASES and KEPT_MISSES counted
by name. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from gatewayproxy.insight.access_logs import FORMS, Logged, form_of
from gatewayproxy.insight.outcomes import answer_for, is_stream
from gatewayproxy.insight.ports import UNMET, ByTarget, PortTable, Routed, decide_entry
from gatewayproxy.insight.replay.counts import (
    KEPT_MISSES,
    Case,
    Counts,
    MissKey,
    Said,
    Tally,
    Verdict,
    Witness,
    drop_rare,
)
from gatewayproxy.insight.replay.lines import LOGGED_FIELDS, Sketch, sketchers
from gatewayproxy.insight.requests import Kind, Request, server_name_for
from gatewayproxy.routing.table import (
    BackendChoice,
    Candidate,
    HostIndex,
    PathIndex,
    RouteEntry,
    RoutingTable,
    VirtualHost,
)

__all__ = ["Replay", "candidates_of", "goes_to"]

MAX_LINE_BYTES: Final = 65_536  # a longer line is of no form
KEPT_SKETCHES: Final = 16_384  # remembered with what they are asked by; beyond, all are forgotten and asked again
KEPT_TARGETS: Final = 65_536  # remembered with their decisions, of all sketches; the same
KEPT_CASES: Final = 20_000  # counted by name; beyond, what the log said is "(other)"
KEPT_OUTCOMES: Final = 65_536  # remembered with their cases; the same
_OTHER: Final = "(other)"
_ANY_HOST: Final = b"any.invalid"  # of requests whose host is not known, where every host is treated alike
_TRIED: Final = 100  # first lines of a file that may tell its form
_SHOWN_BYTES: Final = 120
_NONE: Final[frozenset[bytes]] = frozenset()
_NOWHERE: Final = Routed(None)
# Reasons of our log that are decisions of the table; any other came later, or from the wire.
_DECIDED: Final = UNMET | {"no_route", "no_rule", "misdirected", "ambiguous_path"}


class Replay:
    """Asks one table, or two, about the lines it is fed."""

    def __init__(
        self,
        table: RoutingTable,
        other: RoutingTable | None = None,
        *,
        fields: Sequence[tuple[bytes, bytes]] = (),
        host: bytes = b"",
    ) -> None:
        """*fields* and *host*: what every request has, of what its line does not say."""
        tables = (table, other) if other is not None else (table,)
        self._ports = [PortTable(each) for each in tables]
        self._fields, self._host, self._host_name = tuple(fields), host, server_name_for(host)
        self._given = frozenset(name.lower() for name, _ in fields)
        matches = [match for each in tables for match in candidates_of(each)]
        self._sketchers = sketchers(
            frozenset(test.name for match in matches for test in match.headers),
            queries=any(match.query for match in matches),
        )
        self._hosts_matter = any(_has_names(port.http) for each in tables for port in each.ports)
        self._unsaid: dict[VirtualHost, frozenset[bytes]] = {}
        self._verdicts: dict[RouteEntry | tuple[str, bool], Verdict] = {}
        self._known: dict[str, dict[Sketch, _Alike]] = {form: {} for form in FORMS}
        self._n_sketches = self._n_targets = 0
        self._outcomes: dict[tuple[object, ...], Tally] = {}
        self._missed: dict[tuple[Tally, str, bytes, bytes, bytes], Tally] = {}  # as `Counts.missed`
        self._hostless = Tally(Case(Said(), Verdict(), None, ()), Witness(Request(), b"/", "", 0))
        self._form = self._file = ""
        self.counts = Counts()

    def feed(self, lines: Sequence[bytes], file: str, first: int) -> None:
        """Count *lines*, without their ends, of *file*; *first*: the number of the first of them."""
        if file != self._file:
            self._settle()
            self._file, self._form = file, next(filter(None, map(form_of, lines[:_TRIED])), "")
        pending = enumerate(lines, first)
        while self._stretch(pending):
            pass

    def take(self) -> Counts:
        """Return what has been counted since the last time."""
        self._settle()
        self._forget()
        taken, self.counts = self.counts, Counts()
        for (tally, listener, host, method, path), missed in self._missed.items():
            taken.missed[MissKey(listener, host, method, path, tally.case)] = missed
        taken.prune()
        taken.hostless, self._hostless.n = self._hostless.n, 0
        self._missed.clear()
        self._outcomes.clear()
        return taken

    def _stretch(self, pending: Iterator[tuple[int, bytes]]) -> bool:
        """Count lines until one is of another form; return whether there was one."""
        sketcher = self._sketchers.get(self._form)
        if sketcher is None:
            return any(self._count_odd(line, number) for number, line in pending)
        pattern, time_group, target_group, sketch_of = sketcher
        match, known = pattern.fullmatch, self._known[self._form]
        for number, line in pending:
            found = match(line)
            if found is None:
                if self._count_odd(line, number):
                    return True
                continue
            sketch, target = sketch_of(found), found[target_group]
            alike = known.get(sketch)
            if alike is None:
                alike = self._meet(sketch, target, line, number)
            tally = alike.known.get(target)
            if tally is None:
                tally = self._learn(alike, target, number)
            tally.n += 1
            tally.last = found[time_group]
        return False

    def _meet(self, sketch: Sketch, target: bytes, line: bytes, number: int) -> _Alike:
        """Return what is known of lines with *sketch*, of which *line*, for *target*, is the first."""
        if self._n_sketches >= KEPT_SKETCHES:
            self._forget()
        self._n_sketches += 1
        logged = FORMS[self._form](line)
        assert logged is not None
        request = self._completed(logged.request.bare(target))
        alike = self._known[self._form][sketch] = _Alike(logged, request)
        alike.known[target] = self._tally(logged, request, number)
        return alike

    def _learn(self, alike: _Alike, target: bytes, number: int) -> Tally:
        """Return what lines like *alike* for *target* count in, and remember it."""
        if self._n_targets >= KEPT_TARGETS:
            self._forget()
        self._n_targets += 1
        tally = alike.known[target] = self._tally_alike(alike, target, number)
        return tally

    def _tally_alike(self, alike: _Alike, target: bytes, number: int) -> Tally:
        request = alike.request
        if request is None:
            return self._hostless
        asked = alike.asked
        if not asked:
            asked = alike.asked = [ByTarget(each, request) for each in self._ports]
        first = asked[0].decide(target)
        second = asked[1].decide(target) if len(asked) > 1 else _NOWHERE
        outcome = first.entry, first.reason, first.vhost, second.entry, second.reason, second.vhost
        tally = alike.outcomes.get(outcome)
        if tally is None:
            like = request.with_target(target)
            tally = alike.outcomes[outcome] = self._outcome(alike.logged, like, (first, second), number)
        return self._missed_tally(tally, request, target, number) if tally.case.now.refused else tally

    def _forget(self) -> None:
        """Let go of what is remembered of lines."""
        for known in self._known.values():
            known.clear()
        self._n_sketches = self._n_targets = 0

    def _settle(self) -> None:
        """Read the times that are still as written."""
        for tally in chain(self.counts.cases.values(), self._missed.values()):
            tally.settle()

    def _count_odd(self, line: bytes, number: int) -> bool:
        """Count a line that has no sketch; return whether it is of another form than those before."""
        if len(line) > MAX_LINE_BYTES or not line.strip():
            self._note_unread(line, number)
            return False
        line = line.rstrip(b"\r")
        form = self._form
        logged = FORMS[form](line) if form else None
        if logged is None:
            form = form_of(line)
            if not form:
                self._note_unread(line, number)
                return False
            logged = FORMS[form](line)
        assert logged is not None
        tally = self._tally(logged, self._completed(logged.request), number)
        tally.n += 1
        tally.last = logged.time.encode("latin-1", "replace")
        changed, self._form = form != self._form, form
        return changed

    def _note_unread(self, line: bytes, number: int) -> None:
        if line.strip():
            self.counts.unread += 1
            self.counts.unread_at = self.counts.unread_at or (self._file, number, line[:_SHOWN_BYTES])

    def _tally(self, logged: Logged, request: Request | None, number: int) -> Tally:
        """Return what a line counts in that says *logged*, of *request*."""
        if request is None:
            return self._hostless
        first = decide_entry(self._ports[0], request)
        second = decide_entry(self._ports[1], request) if len(self._ports) > 1 else _NOWHERE
        tally = self._outcome(logged, request, (first, second), number)
        return self._missed_tally(tally, request, request.target, number) if tally.case.now.refused else tally

    def _outcome(self, logged: Logged, request: Request, routed: tuple[Routed, Routed], number: int) -> Tally:
        """Return the tally of the case of *logged*, decided as *routed*."""
        # PERF: nearly every line is of a case that is known by objects, whose hashes cost nothing; 15 -> 9 us a line.
        first, second = routed
        outcome = (
            first.entry, first.reason, first.vhost, second.entry, second.reason, second.vhost,
            logged.status, logged.route, logged.rule, logged.reason, request.listener,
        )  # fmt: skip
        tally = self._outcomes.get(outcome)
        if tally is None:
            if len(self._outcomes) >= KEPT_OUTCOMES:
                self._outcomes.clear()
            tally = self._outcomes[outcome] = self._case_tally(logged, request, routed, number)
        return tally

    def _case_tally(self, logged: Logged, request: Request, routed: tuple[Routed, Routed], number: int) -> Tally:
        now, then = (self._verdict(each, request) for each in routed)
        two = len(self._ports) > 1
        case = Case(_said(logged), now, then if two else None, self._unsaid_names(routed))
        cases = self.counts.cases
        if len(cases) >= KEPT_CASES and case not in cases:
            case = case._replace(said=Said(_OTHER, case.said.ours))
        return cases.setdefault(case, Tally(case, Witness(request, request.target, self._file, number)))

    def _missed_tally(self, tally: Tally, request: Request, target: bytes, number: int) -> Tally:
        """Return what lines of the case of *tally* count in that ask for *target*, and else for what *request* does."""
        if len(self._missed) >= 2 * KEPT_MISSES:
            self._drop_rare()
        key = (tally, request.listener, request.authority, request.method, target.partition(b"?")[0])
        missed = self._missed.get(key)
        if missed is None:
            missed = self._missed[key] = Tally(tally.case, Witness(request, target, self._file, number))
        return missed

    def _drop_rare(self) -> None:
        """Count the rarer misses in their cases."""
        self._settle()
        self._forget()  # it leads to tallies that go
        dropped = drop_rare(self._missed)
        self.counts.missed_low += dropped[0][1].n
        for (tally, *_), missed in dropped:
            tally.add(missed)

    def _completed(self, request: Request) -> Request | None:
        """Return *request* with what is true of all of them; None where its host is missing, and matters."""
        if self._fields:
            request = request._replace(headers=request.headers + self._fields)
        if request.authority or request.kind is not Kind.HTTP or request.listener:
            return request
        if self._host:
            name = self._host_name if request.tls is not False else None
            # PERF: `_replace` takes 2 us.
            return Request._make((*request[:5], name, *request[6:8], self._host, *request[9:]))
        return None if self._hosts_matter else request._replace(authority=_ANY_HOST)

    def _verdict(self, routed: Routed, request: Request) -> Verdict:
        entry, reason = routed.entry, routed.reason
        stream = routed.port is None or is_stream(request) or reason in UNMET
        key = entry if entry is not None else (reason, stream)
        verdict = self._verdicts.get(key)
        if verdict is None:
            if entry is not None:
                verdict = Verdict(entry.label, entry.fingerprint, goes_to=goes_to(entry))
            else:
                verdict = Verdict(reason=reason, status=answer_for(reason, stream=stream).status)
            self._verdicts[key] = verdict
        return verdict

    def _unsaid_names(self, routed: Iterable[Routed]) -> tuple[bytes, ...]:
        names: set[bytes] = set()
        for vhost in (each.vhost for each in routed):
            if vhost is not None:
                found = self._unsaid.get(vhost)
                if found is None:
                    tests = (test.name for layer in vhost.layers for match in _matches(layer) for test in match.headers)
                    found = self._unsaid[vhost] = frozenset(tests) - self._given
                names |= found
        return tuple(sorted(names - LOGGED_FIELDS.get(self._form, _NONE)))


class _Alike:
    """Lines with one sketch: what they say is *logged*, and *request*, but for their targets."""

    __slots__ = ("asked", "known", "logged", "outcomes", "request")

    def __init__(self, logged: Logged, request: Request | None) -> None:
        """*request*: None where no table can be asked, since its host is not known."""
        self.logged = logged
        self.request = request
        self.known: dict[bytes, Tally] = {}  # by target
        self.asked: list[ByTarget] = []  # of each table; PERF: not before the second target, for logs of many hosts
        self.outcomes: dict[tuple[object, ...], Tally] = {}  # of cases


def _said(logged: Logged) -> Said:
    """Return what became of a request, as far as it can be compared with a decision."""
    if not logged.request.listener:
        return Said(f"{logged.status // 100}xx" if logged.status else "")
    if logged.route:
        return Said(f"{logged.route} rule {logged.rule}", ours=True)
    text = f"{logged.status or 'no answer,'} {logged.reason}" if logged.reason in _DECIDED else ""
    return Said(text, ours=True)


def goes_to(entry: RouteEntry) -> str:
    """Return where *entry* leads to in a few words: `shop/cart:80 75 %, shop/cart-v2:80 25 %`, `301`."""
    if entry.group is None:
        status = entry.respond.status if entry.respond is not None else entry.refusal.status if entry.refusal else 0
        return str(status)
    bounds, choices = entry.group.bounds, entry.group.choices
    if len(choices) == 1:
        return _name(choices[0])
    weights = (high - low for low, high in zip((0, *bounds), bounds, strict=False))
    return ", ".join(f"{_name(each)} {weight / bounds[-1]:.4g}" for each, weight in zip(choices, weights, strict=True))


def _name(choice: BackendChoice) -> str:
    return choice.name or "an answer of the gateway"


# --- what a table asks for


def candidates_of(table: RoutingTable) -> Iterator[Candidate]:
    """Yield every match of *table*, once for each of its paths."""
    indexes = [port.http for port in table.ports if port.http is not None]
    layers = {layer: None for index in indexes for vhost in _hosts(index) for layer in vhost.layers}
    for layer in layers:
        yield from _matches(layer)


def _matches(layer: PathIndex) -> Iterator[Candidate]:
    for candidates in (*layer.exact.values(), layer.regexes, *layer.prefix.values()):
        yield from candidates


def _hosts(index: HostIndex) -> Iterator[VirtualHost]:
    yield from index.exact.values()
    yield from index.wildcard.values()
    if index.default is not None:
        yield index.default


def _has_names(index: HostIndex | None) -> bool:
    return index is not None and bool(index.exact or index.wildcard)
