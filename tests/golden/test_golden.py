"""Each folder here is a case: in.yaml, and what the compiler makes of it.

plan.txt is what serves, status.yaml what the objects say, problems.txt what a person is told. After a deliberate
change: `pytest tests/golden --update-golden`, then read the diff.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from gatewayproxy.compiler.pipeline import Compiled, Compiler
from gatewayproxy.model.source import CompileOptions, Source
from tests.support.plan_text import plan_text

HERE = Path(__file__).parent
CASES = sorted(path.parent.name for path in HERE.glob("*/in.yaml"))


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Path:
    return HERE / str(request.param)


def test_the_compiler_says_what_it_said(case: Path, request: pytest.FixtureRequest) -> None:
    compiled = Compiler().compile([Source("in.yaml", (case / "in.yaml").read_bytes())], CompileOptions(), {})
    said = {
        "plan.txt": plan_text(compiled.plan),
        "status.yaml": _status_text(compiled),
        "problems.txt": _problems_text(compiled),
    }
    if request.config.getoption("--update-golden"):
        for name, text in said.items():
            (case / name).write_text(text)
    for name, text in said.items():
        assert text == (case / name).read_text(), f"{name} differs; after a deliberate change run --update-golden"


def test_there_are_cases() -> None:
    assert len(CASES) >= 120
    assert {path.name for path in HERE.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(CASES)


def test_a_case_is_whole_and_begins_with_what_it_is_about(case: Path) -> None:
    assert {path.name for path in case.iterdir()} == {"in.yaml", "plan.txt", "status.yaml", "problems.txt"}
    assert (case / "in.yaml").read_text().startswith("# ")


def _status_text(compiled: Compiled) -> str:
    shown = {str(each.key): _short(each.status) for each in compiled.status.objects if each.status}
    return yaml.safe_dump(shown, sort_keys=False, width=120)


def _short(tree: Any) -> Any:
    """Return *tree* with each list of conditions as one line a condition, features and constants left out."""
    if isinstance(tree, list):
        return [_short(item) for item in tree]
    if not isinstance(tree, Mapping):
        return tree
    if {"type", "status", "reason"} <= tree.keys():
        return f"{tree['type']}={tree['status']} {tree['reason']} {tree['message']}".rstrip()
    return {key: _short(value) for key, value in tree.items() if key not in {"supportedFeatures", "controllerName"}}


def _problems_text(compiled: Compiled) -> str:
    lines = []
    for each in compiled.status.problems:
        where = f"{each.origin} {each.key} {each.field}".rstrip()
        lines.append(f"{each.severity.value} {where}: {each.message}{f' | {each.hint}' if each.hint else ''}\n")
    return "".join(lines)
