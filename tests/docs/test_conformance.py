"""docs/conformance.md is what runs have shown, and a GatewayClass claims that and no more."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gatewayproxy.compiler.resolve.features import SUPPORTED_FEATURES

ROOT = Path(__file__).parents[2]
ASIDE = "GatewayInfrastructure"  # a test that may be left out


@pytest.fixture(scope="module")
def conformance() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_conformance", ROOT / "docs" / "conformance.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def measured(conformance: ModuleType) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(conformance.MEASURED.read_text())
    return found


def test_the_page_is_up_to_date(conformance: ModuleType, measured: dict[str, Any]) -> None:
    assert conformance.PAGE.read_text() == conformance.page(measured), "run `make docs`"


def test_a_gateway_class_claims_what_is_proven(conformance: ModuleType, measured: dict[str, Any]) -> None:
    assert conformance.supported(measured) == list(SUPPORTED_FEATURES)


def test_both_modes_were_run(measured: dict[str, Any]) -> None:
    assert measured["modes"] == ["restart", "reload"]
    assert len(measured["tests"]) > 130


def test_the_tests_of_ours_are_there(conformance: ModuleType) -> None:
    sections = [conformance.own_tests(section) for section in ("features", "beyond")]
    named = {path for section in sections for paths in section.values() for path in paths}
    assert sorted(path for path in named if not _has_tests(ROOT / "tests" / path)) == []


def test_every_official_feature_has_tests_of_ours(conformance: ModuleType, measured: dict[str, Any]) -> None:
    official = {row["feature"] for row in measured["tests"].values()}
    assert official - conformance.own_tests().keys() == {"GatewayInfrastructurePropagation"}
    assert conformance.own_tests().keys() <= official


def _has_tests(path: Path) -> bool:
    if path.is_dir():
        return (path / "in.yaml").exists() or any(_has_tests(file) for file in path.rglob("test_*.py"))
    return path.is_file() and "def test_" in path.read_text()


def run(verdict: str = "PASS", **fields: Any) -> dict[str, Any]:
    found = {"test": "T", "feature": "Gateway", "verdict": verdict, "data_plane_checks": 1}
    return {**found, "status_checks": 2, "status_skipped": 0, **fields}


@pytest.mark.parametrize(
    ("restart", "reload", "expected"),
    [
        pytest.param([run()], [run()], ["Gateway"], id="passed in both modes"),
        pytest.param([run()], [run("FAIL")], [], id="failed in one"),
        pytest.param([run()], [], [], id="did not run in one"),
        pytest.param([run()], [run(status_skipped=1)], [], id="left checks out in one"),
        pytest.param([run()], [run("SKIP")], [], id="was left out in one"),
        pytest.param([run("SKIP", test=ASIDE)], [run("SKIP", test=ASIDE)], [], id="has no test that applies"),
        pytest.param([run(), run("SKIP", test=ASIDE)], [run(), run("SKIP", test=ASIDE)], ["Gateway"], id="one applies"),
        pytest.param([run(), run(test="U")], [run(), run("FAIL", test="U")], [], id="one of two failed"),
        pytest.param([run(feature="Unheard")], [run(feature="Unheard")], [], id="has no test of ours"),
    ],
)
def test_a_feature_is_proven_by_all_its_tests_in_all_modes(
    conformance: ModuleType, tmp_path: Path, restart: list[Any], reload: list[Any], expected: list[str]
) -> None:
    files = {"restart": tmp_path / "restart.json", "reload": tmp_path / "reload.json"}
    files["restart"].write_text(json.dumps(restart))
    files["reload"].write_text(json.dumps(reload))
    found = conformance.measure(files)
    assert conformance.supported(found) == expected
    assert ("| supported |" in conformance.page(found)) is bool(expected)
