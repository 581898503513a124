"""Pictures of the pages: each is on a page, is read out in words, is legible in light and dark, and small."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gatewayproxy.cli import main

ROOT = Path(__file__).parents[2]
PICTURES = sorted((ROOT / "docs").glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"
MAX_BYTES = 16_384


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.stem)
def test_a_picture_can_be_read_by_everybody(picture: Path) -> None:
    text = picture.read_text()
    assert len(text) <= MAX_BYTES
    root = ElementTree.fromstring(text)
    assert all((root.findtext(f"{SVG}{name}") or "").strip() for name in ("title", "desc"))
    assert "@media (prefers-color-scheme: dark)" in text
    assert f"]({picture.name})" in "".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))


def test_every_class_of_a_picture_has_a_style() -> None:
    for picture in PICTURES:
        text = picture.read_text()
        used = {name for names in re.findall(r'class="([^"]+)"', text) for name in names.split()}
        assert used - set(re.findall(r"\.([a-z]+)", text.partition("</style>")[0])) == set(), picture.name


def test_the_picture_of_explain_is_what_explain_draws(tmp_path: Path) -> None:
    drawn = tmp_path / "way.svg"
    request = ["-H", "X-Canary: 1", "grpc://api.localhost/shop.v1.Cart/Get"]
    assert main(["explain", str(ROOT / "config/shop"), "--svg", str(drawn), "--", *request]) == 0
    assert (ROOT / "docs/explain.svg").read_text() == drawn.read_text()
