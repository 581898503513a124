"""Pictures of cards: nothing overlaps or leaves its card, whatever the texts are, and readers of screens are told."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayproxy.insight.cards import Card, Row, draw

SVG = "{http://www.w3.org/2000/svg}"
CARDS = ("card", "good", "bad", "lost")
TEXT = st.text(max_size=300) | st.just("x" * 2_000) | st.just("a-b " * 200)


class Box(NamedTuple):
    x: float
    y: float
    width: float
    height: float


def rows() -> st.SearchStrategy[Row]:
    return st.builds(
        Row,
        TEXT,
        look=st.sampled_from(["", "main", "quiet", "mono"]),
        pill=st.sampled_from(["", "precedence", "NotAllowedByListeners"]),
        tone=st.sampled_from(["", "bad"]),
        right=st.sampled_from(["", "100 %", "HTTPS 443"]),
        bar=st.sampled_from([-1.0, 0.0, 0.3, 1.0]),
        gap=st.booleans(),
    )


def cards() -> st.SearchStrategy[list[Card]]:
    card = st.builds(Card, st.sampled_from(["Listener", "Route"]), st.lists(rows(), max_size=5), st.sampled_from(CARDS))
    return st.lists(card, max_size=4)


def boxes(root: ET.Element) -> list[Box]:
    found = [each for each in root.iter(f"{SVG}rect") if each.get("class") in CARDS]
    return [Box(*(float(each.get(name, "")) for name in ("x", "y", "width", "height"))) for each in found]


@settings(max_examples=60, deadline=None)
@given(TEXT, TEXT, cards(), cards(), st.booleans())
def test_cards_hold_their_texts_and_do_not_overlap(
    request: str, verdict: str, steps: list[Card], beside: list[Card], good: bool
) -> None:
    root = ET.fromstring(draw(request, verdict, steps, beside, good=good))
    page = Box(0, 0, float(root.get("width", "")), float(root.get("height", "")))
    found = boxes(root)
    assert len(found) == len(steps) + len(beside)
    for one, below in pairwise(found):
        if one.x == below.x:
            assert one.y + one.height < below.y
    for each in found:
        assert each.x + each.width < page.width
        assert each.y + each.height < page.height
    for text in list(root.iter(f"{SVG}text"))[2:]:  # but the request and its end
        x, y = float(text.get("x", "")), float(text.get("y", ""))
        assert any(b.x < x <= b.x + b.width and b.y < y < b.y + b.height for b in found)


def test_long_words_are_broken_and_long_texts_end_in_an_ellipsis() -> None:
    root = ET.fromstring(draw("r", "v", [Card("Route", [Row("x" * 2_000, look="mono")])], [], good=True))
    lines = [each.text or "" for each in root.iter(f"{SVG}text") if each.get("class") == "mono"]
    assert len(lines) == 4
    assert lines[-1].endswith("…")
    assert max(map(len, lines)) * 7.5 <= 460


def test_the_picture_is_read_out_by_its_title_and_description() -> None:
    root = ET.fromstring(draw("GET /<a>", "404", [Card("Listener", [Row("web"), Row("why")])], [], good=False))
    assert (root.get("role"), root.get("aria-labelledby")) == ("img", "title desc")
    assert root.findtext(f"{SVG}title") == "GET /<a>"
    assert root.findtext(f"{SVG}desc") == "404. Listener: web, why"
