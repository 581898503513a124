"""Where one port treats requests otherwise in two tables: by host and by region, each with a witness. Pure.

Hosts and server names are parted like paths: by the names that either table has, and by what lies below a wildcard
and below no narrower one. A witness was decided on both tables by `insight.ports.decide_entry`, the code of the data
plane, and came to two outcomes; a difference without one may be none, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.insight.diff.cells import SEARCH, Cell, End, Side, TooMany, Work, cells
from gatewayproxy.insight.diff.outcomes import NOTHING, Fact, Outcome, outcome_of, outcome_of_entry
from gatewayproxy.insight.diff.samples import Sample, sampled
from gatewayproxy.insight.examples import Nothing, example
from gatewayproxy.insight.ports import PortTable, Routed, decide_entry, route_on
from gatewayproxy.insight.regions import (
    ABSENT,
    ANY,
    EMPTY,
    EVERYTHING,
    HOST,
    PRESENT,
    How,
    Region,
    Test,
    Texts,
    example_of,
    text_of,
)
from gatewayproxy.insight.requests import Kind, Request, server_name_for
from gatewayproxy.routing.match import host_key
from gatewayproxy.routing.table import HostIndex, Port, PortKind, RouteEntry, RoutingTable, SniAction, SniIndex

__all__ = ["ELSEWHERE", "Difference", "Pair", "Progress", "Tables", "differences", "hosts_text", "pairs"]

_CLEAR: Final = frozenset((PortKind.HTTP,))
_SHAKING: Final = frozenset((PortKind.HTTPS, PortKind.TLS))
ELSEWHERE: Final = "192.0.2.1"  # RFC 5737: an address that no listener has, so that one of all addresses is meant
_NOT_FOUND: Final = Outcome("404", (Fact("answer", "404"),))


class Pair(NamedTuple):
    """A port before and after; *places*: the addresses that are bound to the same."""

    old: Port | None
    new: Port | None
    places: tuple[str, ...]
    address: str  # to ask at

    @property
    def listeners(self) -> tuple[str, ...]:
        """Return the names of the listeners of either, each once."""
        ports = [port for port in (self.old, self.new) if port is not None]
        return tuple(dict.fromkeys(label.name for port in ports for label in port.listeners))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Difference:
    """Requests that were met with *old* and are met with *new*: those of *region* for one of *hosts*."""

    kind: Kind  # TLS: of what a ClientHello meets, whose server name is one of *hosts*
    pair: Pair
    hosts: tuple[Texts, ...]
    region: Region
    old: Outcome
    new: Outcome
    rules: tuple[str, str] = ("", "")  # that take the witness
    witness: Request | None = None  # None: none was found
    sample: Sample | None = None  # of what was not compared to the end: it may be treated as before, or not

    @property
    def examined(self) -> bool:
        """Return whether all of it is known to be treated otherwise."""
        return self.sample is None

    def has(self, request: Request) -> bool:
        """Return whether *request*, which came to this port, is one of these."""
        name = request.server_name if self.kind is Kind.TLS else host_key(request.authority)
        return request.kind is self.kind and any(texts.has(name) for texts in self.hosts) and self.region.has(request)


class Tables:
    """Two tables, to ask what becomes of a request in each; *work*: what comparing them may still cost."""

    def __init__(self, old: RoutingTable, new: RoutingTable) -> None:
        self.old, self.new = PortTable(old), PortTable(new)
        self.work = Work()
        self._known: dict[bytes, Outcome] = {}  # by fingerprint
        self._numbers: dict[tuple[Fact, ...], int] = {}
        self._numbered: dict[int, int] = {}  # PERF: the same by identity, 1.4 -> 0.3 us

    def key(self, end: End) -> int:
        """Return a number that is equal for what does the same."""
        outcome = self._entry(end) if isinstance(end, RouteEntry) else end
        number = self._numbered.get(id(outcome.facts))
        if number is None:
            number = self._numbers.setdefault(outcome.facts, len(self._numbers))
            if isinstance(end, RouteEntry):  # whose facts are kept, and so have their id to themselves
                self._numbered[id(outcome.facts)] = number
        return number

    def ask(self, request: Request) -> tuple[Routed, Routed]:
        """Return how each table routes *request*."""
        return decide_entry(self.old, request), decide_entry(self.new, request)

    def outcome(self, routed: Routed, request: Request) -> Outcome:
        """Return what becomes of *request*."""
        if routed.entry is not None and not routed.reason and request.kind is Kind.HTTP:
            target = routed.target
            if target is None or target.action is SniAction.HTTP:
                return self._entry(routed.entry)
        return outcome_of(routed, request)

    def _entry(self, entry: RouteEntry) -> Outcome:
        outcome = self._known.get(entry.fingerprint)
        if outcome is None:
            outcome = self._known[entry.fingerprint] = outcome_of_entry(entry)
        return outcome

    def both(self, request: Request) -> tuple[Outcome, Outcome]:
        """Return what becomes of *request* in each table."""
        old, new = self.ask(request)
        return self.outcome(old, request), self.outcome(new, request)


def pairs(old: RoutingTable, new: RoutingTable) -> list[Pair]:
    """Return the ports of both tables, side by side, those that are the same on several addresses made one."""
    before, after = ({port.bound: port for port in table.ports} for table in (old, new))
    found: dict[tuple[object, ...], Pair] = {}
    for bound in dict.fromkeys((*before, *after)):
        anywhere = bound._replace(address="")  # whose socket gets what no narrower one takes
        one, other = before.get(bound, before.get(anywhere)), after.get(bound, after.get(anywhere))
        shared = any(port.bind_port == bound.bind_port and port.address for port in (*old.ports, *new.ports))
        address = bound.address or (ELSEWHERE if shared else "")
        pair = Pair(one, other, (str(bound),), address)
        key = (_content(one), _content(other))
        known = found.get(key)
        found[key] = pair if known is None else known._replace(places=(*known.places, *pair.places))
    return list(found.values())


def _content(port: Port | None) -> object:
    return None if port is None else (port.kind, port.port, port.http, port.sni, port.tcp, port.udp)


Progress = Callable[[int, int], None]  # (hosts compared, of how many)


def differences(pair: Pair, tables: Tables, progress: Progress | None = None) -> list[Difference]:
    """Return where *pair* treats requests otherwise."""
    return list(_Comparison(pair, tables, progress or (lambda n, of: None)).all())


class _Comparison:
    """One pair, with the requests that are made for it."""

    def __init__(self, pair: Pair, tables: Tables, progress: Progress) -> None:
        self.pair, self.tables, self.progress = pair, tables, progress
        port = pair.new or pair.old
        assert port is not None
        self.port = port
        self.kinds = {each.kind for each in pair[:2] if isinstance(each, Port)}

    def all(self) -> Iterator[Difference]:
        if self.pair.old is None or self.pair.new is None or not self._one_language():
            yield self._whole()
        elif self.kinds <= _CLEAR:
            yield from self._http(tls=False)
        elif self.kinds <= _SHAKING:
            yield from self._handshakes()
            yield from self._http(tls=True)
        else:
            yield from self._constant(_KINDS[self.port.kind], [(ANY, None)])

    def _one_language(self) -> bool:
        return len(self.kinds) == 1 or self.kinds <= _SHAKING

    def _request(self, kind: Kind, *, tls: bool | None = False, name: bytes | None = None) -> Request:
        return Request(kind=kind, port=self.port.port, address=self.pair.address, tls=tls, server_name=name)

    def _whole(self) -> Difference:
        """Return the difference of a port that is opened, closed, or speaks another protocol."""
        old, new = (_spoken(port) for port in self.pair[:2] if port is None or isinstance(port, Port))
        port = self.pair.old or self.port
        kind = _KINDS[port.kind]
        names = [*(port.http.exact if port.http else ()), *(port.sni.exact if port.sni else ())]
        name = next(iter(names), b"other.example")
        secure = port.kind in _SHAKING
        witness = self._request(kind, tls=secure, name=name if secure else None)._replace(port=port.port)
        witness = witness._replace(authority=name) if kind is Kind.HTTP else witness
        routed = self.tables.ask(witness)
        differ = self.tables.outcome(routed[0], witness) != self.tables.outcome(routed[1], witness)
        return Difference(
            kind=kind,
            pair=self.pair,
            hosts=(ANY,),
            region=EVERYTHING,
            old=old,
            new=new,
            rules=_rules(routed),
            witness=witness if differ else None,
        )

    # --- TLS, TCP, UDP: one outcome for all of a server name, or of a port

    def _handshakes(self) -> Iterator[Difference]:
        indexes = [port.sni for port in self.pair[:2] if isinstance(port, Port) and port.sni is not None]
        tests = {test for index in indexes for test in (*_named(index), *_certified(index))}
        named = [(_present(texts), name) for texts, name in _parted(tests) if name is not None]
        yield from self._constant(Kind.TLS, [*named, (ABSENT, None)])

    def _constant(self, kind: Kind, parts: Iterable[tuple[Texts, bytes | None]]) -> Iterator[Difference]:
        """Yield the differences of what has one outcome for each of *parts*: (server names, one of them)."""
        groups: dict[tuple[int, int], list[tuple[Texts, Request]]] = {}
        for texts, name in parts:
            request = self._request(kind, tls=kind is Kind.TLS, name=name)
            old, new = self.tables.both(request)
            if old.facts != new.facts:
                groups.setdefault((self.tables.key(old), self.tables.key(new)), []).append((texts, request))
        for members in groups.values():
            witness = members[0][1]
            old, new = self.tables.both(witness)
            yield Difference(
                kind=kind,
                pair=self.pair,
                hosts=tuple(_joined([texts for texts, _ in members])),
                region=EVERYTHING,
                old=old,
                new=new,
                rules=_rules(self.tables.ask(witness)),
                witness=witness,
            )

    # --- HTTP: by host, then by region

    def _http(self, *, tls: bool) -> Iterator[Difference]:
        tests: set[Test] = set()
        for port in self.pair[:2]:
            if isinstance(port, Port):
                tests.update(_named(port.http) if port.http else ())
                tests.update(_named(port.sni) if port.sni else ())
        hosts: list[tuple[Texts, _Host]] = []
        for texts, host in _parted(tests):
            if host is not None:
                request = self._request(Kind.HTTP, tls=tls, name=server_name_for(host) if tls else None)
                request = request._replace(authority=host)
                old, new = (self._side(port, request) for port in self.pair[:2])
                hosts.append((texts, _Host(request, old, new)))
        compared = self._compared([served for _, served in hosts])
        groups: dict[tuple[object, ...], tuple[list[Texts], _Compared]] = {}
        for texts, served in hosts:
            found = compared[served.rules]
            name = tuple((cell.region, self.tables.key(cell.old), self.tables.key(cell.new)) for cell in found.cells)
            groups.setdefault((name, found.sample), ([], found))[0].append(texts)
        for names, found in groups.values():
            for cell in found.cells:
                yield from self._difference(tuple(_joined(names)), cell, tls=tls, sample=found.sample)

    def _compared(self, hosts: Sequence[_Host]) -> dict[object, _Compared]:
        """Return what was found of *hosts*, by their rules: small ones first, so that large ones do not cost them."""
        rules = sorted(
            {host.rules: host for host in hosts}.values(), key=lambda host: _size(host.old) + _size(host.new)
        )
        found: dict[object, _Compared] = {}
        for number, host in enumerate(rules):
            self.progress(number, len(rules))
            found[host.rules] = self._cells(host)
        return found

    def _side(self, port: object, request: Request) -> Side:
        assert isinstance(port, Port)
        routed = route_on(port, request)
        ruled = routed.vhost is not None and routed.reason != "misdirected"
        if routed.target is not None and routed.target.action is not SniAction.HTTP:
            ruled = False
        return Side(routed.vhost, _NOT_FOUND) if ruled else Side(None, self.tables.outcome(routed, request))

    def _cells(self, host: _Host) -> _Compared:
        old, new = host.old, host.new
        try:
            found = cells(old, new, self.tables.key, self.tables.work)
            self.tables.work.spend(sum(SEARCH for cell in found if cell.region.is_open))  # for their witnesses
            return _Compared(found)
        except TooMany:
            whole = Cell(EVERYTHING, old.otherwise, new.otherwise)
            return _Compared((whole,), sampled((old, new), self.tables.key, host.request, self.tables.both))

    def _difference(
        self, hosts: tuple[Texts, ...], cell: Cell, *, tls: bool, sample: Sample | None
    ) -> Iterator[Difference]:
        witness = self._witness(hosts[0], cell.region, tls=tls) if sample is None else None
        if witness is EMPTY:
            return
        if sample is not None and sample.moves:
            witness = sample.moves[0].witness
        made = witness if isinstance(witness, Request) else None
        routed = self.tables.ask(made) if made is not None else None
        old, new = (end if isinstance(end, Outcome) else outcome_of_entry(end) for end in cell[1:])
        yield Difference(
            kind=Kind.HTTP,
            pair=self.pair,
            hosts=hosts,
            region=cell.region,
            old=old if sample is None else _MANY,
            new=new if sample is None else _MANY,
            rules=_rules(routed) if routed is not None else (_rule(cell.old), _rule(cell.new)),
            witness=made,
            sample=sample,
        )

    def _witness(self, host: Texts, region: Region, *, tls: bool) -> Request | Nothing | None:
        """Return a request of *region* with two outcomes; EMPTY: the region is; None: none was found."""
        whole = Region({**region.parts, HOST: host})
        made = example_of(whole, self._request(Kind.HTTP, tls=tls))
        if isinstance(made, Nothing):
            return EMPTY if made is EMPTY else None
        if tls:
            made = made._replace(server_name=server_name_for(made.authority))
        try:
            if made.odd:
                return EMPTY  # regions are of paths with one reading
        except RemoteProtocolError:
            return EMPTY
        old, new = self.tables.both(made)
        return made if old.facts != new.facts else None


class _Host(NamedTuple):
    """A host that both sides may have rules for; *request*: to it, and nothing more is said of it."""

    request: Request
    old: Side
    new: Side

    @property
    def rules(self) -> object:
        """Return what is equal for hosts of the same rules."""
        return tuple((side.vhost, side.otherwise.facts) for side in (self.old, self.new))


class _Compared(NamedTuple):
    """The cells of two sides; with *sample* there is one, of everything."""

    cells: tuple[Cell, ...]
    sample: Sample | None = None


def _size(side: Side) -> int:
    """Return the number of matches of *side*."""
    layers = side.vhost.layers if side.vhost is not None else ()
    indexed = (each for layer in layers for each in (*layer.exact.values(), *layer.prefix.values(), layer.regexes))
    return sum(map(len, indexed))


_MANY: Final = Outcome("many outcomes", (Fact("answer", "more than was compared"),))
_KINDS: Final = {
    PortKind.HTTP: Kind.HTTP, PortKind.HTTPS: Kind.HTTP, PortKind.TLS: Kind.TLS, PortKind.TCP: Kind.TCP,
    PortKind.UDP: Kind.UDP,
}  # fmt: skip


def _spoken(port: Port | None) -> Outcome:
    if port is None:
        return NOTHING
    names = ", ".join(label.name for label in port.listeners)
    return Outcome(f"{port.kind.value} of {names}", (Fact("listener", f"{port.kind.value} of {names}"),))


def _rules(routed: tuple[Routed, Routed]) -> tuple[str, str]:
    return (_rule(routed[0].entry), _rule(routed[1].entry))


def _rule(end: End | None) -> str:
    return f"{end.label.route_text} rule {end.label.rule_text}" if isinstance(end, RouteEntry) else ""


# --- names


def _named(index: HostIndex | SniIndex) -> Iterator[Test]:
    yield from (Test(How.EQUALS, name) for name in index.exact)
    yield from (Test(How.BELOW, suffix) for suffix in index.wildcard)


def _certified(index: SniIndex) -> Iterator[Test]:
    """Yield the names by which a listener chooses between its certificates."""
    targets = [*index.exact.values(), *index.wildcard.values(), *([index.default] if index.default else [])]
    for target in {id(target): target for target in targets if len(target.certificates) > 1}.values():
        for name in {name for certificate in target.certificates for name in certificate.names}:
            raw = name.encode("ascii", "replace")
            yield Test(How.LABEL, raw[1:]) if raw.startswith(b"*.") else Test(How.EQUALS, raw)


def _parted(tests: Iterable[Test]) -> Iterator[tuple[Texts, bytes | None]]:
    """Yield the parts of all names that *tests* make, wider ones first, each with a name of it; None: it is empty."""
    ordered = sorted(tests, key=lambda test: (test.how is How.EQUALS, test.how is How.LABEL, len(test.text), test.text))
    narrower: dict[Test | None, list[Test]] = {None: [], **{test: [] for test in ordered}}
    for test in ordered:
        narrower[next((each for each in _wider(test) if each in narrower), None)].append(test)
    for part, within in narrower.items():
        texts = Texts((part,) if part is not None else (), tuple(within))
        name = example("HOST", texts)
        yield texts, name if isinstance(name, bytes) else None


def _wider(test: Test) -> Iterator[Test]:
    """Yield the tests that *test* lies within, narrowest first."""
    text = test.text
    if test.how is How.LABEL:
        yield Test(How.BELOW, text)
    dot = text.find(b".", 1)
    if test.how is How.EQUALS and dot > 0:
        yield Test(How.LABEL, text[dot:])
    while dot > 0:
        yield Test(How.BELOW, text[dot:])
        dot = text.find(b".", dot + 1)


def _present(texts: Texts) -> Texts:
    """Return *texts* without having none."""
    return texts if texts.holds else Texts((PRESENT,), texts.fails)


def _joined(parts: Sequence[Texts]) -> Iterator[Texts]:
    """Yield *parts*, those that lie within another of them made part of it."""
    if ABSENT in parts:
        yield ABSENT
    known = {part.holds[0] if part.holds else None: part for part in parts if part != ABSENT}
    inner = {test for part in known.values() for test in part.fails if test in known}
    for test, part in known.items():
        if test not in inner:
            yield part._replace(fails=tuple(_outside(part, known)))


def _outside(part: Texts, known: dict[Test | None, Texts]) -> Iterator[Test]:
    for test in part.fails:
        within = known.get(test)
        if within is None:
            yield test
        else:
            yield from _outside(within, known)


def hosts_text(hosts: Sequence[Texts], *, most: int = 4) -> str:
    """Return *hosts* in words: "a.example, *.b.example but not c.b.example"."""
    told = [_name_text(texts) for texts in hosts]
    more = [f"and {len(told) - most} more"] if len(told) > most else []
    return ", ".join([*told[:most], *more])


def _name_text(texts: Texts) -> str:
    if texts == ABSENT:
        return "none"
    told = text_of(HOST, texts).removeprefix("host").strip().removeprefix("= ")
    return told.replace("present", "any", 1) if texts.holds[:1] == (PRESENT,) else told or "any host"
