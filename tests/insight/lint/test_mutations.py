"""Whatever manifests say, the linter has an answer: codes, hints and places, and never a traceback."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayproxy.insight.lint import LINTS, lint
from gatewayproxy.model.source import CompileOptions, Source

ROOT = Path(__file__).parents[3]
VALUES: list[Any] = [
    None,
    0,
    -1,
    "",
    [],
    {},
    "x",
    "/a$b",
    "HTTP",
    "Gateway",
    "*.a.test",
    [{}],
    {"name": "x"},
    True,
    10**9,
    "é",
]


def _trees() -> list[Any]:
    files = [*ROOT.glob("config/*/*.yaml"), *ROOT.glob("tests/golden/*/in.yaml")]
    return [tree for file in sorted(files) for tree in yaml.safe_load_all(file.read_text()) if isinstance(tree, dict)]


TREES = _trees()


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each container with each of its keys or indexes."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        yield tree, key
        yield from _places(tree[key])


def _mutated(random: Random) -> dict[str, Any]:
    tree: dict[str, Any] = copy.deepcopy(random.choice(TREES))
    for _ in range(random.choice((0, 0, 1, 2))):
        places = list(_places(tree))
        if not places:
            break
        container, key = random.choice(places)
        if random.random() < 0.3:
            del container[key]
        else:
            container[key] = copy.deepcopy(random.choice(VALUES))
    return tree


@settings(deadline=None)  # a busy machine is no problem of the linter
@given(st.randoms(use_true_random=False))
def test_every_problem_has_a_code_a_hint_and_a_place(random: Random) -> None:
    text = yaml.safe_dump_all([_mutated(random) for _ in range(random.randint(1, 20))])
    _, judged = lint([Source("a.yaml", text.encode())], CompileOptions(now=1.7e9), lambda paths: dict.fromkeys(paths))
    for problem in judged.told:
        assert problem.code in LINTS
        assert problem.hint
        assert problem.origin.file == "a.yaml"
        assert problem.origin.line > 0
