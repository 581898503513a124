"""docs/reference.md is what the code says now."""

import importlib.util
import re
from pathlib import Path

from gatewayproxy.model.limits import LIMITS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CODE = ROOT / "gatewayproxy"


def test_the_page_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("docs_reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    assert (DOCS / "reference.md").read_text() == reference.page(), "run `make docs`"


def test_every_limit_is_explained() -> None:
    assert all(limit.meaning for limit in LIMITS)


def _said_in_code(pattern: str) -> set[str]:
    """Return the words that *pattern* finds in our sources."""
    found = {word for file in CODE.rglob("*.py") for word in re.findall(pattern, file.read_text())}
    assert len(found) > 10, "the pattern no longer fits the code"
    return found


def _quoted_in_docs() -> set[str]:
    return {word for page in ("operations.md", "reference.md") for word in re.findall(r"`(\w+)`", _page(page))}


def _page(name: str) -> str:
    return (DOCS / name).read_text()


def test_every_event_of_the_log_is_explained() -> None:
    events = _said_in_code(r'\blog\.(?:info|warning|error|exception)\(\s*"([a-z_]+)')
    assert events - _quoted_in_docs() == set()


def test_every_reason_code_is_explained() -> None:
    reasons = _said_in_code(
        r'(?:\breason=|Cutoff\(|_refuse\(|\bcut\(|\.answer\(|UpstreamError\(|_give_up\()\s*"([a-z_]+)"'
    )
    assert reasons - _quoted_in_docs() == set()


def test_every_page_is_reached_from_the_readme() -> None:
    readme = (DOCS.parent / "README.md").read_text()
    assert [page.name for page in DOCS.glob("*.md") if f"(docs/{page.name})" not in readme] == []


def test_every_decision_is_listed_in_the_architecture() -> None:
    listed = re.findall(r"\(decisions/([^)]+)\)", _page("architecture.md"))
    assert sorted(set(listed)) == sorted(path.name for path in (DOCS / "decisions").iterdir())


def test_every_module_that_the_architecture_names_is_there() -> None:
    places = [f"/{path.relative_to(CODE).with_suffix('')}" for path in CODE.rglob("*")]
    named = set(re.findall(r"`((?:[a-z_0-9]+/)+[a-z_0-9]+)(?:\.py)?`", _page("architecture.md")))
    assert len(named) > 40
    imagined = {"manifests/backend", "resolve/backends/backends"}  # of a kind that the page has us add
    elsewhere = {name for name in named if (DOCS.parent / name).is_dir()}
    assert {name for name in named if not any(place.endswith(f"/{name}") for place in places)} == imagined | elsewhere


def test_links_between_pages_lead_somewhere() -> None:
    root = DOCS.parent
    for page in [root / "README.md", *DOCS.rglob("*.md"), *(root / "config").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"
