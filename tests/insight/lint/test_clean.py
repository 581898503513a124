"""What the linter says of sound configurations: nothing that is not so."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from gatewayproxy.insight.lint import lint
from gatewayproxy.model.source import CompileOptions, Source

GOLDEN = Path(__file__).parents[2] / "golden"
SOUND = sorted(path.parent.name for path in GOLDEN.glob("*/problems.txt") if not path.read_text())
# What some of them are about, and hardly anybody means.
MEANT = {
    "grpc_header_names": {"GW411": 3},
    "http_backend_filters": {"GW409": 1},
    "http_header_matches": {"GW411": 1},
    "http_precedence": {"GW104": 2},
    "http_shadowed_partly": {"GW102": 3},
    "routetests": {"GW504": 1},
    "sessions": {"GW403": 1},
}


@pytest.mark.parametrize("case", SOUND)
def test_nothing_is_told_of_what_the_compiler_takes_without_a_word(case: str) -> None:
    text = (GOLDEN / case / "in.yaml").read_bytes()
    _, judged = lint([Source("in.yaml", text)], CompileOptions(), lambda _: {})
    assert Counter(problem.code for problem in judged.told) == MEANT.get(case, {})


def test_there_are_such_cases() -> None:
    assert len(SOUND) >= 20
    assert set(MEANT) <= set(SOUND)
