"""A Report as JUnit XML, as CI systems read it: a suite for each RouteTest, one for the coverage asked for. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from itertools import groupby
from typing import Final

from gatewayproxy.insight.routetests.reports import explain_words
from gatewayproxy.insight.routetests.running import Report, Result

__all__ = ["to_junit"]

# What XML 1.0 cannot hold, not even escaped (§2.2, Char).
_NO_CHARACTER: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(report: Report, config: str, elapsed_s: float, *, require: float | None = None) -> str:
    """Return *report* as JUnit XML; *require*: the percentage of rules that must be tested."""
    suites = [_suite(str(key), list(results), config) for key, results in groupby(report.results, lambda x: x.test)]
    suites += [_errors(report)] if report.unread else []
    suites += [_coverage(report, require)] if require is not None else []
    total = sum(n for n, _, _ in suites)
    failed = sum(n for _, n, _ in suites)
    lines = "".join(text for _, _, text in suites)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<testsuites name="gatewayproxy test" tests="{total}" failures="{failed}" time="{elapsed_s:.3f}">\n'
        f"{lines}</testsuites>\n"
    )


def _suite(name: str, results: list[Result], config: str) -> tuple[int, int, str]:
    """Return how many tests, how many of them failed, and the text."""
    n_failed = sum(not each.passed for each in results)
    cases = "".join(_case(name, each, config) for each in results)
    return len(results), n_failed, _wrapped(name, len(results), n_failed, cases)


def _wrapped(name: str, n_tests: int, n_failed: int, cases: str) -> str:
    return f'  <testsuite name="{_text(name)}" tests="{n_tests}" failures="{n_failed}">\n{cases}  </testsuite>\n'


def _case(suite: str, result: Result, config: str) -> str:
    where = f'file="{_text(result.origin.file)}" line="{result.origin.line}"'
    head = f'    <testcase classname="{_text(suite)}" name="{_text(result.name)}" {where}'
    if result.passed:
        return f"{head}/>\n"
    first = result.failures[0]
    message = f"{first.field}: expected {first.expected}, is {first.actual}"
    body = "\n".join([*_told(result), explain_words(result, config)])
    failure = f'      <failure message="{_text(message)}">{_text(body)}</failure>\n'
    return f"{head}>\n{failure}    </testcase>\n"


def _told(result: Result) -> Iterator[str]:
    yield result.request
    for each in result.failures:
        yield f"{each.origin}: {each.field}"
        yield f"  expected  {each.expected}"
        yield f"  actual    {each.actual}"
        if each.hint:
            yield f"  -> {each.hint}"


def _errors(report: Report) -> tuple[int, int, str]:
    cases = ""
    for each in report.unread:
        told = _text(f"{each.origin}: {each.message} {each.hint}".rstrip())
        cases += f'    <testcase classname="{_text(str(each.key))}" name="{_text(each.field)}">\n'
        cases += f'      <failure message="{_text(each.message)}">{told}</failure>\n    </testcase>\n'
    n = len(report.unread)
    return n, n, _wrapped("RouteTests that cannot be read", n, n, cases)


def _coverage(report: Report, require: float) -> tuple[int, int, str]:
    short = report.coverage.percent < require
    head = f'    <testcase classname="coverage" name="{require:g} % of the rules have a test"'
    missing = "\n".join(report.coverage.untested)
    case = f"{head}/>\n"
    if short:
        message = f"{report.coverage.tested} of {report.coverage.total} rules are tested"
        failure = f'      <failure message="{message}">{_text(missing)}</failure>\n'
        case = f"{head}>\n{failure}    </testcase>\n"
    return 1, int(short), _wrapped("coverage", 1, int(short), case)


def _text(text: str) -> str:
    return escape(_NO_CHARACTER.sub("\ufffd", text))
