"""The specification's own examples: every valid one loads, every invalid one is refused for the reason in its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewayproxy.compiler.manifests.reader import read_source
from gatewayproxy.model.source import Source
from gatewayproxy.model.status import Problem, Severity
from tests.support.spec import find_spec, needs_spec

pytestmark = needs_spec

SPEC = find_spec() or Path("absent")
VALID = sorted((SPEC / "examples" / "valid").rglob("*.yaml"))
INVALID = sorted((SPEC / "examples" / "invalid").rglob("*.yaml"))

# file: the fields that its name says are wrong
REASONS = {
    "duplicate-header-match": {"spec.rules[0].matches[0].headers[1]"},
    "duplicate-listeners": {"spec.listeners[1]"},
    "duplicate-query-match": {"spec.rules[0].matches[0].queryParams[1]"},
    "hostname-tcp": {"spec.listeners[0].hostname"},
    "hostname-udp": {"spec.listeners[0].hostname"},
    "httproute-portless-backend": {"spec.rules[0].backendRefs[0].port"},
    "httproute-portless-service": {"spec.rules[0].backendRefs[0].port"},
    "invalid-addresses": {f"spec.addresses[{n}].value" for n in range(10)},
    "invalid-backend-group": {"spec.rules[0].backendRefs[0].group"},
    "invalid-backend-kind": {"spec.rules[0].backendRefs[0].kind"},
    "invalid-backend-port": {"spec.rules[0].backendRefs[0].port"},
    "invalid-controller": {"spec.controllerName"},
    "invalid-filter-duplicate": {"spec.rules[0].filters"},
    "invalid-filter-duplicate-header": {"spec.rules[0].filters[0].requestHeaderModifier.remove[1]"},
    "invalid-filter-empty": {"spec.rules[0].filters[0].requestHeaderModifier"},
    "invalid-filter-externalauth-bad-http-path": {"spec.rules[0].filters[0].externalAuth.http.path"},
    "invalid-filter-externalauth-empty": {"spec.rules[0].filters[0].externalAuth"},
    "invalid-filter-externalauth-no-protocol": {"spec.rules[0].filters[0].externalAuth.protocol"},
    "invalid-filter-wrong-field": {
        "spec.rules[0].filters[0].requestHeaderModifier",
        "spec.rules[0].filters[0].requestRedirect",
    },
    "invalid-header-name": {"spec.rules[0].matches[0].headers[0].name"},
    "invalid-header-value": {"spec.rules[0].filters[0].responseHeaderModifier.add[0].value"},
    "invalid-hostname": {"spec.hostnames[0]"},
    "invalid-httpredirect-hostname": {"spec.rules[0].filters[0].requestRedirect.hostname"},
    "invalid-listener-name": {"spec.listeners[0].name"},
    "invalid-listener-port": {"spec.listeners[0].port"},
    "invalid-method": {"spec.rules[0].matches[0].method"},
    "invalid-path-alphanum-specialchars-mix": {"spec.rules[0].matches[0].path.value"},
    "invalid-path-specialchars": {"spec.rules[0].matches[0].path.value"},
    "invalid-request-redirect-with-backendref": {"spec.rules[0].filters"},
    "invalid-tls-mode": {"spec.listeners[0].tls.mode"},
    "missing-from": {"spec.from"},
    "missing-ns": {"spec.from[0].namespace"},
    "missing-to": {"spec.to"},
    "no-hostname": {"spec.hostnames"},
    "tlsconfig-tcp": {"spec.listeners[0].tls"},
}


def errors(path: Path) -> list[Problem]:
    read = read_source(Source(str(path.relative_to(SPEC)), path.read_bytes()))
    problems = [*read.problems, *(problem for found in read.objects for problem in found.problems)]
    return [problem for problem in problems if problem.severity is Severity.ERROR]


def test_the_examples_are_all_there() -> None:
    assert len(VALID) > 80
    assert {path.stem for path in INVALID} == REASONS.keys()


@pytest.mark.parametrize("path", VALID, ids=lambda path: f"{path.parent.parent.name}-{path.stem}")
def test_a_valid_example_loads(path: Path) -> None:
    assert errors(path) == []


@pytest.mark.parametrize("path", INVALID, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_an_invalid_example_is_refused_for_the_reason_in_its_name(path: Path) -> None:
    found = errors(path)
    assert REASONS[path.stem] <= {problem.field for problem in found}
    assert all(problem.origin.line > 1 and problem.hint for problem in found)
