import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gatewayproxy.insight.yaml_text import to_yaml

SCALARS = st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


@given(TREES)
def test_a_yaml_reader_gets_back_what_was_written(tree: object) -> None:
    assert yaml.safe_load(to_yaml(tree)) == tree


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "On",
        "null",
        "~",
        "1",
        "1.5",
        "0x1f",
        "1e3",
        "2001-01-01",
        "a: b",
        "a #b",
        "- a",
        "",
        " a",
        "a ",
        "*a",
        "a:",
    ],
)
def test_a_string_stays_a_string(text: str) -> None:
    assert yaml.safe_load(to_yaml({"key": [text]})) == {"key": [text]}


def test_the_layout_is_that_of_kubectl() -> None:
    tree = {"kind": "Gateway", "spec": {"listeners": [{"name": "http", "port": 80}], "empty": [], "pem": "a\nb\n"}}
    assert to_yaml(tree) == (
        "kind: Gateway\nspec:\n  listeners:\n  - name: http\n    port: 80\n  empty: []\n  pem: |\n    a\n    b\n"
    )
