"""Run the RouteTests of a compilation: every test asked and judged, no socket opened. Pure.

In: what was compiled, and the texts it was compiled from, for the lines of what fails. Out: a Report.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gatewayproxy.compiler.documents import Document, parse
from gatewayproxy.compiler.manifests.routetest import Case, RouteTest
from gatewayproxy.compiler.pipeline import Compiled
from gatewayproxy.errors import UsageError
from gatewayproxy.fields import Path, path_text
from gatewayproxy.insight.command_line import parse_words
from gatewayproxy.insight.decision import Decision, decide
from gatewayproxy.insight.ports import PortTable
from gatewayproxy.insight.requests import Request, describe
from gatewayproxy.insight.routetests.asking import words_of
from gatewayproxy.insight.routetests.coverage import Coverage, coverage_of
from gatewayproxy.insight.routetests.judging import Difference, judge
from gatewayproxy.model.names import Origin, ResourceKey
from gatewayproxy.model.source import Source
from gatewayproxy.model.status import Problem, Severity
from gatewayproxy.routing.table import RuleLabel

__all__ = ["Failure", "Report", "Result", "has_tests", "problems_of", "run_tests"]

MAX_REASONS: Final = (
    100  # tests that fail and are told what the rule that was expected lacks; 0.1 s each with 10,000 routes
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An expectation that is not met."""

    field: str  # "expect.route", below the test
    origin: Origin  # of that field
    expected: str
    actual: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One test, run."""

    test: ResourceKey
    index: int  # in spec.tests
    name: str
    origin: Origin  # of the test
    words: tuple[str, ...]  # the request, behind `gatewayproxy explain CONFIG --`
    request: str  # the same in words
    failures: tuple[Failure, ...] = ()
    rule: RuleLabel | None = None  # that it came to

    @property
    def passed(self) -> bool:
        """Return whether everything is as expected."""
        return not self.failures


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All tests of a compilation, in source order."""

    results: tuple[Result, ...]
    coverage: Coverage
    unread: tuple[Problem, ...] = ()  # errors of RouteTests: what cannot be read is not tested

    @property
    def failed(self) -> tuple[Result, ...]:
        """Return the tests that failed."""
        return tuple(each for each in self.results if not each.passed)

    @property
    def passed(self) -> bool:
        """Return whether there are tests, and all could be read and passed."""
        return bool(self.results) and not self.failed and not self.unread


def run_tests(compiled: Compiled, sources: Iterable[Source]) -> Report:
    """Run every test of *compiled*, made of *sources*; never raises for their content."""
    gateway = _Gateway(compiled)
    places = _Places(sources)
    results = tuple(result for test in compiled.tests for result in _run(test, gateway, places))
    reached = (each.rule for each in results if each.passed and each.rule is not None)
    return Report(
        results=results, coverage=coverage_of(compiled.plan, reached), unread=tuple(_unread(compiled.status.problems))
    )


def has_tests(compiled: Compiled) -> bool:
    """Return whether there is a RouteTest, be it one that cannot be read."""
    return bool(compiled.tests) or any(True for _ in _unread(compiled.status.problems))


def problems_of(report: Report) -> list[Problem]:
    """Return what failed as problems of the RouteTests."""
    failed = [
        Problem(
            origin=failure.origin,
            severity=Severity.ERROR,
            key=result.test,
            field=f"spec.tests[{result.index}].{failure.field}",
            message=f"test {result.name!r} fails: expected {failure.expected}, is {failure.actual}",
            hint=failure.hint,
        )
        for result in report.failed
        for failure in result.failures
    ]
    return [*report.unread, *failed]


def _unread(problems: Iterable[Problem]) -> Iterable[Problem]:
    return (
        each
        for each in problems
        if each.severity is Severity.ERROR and each.key is not None and each.key.kind == "RouteTest"
    )


class _Gateway:
    """What is asked. Reasons are looked for among all matches, so they are given for some failures only."""

    def __init__(self, compiled: Compiled) -> None:
        self._ports = PortTable(compiled.table)
        self._plan = compiled.plan
        self._reasons_left = MAX_REASONS

    def decide(self, request: Request) -> Decision:
        """Decide about *request*."""
        return decide(self._ports, request)

    def reason(self, request: Request, decision: Decision) -> Decision:
        """Return *decision* about *request* with why nobody else got it, as it is where that was asked too often."""
        if not self._reasons_left:
            return decision
        self._reasons_left -= 1
        return decide(self._ports, request, self._plan)


def _run(test: RouteTest, gateway: _Gateway, places: _Places) -> Iterator[Result]:
    """Yield the results of one RouteTest; what differs is looked up in one go."""
    done = [_ask(test, index, case, gateway) for index, case in enumerate(test.cases)]
    paths = [_path(result, each) for result, differences in done for each in differences]
    origins = places.of(test.meta.origin, paths) if paths else {}
    for result, differences in done:
        failures = (_failure(each, origins.get(_path(result, each), result.origin)) for each in differences)
        yield replace(result, failures=tuple(failures)) if differences else result


def _ask(test: RouteTest, index: int, case: Case, gateway: _Gateway) -> tuple[Result, list[Difference]]:
    words = words_of(case.request)
    result = Result(
        test=test.meta.key, index=index, name=case.name, origin=case.at, words=words, request=case.request.url
    )
    try:
        request = parse_words(words)
    except UsageError as error:
        return result, [Difference(("request",), "a request", str(error))]
    decision = gateway.decide(request)
    differences = judge(decision, case.expect, test.meta.namespace)
    if differences:
        differences = judge(gateway.reason(request, decision), case.expect, test.meta.namespace)
    label = decision.entry.label if decision.entry is not None else None
    return replace(result, request=describe(request), rule=label), differences


def _path(result: Result, difference: Difference) -> Path:
    return ("spec", "tests", result.index, *difference.path)


def _failure(each: Difference, origin: Origin) -> Failure:
    return Failure(
        field=path_text(each.path), origin=origin, expected=each.expected, actual=each.actual, hint=each.hint
    )


class _Places:
    """Where the fields of tests are written. Texts are parsed again, for those that fail only."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = {source.file: source for source in sources}
        self._parsed: dict[str, tuple[Document, ...]] = {}

    def of(self, at: Origin, paths: Sequence[Path]) -> Mapping[Path, Origin]:
        """Return the places of *paths* of the object *at*; none where its text is not at hand."""
        own = next((each for each in self._documents(at.file) if each.tree.line == at.line), None)
        return own.origins(paths) if own is not None else {}

    def _documents(self, file: str) -> tuple[Document, ...]:
        if file not in self._parsed:
            source = self._sources.get(file)
            self._parsed[file] = parse(source).documents if source is not None else ()
        return self._parsed[file]
