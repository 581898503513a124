"""Tests that are recorded pass, all of them in one document; and each fails once its rule is gone."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayproxy.compiler.lower import lower
from gatewayproxy.compiler.manifests.reader import read_source
from gatewayproxy.compiler.manifests.routetest import RouteTest
from gatewayproxy.compiler.pipeline import Compiled
from gatewayproxy.insight.access_logs import parse_line
from gatewayproxy.insight.ports import PortTable, decide_entry
from gatewayproxy.insight.requests import Request
from gatewayproxy.insight.routetests.recording import Recorder
from gatewayproxy.insight.routetests.running import Report, run_tests
from gatewayproxy.model.plan import Plan
from gatewayproxy.model.source import CompileOptions, Source
from gatewayproxy.model.status import StatusReport
from gatewayproxy.routing.table import RuleLabel
from tests.properties.crowds import SEEDS, crowd
from tests.properties.test_explain import configurations, requests
from tests.properties.test_match import plans
from tests.support.plans import without


def of_plan(plan: Plan, tests: tuple[RouteTest, ...] = ()) -> Compiled:
    return Compiled(plan=plan, table=lower(plan, CompileOptions()), status=StatusReport(), tests=tests)


def line_of(request: Request) -> bytes:
    """Return what Envoy logs of *request*, by default."""
    asked = b"%b %b HTTP/1.1" % (request.method, request.target)
    return b'[2026-11-21T10:00:00.000Z] "%b" 200 - 0 0 1 1 "-" "-" "id" "%b" "-"' % (asked, request.authority)


ASKED = st.lists(requests(), max_size=8)
PLANS = st.one_of(plans(), configurations())


def recorded(plan: Plan, lines: Sequence[bytes]) -> tuple[RouteTest, ...]:
    recorder = Recorder(of_plan(plan))
    for line in lines:
        recorder.take(line)
    text = recorder.to_yaml()
    read = read_source(Source("recorded.yaml", text.encode()))
    assert read.problems == ()
    assert all(each.problems == () for each in read.objects)
    tests = tuple(each.resource for each in read.objects if isinstance(each.resource, RouteTest))
    assert sum(len(each.cases) for each in tests) == recorder.n_tests
    return tests


def run(plan: Plan, tests: tuple[RouteTest, ...]) -> Report:
    return run_tests(of_plan(plan, tests), ())


def logged(plan: Plan, asked: Sequence[Request], seed: int) -> list[bytes]:
    """Return lines of *asked*, and of more requests, most of which the rules of *plan* want."""
    return [line_of(each) for each in (*asked, *crowd(plan, seed, 24))]


@settings(max_examples=40, deadline=None)
@given(PLANS, ASKED, SEEDS)
def test_what_is_recorded_passes_and_fails_without_its_rule(plan: Plan, asked: Sequence[Request], seed: int) -> None:
    tests = recorded(plan, logged(plan, asked, seed))
    report = run(plan, tests)
    assert report.failed == ()
    by_rule: dict[RuleLabel, list[str]] = {}
    for result in report.results:
        if result.rule is not None:
            by_rule.setdefault(result.rule, []).append(result.name)
    for rule, names in by_rule.items():
        failed = {each.name for each in run(without(plan, rule), tests).results if each.failures != ()}
        assert failed >= set(names)


@settings(max_examples=40, deadline=None)
@given(PLANS, ASKED, SEEDS)
def test_every_rule_that_a_line_comes_to_has_a_test(plan: Plan, asked: Sequence[Request], seed: int) -> None:
    lines = logged(plan, asked, seed)
    covered = run(plan, recorded(plan, lines)).coverage.tests
    ports = PortTable(of_plan(plan).table)
    for line in lines:
        parsed = parse_line(line)
        if parsed is None or not (parsed.request.authority and parsed.request.path.startswith(b"/")):
            continue  # no URL can say it
        entry = decide_entry(ports, parsed.request).entry
        if entry is not None:
            label = entry.label
            assert covered[label.kind, label.route, label.rule] >= 1
