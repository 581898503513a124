"""A replay counts every line by what `decide_entry` says of its request, whatever is remembered between lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayproxy.compiler.lower import lower
from gatewayproxy.dataplane.stats import AccessRecord
from gatewayproxy.insight.access_logs import parse_line
from gatewayproxy.insight.ports import PortTable, decide_entry
from gatewayproxy.insight.replay import Replay
from gatewayproxy.insight.replay.counts import Counts
from gatewayproxy.model.plan import GRPCMatch, Match, Plan
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.ops.accesslog import json_line, text_line
from tests.properties.test_match import HOSTS, PATHS, plans

TIME = "2026-11-21T10:00:00.001Z"
AGENTS = ["1", "2", "12", "a b", "", "-", 'x"y', "\x7f", "Mozilla/5.0 (X11)"]
QUERIES = ["", "", "?p=1", "?q+q=a%20b&p=2", "?", "?a=<b>", "?x#y"]
SCANS = ["/%61", "/a;v=1", "/a b", "*", "/a/../b", "/\\", "/é"]


@st.composite
def configurations(draw: st.DrawFn) -> Plan:
    """Return a plan, some of whose header tests are about fields that logs have."""
    plan: Plan = draw(plans())
    name = draw(st.sampled_from([b"x", b"user-agent", b"referer"]))

    def renamed(match: Match | GRPCMatch) -> Match | GRPCMatch:
        tests = tuple(test._replace(name=name) if test.name == b"x" else test for test in match.headers)
        return replace(match, headers=tests)

    listeners = []
    for listener in plan.listeners:
        attachments = []
        for each in listener.attachments:
            rules = tuple(replace(rule, matches=tuple(map(renamed, rule.matches))) for rule in each.route.rules)
            attachments.append(each._replace(route=replace(each.route, rules=rules)))
        listeners.append(replace(listener, attachments=tuple(attachments)))
    return Plan(listeners=tuple(listeners))


@st.composite
def lines(draw: st.DrawFn, listeners: Sequence[str]) -> bytes:
    host = draw(st.sampled_from([*HOSTS, "a:8080", ""]))
    path = draw(st.sampled_from([*(path.decode() for path in PATHS * 2), *SCANS]))
    method = draw(st.sampled_from(["GET", "GET", "POST", "OPTIONS", "get"]))
    agent, target = draw(st.sampled_from(AGENTS)), path + draw(st.sampled_from(QUERIES))
    status = draw(st.sampled_from([200, 404]))
    form = draw(st.sampled_from(["json", "text", "combined", "envoy", "haproxy", "junk"]))
    record = AccessRecord(
        protocol=draw(st.sampled_from(["http/1.1", "http/2", "http/1.0"])), listener=draw(st.sampled_from(listeners)),
        client="10.0.0.1", started_at=0.0, generation=1, method=method.encode(), host=host.encode("latin-1"),
        target=target.encode("latin-1"), status=status, route=draw(st.sampled_from(["", "HTTPRoute default/r"])),
        rule="0", reason=draw(st.sampled_from(["", "no_rule"])), request_id=b"1",
    )  # fmt: skip
    if form in ("json", "text"):
        return (json_line if form == "json" else text_line)(record, TIME).rstrip("\n").encode()
    request = f'"{method} {target} HTTP/1.1"'
    quoted = agent.replace('"', "\\x22")
    text = {
        "combined": f'10.0.0.1 - - [10/Oct/2026:13:55:36 -0700] {request} {status} 23 "{quoted}" "{quoted}"',
        "envoy": f'[{TIME}] {request} {status} - 154 0 226 100 "10.0.35.2" "{agent}" "i" "{host or "-"}" "10.0.2.1:8"',
        "haproxy": f"10.0.1.2:33317 [06/Feb/2026:12:14:14.655] web static/srv1 1/0/3/6/9 {status} 27 - - ---- "
        f"1/1/1/1/0 0/0 {{{host}|x}} {{}} {request}",
        "junk": f"{host} {path}",
    }  # fmt: skip
    return text[form].encode("latin-1")


def naively(ports: PortTable, logged: Sequence[bytes], *, host: bytes) -> Counter[tuple[object, str]]:
    found: Counter[tuple[object, str]] = Counter()
    for line in logged:
        parsed = parse_line(line)
        if parsed is None:
            found["unread", ""] += 1
            continue
        request = parsed.request
        if not request.authority and not request.listener:
            request = request._replace(authority=host, server_name=host)
        routed = decide_entry(ports, request)
        found[routed.entry.label if routed.entry is not None else None, routed.reason * (routed.entry is None)] += 1
    return found


def counted(counts: Counts) -> Counter[tuple[object, str]]:
    found: Counter[tuple[object, str]] = Counter({("unread", ""): counts.unread} if counts.unread else {})
    for tally in (*counts.cases.values(), *counts.missed.values()):
        if tally.n:
            found[tally.case.now.rule, tally.case.now.reason] += tally.n
    return found


@settings(max_examples=80, deadline=None)
@given(configurations(), st.data())
def test_a_replay_counts_what_is_decided_line_by_line(plan: Plan, data: st.DataObject) -> None:
    table = lower(plan, CompileOptions())
    names = [str(listener.key) for listener in plan.listeners] or ["default/gw/x"]
    some = data.draw(st.lists(lines(names), min_size=1, max_size=6))
    log = data.draw(st.lists(st.sampled_from(some), min_size=1, max_size=24))
    replay = Replay(table, host=b"a")
    half = len(log) // 2
    replay.feed(log[:half], "one", 1)
    replay.feed(log[half:], "two", 1)
    counts = replay.take()
    assert counted(counts) == naively(PortTable(table), log, host=b"a")
    assert counts.hostless == 0
