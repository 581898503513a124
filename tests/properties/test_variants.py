"""Manifests that say the same serve the same and are told the same: order, files and names decide nothing.

The golden cases are the manifests, and the specification's examples where they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

from gatewayproxy.compiler.pipeline import Compiler
from gatewayproxy.model.source import CompileOptions, Source
from tests.properties.variants import RENAMINGS, Back, dumped, listed, loaded, said, shuffled, split
from tests.support.spec import find_spec

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = {path.parent.name: path.read_text() for path in sorted(GOLDEN.glob("*/in.yaml"))}
EXAMPLES = (find_spec() or Path("absent")) / "examples" / "valid"
CASES |= {str(path.relative_to(EXAMPLES)): path.read_text() for path in sorted(EXAMPLES.rglob("*.yaml"))}

# Cases where the order of texts is what they are about.
OF_ORDER = {"text_twice"}
# Cases about texts rather than objects: what a serializer writes is not what they say.
OF_TEXT = {name for name in CASES if name.startswith("text_")}
# Cases that are about what a renaming changes: lengths, ports by name, certificates, and a Location's own port.
NOT_RENAMED = {
    "names": {"gateway_long_names", "udp_parents"},
    "hosts": {name for name, text in CASES.items() if "BEGIN CERTIFICATE" in text},
    "paths": set(),
    "ports": {name for name, text in CASES.items() if "RequestRedirect" in text},
}


def compiled(sources: Sequence[Source]) -> dict[str, list[str]]:
    return said(Compiler().compile(sources, CompileOptions(), {}))


@cache
def known(name: str) -> dict[str, list[str]]:
    """Return what is made of a case as it is written."""
    return compiled([Source("in.yaml", CASES[name].encode())])


def in_order(found: Mapping[str, list[str]], back: Back = str) -> dict[str, list[str]]:
    return {name: sorted(back(line) for line in lines) for name, lines in found.items()}


@pytest.mark.parametrize("name", sorted(CASES.keys() - OF_ORDER))
def test_the_order_of_documents_and_files_decides_nothing(name: str) -> None:
    expected = in_order(known(name))
    for seed in range(2):
        assert in_order(compiled(shuffled(CASES[name], seed))) == expected
        assert in_order(compiled(split(CASES[name], seed))) == expected


@pytest.mark.parametrize("name", sorted(CASES.keys() - OF_ORDER - OF_TEXT))
def test_items_of_a_list_are_documents(name: str) -> None:
    assert in_order(compiled(listed(CASES[name]))) == in_order(known(name))


def renamed() -> list[tuple[str, str]]:
    names = CASES.keys() - OF_ORDER - OF_TEXT
    return [(name, what) for what in RENAMINGS for name in sorted(names - NOT_RENAMED[what])]


@pytest.mark.parametrize(("name", "what"), renamed())
def test_other_names_serve_alike(name: str, what: str) -> None:
    trees = loaded(CASES[name])
    back = RENAMINGS[what](trees)
    assert in_order(compiled(dumped(trees)), back) == in_order(known(name), back)
