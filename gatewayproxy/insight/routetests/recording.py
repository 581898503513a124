"""Write RouteTests from the lines of access logs: one for each rule and outcome, as small as it can be said. Pure.

What is expected is what the tables say now; a line that was decided otherwise when it was logged (by header fields that
logs do not have, by another configuration) makes no test. Header fields, the query and the address are left out where
the decision is the same without: secrets are in them, and noise. Each test is read back and run before it is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, product
from typing import Any, Final

from gatewayproxy.compiler.manifests.reader import read_source
from gatewayproxy.compiler.manifests.routetest import RouteTest
from gatewayproxy.compiler.pipeline import Compiled
from gatewayproxy.insight.access_logs import FORMS, Logged, form_of
from gatewayproxy.insight.decision import Decision, decide
from gatewayproxy.insight.ports import PortTable, Routed, decide_entry
from gatewayproxy.insight.requests import Kind, Request, server_name_for
from gatewayproxy.insight.routetests.asking import tree_of
from gatewayproxy.insight.routetests.expecting import expectation_tree
from gatewayproxy.insight.routetests.running import run_tests
from gatewayproxy.insight.yaml_text import to_yaml
from gatewayproxy.model.source import Source
from gatewayproxy.routing.refused import refused_text
from gatewayproxy.routing.table import Port

__all__ = ["Recorder"]

_HEAD: Final = """\
apiVersion: gatewayproxy.io/v1alpha1
kind: RouteTest
metadata:
  name: recorded
spec:
  tests:
