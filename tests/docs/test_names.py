"""Names on the pages are those of the code: flags to type, metrics to watch, codes and events to look for."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewayproxy.cli import arguments
from gatewayproxy.dataplane.protocols.answers import ANSWERS
from gatewayproxy.model import refusals
from gatewayproxy.ops import pages

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / "README.md", *(path for place in ("docs", "config", "changes") for path in (ROOT / place).rglob("*.md"))]
)
CODE = {path: path.read_text() for path in (ROOT / "gatewayproxy").rglob("*.py")}

# Of curl, docker, buildah, useradd, python -m http.server
FLAGS_OF_OTHERS = {
    "--bind", "--build-arg", "--cacert", "--connect-to", "--data-binary", "--format", "--http1", "--http2",
    "--http2-prior-knowledge", "--isolation", "--json", "--name", "--resolve", "--rm", "--signal", "--system",
}  # fmt: skip


def flags(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the long flags of *parser* and of its commands."""
    for action in parser._actions:
        yield from (flag for flag in action.option_strings if flag.startswith("--"))
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from flags(command)


def named_flags(page: Path) -> set[str]:
    """Return the long flags on *page*; "--h2-" stands for several."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9](?![\w-])", page.read_text()))


def section(title: str) -> str:
    """Return the section of operations.md under *title*."""
    return (ROOT / "docs" / "operations.md").read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def listed(title: str) -> set[str]:
    """Return the names in the first column of that section's table."""
    rows = re.findall(r"^\| (`.+?) \|", section(title), re.MULTILINE)
    names = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert len(names) > 20, "the table is not where this looks for it"
    return names


def said(name: str, *, but: str = "") -> bool:
    """Return whether a source, other than the file *but*, has *name* as a string, or as the first word of one."""
    return any(re.search(rf'"{name}[" ]', text) for path, text in CODE.items() if path.name != but)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_flag_that_a_page_names_can_be_typed(page: Path) -> None:
    assert named_flags(page) - FLAGS_OF_OTHERS <= set(flags(arguments._parser()[0]))


def test_every_flag_of_run_is_on_a_page() -> None:
    named = {flag for page in PAGES if page.parent.name != "changes" for flag in named_flags(page)}
    assert set(flags(arguments._parser()[1]["run"])) - named == set()


def test_every_metric_that_a_page_names_is_exposed() -> None:
    exposed = set(re.findall(r"^\| `(gatewayproxy_\w+)`", (ROOT / "docs" / "reference.md").read_text(), re.MULTILINE))
    assert len(exposed) > 20
    for page in PAGES:
        named = re.findall(r"\b(gatewayproxy_[a-z_]+?[a-z])(?:_bucket|_sum|_count)?(?![\w(])", page.read_text())
        assert set(named) <= exposed, page


def test_every_reason_that_is_explained_is_given_somewhere() -> None:
    constants = {value: name for name, value in vars(refusals).items() if name.isupper() and isinstance(value, str)}
    assert set(constants) == set(refusals.REFUSALS)
    used = {
        reason
        for reason, name in constants.items()
        if any(re.search(rf"\b{name}\b", text) for path, text in CODE.items() if path.name != "refusals.py")
    }
    explained = set(ANSWERS) | set(refusals.REFUSALS) | listed("Reason codes")
    assert {reason for reason in explained - used if not said(reason, but="answers.py")} == set()


def test_every_event_that_is_explained_is_logged_somewhere() -> None:
    assert {event for event in listed("Event log") if not said(event)} == set()


def test_every_page_of_the_admin_address_is_explained_and_on_its_index() -> None:
    shown = re.findall(r"^(/[a-z]+(?:/[a-z]+)?)|; (/promote), by POST", pages._INDEX, re.MULTILINE)
    explained = re.findall(r"^\| `(/[a-z]+(?:/[a-z]+)?)", section("Admin address"), re.MULTILINE)
    assert {path for found in shown for path in found if path} == set(explained)
