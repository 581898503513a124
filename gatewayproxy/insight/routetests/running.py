"""Run the RouteTests of a compilation: every test asked and judged, no socket opened. Pure.

In: what was compiled, and the texts it was compiled from, for the lines of what fails. Out: a Report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gatewayproxy.compiler.documents import parse
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
from gatewayproxy.model.plan import Plan
from gatewayproxy.model.source import Source
from gatewayproxy.model.status import Problem, Severity
from gatewayproxy.routing.table import RuleLabel

__all__ = ["Failure", "Report", "Result", "has_tests", "problems_of", "run_tests"]


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
    gateway = _Gateway(PortTable(compiled.table), compiled.plan)
    places = _Places(sources)
    results = tuple(
        _run(test, index, case, gateway, places) for test in compiled.tests for index, case in enumerate(test.cases)
    )
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


@dataclass(frozen=True, slots=True)
class _Gateway:
    ports: PortTable
    plan: Plan

    def decide(self, request: Request, *, why: bool) -> Decision:
        """Decide about *request*; *why*: with what is to be said of everybody else, which takes time."""
        return decide(self.ports, request, self.plan if why else None)


def _run(test: RouteTest, index: int, case: Case, gateway: _Gateway, places: _Places) -> Result:
    words = words_of(case.request)
    result = Result(
        test=test.meta.key, index=index, name=case.name, origin=case.at, words=words, request=case.request.url
    )
    try:
        request = parse_words(words)
    except UsageError as error:
        differences = [Difference(("request",), "a request", str(error))]
        return replace(result, failures=places.failures(test, index, case, differences))
    decision = gateway.decide(request, why=False)
    differences = judge(decision, case.expect, test.meta.namespace)
    if differences:
        differences = judge(gateway.decide(request, why=True), case.expect, test.meta.namespace)
    label = decision.entry.label if decision.entry is not None else None
    return replace(
        result,
        request=describe(decision.request),
        rule=label,
        failures=places.failures(test, index, case, differences) if differences else (),
    )


class _Places:
    """Where the fields of tests are written. Texts are parsed again, for those that fail only."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = {source.file: source for source in sources}

    def failures(
        self, test: RouteTest, index: int, case: Case, differences: Sequence[Difference]
    ) -> tuple[Failure, ...]:
        """Return *differences* of a test with their places."""
        origins = self._origins(test.meta.origin, [("spec", "tests", index, *each.path) for each in differences])
        return tuple(
            Failure(
                field=path_text(each.path),
                origin=origins.get(("spec", "tests", index, *each.path), case.at),
                expected=each.expected,
                actual=each.actual,
                hint=each.hint,
            )
            for each in differences
        )

    def _origins(self, at: Origin, paths: Sequence[Path]) -> Mapping[Path, Origin]:
        source = self._sources.get(at.file)
        documents = parse(source).documents if source is not None else ()
        own = next((each for each in documents if each.tree.line == at.line), None)
        return own.origins(paths) if own is not None else {}
