"""The cross-field rules one by one: what each admits and refuses, where and in which words, and that none is missing.

Whether an example is about its rule and no other is for the official rules to say, as an API server evaluates them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from gatewayproxy.compiler.manifests import KINDS
from gatewayproxy.compiler.manifests.reader import read_source
from gatewayproxy.model.source import Source
from gatewayproxy.model.status import Problem, Severity
from tests.support.apiserver import Schema, load_schemas
from tests.support.rules import Rule, load_rules
from tests.support.spec import find_crds, needs_spec

RULES = list(load_rules())

# How many rules at a place no new object can break, and why; every other one has a row in the table.
UNREACHABLE = {
    "GatewayClass spec.controllerName": (1, "about changes: a file has no version before it to compare with"),
    "Gateway status.addresses[]": (1, "about status, which is ours to write"),
    "TLSRoute spec.hostnames": (2, "said before by the pattern of a host name"),
    "HTTPRoute spec.rules[].matches[].path": (1, "said before by the enumeration of path types"),
    "TLSRoute spec.rules": (1, "about names of several rules, where there may be only one"),
    "TCPRoute spec.rules": (1, "about names of several rules, where there may be only one"),
    "UDPRoute spec.rules": (1, "about names of several rules, where there may be only one"),
}


def errors(obj: dict[str, Any]) -> list[Problem]:
    read = read_source(Source("case.json", json.dumps(obj).encode()))
    problems = [*read.problems, *(problem for found in read.objects for problem in found.problems)]
    return [problem for problem in problems if problem.severity is Severity.ERROR]


@pytest.fixture(params=RULES, ids=str)
def rule(request: pytest.FixtureRequest) -> Rule:
    found: Rule = request.param
    return found


def test_what_a_rule_admits_is_read(rule: Rule) -> None:
    assert errors(rule.sound) == []


def test_what_a_rule_refuses_is_told_by_field_and_reason(rule: Rule) -> None:
    found = errors(rule.flawed)
    told = [problem for problem in found if problem.field == rule.field and rule.says in problem.message]
    assert told, [(problem.field, problem.message) for problem in found]
    assert all(problem.hint and problem.origin.line for problem in told)


@cache
def schemas() -> dict[str, list[Schema]]:
    """Every served version of the kinds we read, of every release channel that is here."""
    found: dict[str, list[Schema]] = {}
    for folder in find_crds():
        for schema in load_schemas(folder):
            if (schema.group, schema.kind) in KINDS:
                found.setdefault(schema.kind, []).append(schema)
    return found


def admitting(rule: Rule) -> list[Schema]:
    """Return the schemas that know the fields of the rule's examples: not every channel has them all."""
    return [schema for schema in schemas()[rule.site.kind] if not schema.faults(rule.sound)]


@needs_spec
def test_the_official_rules_admit_and_refuse_the_same(rule: Rule) -> None:
    pytest.importorskip("cel", reason="the official rules need common-expression-language: pip install -e .[dev]")
    assert any(schema.broken(rule.flawed) for schema in admitting(rule))


@needs_spec
def test_every_official_rule_is_broken_by_an_example_or_has_a_reason() -> None:
    pytest.importorskip("cel", reason="the official rules need common-expression-language: pip install -e .[dev]")
    unbroken = _official() - _broken()
    reasons = {place: n_rules for place, (n_rules, _) in UNREACHABLE.items()}
    assert Counter(place for place, _ in unbroken) == reasons, sorted(unbroken)


@cache
def _official() -> set[tuple[str, str]]:
    return {
        (f"{schema.kind} {path}", text)
        for each in schemas().values()
        for schema in each
        for path, text in schema.rules()
    }


@cache
def _broken() -> set[tuple[str, str]]:
    return set(_breaks())


def _breaks() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        for schema in admitting(rule):
            yield from ((f"{schema.kind} {path}", text) for path, text in schema.broken(rule.flawed))
