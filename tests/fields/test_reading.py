"""Reading a mapping: values with their types and defaults, and every problem with its path and its remedy."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from gatewayproxy.compiler.documents import Document, parse
from gatewayproxy.fields import Fields, Reading, Text, path_text
from gatewayproxy.fields.reading import MAX_PROBLEMS
from gatewayproxy.model.names import Origin
from gatewayproxy.model.source import Source
from gatewayproxy.model.status import Severity

WORD = Text("a word", "[a-z]+", shortest=1, longest=5)
COLOURS = {"red": 1, "green": 2}

Told = list[tuple[str, str, str]]


def opened(tree: object) -> tuple[Reading, Fields, Document]:
    (document,) = parse(Source("f.yaml", json.dumps(tree).encode())).documents
    reading = Reading(document.file)
    return reading, reading.open(document.tree), document


def read(tree: object, how: Callable[[Fields], object]) -> tuple[object, Told]:
    """Return what *how* makes of *tree*, and (path, message, hint) of every problem."""
    reading, fields, document = opened(tree)
    value = how(fields)
    reading.finish()
    return value, [(p.field, p.message, p.hint) for p in reading.problems(None, document.origins)]


@pytest.mark.parametrize(
    ("tree", "how", "value"),
    [
        pytest.param({"a": "x"}, lambda f: f.text("a"), "x", id="text"),
        pytest.param({}, lambda f: f.text("a", WORD, None), None, id="text absent, None"),
        pytest.param({}, lambda f: f.text("a", WORD, "d"), "d", id="text absent, default"),
        pytest.param({"a": None}, lambda f: f.text("a", WORD, "d"), "d", id="null is absent"),
        pytest.param({"a": 7}, lambda f: f.integer("a", 1, 9), 7, id="integer"),
        pytest.param({"a": 7.0}, lambda f: f.integer("a", 1, 9), 7, id="integer written as a fraction"),
        pytest.param({}, lambda f: f.integer("a", 1, 9, None), None, id="integer absent"),
        pytest.param({"a": False}, lambda f: f.boolean("a", True), False, id="boolean"),
        pytest.param({}, lambda f: f.boolean("a", True), True, id="boolean absent"),
        pytest.param({"a": "green"}, lambda f: f.choice("a", COLOURS), 2, id="choice"),
        pytest.param({}, lambda f: f.choice("a", COLOURS, None), None, id="choice absent"),
        pytest.param({"a": {"k": "v"}}, lambda f: f.text_map("a"), {"k": "v"}, id="map"),
        pytest.param({"a": ["x", "y"]}, lambda f: f.texts("a", WORD), ("x", "y"), id="texts"),
        pytest.param({"a": [1, 2.0]}, lambda f: f.integers("a", 1, 9), (1, 2), id="integers"),
        pytest.param(
            {"a": [{"b": "x"}, {"b": "y"}]}, lambda f: [i.text("b") for i in f.items("a")], ["x", "y"], id="items"
        ),
        pytest.param({}, lambda f: f.items("a"), [], id="items absent"),
        pytest.param({"a": {"b": "x"}}, lambda f: f.required_child("a").text("b"), "x", id="child"),
        pytest.param({"a": 1}, lambda f: f.ignore("a"), None, id="ignored"),
    ],
)
def test_a_good_value_is_read(tree: object, how: Callable[[Fields], object], value: object) -> None:
    assert read(tree, how) == (value, [])


@pytest.mark.parametrize(
    ("tree", "how", "problem"),
    [
        pytest.param({}, lambda f: f.text("a"), ("a", "is required", "add a"), id="text missing"),
        pytest.param(
            {"a": 80},
            lambda f: f.text("a"),
            ("a", "must be a string, not the number 80", 'quote it: a: "80"'),
            id="number",
        ),
        pytest.param(
            {"a": True},
            lambda f: f.text("a"),
            ("a", "must be a string, not the boolean true", 'quote it: a: "true"'),
            id="boolean",
        ),
        pytest.param(
            {"a": 80},
            lambda f: f.text("a", WORD),
            ("a", "must be a string, not the number 80", "write a word"),
            id="number that quotes would not mend",
        ),
        pytest.param(
            {"a": "X"}, lambda f: f.text("a", WORD), ("a", '"X" has the wrong form', "write a word"), id="form"
        ),
        pytest.param({"a": ""}, lambda f: f.text("a", WORD), ("a", "must not be empty", "write a word"), id="empty"),
        pytest.param(
            {"a": "abcdef"},
            lambda f: f.text("a", WORD),
            ("a", "has 6 characters, 5 is the most", "write a word"),
            id="long",
        ),
        pytest.param(
            {"a": "\x1b[2J"},
            lambda f: f.text("a", WORD),
            ("a", '"\\x1b[2J" has the wrong form', "write a word"),
            id="control",
        ),
        pytest.param(
            {"a": 0},
            lambda f: f.integer("a", 1, 9),
            ("a", "0 is out of range", "write a number from 1 to 9"),
            id="range",
        ),
        pytest.param(
            {"a": "7"},
            lambda f: f.integer("a", 1, 9),
            ("a", 'must be an integer, not the string "7"', "write a number from 1 to 9, without quotes"),
            id="quoted integer",
        ),
        pytest.param(
            {"a": True},
            lambda f: f.integer("a", 1, 9),
            ("a", "must be an integer, not the boolean true", "write a number from 1 to 9, without quotes"),
            id="boolean for an integer",
        ),
        pytest.param(
            {"a": "yes"},
            lambda f: f.boolean("a", True),
            ("a", 'must be a boolean, not the string "yes"', "write true or false"),
            id="yes",
        ),
        pytest.param(
            {"a": "Green"},
            lambda f: f.choice("a", COLOURS),
            ("a", '"Green" is not a known value', "did you mean green? One of: red, green"),
            id="choice misspelt",
        ),
        pytest.param(
            {"a": "blue"},
            lambda f: f.choice("a", COLOURS),
            ("a", '"blue" is not a known value', "write one of: red, green"),
            id="choice",
        ),
        pytest.param(
            {"a": ["x", 3]},
            lambda f: f.texts("a"),
            ("a[1]", "must be a string, not the number 3", "write a string here"),
            id="item type",
        ),
        pytest.param(
            {"a": ["x", "x"]},
            lambda f: f.texts("a", unique=True),
            ("a[1]", '"x" is listed twice', "remove one of the two"),
            id="repeat",
        ),
        pytest.param(
            {"a": list("xyz")},
            lambda f: f.texts("a", most=2),
            ("a", "has 3 entries, 2 is the most", "split it into several objects"),
            id="most",
        ),
        pytest.param(
            {"a": []}, lambda f: f.items("a", least=1), ("a", "has 0 entries", "write at least one entry"), id="least"
        ),
        pytest.param(
            {},
            lambda f: f.items("a", least=1),
            ("a", "is required", "add the list a with at least one entry"),
            id="list missing",
        ),
        pytest.param(
            {"a": {}},
            lambda f: f.items("a"),
            ("a", "must be a list, not a mapping", 'start each entry of a with "- "'),
            id="no list",
        ),
        pytest.param(
            {"a": [None]},
            lambda f: f.items("a"),
            ("a[0]", "must be a mapping, not null", "write a mapping here"),
            id="null item",
        ),
        pytest.param(
            {"a": {"k": 1}},
            lambda f: f.text_map("a"),
            ("a.k", "must be a string, not the number 1", 'quote it: k: "1"'),
            id="map value",
        ),
        pytest.param(
            {"a": {"x/y": "Z"}},
            lambda f: f.text_map("a", WORD),
            ('a["x/y"]', '"Z" has the wrong form', "write a word"),
            id="odd key",
        ),
        pytest.param(
            {"hostnmaes": 1},
            lambda f: f.texts("hostnames"),
            ("hostnmaes", "unknown field", "did you mean hostnames?"),
            id="misspelt",
        ),
        pytest.param({"q": 1}, lambda f: f.ignore("b", "a"), ("q", "unknown field", "known here: a, b"), id="unknown"),
    ],
)
def test_a_bad_value_is_told_with_its_path_and_what_to_write(
    tree: object, how: Callable[[Fields], object], problem: tuple[str, str, str]
) -> None:
    assert read(tree, how)[1] == [problem]


def test_a_missing_mapping_is_told_once_and_not_by_its_fields() -> None:
    _, told = read({}, lambda fields: fields.required_child("spec").text("name"))
    assert told == [("spec", "is required", "add the mapping spec")]


def test_all_problems_of_an_object_are_told_each_on_its_line() -> None:
    text = b"spec:\n  rules:\n  - nam: x\n    port: 0\n  - port: a\n"
    (document,) = parse(Source("f.yaml", text)).documents
    reading = Reading("f.yaml")
    for rule in reading.open(document.tree).required_child("spec").items("rules"):
        rule.integer("port", 1, 9)
        rule.text("name", WORD, "")
    assert not reading.finish()
    found = reading.problems(None, document.origins)
    assert {(p.origin, p.field) for p in found} == {
        (Origin("f.yaml", 4), "spec.rules[0].port"),
        (Origin("f.yaml", 5), "spec.rules[1].port"),
        (Origin("f.yaml", 3), "spec.rules[0].nam"),
    }


def test_a_warning_leaves_the_object_sound() -> None:
    reading, fields, document = opened({"a": 1})
    fields.ignore("a")
    fields.warn("a", "has no effect")
    assert reading.finish()
    assert [p.severity for p in reading.problems(None, document.origins)] == [Severity.WARNING]


def test_problems_of_an_object_are_bounded() -> None:
    reading, fields, document = opened({"a": [1] * 10_000})
    fields.texts("a")
    reading.finish()
    found = reading.problems(None, document.origins)
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1].message == "has more problems than these"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("spec", "rules", 0, "backendRefs", 12, "port"), "spec.rules[0].backendRefs[12].port"),
        (("metadata", "annotations", "a.b/c", "d"), 'metadata.annotations["a.b/c"].d'),
        (("metadata", "labels", "\n"), 'metadata.labels["\\n"]'),
    ],
)
def test_paths_are_written_as_people_write_them(path: tuple[str | int, ...], text: str) -> None:
    assert path_text(path) == text
