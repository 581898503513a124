"""The way of a request as an SVG: boxes from the listener to the backends, the nearest misses beside. Pure.

Every text is escaped, and wrapped or cut where it would leave its box. There is a light and a dark scheme.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Final, NamedTuple

from gatewayproxy.insight.decision import Decision
from gatewayproxy.insight.effects import cluster_text, filter_steps
from gatewayproxy.insight.explain import answers_well, reason_text, route_text
from gatewayproxy.insight.requests import describe
from gatewayproxy.insight.stream_misses import contender_text

__all__ = ["to_svg"]

_WIDTH: Final = 460  # of a box
_GAP: Final = 34  # between boxes, where the arrow is
_LINE: Final = 19
_LEFT: Final = 24
_BESIDE: Final = _LEFT + _WIDTH + 56  # where the second column begins
_TOTAL: Final = _BESIDE + _WIDTH + _LEFT
_CHARACTERS: Final = 62  # of a line in a box
_MISSES: Final = 6
_LISTENERS: Final = 5
_BACKENDS: Final = 8

_STYLE: Final = """
  text { font: 13px ui-sans-serif, system-ui, sans-serif; fill: #1f2937 }
  .title { font-weight: 600 } .quiet { fill: #6b7280 } .mono { font: 12px ui-monospace, monospace }
  .page { fill: #ffffff } .box { fill: #f8fafc; stroke: #cbd5e1 } .good { fill: #ecfdf5; stroke: #10b981 }
  .bad { fill: #fef2f2; stroke: #ef4444 } .lost { fill: none; stroke: #cbd5e1; stroke-dasharray: 4 3 }
  .way { stroke: #64748b; stroke-width: 1.5; fill: none } .tip { fill: #64748b }
  @media (prefers-color-scheme: dark) {
    text { fill: #e5e7eb } .quiet { fill: #9ca3af } .page { fill: #0f172a } .box { fill: #1e293b; stroke: #475569 }
    .good { fill: #064e3b } .bad { fill: #7f1d1d } .lost { stroke: #475569 }
  }
"""


class _Box(NamedTuple):
    """A box: its title, its lines, its class."""

    title: str
    lines: Sequence[str]
    look: str = "box"
    mono: bool = False

    @property
    def rows(self) -> list[str]:
        """Return the lines as they fit: a long one goes on in the next rows, three at most."""
        return [row for line in self.lines for row in _wrapped(line)]

    @property
    def height(self) -> int:
        return 22 + _LINE * (len(self.rows) + 1)


def _wrapped(line: str) -> list[str]:
    indent = "      " if line.startswith(" ") else ""
    return wrap(line, _CHARACTERS, initial_indent="", subsequent_indent=indent, max_lines=3, placeholder=" …")


def to_svg(decision: Decision) -> str:
    """Return *decision* as an SVG document."""
    way, beside = _way(decision), _beside(decision)
    height = max(_height(way), _height(beside))
    left, right = _column(way, _LEFT, arrows=True), _column(beside, _BESIDE, arrows=False)
    title = _escaped(describe(decision.request))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_TOTAL} {height}" width="{_TOTAL}" height="{height}" '
        f'role="img" aria-label="{title}">\n<title>{title}</title>\n<style>{_STYLE}</style>\n'
        f'<rect class="page" width="{_TOTAL}" height="{height}"/>\n{left}{right}</svg>\n'
    )


def _height(boxes: Sequence[_Box]) -> int:
    return 2 * _LEFT + sum(box.height + _GAP for box in boxes) - _GAP


def _way(decision: Decision) -> list[_Box]:
    """Return the boxes from the request to its end."""
    boxes = [_Box("Request", [describe(decision.request)], mono=True)]
    why = next((each.why for each in decision.listeners if each.chosen), "")
    names = [f"certificate {', '.join(each.names)}" for each in decision.certificates]
    boxes.append(_Box("Listener", [line for line in (decision.listener or "none", why, *names) if line]))
    if decision.entry is not None:
        match = [contender_text(decision.winner)] if decision.winner is not None else []
        boxes.append(_Box("Route", [route_text(decision), *match]))
    steps = filter_steps(decision)
    if steps:
        boxes.append(_Box("Filters", [f"{at}. {step}" for at, step in enumerate(steps, 1)]))
    boxes.append(_end(decision))
    return boxes


def _end(decision: Decision) -> _Box:
    look = "good" if answers_well(decision) else "bad"
    if decision.answer is not None:
        told = decision.answer
        status = f"{told.status} " if told.status else "the connection ends, "
        return _Box("Answer of the gateway", [status + reason_text(told), *told.lines], look)
    lines = []
    for each in decision.outcomes[:_BACKENDS]:
        where = cluster_text(each.cluster) if each.cluster is not None else ""
        if each.answer is not None:
            where = f"{each.answer.status} {reason_text(each.answer)}"
        lines += [f"{each.share * 100:.4g} %  {each.name}".rstrip(), f"      {where}"]
    rest = len(decision.outcomes) - _BACKENDS
    return _Box("Backends", lines + ([f"and {rest} more"] if rest > 0 else []), look)


def _beside(decision: Decision) -> list[_Box]:
    """Return what lost: other listeners, and the nearest misses."""
    others = [each for each in decision.listeners if not each.chosen]
    lost = [line for each in others[:_LISTENERS] for line in (each.name, f"      {each.why}")]
    rest = len(others) - _LISTENERS
    boxes = [_Box("Other listeners", lost + ([f"and {rest} more"] if rest > 0 else []), "lost")] if lost else []
    missed = []
    for miss in decision.missed[:_MISSES]:
        kind, name, rule = miss.contender.is_of
        missed += [f"{kind} {name} rule {rule}: {contender_text(miss.contender)}"]
        missed += [f"      {miss.failed.name.lower()}: {miss.detail}"]
    rest = len(decision.missed) - _MISSES
    if missed:
        boxes.append(_Box("Nearest misses", missed + ([f"and {rest} more"] if rest > 0 else []), "lost"))
    return boxes


def _column(boxes: Sequence[_Box], x: int, *, arrows: bool) -> str:
    parts = []
    y = _LEFT
    for at, box in enumerate(boxes):
        if at and arrows:
            parts.append(_arrow(x + _WIDTH // 2, y - _GAP, y))
        parts.append(_drawn(box, x, y))
        y += box.height + _GAP
    return "".join(parts)


def _arrow(x: int, start: int, end: int) -> str:
    return (
        f'<path class="way" d="M{x} {start}V{end - 8}"/>'
        f'<path class="tip" d="M{x - 5} {end - 9}h10l-5 8z"/>\n'
    )  # fmt: skip


def _drawn(box: _Box, x: int, y: int) -> str:
    parts = [f'<rect class="{box.look}" x="{x}" y="{y}" width="{_WIDTH}" height="{box.height}" rx="8"/>\n']
    parts.append(f'<text class="title" x="{x + 16}" y="{y + 25}">{_escaped(box.title)}</text>\n')
    for at, line in enumerate(box.rows, 1):
        look = "mono" if box.mono else "quiet" if line.startswith(" ") else ""
        indent = 12 if line.startswith(" ") else 0
        text = _escaped(line.strip())
        parts.append(f'<text class="{look}" x="{x + 16 + indent}" y="{y + 25 + at * _LINE}">{text}</text>\n')
    return "".join(parts)


def _escaped(text: str) -> str:
    """Return *text* fit for XML: markup escaped, and characters that XML cannot hold replaced."""
    plain = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
