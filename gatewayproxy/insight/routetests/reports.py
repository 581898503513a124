"""A Report for people and for programs. Pure; `insight.routetests.junit` is for CI systems."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

from gatewayproxy.insight.routetests.coverage import Coverage
from gatewayproxy.insight.routetests.running import Failure, Report, Result
from gatewayproxy.insight.wording import printable

__all__ = ["coverage_text", "explain_words", "to_json", "to_text"]


def to_text(report: Report, config: str, *, every: bool = False) -> str:
    """Return what failed, one paragraph a failure, and what was tested; *every*: the tests that passed, too.

    *config*: the CONFIG as the operator named it.
    """
    lines: list[str] = []
    for problem in report.unread:
        lines += [f"{problem.origin}: error: {problem.message}", f"    in {problem.key}, {problem.field}"]
        lines += [f"    -> {problem.hint}"] if problem.hint else []
    for result in report.results:
        if every and result.passed:
            lines.append(f"{result.origin}: ok: {result.name}")
        for failure in result.failures:
            lines += _failure(result, failure)
        if result.failures:
            lines.append(f"    -> {explain_words(result, config)}")
    lines += [_summary(report), *coverage_text(report.coverage)]
    return "".join(f"{printable(line)}\n" for line in lines)


def _failure(result: Result, failure: Failure) -> Iterator[str]:
    yield f"{failure.origin}: error: {result.name}"
    yield f"    in {result.test}, spec.tests[{result.index}].{failure.field}"
    yield f"    request   {result.request}"
    yield f"    expected  {failure.expected}"
    yield f"    actual    {failure.actual}"
    if failure.hint:
        yield f"    -> {failure.hint}"


def explain_words(result: Result, config: str) -> str:
    """Return the command that tells more of a test."""
    return f"gatewayproxy explain {config} -- {shlex.join(result.words)}"


def _summary(report: Report) -> str:
    n_tests, n_failed = len(report.results), len(report.failed)
    failed = f"{n_failed} failed" if n_failed else "none failed" if n_tests else "nothing tested"
    n_unread = len(report.unread)
    unread = f", {n_unread} {'error' if n_unread == 1 else 'errors'} in RouteTests" if n_unread else ""
    return f"{n_tests} {'test' if n_tests == 1 else 'tests'}, {failed}{unread}"


def coverage_text(coverage: Coverage) -> Iterator[str]:
    """Yield how many rules have a test, then those that have none."""
    percent = f"{int(coverage.percent * 10) / 10:g} %"  # never rounded up to 100
    yield f"{coverage.tested} of {coverage.total} rules tested ({percent})"
    yield from (f"    untested: {name}" for name in coverage.untested)


def to_json(report: Report, config: str, elapsed_s: float) -> str:
    """Return *report* as one JSON object."""
    coverage = report.coverage
    tree = {
        "passed": report.passed,
        "elapsedMs": round(elapsed_s * 1e3, 3),
        "tests": [_test_tree(each, config) for each in report.results],
        "unread": [
            {"file": each.origin.file, "line": each.origin.line, "field": each.field, "message": each.message}
            for each in report.unread
        ],
        "coverage": {
            "rules": coverage.total,
            "tested": coverage.tested,
            "percent": round(coverage.percent, 3),
            "tests": {coverage.text(rule): n for rule, n in coverage.tests.items()},
            "untested": coverage.untested,
        },
    }
    return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"


def _test_tree(result: Result, config: str) -> dict[str, Any]:
    rule = result.rule
    return {
        "object": {"namespace": result.test.namespace, "name": result.test.name},
        "index": result.index,
        "name": result.name,
        "file": result.origin.file,
        "line": result.origin.line,
        "passed": result.passed,
        "request": result.request,
        "explain": explain_words(result, config),
        "rule": f"{rule.route_text} rule {rule.rule_text}" if rule is not None else None,
        "failures": [
            {
                "field": each.field, "file": each.origin.file, "line": each.origin.line, "expected": each.expected,
                "actual": each.actual, "hint": each.hint,
            }
            for each in result.failures
        ],
    }  # fmt: skip
