"""What a table, or two, would do with the lines of logs: counts by case, last times, the requests that nothing takes.

A `Replay` is fed blocks of whole lines and asked for its `Counts`, which add up: parts of a log may be counted apart.
Tables are asked through `insight.ports.decide_entry`; once for all lines with one sketch (`replay_lines`). Memory is
bounded: KEPT_SKETCHES are remembered, KEPT_CASES and KEPT_MISSES counted by name. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, NamedTuple

from gatewayproxy.insight.access_logs import FORMS, Logged, form_of
from gatewayproxy.insight.outcomes import answer_for, is_stream
from gatewayproxy.insight.ports import HTTP_INSIDE, PortTable, Routed, decide_entry
from gatewayproxy.insight.replay_lines import LOGGED_FIELDS, Sketch, Sketcher, sketchers
from gatewayproxy.insight.replay_times import seconds_of
from gatewayproxy.insight.requests import Kind, Request, server_name_for
from gatewayproxy.routing.dispatch import PREFLIGHT
from gatewayproxy.routing.table import (
    BackendChoice,
    Candidate,
    HostIndex,
    PathIndex,
    RouteEntry,
    RoutingTable,
    RuleLabel,
    VirtualHost,
)

__all__ = ["Case", "Counts", "Replay", "Said", "Tally", "Verdict", "Witness"]

MAX_LINE_BYTES: Final = 65_536  # a longer line is of no form
KEPT_SKETCHES: Final = 65_536  # remembered with their decisions; beyond, all are forgotten and asked again
KEPT_CASES: Final = 20_000  # counted by name; beyond, what the log said is "(other)"
KEPT_MISSES: Final = 20_000  # requests that nothing takes, by host, method and path; beyond, the rarer half is dropped
_OTHER: Final = "(other)"
_TRIED: Final = 100  # first lines of a file that may tell its form
_SHOWN_BYTES: Final = 120
_NONE: Final[frozenset[bytes]] = frozenset()
# Reasons of our log that are decisions of the table; any other came later, or from the wire.
_DECIDED: Final = frozenset(("no_route", "no_rule", "misdirected", "ambiguous_path", "unknown_sni", "no_sni"))
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

    request: Request
    file: str
    line: int


class Tally:
    """How many lines, and when the last of them was."""

    __slots__ = ("last", "last_at", "n", "witness")

    def __init__(self, witness: Witness) -> None:
        self.n = 0
        self.last = b""  # as written
        self.last_at = 0.0  # Unix seconds, as far as `last` has been read; 0: no line with a time
        self.witness = witness

    def settle(self) -> None:
        """Read the time of the last line."""
        if self.last:
            self.last_at = max(self.last_at, seconds_of(self.last))
            self.last = b""

    def add(self, other: Tally) -> None:
        """Add the lines of *other*; both are settled."""
        self.n += other.n
        self.last_at = max(self.last_at, other.last_at)


class Missed(Tally):
    """Lines of *case* that ask for one (listener, host, method, path), which nothing takes."""

    __slots__ = ("case",)

    def __init__(self, witness: Witness, case: Case) -> None:
        super().__init__(witness)
        self.case = case


MissKey = tuple[str, bytes, bytes, bytes, Case]  # listener as logged, host, method, path


class Counts:
    """Sums; picklable. A line is counted in `cases`, in `missed`, as unread, or as hostless."""

    def __init__(self) -> None:
        self.unread = 0
        self.unread_at: tuple[str, int, bytes] | None = None  # file, line, how it begins
        self.hostless = 0
        self.cases: dict[Case, Tally] = {}
        self.missed: dict[MissKey, Missed] = {}
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
            self.cases.setdefault(case, Tally(tally.witness)).add(tally)
        for key, missed in other.missed.items():
            self.missed.setdefault(key, Missed(missed.witness, missed.case)).add(missed)
        self.missed_low += other.missed_low
        self.prune()

    def settle(self) -> None:
        """Read the times that are still as written."""
        for tally in chain(self.cases.values(), self.missed.values()):
            tally.settle()

    def prune(self) -> None:
        """Beyond KEPT_MISSES keep the more frequent half; the others stay counted in their cases. All are settled."""
        if len(self.missed) <= KEPT_MISSES:
            return
        ranked = sorted(self.missed.items(), key=lambda item: item[1].n, reverse=True)
        self.missed = dict(ranked[: KEPT_MISSES // 2])
        self.missed_low += ranked[KEPT_MISSES // 2][1].n
        for _, missed in ranked[KEPT_MISSES // 2 :]:
            self.cases.setdefault(missed.case, Tally(missed.witness)).add(missed)


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
        self._fields, self._host = tuple(fields), host
        self._given = frozenset(name.lower() for name, _ in fields)
        matches = [match for each in tables for match in _candidates(each)]
        self._sketchers = sketchers(
            frozenset(test.name for match in matches for test in match.headers),
            queries=any(match.query for match in matches),
        )
        self._hosts_matter = any(_has_names(port.http) for each in tables for port in each.ports)
        self._unsaid: dict[VirtualHost, frozenset[bytes]] = {}
        self._verdicts: dict[RouteEntry | tuple[str, bool], Verdict] = {}
        self._known: dict[str, dict[Sketch, Tally]] = {form: {} for form in FORMS}
        self._hostless = Tally(Witness(Request(), "", 0))
        self._form = self._file = ""
        self.counts = Counts()

    def feed(self, lines: Sequence[bytes], file: str, first: int) -> None:
        """Count *lines*, without their ends, of *file*; *first*: the number of the first of them."""
        if file != self._file:
            self.counts.settle()
            self._file, self._form = file, next(filter(None, map(form_of, lines[:_TRIED])), "")
        pending = enumerate(lines, first)
        while self._stretch(pending):
            pass

    def take(self) -> Counts:
        """Return what has been counted since the last time."""
        self._forget()
        taken, self.counts = self.counts, Counts()
        taken.hostless, self._hostless.n = self._hostless.n, 0
        return taken

    def _stretch(self, pending: Iterator[tuple[int, bytes]]) -> bool:
        """Count lines until one is of another form; return whether there was one."""
        sketcher = self._sketchers.get(self._form)
        if sketcher is None:
            return any(self._count_odd(line, number) for number, line in pending)
        match, known = sketcher.pattern.fullmatch, self._known[self._form]
        for number, line in pending:
            found = match(line)
            if found is None:
                if self._count_odd(line, number):
                    return True
                continue
            groups = found.groups()
            sketch = groups[1:]
            tally = known.get(sketch)
            if tally is None:
                tally = self._learn(sketcher, sketch, number)
                known[sketch] = tally
            tally.n += 1
            tally.last = groups[0]
        return False

    def _learn(self, sketcher: Sketcher, sketch: Sketch, number: int) -> Tally:
        if len(self._known[self._form]) >= KEPT_SKETCHES:
            self._forget()
        return self._tally(sketcher.read(sketch), number)

    def _forget(self) -> None:
        """Let go of the sketches, and of rare misses."""
        self.counts.settle()
        self.counts.prune()
        for known in self._known.values():
            known.clear()

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
        tally = self._tally(logged, number)
        tally.n += 1
        tally.last = logged.time.encode("latin-1", "replace")
        changed, self._form = form != self._form, form
        return changed

    def _note_unread(self, line: bytes, number: int) -> None:
        if line.strip():
            self.counts.unread += 1
            self.counts.unread_at = self.counts.unread_at or (self._file, number, line[:_SHOWN_BYTES])

    def _tally(self, logged: Logged, number: int) -> Tally:
        """Return what a line that says *logged* counts in."""
        request = self._completed(logged)
        if request is None:
            return self._hostless
        counts = self.counts
        routed = [decide_entry(ports, request) for ports in self._ports]
        now, *then = (self._verdict(each, request) for each in routed)
        case = Case(_said(logged), now, then[0] if then else None, self._unsaid_names(routed))
        if len(counts.cases) >= KEPT_CASES and case not in counts.cases:
            case = case._replace(said=Said(_OTHER, case.said.ours))
        witness = Witness(request, self._file, number)
        if not now.refused:
            return counts.cases.setdefault(case, Tally(witness))
        if len(counts.missed) >= 2 * KEPT_MISSES:
            self._forget()
        key = (request.listener, request.authority, request.method, request.path, case)
        return counts.missed.setdefault(key, Missed(witness, case))

    def _completed(self, logged: Logged) -> Request | None:
        """Return the request with what is true of all of them; None where its host is missing, and matters."""
        request = logged.request
        if self._fields:
            request = request._replace(headers=request.headers + self._fields)
        if request.authority or request.kind is not Kind.HTTP or request.listener:
            return request
        if self._host:
            name = server_name_for(self._host) if request.tls is not False else None
            return request._replace(authority=self._host, server_name=name)
        return None if self._hosts_matter else request

    def _verdict(self, routed: Routed, request: Request) -> Verdict:
        entry, reason = routed.entry, routed.reason
        stream = routed.port is None or is_stream(request) or reason in ("unknown_sni", "no_sni")
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


def _candidates(table: RoutingTable) -> Iterator[Candidate]:
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
