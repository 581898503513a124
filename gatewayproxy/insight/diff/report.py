"""`gatewayproxy diff`: print a Diff for people, for a review comment, and for programs. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Any, Final

from gatewayproxy.insight.diff import Change, Diff, Gone
from gatewayproxy.insight.diff.differences import Difference, hosts_text
from gatewayproxy.insight.diff.outcomes import Changed
from gatewayproxy.insight.diff.rules import RuleName
from gatewayproxy.insight.diff.samples import Sample
from gatewayproxy.insight.diff.traffic import Traffic
from gatewayproxy.insight.regions import PATH, How, Region, Test, Texts
from gatewayproxy.insight.requests import Kind, Request
from gatewayproxy.insight.wording import printable

__all__ = ["FORMS", "to_json", "to_markdown", "to_text", "words_for"]

SHOWN: Final = 8  # regions of a change, and changes of a review comment, that are printed without --all
_EVERY_PATH: Final = Texts((Test(How.UNDER, b""),))
_NO_WITNESS: Final = "no witness was found: there may be no such request"


def to_text(diff: Diff, traffic: Traffic | None = None, *, every: bool = False) -> str:
    """Return *diff* for a terminal; *every*: all regions, not just some of each change."""
    if diff.same and not _also(diff):
        return "the same: no request, connection or certificate is treated otherwise\n"
    lines = [_sum(diff), *_traffic_lines(traffic)]
    for number, change in enumerate(_ordered(diff, traffic), 1):
        lines += ["", f"{number}. {change.title}{_weight(change, traffic)}", *_change_lines(change, traffic, every)]
    for title, told in _also(diff):
        lines += ["", title, *(f"  {each}" for each in told)]
    return "".join(f"{printable(line).rstrip()}\n" for line in lines)


def _sum(diff: Diff) -> str:
    n_regions = sum(len(_groups(change)) for change in diff.changes)
    parts = [_number(len(diff.changes), "change"), f"{_number(n_regions, 'region')} of requests"]
    n_large = sum(not each.examined for each in diff.differences)
    parts += [f"{n_large:,} of them not compared to the end"] if n_large else []
    parts += [f"{_number(len(diff.rules.dead), 'rule')} dead"] if diff.rules.dead else []
    ends = sum(each.ends for each in diff.effects)
    parts += [f"{_number(ends, 'port or pool', 'ports or pools')} to drain"] if ends else []
    return ", ".join(parts)


def _number(n: int, noun: str, plural: str = "") -> str:
    count = f"{n:,}" if n else "no"
    return f"{count} {noun if n == 1 else plural or noun + 's'}"


def _traffic_lines(traffic: Traffic | None) -> Iterator[str]:
    if traffic is None:
        return
    share = _percent(traffic.share(traffic.n_changed))
    yield f"{share} of {traffic.n_requests:,} requests are treated otherwise"
    for (old, new), n_requests in sorted(traffic.moves.items(), key=lambda each: -each[1])[:SHOWN]:
        how = f"move from {old} to {new}" if old != new else f"stay with {old}, in another way"
        yield f"  {_percent(traffic.share(n_requests)):>8} {how}"
    if traffic.n_unplaced:
        yield f"  {traffic.n_unplaced:,} of them are in no region: their paths have several readings"
    if traffic.n_unread:
        yield f"  {_number(traffic.n_unread, 'line')} of no known form left out"
    if traffic.n_hostless:
        told = _number(traffic.n_hostless, "line")
        yield f"  {told} without a host left out; replay --against decides them with -H 'Host: shop.example'"


def _percent(share: float) -> str:
    return f"{share:.2g} %" if 0 < share < 10 else f"{share:.0f} %"


def _ordered(diff: Diff, traffic: Traffic | None) -> list[Change]:
    """Return the changes, those that most requests meet first."""
    return sorted(diff.changes, key=lambda change: -_n_requests(change, traffic))


def _n_requests(change: Change, traffic: Traffic | None) -> int:
    return sum(traffic.counts.get(each, 0) for each in change.differences) if traffic is not None else 0


def _weight(change: Change, traffic: Traffic | None) -> str:
    return f"  ({_percent(traffic.share(_n_requests(change, traffic)))} of requests)" if traffic is not None else ""


def _change_lines(change: Change, traffic: Traffic | None, every: bool) -> Iterator[str]:
    for fact in _telling(change):
        yield f"     {_fact(fact)}"
    groups = _groups(change)
    shown = groups if every else groups[:SHOWN]
    for group in shown:
        n_requests = sum(traffic.counts.get(each, 0) for each in group) if traffic is not None else 0
        count = f": {_number(n_requests, 'request')}" if n_requests else ""
        yield f"   {where(group)}{count}"
        yield from (f"     {line}" for line in _about(group[0]))
    if len(shown) < len(groups):
        yield f"   and {_number(len(groups) - len(shown), 'more region')}: --all"


def _groups(change: Change) -> list[list[Difference]]:
    """Return the differences of *change*, those that are alike on several ports side by side."""
    groups: dict[tuple[object, ...], list[Difference]] = {}
    for each in change.differences:
        shown = (each.kind, hosts_text(each.hosts, most=len(each.hosts)), _region(each), each.rules, each.examined)
        groups.setdefault((*shown, each.witness is None), []).append(each)
    return list(groups.values())


def _telling(change: Change) -> list[Changed]:
    """Return the facts that say more than the title, and not what comes and goes with a backend."""
    if len(change.facts) == 1:
        return []
    moved = {each.what.removeprefix("backend ") for each in change.facts if each.what.startswith("backend ")}
    kept = [each for each in change.facts if each.old and each.new]
    return kept + [
        each
        for each in change.facts
        if not (each.old and each.new)
        and each.what.partition(" of ")[2] not in moved
        and each.what not in ("answer", "listener")
        and "every request" not in (each.old, each.new)
    ]


def _fact(fact: Changed) -> str:
    if not fact.old:
        return f"+ {fact.what}: {fact.new}"
    return f"- {fact.what}: {fact.old}" if not fact.new else f"~ {fact.what}: {fact.old} -> {fact.new}"


def where(group: Sequence[Difference]) -> str:
    """Return the requests of differences that are alike but for their ports, in words."""
    each = group[0]
    places = ", ".join(place for one in group for place in one.pair.places)
    if each.pair.old is None or each.pair.new is None or each.kind in (Kind.TCP, Kind.UDP):
        return f"{each.kind.value} on {places}"
    names = hosts_text(each.hosts)
    if each.kind is Kind.TLS:
        return f"TLS on {places}: server name {names}"
    return f"{names}: {_region(each)}; on {places}"


def _region(each: Difference) -> str:
    """Return the region in words, without a path that is any."""
    parts = {dim: texts for dim, texts in each.region.parts.items() if dim != PATH or texts != _EVERY_PATH}
    return Region(parts).text


def _about(each: Difference) -> Iterator[str]:
    if each.sample is not None:
        yield from _sampled(each.sample)
        return
    old, new = each.rules
    if old != new:
        yield f"was {old or 'no rule'}, is {new or 'no rule'}"
    elif old:
        yield f"by {old}"
    if each.witness is None:
        yield _NO_WITNESS
    else:
        yield f"e.g. {words_for(each.witness)}"


def _sampled(sample: Sample) -> Iterator[str]:
    n_left = sample.n_matches - sample.n_asked
    told = f"{sample.n_moved:,} of them treated otherwise" if sample.moves else "all of them treated as before"
    yield f"sampled: {_number(sample.n_asked, 'request')} that a match takes, {told}"
    yield f"not looked at: {n_left:,} of {_number(sample.n_matches, 'match', 'matches')}, and what lies between"
    for move in sample.moves[:SHOWN]:
        yield f"{move.n:,}: {move.old.brief} -> {move.new.brief}, e.g. {words_for(move.witness)}"
    if len(sample.moves) > SHOWN:
        yield f"and {_number(len(sample.moves) - SHOWN, 'more outcome')} of the sample"


def words_for(request: Request) -> str:
    """Return the words that `explain CONFIG --` reads *request* from; what shells would read is quoted."""
    if request.kind is not Kind.HTTP:
        name = request.server_name.decode("latin-1") if request.server_name else ""
        return f"{request.kind.value.lower()}://{name}:{request.port}"
    scheme = "https" if request.tls else "http"
    authority = request.authority.decode("latin-1")
    usual = request.port in (0, 443 if request.tls else 80)
    port = "" if usual or ":" in authority.rpartition("]")[2] else f":{request.port}"
    words = ["-X", request.method.decode("latin-1")] if request.method != b"GET" else []
    for field, value in request.headers:
        text = f": {value.decode('latin-1')}" if value else ";"
        words += ["-H", field.decode("latin-1") + text]
    return shlex.join([*words, f"{scheme}://{authority}{port}{request.target.decode('latin-1')}"])


def _also(diff: Diff) -> list[tuple[str, list[str]]]:
    """Return what is told beside regions: (title, lines), what there is."""
    rules = diff.rules
    told = [
        ("LISTENERS", _came_and_went(diff.listeners)),
        ("BACKENDS", _came_and_went(diff.backends)),
        ("CERTIFICATES", _came_and_went(diff.certificates)),
        (
            "RULES",
            [
                *_rules("+", rules.gained, "", rules.born_dead),
                *_rules("-", rules.lost, ""),
                *_rules("~", rules.dead, "nothing comes to it any more: what goes before it takes all"),
                *_rules("~", rules.alive, "requests come to it now"),
                *_doubted(rules.doubted),
            ],
        ),
        ("CONNECTIONS", [f"{each.what}: {each.text}" for each in diff.effects]),
    ]
    return [(title, lines) for title, lines in told if lines]


def _came_and_went(gone: Gone) -> list[str]:
    return [f"+ {name}" for name in gone.gained] + [f"- {name}" for name in gone.lost]


def _rules(sign: str, rules: Sequence[RuleName], what: str, dead: Sequence[RuleName] = ()) -> Iterator[str]:
    for each in rules:
        told = "nothing comes to it: what goes before it takes all" if each in dead else what
        yield f"{sign} {each}{f': {told}' if told else ''}"


def _doubted(rules: Sequence[RuleName]) -> Iterator[str]:
    if rules:
        yield f"? {_number(len(rules), 'rule')}, {rules[0]} first: not looked at whether anything comes to them"


# --- for a review comment


def to_markdown(diff: Diff, traffic: Traffic | None = None, *, every: bool = False) -> str:
    """Return *diff* as a comment on a change: a table of changes, the rest folded."""
    if diff.same and not _also(diff):
        return "**gatewayproxy diff**: the same: no request, connection or certificate is treated otherwise.\n"
    lines = [f"**gatewayproxy diff**: {_sum(diff)}", ""]
    lines += [f"{'- ' if line.startswith(' ') else ''}{_cell(line.strip())}" for line in _traffic_lines(traffic)]
    ordered = _ordered(diff, traffic)
    shown = ordered if every else ordered[:SHOWN]
    if shown:
        lines += ["", *_table(shown, traffic), ""]
    if len(shown) < len(ordered):
        lines += [f"and {_number(len(ordered) - len(shown), 'more change')}", ""]
    for change in shown:
        lines += _folded(change.title, list(_change_lines(change, traffic, every)))
    for title, told in _also(diff):
        lines += _folded(f"{title.capitalize()} ({len(told)})", told)
    return "".join(f"{line}\n" for line in lines)


def _table(changes: Sequence[Change], traffic: Traffic | None) -> Iterator[str]:
    yield "| change | requests | for example |" + (" share |" if traffic is not None else "")
    yield "|---|---|---|" + ("---:|" if traffic is not None else "")
    for change in changes:
        groups = _groups(change)
        first, more = groups[0][0], len(groups) - 1
        requests = where(groups[0]) + (f", and {_number(more, 'more region')}" if more else "")
        example = f"`{_cell(words_for(first.witness), code=True)}`" if first.witness is not None else _NO_WITNESS
        share = f" {_percent(traffic.share(_n_requests(change, traffic)))} |" if traffic is not None else ""
        yield f"| {_cell(change.title)} | {_cell(requests)} | {example} |{share}"


def _cell(text: str, *, code: bool = False) -> str:
    """Return *text* as it stands, in a cell of a table: what Markdown or HTML would act on is written otherwise."""
    plain = printable(text).rstrip()
    if code:
        return plain.replace("`", "'").replace("|", "\\|")
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{each}" if each in "\\`*_|[]#@!" else each for each in plain)


def _folded(title: str, body: Sequence[str]) -> list[str]:
    text = [printable(line[5:] if line[5:6] in "+-" else line).rstrip().replace("```", "'''") for line in body]
    return [f"<details><summary>{_cell(title)}</summary>", "", "```diff", *text, "```", "", "</details>"]


# --- for programs


def to_json(diff: Diff, traffic: Traffic | None = None, *, every: bool = False) -> str:
    """Return *diff* as JSON; keys stay, absent things are None or empty. All regions are there, whatever *every*."""
    del every
    tree = {
        "same": diff.same,
        "changes": [_change_tree(each, traffic) for each in _ordered(diff, traffic)],
        "listeners": _gone_tree(diff.listeners),
        "backends": _gone_tree(diff.backends),
        "certificates": _gone_tree(diff.certificates),
        "rules": {
            name: [{"kind": each.kind, "route": each.route, "rule": each.rule} for each in rules]
            for name, rules in (
                ("gained", diff.rules.gained), ("lost", diff.rules.lost), ("dead", diff.rules.dead),
                ("alive", diff.rules.alive), ("gainedDead", diff.rules.born_dead), ("notLookedAt", diff.rules.doubted),
            )
        },
        "connections": [{"what": each.what, "text": each.text, "ends": each.ends} for each in diff.effects],
        "traffic": _traffic_tree(traffic),
    }  # fmt: skip
    return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"


def _change_tree(change: Change, traffic: Traffic | None) -> dict[str, Any]:
    return {
        "title": change.title,
        "facts": [{"what": each.what, "old": each.old or None, "new": each.new or None} for each in change.facts],
        "requests": _n_requests(change, traffic) if traffic is not None else None,
        "regions": [_region_tree(each, traffic) for each in change.differences],
    }


def _region_tree(each: Difference, traffic: Traffic | None) -> dict[str, Any]:
    old, new = each.rules
    return {
        "kind": each.kind.value,
        "ports": list(each.pair.places),
        "listeners": list(each.pair.listeners),
        "hosts": [hosts_text([texts]) for texts in each.hosts],
        "region": _region(each),
        "old": {"brief": each.old.brief, "rule": old or None},
        "new": {"brief": each.new.brief, "rule": new or None},
        "witness": words_for(each.witness) if each.witness is not None else None,
        "patterns": each.region.is_open,
        "examined": each.examined,
        "sample": _sample_tree(each.sample),
        "requests": traffic.counts.get(each, 0) if traffic is not None else None,
    }


def _sample_tree(sample: Sample | None) -> dict[str, Any] | None:
    if sample is None:
        return None
    return {
        "matches": sample.n_matches,
        "asked": sample.n_asked,
        "differ": sample.n_moved,
        "moves": [
            {"old": each.old.brief, "new": each.new.brief, "asked": each.n, "witness": words_for(each.witness)}
            for each in sample.moves
        ],
    }


def _gone_tree(gone: Gone) -> dict[str, list[str]]:
    return {"gained": list(gone.gained), "lost": list(gone.lost)}


def _traffic_tree(traffic: Traffic | None) -> dict[str, Any] | None:
    if traffic is None:
        return None
    return {
        "lines": traffic.n_lines,
        "requests": traffic.n_requests,
        "withoutHost": traffic.n_hostless,
        "changed": traffic.n_changed,
        "inNoRegion": traffic.n_unplaced,
        "moves": [{"from": old, "to": new, "requests": n} for (old, new), n in traffic.moves.items()],
    }


FORMS: Final = {"text": to_text, "markdown": to_markdown, "json": to_json}
