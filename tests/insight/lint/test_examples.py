"""Every code has an example that fires it and nothing else, and a remedy after which nothing is told."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

import gatewayproxy.insight.lint as lints
from gatewayproxy.insight import check
from gatewayproxy.insight.lint import LINTS
from gatewayproxy.insight.lint.silence import USELESS
from gatewayproxy.model.codes import BY_REASON, Code

ROOT = Path(__file__).parents[3]


def _pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_lint", ROOT / "docs" / "lint.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES = _pages()


@pytest.mark.parametrize("code", sorted(LINTS))
def test_the_example_fires_its_code_alone(code: str) -> None:
    told = PAGES.judged(PAGES.example(code).fires).told
    assert {each.code for each in told} == {code}, check.to_text(told)
    assert {each.severity for each in told} == {LINTS[code].severity}
    assert all(each.hint and each.origin.line for each in told), check.to_text(told)


@pytest.mark.parametrize("code", sorted(LINTS))
def test_nothing_is_told_of_what_the_example_should_be(code: str) -> None:
    told = PAGES.judged(PAGES.example(code).fixed).told
    assert not told, check.to_text(told)


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "lint.md").read_text() == PAGES.page(), "run `make docs`"


def test_codes_have_families_and_one_form() -> None:
    assert all(re.fullmatch(r"GW[0-9]{3}", code) and code[2] in PAGES.FAMILIES for code in LINTS)
    assert {file.stem for file in PAGES.FOLDER.glob("*.yaml")} == set(LINTS)


def test_no_family_takes_a_code_of_another() -> None:
    modules = (
        importlib.import_module(each.name) for each in pkgutil.iter_modules(lints.__path__, f"{lints.__name__}.")
    )
    codes = [code for module in modules for code in getattr(module, "LINTS", ())]
    assert sorted(codes) == sorted(set(LINTS) - {USELESS})


def test_what_the_compilation_finds_is_registered_as_such() -> None:
    assert {code for code, each in LINTS.items() if each.find is None} - set(Code) == {USELESS}
    assert set(Code) <= set(LINTS)
    assert set(BY_REASON.values()) <= set(Code)
    assert len(set(Code)) == len(Code.__members__)
