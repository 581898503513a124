"""Every example of the README, of docs/ and of config/ does what it says."""

from pathlib import Path

import pytest

from tests.support.examples import ROOT, Fence, Stage, examples_of, fences, matches

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "config").rglob("*.md"))]
WITH_EXAMPLES = [page for page in PAGES if any(fence.language == "console" for fence in fences(page))]


def test_there_are_examples_to_run() -> None:
    assert ROOT / "README.md" in WITH_EXAMPLES
    assert {page.parent.name for page in WITH_EXAMPLES} >= {
        "quickstart",
        "nvcf",
        "novaedge",
        "genestack",
        "runai",
        "cilium",
    }


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_print_what_the_page_says(page: Path, tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    for fence in fences(page):
        if "file" in fence.notes:
            stage.write(fence.notes["file"], fence.text)
        if fence.language == "console":
            act(
                stage,
                fence,
                fence.notes.get("run", f"config/{page.parent.name}" if page.parent.parent.name == "config" else ""),
            )


def act(stage: Stage, fence: Fence, folder: str) -> None:
    if not folder:
        compare(stage, fence)
        return
    with stage.serving(folder):
        compare(stage, fence)


def compare(stage: Stage, fence: Fence) -> None:
    examples = examples_of(fence)
    printed = stage.shell([example.command for example in examples])
    for example, lines in zip(examples, printed, strict=True):
        assert matches(example.output, lines), f"$ {example.command}\n" + "\n".join(lines)


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        (["a"], ["a "], True),
        (["a"], ["b"], False),
        (["a"], ["a", "b"], False),
        (["a", "...", "c"], ["a", "b", "b", "c"], True),
        (["...", "c"], ["a"], False),
        ([], [], True),
        ([], ["a"], False),
    ],
)
def test_output_is_compared_line_by_line(expected: list[str], printed: list[str], same: bool) -> None:
    assert matches(expected, printed) is same
