"""Cards in two columns as an SVG: the left ones are steps, with arrows between them. Pure.

Every text is escaped, and wrapped or cut where it would leave its card. Widths of characters are those of wide common
fonts, so that what is measured here fits with narrower ones, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Final, NamedTuple

__all__ = ["Card", "Row", "draw"]

_MARGIN: Final = 28
_PAD: Final = 18
_LEFT_WIDTH: Final = 460
_RIGHT_WIDTH: Final = 540
_BETWEEN: Final = 40  # columns
_ARROW: Final = 30  # between cards
_LINE: Final = 20
_GAP: Final = 9  # above a row that begins something new
_HEAD: Final = 40  # of a card: its title
_FOOT: Final = 12
_TOP: Final = 96  # the request and its end
_MOST_ROWS: Final = 4  # that one text may take
_MOST_READ_OUT: Final = 200  # characters of one
_BAR: Final = 4
_TOTAL: Final = _MARGIN + _LEFT_WIDTH + _BETWEEN + _RIGHT_WIDTH + _MARGIN
_WIDTHS: Final = {"": 7.5, "main": 8.0, "quiet": 7.1, "mono": 7.5, "request": 9.2, "verdict": 8.0}  # of a character
_PILL_CHARACTER: Final = 6.4

_STYLE: Final = """
  text { font: 13px "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; fill: #1e293b; white-space: pre }
  .main { font-weight: 600 } .quiet { font-size: 12.5px; fill: #475569 }
  .mono, .request { font: 12px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #334155 }
  .request { font-size: 15px; font-weight: 600; fill: #0f172a } .verdict { font-size: 14px }
  .label { font-size: 11px; font-weight: 600; letter-spacing: .06em; fill: #64748b }
  .right { font-size: 12.5px; fill: #475569; text-anchor: end }
  .page { fill: #ffffff } .card { fill: #f8fafc; stroke: #cbd5e1 } .lost { fill: #ffffff; stroke: #cbd5e1 }
  .good { fill: #f0fdf4; stroke: #16a34a } .bad { fill: #fef2f2; stroke: #dc2626 }
  .pill { fill: #e2e8f0 } .pilltext { font-size: 11px; fill: #334155; text-anchor: middle }
  .pillbad { fill: #fee2e2 } .pillbadtext { font-size: 11px; fill: #991b1b; text-anchor: middle }
  .way { stroke: #64748b; stroke-width: 1.5; fill: none } .tip { fill: #64748b }
  .track { fill: #dcfce7 } .bar { fill: #16a34a } .dotgood { fill: #16a34a } .dotbad { fill: #dc2626 }
  @media (prefers-color-scheme: dark) {
    text, .request { fill: #e2e8f0 } .mono, .quiet, .right { fill: #cbd5e1 } .label { fill: #94a3b8 }
    .page, .lost { fill: #0f172a } .card { fill: #1e293b } .card, .lost { stroke: #475569 }
    .good { fill: #052e16 } .bad { fill: #450a0a } .pill { fill: #334155 } .pilltext { fill: #e2e8f0 }
    .pillbad { fill: #7f1d1d } .pillbadtext { fill: #fee2e2 } .track { fill: #14532d }
  }
"""


class Row(NamedTuple):
    """A text in a card; *right*: a second one at its right end, *bar*: a share, 0 to 1, drawn below."""

    text: str
    look: str = ""
    pill: str = ""  # a word before the text
    tone: str = ""  # of the pill: "" or "bad"
    right: str = ""
    bar: float = -1.0
    gap: bool = False  # something new begins


class Card(NamedTuple):
    """A titled box; *look*: card, good, bad or lost."""

    title: str
    rows: Sequence[Row]
    look: str = "card"


class _Fitted(NamedTuple):
    """A row, and its text in lines that fit."""

    row: Row
    lines: Sequence[str]
    indent: int  # of the text, for the pill

    @property
    def height(self) -> int:
        return _LINE * len(self.lines) + _GAP * self.row.gap + (_BAR + 6) * (self.row.bar >= 0)


def draw(request: str, verdict: str, steps: Sequence[Card], beside: Sequence[Card], *, good: bool) -> str:
    """Return the picture of *request*, which ends as *verdict* says, well or not."""
    left = [(card, [_fit(row, _LEFT_WIDTH) for row in card.rows]) for card in steps]
    right = [(card, [_fit(row, _RIGHT_WIDTH) for row in card.rows]) for card in beside]
    height = max(_bottom(left), _bottom(right))
    title, described = escaped(request), escaped(f"{verdict}. {'; '.join(map(_read_out, steps))}")
    return "".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_TOTAL} {height}" width="{_TOTAL}" height="{height}" ',
        f'role="img" aria-labelledby="title desc">\n<title id="title">{title}</title>\n',
        f'<desc id="desc">{described}</desc>\n<style>{_STYLE}</style>\n',
        f'<rect class="page" width="{_TOTAL}" height="{height}"/>\n',
        *_heading(request, verdict, good=good),
        *_column(left, _MARGIN, _LEFT_WIDTH, arrows=True),
        *_column(right, _MARGIN + _LEFT_WIDTH + _BETWEEN, _RIGHT_WIDTH, arrows=False),
        "</svg>\n",
    ])  # fmt: skip


def escaped(text: str) -> str:
    """Return *text* fit for XML: markup escaped, and characters that XML cannot hold replaced."""
    plain = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _read_out(card: Card) -> str:
    return f"{card.title}: {', '.join(row.text[:_MOST_READ_OUT] for row in card.rows)}"


def _heading(request: str, verdict: str, *, good: bool) -> Iterator[str]:
    wide = _TOTAL - 2 * _MARGIN
    (first,) = _lines(request, "request", wide, 1)
    (second,) = _lines(verdict, "verdict", wide - 20, 1)
    yield f'<text class="request" x="{_MARGIN}" y="42">{escaped(first)}</text>\n'
    yield f'<circle class="{"dotgood" if good else "dotbad"}" cx="{_MARGIN + 6}" cy="66" r="5"/>\n'
    yield f'<text class="verdict" x="{_MARGIN + 20}" y="71">{escaped(second)}</text>\n'


_Column = Sequence[tuple[Card, Sequence[_Fitted]]]


def _bottom(column: _Column) -> int:
    return _TOP + sum(_card_height(rows) + _ARROW for _, rows in column) - _ARROW * bool(column) + _MARGIN


def _card_height(rows: Sequence[_Fitted]) -> int:
    return _HEAD + sum(row.height for row in rows) - 8 + _FOOT


def _fit(row: Row, width: int) -> _Fitted:
    indent = _pill_width(row.pill) + 8 if row.pill else 0
    aside = round(len(row.right) * _WIDTHS["quiet"]) + 12 if row.right else 0
    return _Fitted(row, _lines(row.text, row.look, width - 2 * _PAD - indent - aside, _MOST_ROWS), indent)


def _lines(text: str, look: str, width: int, most: int) -> Sequence[str]:
    room = max(int(width / _WIDTHS[look]), 8)
    text = text[: room * (most + 1)]  # a text of a peer may be long
    return wrap(text, room, max_lines=most, placeholder=" …") or [""]


def _pill_width(pill: str) -> int:
    return round(len(pill) * _PILL_CHARACTER) + 14


def _column(column: _Column, x: int, width: int, *, arrows: bool) -> Iterator[str]:
    y = _TOP
    for at, (card, rows) in enumerate(column):
        if at and arrows:
            yield _arrow(x + 40, y - _ARROW, y)
        height = _card_height(rows)
        yield f'<rect class="{card.look}" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>\n'
        yield f'<text class="label" x="{x + _PAD}" y="{y + 24}">{escaped(card.title.upper())}</text>\n'
        below = y + _HEAD
        for row in rows:
            yield from _row(row, x + _PAD, below, width - 2 * _PAD)
            below += row.height
        y += height + _ARROW


def _row(fitted: _Fitted, x: int, y: int, width: int) -> Iterator[str]:
    row = fitted.row
    base = y + _GAP * row.gap + 6
    if row.pill:
        look = f"pill{row.tone}"
        wide = _pill_width(row.pill)
        yield f'<rect class="{look}" x="{x}" y="{base - 12}" width="{wide}" height="16" rx="8"/>\n'
        yield f'<text class="{look}text" x="{x + wide / 2:g}" y="{base}">{escaped(row.pill)}</text>\n'
    for at, line in enumerate(fitted.lines):
        yield f'<text class="{row.look}" x="{x + fitted.indent}" y="{base + at * _LINE}">{escaped(line)}</text>\n'
    if row.right:
        yield f'<text class="right" x="{x + width}" y="{base}">{escaped(row.right)}</text>\n'
    if row.bar >= 0:
        under = base + (len(fitted.lines) - 1) * _LINE + 7
        yield f'<rect class="track" x="{x}" y="{under}" width="{width}" height="{_BAR}" rx="2"/>\n'
        yield f'<rect class="bar" x="{x}" y="{under}" width="{round(width * row.bar)}" height="{_BAR}" rx="2"/>\n'


def _arrow(x: int, start: int, end: int) -> str:
    return f'<path class="way" d="M{x} {start}V{end - 8}"/><path class="tip" d="M{x - 5} {end - 9}h10l-5 8z"/>\n'