"""
_OTHERWISE: Final = "decided otherwise (by header fields no log has, or by another configuration)"
_NAME_CHARS: Final = 253
_TRIED: Final = 4  # requests of one rule and outcome, until one can be written as a test
_Key = tuple[object, ...]


@dataclass(slots=True)
class _Kept:
    routed: Routed
    requests: list[Request] = field(default_factory=list)  # the first ones: not every request is a URL
    n_lines: int = 0


class Recorder:
    """Takes lines, and keeps the first request of each rule and outcome."""

    def __init__(self, compiled: Compiled, *, host: bytes = b"", fields: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """*host*: of lines that say none. *fields*: header fields that every request has."""
        self._compiled = compiled
        self._host = host
        self._fields = tuple(fields)
        self._ports = PortTable(compiled.table)
        self._kept: dict[_Key, _Kept] = {}
        self._form = ""
        self._n_lines = self._n_unread = self._n_hostless = self._n_unsure = self._n_unsaid = 0
        self.n_tests = 0

    def take(self, line: bytes) -> None:
        """Take one line, without its end."""
        self._n_lines += 1
        logged = self._parse(line)
        if logged is None:
            self._n_unread += 1
        elif logged.request.kind is not Kind.HTTP:
            self._decide(logged)
        elif logged.request.authority or self._host:
            self._decide(logged._replace(request=self._completed(logged.request)))
        else:
            self._n_hostless += 1

    def _completed(self, request: Request) -> Request:
        """Return *request* with what no line says."""
        host = request.authority or self._host
        name = server_name_for(host) if request.tls is None and request.server_name is None else request.server_name
        return request._replace(authority=host, server_name=name, headers=request.headers + self._fields)

    def _parse(self, line: bytes) -> Logged | None:
        logged = FORMS[self._form](line) if self._form else None
        if logged is None:
            form = form_of(line)
            self._form = form or self._form
            logged = FORMS[form](line) if form else None
        return logged

    def _decide(self, logged: Logged) -> None:
        routed = decide_entry(self._ports, logged.request)
        if routed.port is None or _decided_otherwise(logged, routed):
            self._n_unsure += 1
            return
        kept = self._kept.setdefault(_key(routed), _Kept(routed))
        kept.n_lines += 1
        if len(kept.requests) < _TRIED:
            kept.requests.append(logged.request)

    # What was kept

    def to_yaml(self) -> str:
        """Return a RouteTest, "" where there is nothing to test."""
        text = "".join(self._tests())
        return f"# Recorded from {_count(self._n_lines, 'line')} of traffic.\n{_HEAD}{text}" if text else ""

    def _tests(self) -> Iterator[str]:
        names: set[str] = set()
        for kept in sorted(self._kept.values(), key=_order):
            tree = self._test(kept, names)
            if tree is None:
                self._n_unsaid += kept.n_lines
                continue
            self.n_tests += 1
            names.add(tree["name"])
            answers = refused_text(kept.routed.entry) if kept.routed.entry is not None else ""
            doubt = f", answered {answers}: keep this test only if that is meant" if answers else ""
            yield f"    # {_count(kept.n_lines, 'line')}{doubt}\n"
            yield "".join(f"    {line}\n" for line in to_yaml([tree]).splitlines())

    def _test(self, kept: _Kept, names: set[str]) -> dict[str, Any] | None:
        """Return a test that passes, None where what was asked cannot be said."""
        port = kept.routed.port
        assert port is not None
        for request, there in chain.from_iterable(_versions(each, port) for each in kept.requests):
            decision = decide(self._ports, request, self._compiled.plan)
            if _key(decision.routed) != _key(kept.routed):
                continue
            name = _name(decision, names)[:_NAME_CHARS]
            tree = {"name": name, "request": tree_of(request, there), "expect": expectation_tree(decision)}
            if self._passes(tree):
                return tree
        return None

    def _passes(self, tree: dict[str, Any]) -> bool:
        source = Source("recorded.yaml", _document(tree).encode("utf-8", "replace"))
        read = read_source(source)
        tests = tuple(each.resource for each in read.objects if isinstance(each.resource, RouteTest))
        report = run_tests(replace(self._compiled, tests=tests), ())
        return not read.problems and bool(report.results) and not report.failed

    def summary(self) -> str:
        """Return what became of the lines, in a sentence."""
        counts = (
            (self._n_unread, "of no known form", "of no known form"),
            (self._n_hostless, "that says no host (-H 'Host: ...')", "that say no host (-H 'Host: ...')"),
            (self._n_unsure, _OTHERWISE, _OTHERWISE),
            (self._n_unsaid, "whose request no URL can say", "whose requests no URL can say"),
        )
        left = "".join(f"; {_count(n, 'line')} {one if n == 1 else many}" for n, one, many in counts if n)
        return f"{_count(self._n_lines, 'line')}, {_count(self.n_tests, 'test')}{left}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _document(tree: dict[str, Any]) -> str:
    return _HEAD + "".join(f"    {line}\n" for line in to_yaml([tree]).splitlines())


def _key(routed: Routed) -> _Key:
    listener = routed.listener.name if routed.listener is not None else ""
    return (listener, routed.entry.index if routed.entry is not None else -1, routed.reason)


def _order(kept: _Kept) -> tuple[bool, int, str, str]:
    entry = kept.routed.entry
    listener = kept.routed.listener.name if kept.routed.listener is not None else ""
    return entry is None, entry.index if entry is not None else 0, kept.routed.reason, listener


def _decided_otherwise(logged: Logged, routed: Routed) -> bool:
    """Return whether the line says another rule than *routed*; lines of other programs say none."""
    if not logged.request.listener:
        return False
    label = routed.entry.label if routed.entry is not None else None
    now = (label.route_text, label.rule_text) if label is not None else ("", "")
    said = (logged.route, logged.rule if logged.route else "")
    return now != said


def _versions(request: Request, port: Port) -> Iterator[tuple[Request, Port]]:
    """Yield *request* with less and less left out: header fields, query, address."""
    bare = request._replace(listener="", client="", port=port.port, address="")
    for headers, query, address in sorted(product((False, True), repeat=3), key=sum):
        less = bare if headers else bare._replace(headers=())
        less = less if query or request.kind is not Kind.HTTP else less.with_target(less.path)
        yield (
            less._replace(address=port.address if address else ""),
            port if address else replace(port, address=""),
        )


def _name(decision: Decision, names: set[str]) -> str:
    """Return what the test is called: the rule, or the answer; with the listener where the name is given already."""
    entry, answer = decision.entry, decision.answer
    name = f"{entry.label.route_text} rule {entry.label.rule_text}" if entry is not None else ""
    if answer is not None:
        name = f"{name}: {answer.status or ''} {answer.reason}".removeprefix(": ").strip()
    return f"{name} on {decision.listener}" if name in names else name
