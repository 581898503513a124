"""JSON Patch and merge patch on trees: the examples of the RFCs, their errors, and what sharing must not do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayproxy.compiler.documents import MAX_DEPTH, parse_values
from gatewayproxy.compiler.patches.operations import MAX_ADDED_NODES, Grafts, PatchError, apply_operation, merge
from gatewayproxy.fields import Located
from gatewayproxy.model.source import Source


def located(value: object) -> Any:
    """Return *value* as a text of it would be parsed."""
    ((tree, _),) = parse_values(Source("value.json", json.dumps(value).encode())).values
    return tree


def patched(tree: object, *operations: dict[str, object]) -> object:
    after, grafts = located(tree), Grafts()
    for operation in located(list(operations)):
        after = apply_operation(after, operation, grafts, "patch.json")
    return after


@pytest.mark.parametrize(
    ("tree", "operation", "after"),
    [
        pytest.param({"foo": "bar"}, {"op": "add", "path": "/baz", "value": "q"}, {"foo": "bar", "baz": "q"}, id="A.1"),
        pytest.param(
            {"foo": ["bar", "baz"]}, {"op": "add", "path": "/foo/1", "value": "q"}, {"foo": ["bar", "q", "baz"]},
            id="A.2",
        ),
        pytest.param({"baz": "q", "foo": "bar"}, {"op": "remove", "path": "/baz"}, {"foo": "bar"}, id="A.3"),
        pytest.param({"foo": ["a", "q", "b"]}, {"op": "remove", "path": "/foo/1"}, {"foo": ["a", "b"]}, id="A.4"),
        pytest.param({"baz": "q"}, {"op": "replace", "path": "/baz", "value": "b"}, {"baz": "b"}, id="A.5"),
        pytest.param(
            {"foo": {"waldo": "fred", "bar": "baz"}, "qux": {"corge": "grault"}},
            {"op": "move", "from": "/foo/waldo", "path": "/qux/thud"},
            {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}}, id="A.6",
        ),
        pytest.param(
            {"foo": ["all", "grass", "cows", "eat"]}, {"op": "move", "from": "/foo/1", "path": "/foo/3"},
            {"foo": ["all", "cows", "eat", "grass"]}, id="A.7",
        ),
        pytest.param(
            {"baz": "q", "foo": ["a", 2, "c"]}, {"op": "test", "path": "/foo/1", "value": 2},
            {"baz": "q", "foo": ["a", 2, "c"]}, id="A.8",
        ),
        pytest.param(
            {"foo": "bar"}, {"op": "add", "path": "/child", "value": {"grand": {}}},
            {"foo": "bar", "child": {"grand": {}}}, id="A.10",
        ),
        pytest.param(
            {"foo": "bar"}, {"op": "add", "path": "/baz", "value": "q", "xyz": 123}, {"foo": "bar", "baz": "q"},
            id="A.11 unknown members are ignored",
        ),
        pytest.param({"/": 9, "~1": 10}, {"op": "test", "path": "/~01", "value": 10}, {"/": 9, "~1": 10}, id="A.14"),
        pytest.param(
            {"foo": ["bar"]}, {"op": "add", "path": "/foo/-", "value": ["a"]}, {"foo": ["bar", ["a"]]}, id="A.16"
        ),
        pytest.param({"a": 1}, {"op": "add", "path": "", "value": {"b": 2}}, {"b": 2}, id="the whole"),
        pytest.param({"a": 1}, {"op": "add", "path": "/a", "value": None}, {"a": None}, id="null is a value"),
        pytest.param({"": {"": 1}}, {"op": "remove", "path": "//"}, {"": {}}, id="empty names"),
        pytest.param({"a/b": 1}, {"op": "copy", "from": "/a~1b", "path": "/d"}, {"a/b": 1, "d": 1}, id="copy"),
        pytest.param({"a": 1}, {"op": "move", "from": "/a", "path": "/a"}, {"a": 1}, id="move onto itself"),
        pytest.param({"a": [1]}, {"op": "add", "path": "/a/1", "value": 2}, {"a": [1, 2]}, id="index of the end"),
        pytest.param({"a": {"0": 1}}, {"op": "remove", "path": "/a/0"}, {"a": {}}, id="a number names a member"),
    ],
)  # fmt: skip
def test_an_operation_does_what_rfc_6902_says(tree: object, operation: dict[str, object], after: object) -> None:
    assert patched(tree, operation) == after


@pytest.mark.parametrize(
    ("operation", "field", "message"),
    [
        pytest.param({"op": "add", "path": "/x/y", "value": 1}, "path", '"x" is not there', id="A.12 no parent"),
        pytest.param({"op": "test", "path": "/name", "value": "b"}, "value", "not what is there", id="A.9"),
        pytest.param({"op": "test", "path": "/on", "value": 1}, "value", "not what is there", id="true is not 1"),
        pytest.param({"op": "test", "path": "/one", "value": "1"}, "value", "not what is there", id="A.15"),
        pytest.param({"op": "replace", "path": "/nmae", "value": 1}, "path", '"nmae" is not there', id="replace"),
        pytest.param({"op": "remove", "path": "/list/2"}, "path", '"2" is no item', id="beyond the list"),
        pytest.param({"op": "remove", "path": "/list/-"}, "path", '"-" is no item', id="no item at the end"),
        pytest.param({"op": "remove", "path": "/list/-1"}, "path", '"-1" is no item', id="negative index"),
        pytest.param({"op": "add", "path": "/list/01", "value": 1}, "path", "no place", id="leading zero"),
        pytest.param({"op": "add", "path": "/list/3", "value": 1}, "path", "no place", id="a gap"),
        pytest.param({"op": "add", "path": "/list/x", "value": 1}, "path", "no place", id="a word in a list"),
        pytest.param({"op": "add", "path": "/name/x", "value": 1}, "path", "inside of a string", id="in a string"),
        pytest.param({"op": "remove", "path": "/none/x/y"}, "path", "inside of null", id="in null"),
        pytest.param({"op": "remove", "path": ""}, "path", "the whole object", id="remove all"),
        pytest.param({"op": "add", "path": "name", "value": 1}, "path", "no JSON pointer", id="no slash"),
        pytest.param({"op": "add", "path": "/a~2", "value": 1}, "path", "no JSON pointer", id="bad escape"),
        pytest.param({"op": "add", "path": 7, "value": 1}, "path", "is required, a string", id="path is a number"),
        pytest.param({"op": "add", "value": 1}, "path", "is required", id="no path"),
        pytest.param({"op": "add", "path": "/x"}, "value", "is required", id="no value"),
        pytest.param({"op": "test", "path": "/name"}, "value", "is required", id="test of nothing"),
        pytest.param({"op": "copy", "path": "/x"}, "from", "is required", id="no from"),
        pytest.param({"op": "copy", "from": "/y", "path": "/x"}, "from", "is not there", id="copy of nothing"),
        pytest.param({"op": "move", "from": "/map", "path": "/map/x"}, "path", "inside what is to", id="into itself"),
        pytest.param({"op": "ad", "path": "/x"}, "op", "'ad' is no operation", id="misspelt"),
        pytest.param({"op": 1, "path": "/x"}, "op", "1 is no operation", id="op is a number"),
        pytest.param({"path": "/x"}, "op", "is required", id="no op"),
    ],
)  # fmt: skip
def test_an_operation_that_cannot_be_applied_says_why(operation: dict[str, object], field: str, message: str) -> None:
    tree = {"name": "a", "on": True, "one": 1, "list": [1, 2], "map": {"x": 1}, "none": None}
    with pytest.raises(PatchError) as caught:
        patched(tree, operation)
    assert caught.value.field == field
    assert message in caught.value.message
    assert caught.value.hint


HTTP = {"name": "http", "port": 80}


def test_a_listener_that_is_there_is_not_appended_again() -> None:
    gateway = {"spec": {"listeners": [HTTP]}}
    again = {"op": "add", "path": "/spec/listeners/-", "value": dict(reversed(HTTP.items()))}
    assert patched(gateway, again, again) == gateway
    with pytest.raises(PatchError, match='another item is named "http"'):
        patched(gateway, {**again, "value": {**HTTP, "port": 81}})
    other = {"name": "https", "port": 443}
    assert patched(gateway, {**again, "value": other}) == {"spec": {"listeners": [HTTP, other]}}


def test_lists_whose_items_have_no_names_grow_as_rfc_6902_says() -> None:
    tree = {"spec": {"rules": [HTTP]}}
    assert patched(tree, {"op": "add", "path": "/spec/rules/-", "value": HTTP}) == {"spec": {"rules": [HTTP, HTTP]}}


@pytest.mark.parametrize(
    ("tree", "patch", "after"),
    [  # the table of RFC 7396, appendix A, as far as both sides are mappings
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({"a": "foo"}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_does_what_rfc_7396_says(tree: object, patch: object, after: object) -> None:
    grafts = Grafts()
    once = merge(located(tree), located(patch), grafts, "patch.yaml")
    assert once == after
    assert merge(once, located(patch), grafts, "patch.yaml") == after


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab~/", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab~/0", max_size=2), inner, max_size=3),
    max_leaves=8,
)
POINTERS = st.lists(st.sampled_from(["a", "b", "0", "1", "-", "~0", "~1", ""]), max_size=3).map(
    lambda tokens: "".join(f"/{token}" for token in tokens)
)
OPERATIONS = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]), "path": POINTERS},
    optional={"from": POINTERS, "value": VALUES},
)


@given(st.dictionaries(st.sampled_from("ab0"), VALUES), st.lists(OPERATIONS, max_size=4))
def test_whatever_is_asked_the_tree_before_is_as_it_was(tree: object, operations: list[dict[str, object]]) -> None:
    before = located({"one": tree, "two": tree})
    before["two"] = before["one"]  # shared, as a YAML alias is
    text = json.dumps(before)
    after, grafts = before, Grafts()
    for operation in located(operations):
        operation = Located({**operation, "path": f"/one{operation['path']}"})
        operation.line = 1
        try:
            after = apply_operation(after, operation, grafts, "patch.json")
        except PatchError:
            continue
        assert isinstance(after, Located)
        assert after["two"] == before["two"]  # an alias changes in one place only
    assert json.dumps(before) == text


def test_copies_of_copies_end_at_a_bound() -> None:
    doublings = [{"op": "copy", "from": "/a", "path": f"/a/{n}"} for n in range(20)]
    with pytest.raises(PatchError, match=f"more than {MAX_ADDED_NODES} values"):
        patched({"a": {"x": [0] * 100}}, *doublings)


def test_values_put_below_others_end_at_the_depth_of_a_document() -> None:
    deeper = [{"op": "add", "path": "/a" * n, "value": {}} for n in range(1, MAX_DEPTH + 1)]
    patched({}, *deeper[:-1])
    with pytest.raises(PatchError, match=f"deeper than {MAX_DEPTH} levels"):
        patched({}, *deeper)
