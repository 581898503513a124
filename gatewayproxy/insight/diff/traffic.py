"""Traffic: how many requests of a log meet each difference. Pure.

Each line is decided on both tables, as the data plane would; where that comes to two outcomes, the difference that has
the request counts it. A log knows little of a request's header fields, and nothing of a port or server name that its
form leaves out: what rules ask of those is taken to be absent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gatewayproxy.insight.access_logs import FORMS, Logged, form_of
from gatewayproxy.insight.diff.differences import ELSEWHERE, Difference, Tables
from gatewayproxy.insight.requests import Kind, Request
from gatewayproxy.routing.table import Port

__all__ = ["Traffic"]

Ports = tuple[Port | None, Port | None]


class Traffic:
    """Counts requests. *unplaced*: of those that differ, the ones outside of all differences (odd paths, 421).

    *hostless*: lines that cannot be decided, since they do not say which host was asked for.
    """

    def __init__(self, tables: Tables, differences: Sequence[Difference]) -> None:
        self._tables = tables
        self._by_outcomes: dict[tuple[int, int], list[Difference]] = {}
        self._wide = [each for each in differences if not each.examined or None in each.pair[:2]]
        for each in differences:
            self._by_outcomes.setdefault((tables.key(each.old), tables.key(each.new)), []).append(each)
        self._parse: Callable[[bytes], Logged | None] = lambda _: None
        self.n_lines = self.n_requests = self.n_changed = self.n_unplaced = self.n_hostless = 0
        self.counts: dict[Difference, int] = {}
        self.moves: dict[tuple[str, str], int] = {}  # by brief outcomes: ("shop/api-v1:80", "404")

    @property
    def n_unread(self) -> int:
        """Return the number of lines that are of no form."""
        return self.n_lines - self.n_requests - self.n_hostless

    def feed(self, line: bytes) -> None:
        """Count the request of *line*, which is without its end."""
        self.n_lines += 1
        logged = self._parse(line)
        if logged is None:
            form = form_of(line)
            if not form:
                return
            self._parse = FORMS[form]
            logged = self._parse(line)
        if logged is None:
            return
        request = logged.request
        if request.kind is Kind.HTTP and not request.authority and not request.listener:
            self.n_hostless += 1
            return
        self.n_requests += 1
        self._count(self._heard(request))

    def _count(self, request: Request) -> None:
        old, new = self._tables.ask(request)
        before, after = self._tables.outcome(old, request), self._tables.outcome(new, request)
        if before is after or before.facts == after.facts:
            return
        self.n_changed += 1
        move = before.brief, after.brief
        self.moves[move] = self.moves.get(move, 0) + 1
        likely = self._by_outcomes.get((self._tables.key(before), self._tables.key(after)), [])
        difference = _met([*likely, *self._wide], request, (old.port, new.port))
        if difference is None:
            self.n_unplaced += 1
        else:
            self.counts[difference] = self.counts.get(difference, 0) + 1

    def _heard(self, request: Request) -> Request:
        """Return *request* as sent to the port of the listener that a log of ours names: the name may have changed."""
        if not request.listener:
            return request
        ports = self._tables.old.bound(request) or self._tables.new.bound(request)
        if not ports:
            return request._replace(listener="")
        return request._replace(listener="", port=ports[0].port, address=ports[0].address or ELSEWHERE)

    def share(self, n_requests: int) -> float:
        """Return *n_requests* as a percentage of all."""
        return n_requests * 100 / self.n_requests if self.n_requests else 0.0


def _met(differences: Sequence[Difference], request: Request, ports: Ports) -> Difference | None:
    """Return the difference that has *request*, or the request that it, a preflight, announces."""
    announced = request.field(b"access-control-request-method")
    asked = [request] if announced is None else [request, request._replace(method=announced)]
    for each in differences:
        sides = zip(ports, (each.pair.old, each.pair.new), strict=True)
        if any(port is not None and _is(port, side) for port, side in sides) and any(map(each.has, asked)):
            return each
    return None


def _is(port: Port, side: Port | None) -> bool:
    """Return whether *side* is *port*, on whatever address."""
    return side is not None and (port.kind, port.port, port.http, port.sni, port.tcp, port.udp) == (
        side.kind, side.port, side.http, side.sni, side.tcp, side.udp,
    )  # fmt: skip
