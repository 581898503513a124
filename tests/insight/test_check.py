import json

from gatewayproxy.insight import check
from gatewayproxy.model.names import Origin, ResourceKey
from gatewayproxy.model.status import Problem, Severity

KEY = ResourceKey("HTTPRoute", "shop", "api")
WARNING = Problem(
    origin=Origin("b.yaml", 3),
    severity=Severity.WARNING,
    key=KEY,
    field="spec.rules[0]",
    message="shadowed",
    hint="drop it",
)
ERROR = Problem(origin=Origin("a.yaml", 12), severity=Severity.ERROR, key=None, field="", message="not YAML")


def test_problems_are_listed_by_place_with_object_field_and_hint() -> None:
    assert check.to_text([WARNING, ERROR]) == (
        "a.yaml:12: error: not YAML\n"
        "b.yaml:3: warning: shadowed\n    in HTTPRoute shop/api, spec.rules[0]\n    -> drop it\n"
    )


def test_json_has_every_part() -> None:
    first, second = json.loads(check.to_json([WARNING, ERROR]))
    assert first == {
        "file": "b.yaml",
        "line": 3,
        "severity": "warning",
        "code": "",
        "object": {"kind": "HTTPRoute", "namespace": "shop", "name": "api"},
        "field": "spec.rules[0]",
        "message": "shadowed",
        "hint": "drop it",
    }
    assert second["object"] is None


def test_only_errors_are_errors() -> None:
    assert check.has_errors([WARNING, ERROR])
    assert not check.has_errors([WARNING])


def test_the_sum_counts_in_words() -> None:
    assert check.count([WARNING, ERROR, WARNING], 1) == "1 object, 1 error, 2 warnings"
    assert check.count([], 0) == "no objects, no errors, no warnings"
