"""`gatewayproxy rules` and `misses`: the pages /rules and /misses as tables. Pure.

What clients have sent is printable already (`routing.causes.printable`), and is made so once more: a terminal acts on
nothing that a stranger's gateway says.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from gatewayproxy.insight.get import duration
from gatewayproxy.insight.wording import aligned, printable

__all__ = ["misses_text", "never_hit", "rules_text"]

Tree = Mapping[str, Any]
_GAP: Final = "   "
_UNLISTED: Final = (
    "    -> connections are not listed below: gatewayproxy get tcproutes,tlsroutes,udproutes -A -o wide says which "
    "routes no listener has"
)
_RULES_HEAD: Final = ("ROUTE", "RULE", "LISTENER", "HITS", "ACTIVE", "LAST HIT", "SINCE", "GENERATION", "ANSWERS")


def rules_text(rules: Sequence[Tree], *, now: float) -> str:
    """Return *rules* of /rules, one line each, "" for none; *now* is Unix seconds.

    What rules answer in the place of backends has a column where there is one that does.
    """
    head: Sequence[str] = _RULES_HEAD
    rows: list[Sequence[str]] = [
        (
            f"{each['kind']} {each['route']}",
            f"{each['rule']} ({each['name']})" if each["name"] else str(each["rule"]),
            each["listener"],
            str(each["hits"]),
            str(each["active"]),
            _ago(each["last_hit"], now),
            _ago(each["since"], now),
            str(each["generation"]),
            each.get("answers", ""),
        )
        for each in rules
    ]
    if not any(row[-1] for row in rows):
        rows, head = [row[:-1] for row in rows], head[:-1]
    return "".join(f"{line}\n" for line in _aligned([head, *rows])) if rows else ""


def never_hit(rules: Iterable[Tree]) -> list[Tree]:
    """Return those of *rules* that nothing has hit."""
    return [each for each in rules if not each["hits"]]


def misses_text(page: Tree, *, now: float, server: str = "") -> str:
    """Return /misses: a few lines for each, the most frequent first; *now* is Unix seconds.

    *server*: the address that must be named to ask further, "" where it is the default.
    """
    answers = page["answers"]
    lines = []
    if n := answers["no_rule"]:
        lines.append(f"{n} request{'' if n == 1 else 's'} answered 404: no rule of the host matched")
    if n := answers["no_route"]:  # of TCP and TLS listeners, too
        lines.append(f"{n} without a route: requests are answered 404, connections end")
        if n > sum(each["count"] for each in page["misses"] if each["reason"] == "no_route"):
            lines.append(_UNLISTED)
    for each in page["misses"]:
        lines += ["", *_miss(each, page["generation"], now)]
    if page["misses"]:
        asked = f"gatewayproxy explain {f'--server {server} ' if server else ''}-- URL"
        lines += ["", f"{asked} tells the whole of one, and routes that no listener has"]
    return "".join(f"{printable(line)}\n" for line in lines)


def _miss(miss: Tree, generation: int, now: float) -> Iterator[str]:
    least = miss["count"] - miss["over"]
    times = f"{least}x" if not miss["over"] else f"{least}-{miss['count']}x"
    yield f"{times}  {miss['method']} {miss['host']}{miss['path']}"
    yield f"    {miss['reason']}: {miss['cause'] or 'closest not looked for'}"
    if miss["fix"]:
        yield f"    -> {miss['fix']}"
    old = f", by generation {miss['generation']}" if miss["generation"] != generation else ""
    yield f"    on {miss['listener']}, last {_ago(miss['last'], now)}{old}"


def _ago(moment: str | None, now: float) -> str:
    if moment is None:
        return "never"
    seconds = now - datetime.datetime.fromisoformat(moment).timestamp()
    return f"{duration(max(0, int(seconds)))} ago"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    return [printable(line) for line in aligned(rows, _GAP)]
