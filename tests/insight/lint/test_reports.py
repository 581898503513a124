"""Findings in the forms that other programs read."""

from __future__ import annotations

import json
from typing import Any, Final

import jsonschema
import pytest

from gatewayproxy.insight.check import by_code, count, to_workflow
from gatewayproxy.insight.lint import LINTS
from gatewayproxy.insight.lint.sarif import to_sarif
from gatewayproxy.model.names import Origin, ResourceKey
from gatewayproxy.model.status import Problem, Severity

KEY = ResourceKey("HTTPRoute", "shop", "api")
SHADOWED = Problem(
    origin=Origin("a folder/b.yaml", 3), severity=Severity.WARNING, key=KEY, field="spec.rules[0]",
    message="100 % shadowed\nby another", hint="drop it", code="GW101",
)  # fmt: skip
NOT_YAML = Problem(
    origin=Origin("a,b:c.yaml"), severity=Severity.ERROR, key=None, field="", message="not YAML", code="GW001"
)
TITLES = {code: each.title for code, each in LINTS.items()}

TEXT: Final = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}
SARIF: Final = {  # what SARIF 2.1.0 asks of the parts that we write (OASIS, sarif-schema-2.1.0.json)
    "type": "object",
    "required": ["version", "runs"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"enum": ["2.1.0"]},
        "runs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["tool"],
                "additionalProperties": False,
                "properties": {
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "additionalProperties": False,
                        "properties": {"driver": {"$ref": "#/definitions/toolComponent"}},
                    },
                    "results": {"type": "array", "items": {"$ref": "#/definitions/result"}},
                },
            },
        },
    },
    "definitions": {
        "level": {"enum": ["none", "note", "warning", "error"]},
        "toolComponent": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string"},
                "semanticVersion": {"type": "string"},
                "rules": {
                    "type": "array",
                    "uniqueItems": True,
                    "items": {
                        "type": "object",
                        "required": ["id"],
                        "additionalProperties": False,
                        "properties": {
                            "id": {"type": "string"},
                            "shortDescription": TEXT,
                            "fullDescription": TEXT,
                            "help": TEXT,
                            "defaultConfiguration": {
                                "type": "object",
                                "additionalProperties": False,
                                "properties": {"level": {"$ref": "#/definitions/level"}},
                            },
                        },
                    },
                },
            },
        },
        "result": {
            "type": "object",
            "required": ["message"],
            "additionalProperties": False,
            "properties": {
                "ruleId": {"type": "string"},
                "ruleIndex": {"type": "integer", "minimum": -1},
                "level": {"$ref": "#/definitions/level"},
                "message": TEXT,
                "partialFingerprints": {"type": "object", "additionalProperties": {"type": "string"}},
                "suppressions": {
                    "type": "array",
                    "uniqueItems": True,
                    "items": {
                        "type": "object",
                        "required": ["kind"],
                        "additionalProperties": False,
                        "properties": {"kind": {"enum": ["inSource", "external"]}},
                    },
                },
                "locations": {"type": "array", "items": {"$ref": "#/definitions/location"}},
            },
        },
        "location": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "physicalLocation": {
                    "type": "object",
                    "required": ["artifactLocation"],
                    "additionalProperties": False,
                    "properties": {
                        "artifactLocation": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {"uri": {"type": "string", "pattern": r"^[A-Za-z0-9\-._~%/]+$"}},
                        },
                        "region": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {"startLine": {"type": "integer", "minimum": 1}},
                        },
                    },
                },
                "logicalLocations": {
                    "type": "array",
                    "uniqueItems": True,
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {"fullyQualifiedName": {"type": "string"}, "kind": {"type": "string"}},
                    },
                },
            },
        },
    },
}


def run_of(*told: Problem, silenced: tuple[Problem, ...] = ()) -> dict[str, Any]:
    log = json.loads(to_sarif(told, silenced, LINTS, "1.2.3"))
    jsonschema.validate(log, SARIF, jsonschema.Draft7Validator)
    (run,) = log["runs"]
    return dict(run)


def test_a_log_names_every_rule_and_its_results_point_to_them() -> None:
    run = run_of(SHADOWED, NOT_YAML)
    rules = run["tool"]["driver"]["rules"]
    assert [each["id"] for each in rules] == sorted(LINTS)
    assert all(rules[each["ruleIndex"]]["id"] == each["ruleId"] for each in run["results"])


def test_a_result_says_where_it_is_as_file_and_as_object() -> None:
    shadowed, not_yaml = run_of(SHADOWED, NOT_YAML)["results"]
    (location,) = shadowed["locations"]
    assert location == {
        "physicalLocation": {"artifactLocation": {"uri": "a%20folder/b.yaml"}, "region": {"startLine": 3}},
        "logicalLocations": [{"fullyQualifiedName": "HTTPRoute shop/api, spec.rules[0]", "kind": "object"}],
    }
    assert not_yaml["locations"] == [{"physicalLocation": {"artifactLocation": {"uri": "a%2Cb%3Ac.yaml"}}}]
    assert (shadowed["level"], not_yaml["level"]) == ("warning", "error")


def test_what_is_silenced_is_suppressed_in_the_source() -> None:
    told, silenced = run_of(NOT_YAML, silenced=(SHADOWED,))["results"]
    assert "suppressions" not in told
    assert silenced["suppressions"] == [{"kind": "inSource"}]


def test_a_finding_keeps_its_fingerprint_when_its_lines_move() -> None:
    moved = Problem(
        origin=Origin("elsewhere.yaml", 99), severity=Severity.WARNING, key=KEY, field="spec.rules[0]",
        message=SHADOWED.message, code="GW101",
    )  # fmt: skip
    first, second, third = (each["partialFingerprints"] for each in run_of(SHADOWED, moved, NOT_YAML)["results"])
    assert first == second != third


@pytest.mark.parametrize("of_level", ["warning", "error"])
def test_an_empty_run_is_a_log_too(of_level: str) -> None:
    run = run_of()
    assert run["results"] == []
    assert of_level in {each["defaultConfiguration"]["level"] for each in run["tool"]["driver"]["rules"]}


def test_workflow_commands_are_one_line_each_whatever_is_in_them() -> None:
    assert to_workflow([SHADOWED, NOT_YAML], TITLES).splitlines() == [
        "::warning file=a folder/b.yaml,line=3,title=GW101 rule that never gets a request"
        "::100 %25 shadowed%0Aby another%0Ain HTTPRoute shop/api, spec.rules[0]%0A-> drop it",
        "::error file=a%2Cb%3Ac.yaml,line=1,title=GW001 malformed manifest::not YAML",
    ]


def test_the_sum_names_what_is_silenced_and_each_code_once() -> None:
    assert count([SHADOWED], 2, 3) == "2 objects, no errors, 1 warning (3 silenced)"
    assert by_code([SHADOWED, NOT_YAML, SHADOWED], TITLES) == (
        "  GW001  1 x  malformed manifest\n  GW101  2 x  rule that never gets a request\n"
    )
