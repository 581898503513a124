"""Hostile, broken and ordinary texts: bounded work, exact places, and no text that takes another one down."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayproxy.compiler.documents import (
    MAX_DEPTH,
    MAX_FILE_PROBLEMS,
    MAX_FLAWS,
    MAX_NODES,
    MAX_OBJECT_CHARS,
    MAX_OBJECTS,
    MAX_SCALAR_CHARS,
    ParsedFile,
    parse,
)
from gatewayproxy.model.source import MAX_SOURCE_BYTES, Source

GOOD = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good}\n"


def parsed(text: bytes | str, file: str = "f.yaml") -> ParsedFile:
    return parse(Source(file, text.encode() if isinstance(text, str) else text))


def told(text: bytes | str, file: str = "f.yaml") -> list[tuple[int, str, str]]:
    """Return (line, field, message) of every problem."""
    return [(p.origin.line, p.field, p.message) for p in parsed(text, file).problems]


def tree(text: str, file: str = "f.yaml") -> object:
    found = parsed(text, file)
    assert found.problems == ()
    (document,) = found.documents
    return document.tree


# -- ordinary texts --------------------------------------------------------------------------------------------------


def test_documents_come_in_order_each_with_its_line() -> None:
    found = parsed("# a comment\na: 1\n---\n\nb: 2\n---\n# nothing\n---\nc: 3\n")
    assert [(d.tree, d.tree.line) for d in found.documents] == [({"a": 1}, 2), ({"b": 2}, 5), ({"c": 3}, 9)]
    assert found.problems == ()


@pytest.mark.parametrize(
    ("written", "value"),
    [
        pytest.param("80", 80, id="integer"),
        pytest.param("-3", -3, id="negative integer"),
        pytest.param("1.5", 1.5, id="fraction"),
        pytest.param("1e3", 1000.0, id="exponent"),
        pytest.param("true", True, id="true"),
        pytest.param("False", False, id="capital False"),
        pytest.param("null", None, id="null"),
        pytest.param("~", None, id="tilde"),
        pytest.param("", None, id="nothing"),
        pytest.param('"80"', "80", id="quoted number"),
        pytest.param("!!str 80", "80", id="string by tag"),
        pytest.param("yes", "yes", id="yes is no boolean"),
        pytest.param("on", "on", id="on is no boolean"),
        pytest.param("n", "n", id="n is no boolean"),
        pytest.param("010", "010", id="octal is no number"),
        pytest.param("0x50", "0x50", id="hexadecimal is no number"),
        pytest.param("1_000", "1_000", id="underscores are no number"),
        pytest.param("22:30", "22:30", id="sexagesimal is no number"),
        pytest.param("2026-01-31", "2026-01-31", id="a date is a string"),
        pytest.param("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z", id="a time is a string"),
        pytest.param("1.2.3", "1.2.3", id="a version is a string"),
        pytest.param("12e4567", "12e4567", id="what overflows is a string"),
        pytest.param(".inf", ".inf", id="infinity is a string"),
        pytest.param("9" * 5000, "9" * 5000, id="a number of 5000 digits is a string"),
        pytest.param("=", "=", id="equals sign"),
        pytest.param("'<<'", "<<", id="quoted merge key as a value"),
    ],
)
def test_plain_words_follow_the_json_schema_of_yaml(written: str, value: object) -> None:
    found = tree(f"key: {written}\n")
    assert found == {"key": value}
    assert type(found["key"]) is type(value)  # type: ignore[index]


def test_a_list_is_its_items_with_their_own_places() -> None:
    found = parsed("kind: List\napiVersion: v1\nitems:\n- kind: A\n  spec: {x: 1}\n- kind: B\n  spec:\n    y: 2\n")
    assert [(d.tree["kind"], d.tree.line) for d in found.documents] == [("A", 4), ("B", 6)]
    assert found.documents[1].lines({("spec", "y"), ("spec", "z"), ("spec",), ()}) == {
        ("spec", "y"): 8,
        ("spec", "z"): 7,
        ("spec",): 7,
        (): 6,
    }


def test_a_list_may_be_one_line_of_json() -> None:
    text = json.dumps({"kind": "ConfigMapList", "items": [{"kind": "A"}, {"kind": "B", "x": {"y": [1, 2]}}]})
    found = parsed(text, "f.json")
    assert [d.tree for d in found.documents] == [{"kind": "A"}, {"kind": "B", "x": {"y": [1, 2]}}]
    assert found.documents[1].lines({("x", "y", 1)}) == {("x", "y", 1): 1}


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists, max_leaves=20))
def test_json_means_the_same_as_to_a_json_parser(value: object) -> None:
    obj = {"kind": "A", "deep": {"x": value}}
    for text in (json.dumps(obj), json.dumps(obj, indent="\t"), json.dumps(obj, indent=2, separators=(",", ":"))):
        assert tree(text, "f.json") == obj


def test_lines_of_fields_keys_and_items() -> None:
    text = "\n\nspec:\n  hostnames:\n  - a\n  - b\n  rules:\n  - name: x\n    ports: [1,\n      2]\n"
    (document,) = parsed(text).documents
    wanted = {("spec", "hostnames", 1): 6, ("spec", "rules", 0, "name"): 8, ("spec", "rules", 0, "ports", 1): 10}
    assert document.lines(wanted.keys()) == wanted


# -- aliases ---------------------------------------------------------------------------------------------------------


def test_aliases_in_moderation_are_fine() -> None:
    assert tree("a: &x {b: [1]}\nc: *x\nd: &s word\ne: *s\n") == {
        "a": {"b": [1]},
        "c": {"b": [1]},
        "d": "word",
        "e": "word",
    }


def test_an_alias_bomb_is_refused_where_it_exceeds_the_bound() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    tracemalloc.start()
    problems = told("\n".join(lines))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert problems == [(7, "", f"holds more than {MAX_NODES} values, aliases expanded")]
    assert peak < 5_000_000


@pytest.mark.parametrize("text", ["a: *gone\n", "a: &x [*x]\n", "a: &x {b: *x}\n"])
def test_an_alias_to_nothing_or_to_itself_fences_the_document(text: str) -> None:
    found = parsed(text.encode() + b"---\n" + GOOD)
    assert found.problems[0].message.endswith("refers to no anchor before it")
    assert [d.tree["kind"] for d in found.documents] == ["ConfigMap"]


def test_anchors_end_with_their_document() -> None:
    assert told("a: &x 1\n---\nb: *x\n") == [(3, "b", "*x refers to no anchor before it")]


# -- flaws that fence one document -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("a: 1\nb: 2\na: 3\n", (3, "a", "is there twice, first in line {first}"), id="duplicate key"),
        pytest.param(
            "a:\n- b: {c: 1, d: 2,\n    c: 3}\n",
            (3, "a[0].b.c", "is there twice, first in line {second}"),
            id="duplicate below",
        ),
        pytest.param('"a": 1\na: 2\n', (2, "a", "is there twice, first in line {first}"), id="duplicate, quoted once"),
        pytest.param("a: {1: x}\n", (1, "a", "has the key 1, which is not a string"), id="number as a key"),
        pytest.param("true: x\n", (1, "", "has the key true, which is not a string"), id="boolean as a key"),
        pytest.param("? [a]\n: x\n", (1, "", "has a key that is not a string"), id="list as a key"),
        pytest.param("b: &x w\n*x : 1\n", (2, "", "has a key that is not a string"), id="alias as a key"),
        pytest.param(
            "a: &x {b: 1}\nc:\n  <<: *x\n", (3, "c", "merges mappings by <<, which is not supported"), id="merge key"
        ),
        pytest.param(
            "a: !!python/object/apply:os.system [id]\n",
            (1, "a", "has the tag tag:yaml.org,2002:python/object/apply:os.system"),
            id="python object",
        ),
        pytest.param("a:\n  b: !secret x\n", (2, "a.b", "has the tag !secret"), id="own tag"),
        pytest.param("a: !!binary aGk=\n", (1, "a", "has the tag tag:yaml.org,2002:binary"), id="binary"),
        pytest.param(
            "a: !!timestamp 2026-01-31\n", (1, "a", "has the tag tag:yaml.org,2002:timestamp"), id="timestamp"
        ),
        pytest.param("just words\n", (1, "", "is not an object, but a list or a word"), id="a word"),
        pytest.param("- a\n- b\n", (1, "", "is not an object, but a list or a word"), id="a list"),
        pytest.param(
            f"a: {'x' * (MAX_SCALAR_CHARS + 1)}\n",
            (1, "a", f"is a string of {MAX_SCALAR_CHARS + 1} characters, {MAX_SCALAR_CHARS} is the most"),
            id="huge string",
        ),
        pytest.param(
            "a: 1\n" + "# filled\n" * (MAX_OBJECT_CHARS // 9) + "b: 2\n",
            (1, "", f"the object has {MAX_OBJECT_CHARS // 9 * 9 + 10} characters, {MAX_OBJECT_CHARS} is the most"),
            id="huge object",
        ),
    ],
)
def test_a_flaw_fences_its_document_and_no_other(text: str, problem: tuple[int, str, str]) -> None:
    found = parsed(GOOD + b"---\n" + text.encode() + b"---\n" + GOOD)
    offset = GOOD.count(b"\n") + 1
    line, field, message = problem
    message = message.format(first=offset + 1, second=offset + 2)
    assert [(p.origin.line, p.field, p.message) for p in found.problems] == [(offset + line, field, message)]
    assert all(p.hint for p in found.problems)
    assert [d.tree["kind"] for d in found.documents] == ["ConfigMap", "ConfigMap"]


def test_a_flaw_in_an_item_of_a_list_fences_that_item() -> None:
    found = parsed("kind: List\nitems:\n- {kind: A}\n- {kind: B, x: 1, x: 2}\n- {kind: C}\n- word\n")
    assert [d.tree["kind"] for d in found.documents] == ["A", "C"]
    assert [(p.origin.line, p.field) for p in found.problems] == [(4, "items[1].x"), (6, "items[3]")]


def test_an_alias_is_no_object_of_a_list() -> None:
    found = parsed("kind: List\nitems:\n- &a {kind: A}\n- *a\n")
    assert [d.tree["kind"] for d in found.documents] == ["A"]
    assert [(p.field, p.message) for p in found.problems] == [("items[1]", "is not an object")]


def test_problems_of_a_text_are_told_up_to_a_bound() -> None:
    found = parsed("- a\n---\n" * (2 * MAX_FILE_PROBLEMS) + "a: 1\n")
    assert len(found.problems) == MAX_FILE_PROBLEMS + 1
    assert found.problems[-1].message == "has more problems than these"
    assert len(found.documents) == 1


def test_too_many_objects_end_the_text() -> None:
    found = parsed("a: 1\n---\n" * (MAX_OBJECTS + 10))
    assert len(found.documents) == MAX_OBJECTS
    assert [p.message for p in found.problems] == [f"holds more than {MAX_OBJECTS} objects"]


def test_flaws_are_told_up_to_a_bound() -> None:
    assert len(told("".join(f"a: {n}\n" for n in range(10 * MAX_FLAWS)))) == MAX_FLAWS


# -- flaws that end the text -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tail", "line", "part"),
    [
        pytest.param(b"a:\n\tb: 1\n", 2, "a tab", id="tab"),
        pytest.param(b'a: "open\n', 2, "unexpected end of stream", id="open quote"),
        pytest.param(b"a: [1, 2\nb: 3\n", 2, "flow sequence", id="open bracket"),
        pytest.param(b"a: 1\n  b: 2\n", 2, "mapping values", id="wrong indent"),
        pytest.param(b"a: \x07\n", 1, "U+0007", id="control character"),
        pytest.param(b"a: 1\nb: \x00\n", 2, "U+0000", id="NUL"),
        pytest.param(b"%YAML 3.0\n---\na: 1\n", 1, "incompatible YAML", id="version of the future"),
        pytest.param(b"a: " + b"[" * (MAX_DEPTH + 5), 1, "nests deeper than", id="deep nesting"),
        pytest.param(b"a: " + b"{b: " * 100_000, 1, "nests deeper than", id="very deep nesting"),
        pytest.param(b"- " * 100_000, 1, "nests deeper than", id="deep nesting of block lists"),
    ],
)
def test_what_came_before_a_syntax_error_stays(tail: bytes, line: int, part: str) -> None:
    # libyaml looks ahead by some kilobytes: a bad character there is seen before what stands before it.
    found = parsed((GOOD + b"---\n") * 2000 + tail)
    (problem,) = found.problems
    assert (problem.origin.line - 8000, part in problem.message, bool(problem.hint)) == (line, True, True)
    assert len(found.documents) >= 1000


def test_a_tab_gets_a_hint_about_tabs() -> None:
    (problem,) = parsed("a:\n\tb: 1\n").problems
    assert problem.hint == "indent with spaces, not with tabs"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("{{- if .Values.enabled }}\nkind: Gateway\n{{- end }}\n", 1, id="that is no YAML"),
        pytest.param('kind: Gateway\nname: {{ include "x" . }}\nlabels:\n  {{- y }}\n', 2, id="a call"),
        pytest.param("kind: Gateway\nmetadata: {name: {{ .Values.name }}}\n", 2, id="that is YAML by chance"),
    ],
)
def test_a_template_gets_a_hint_to_render_it(text: str, line: int) -> None:
    told = [(problem.origin.line, problem.hint) for problem in parsed(text).problems]
    assert any("render it first (helm template CHART)" in hint and at >= line for at, hint in told)


def test_an_item_that_is_no_object_is_told_in_its_line() -> None:
    (problem,) = parsed("kind: List\nitems:\n- kind: Gateway\n- just a word\n").problems
    assert (problem.field, problem.origin.line) == ("items[1]", 4)


def test_too_many_values_end_the_text() -> None:
    text = GOOD + b"---\na: [" + b"x," * (MAX_NODES + 1) + b"]\n"
    found = parsed(text)
    assert [p.message for p in found.problems] == [f"holds more than {MAX_NODES} values, aliases expanded"]
    assert len(found.documents) == 1


# -- texts that are refused unread -----------------------------------------------------------------------------------


def test_a_huge_file_is_refused_unread() -> None:
    text = b'a: "' + b"x" * 100_000_000
    tracemalloc.start()
    (problem,) = parsed(text).problems
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert problem.message == f"has {len(text)} bytes, {MAX_SOURCE_BYTES} is the most"
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param(b"a: 1\nb: \xff\n", 2, id="byte that is never UTF-8"),
        pytest.param("a: é\n".encode("latin-1"), 1, id="Latin-1"),
        pytest.param("a: 1\n".encode("utf-16"), 1, id="UTF-16"),
        pytest.param(b"a: \xc0\xaf\n", 1, id="overlong form"),
        pytest.param(b"a: \xed\xa0\x80\n", 1, id="surrogate"),
    ],
)
def test_what_is_not_utf8_is_refused_with_the_line(text: bytes, line: int) -> None:
    (problem,) = parsed(text).problems
    assert (problem.origin.line, problem.message[:17]) == (line, "is not UTF-8 text")


def test_a_byte_order_mark_is_fine() -> None:
    assert parsed(b"\xef\xbb\xbf" + GOOD).documents[0].tree["kind"] == "ConfigMap"


@given(st.binary(max_size=300) | st.text("abc:-[]{}&*!|>'\"#%@`?,\n\t ~<0", max_size=300).map(str.encode))
def test_no_text_raises(text: bytes) -> None:
    found = parsed(text)
    for document in found.documents:
        document.lines({("a",), ("a", 0)})


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"---\n" * 900 + b"a: [" + b"~," * 200, id="empty documents count"),
        pytest.param(b"a: 1\n" * 1100, id="numbers and duplicate keys count"),
        pytest.param(b"a: [" + b"*gone," * 1100, id="broken aliases count"),
    ],
)
def test_every_value_counts_towards_the_bound(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatewayproxy.compiler.documents.events.MAX_NODES", 1000)
    found = parsed(text)
    assert found.problems[-1].message == "holds more than 1000 values, aliases expanded"


@pytest.mark.parametrize("written", ['"\\\\ud83d\\\\ude00"', '"\\ud83d\\ude00"', '"\\\\\\ud83d\\ude00\\n\\""'])
def test_surrogate_pairs_of_json_are_one_character(written: str) -> None:
    assert tree(f'{{"a": {written}}}', "f.json") == json.loads(f'{{"a": {written}}}')
