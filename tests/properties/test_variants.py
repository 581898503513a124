"""Manifests that say the same serve the same and are told the same: order, files and names decide nothing.

The golden cases are the manifests, and the specification's examples where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def compiled(sources: Sequence[Source], back: Back = str) -> dict[str, list[str]]:
    found = said(Compiler().compile(sources, CompileOptions(), {}))
    return {name: sorted(back(line) for line in lines) for name, lines in found.items()}


@pytest.mark.parametrize("name", sorted(CASES.keys() - OF_ORDER))
def test_the_order_of_documents_and_files_decides_nothing(name: str) -> None:
    text = CASES[name]
    found = compiled([Source("in.yaml", text.encode())])
    for seed in range(2):
        assert compiled(shuffled(text, seed)) == found
        assert compiled(split(text, seed)) == found


@pytest.mark.parametrize("name", sorted(CASES.keys() - OF_ORDER - OF_TEXT))
def test_items_of_a_list_are_documents(name: str) -> None:
    assert compiled(listed(CASES[name])) == compiled(dumped(loaded(CASES[name])))


def renamed() -> list[tuple[str, str]]:
    names = CASES.keys() - OF_ORDER - OF_TEXT
    return [(name, what) for what in RENAMINGS for name in sorted(names - NOT_RENAMED[what])]


@pytest.mark.parametrize(("name", "what"), renamed())
def test_other_names_serve_alike(name: str, what: str) -> None:
    trees = loaded(CASES[name])
    found = dumped(trees)
    back = RENAMINGS[what](trees)
    assert compiled(dumped(trees), back) == compiled(found, back)
