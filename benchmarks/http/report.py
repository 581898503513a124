"""From runs to figures: medians, spread, ratios of the same round, goals; as JSON and as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import NamedTuple


class Run(NamedTuple):
    """One measurement of one contestant."""

    scenario: str
    proxy: str
    n_routes: int
    turn: int  # of the interleaved rounds
    cpu_us: float  # CPU microseconds of all the proxy's processes per answer
    rps: float  # answers a second
    core: float  # share of its core that the proxy used
    foreign: float  # share of that core that others used


class Row(NamedTuple):
    """The runs of one contestant in one scenario."""

    scenario: str
    proxy: str
    n_routes: int
    n: int
    cpu_us: float  # median
    cpu_us_min: float
    cpu_us_max: float
    rps: float  # median
    core: float  # median
    foreign: float  # median


class Goal(NamedTuple):
    """A promise on the median of per-round ratios."""

    text: str
    scenario: str
    ours: tuple[str, int]  # proxy, routes
    theirs: tuple[str, int]
    bound: float


OURS = "gatewayproxy"
GOALS = (
    Goal("HTTP/1.1 at most 2.0 x nginx", "h1", (OURS, 100), ("nginx", 100), 2.0),
    Goal("HTTP/1.1 at most 2.0 x nginx where fields differ", "varying", (OURS, 100), ("nginx", 100), 2.0),
    Goal("HTTP/1.1 at most 0.6 x Envoy", "h1", (OURS, 100), ("envoy", 100), 0.6),
    Goal("HTTP/1.1 at most 0.6 x Envoy where fields differ", "varying", (OURS, 100), ("envoy", 100), 0.6),
    Goal("HTTP/2 inside TLS at most as much as Envoy", "h2", (OURS, 100), ("envoy", 100), 1.0),
    Goal("HTTP/2 in clear text at most as much as Envoy", "h2c", (OURS, 100), ("envoy", 100), 1.0),
    Goal("HTTP/2 at most as much as Envoy where targets differ", "h2vary", (OURS, 100), ("envoy", 100), 1.0),
    Goal("gRPC at most as much as Envoy", "grpc", (OURS, 100), ("envoy", 100), 1.0),
    Goal("gRPC at most as much as Envoy, a call at a time", "grpc1", (OURS, 100), ("envoy", 100), 1.0),
    Goal("10,000 routes within 5 % of 10", "routes", (OURS, 10_000), (OURS, 10), 1.05),
)


def summarise(runs: Iterable[Run]) -> list[Row]:
    """Return a row per scenario and contestant, in order of appearance."""
    groups: dict[tuple[str, str, int], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.scenario, run.proxy, run.n_routes), []).append(run)
    rows = []
    for (scenario, proxy, n_routes), some in groups.items():
        cpu = [run.cpu_us for run in some]
        middle = [
            statistics.median(getattr(run, name) for run in some) for name in ("cpu_us", "rps", "core", "foreign")
        ]
        rows.append(Row(scenario, proxy, n_routes, len(some), middle[0], min(cpu), max(cpu), *middle[1:]))
    return rows


def ratio(runs: Iterable[Run], scenario: str, ours: tuple[str, int], theirs: tuple[str, int]) -> float | None:
    """Return the median over the rounds of ours / theirs in cpu_us; None where they never met."""
    turns: dict[int, dict[tuple[str, int], float]] = {}
    for run in runs:
        if run.scenario == scenario:
            turns.setdefault(run.turn, {})[run.proxy, run.n_routes] = run.cpu_us
    ratios = [seen[ours] / seen[theirs] for seen in turns.values() if ours in seen and theirs in seen]
    return statistics.median(ratios) if ratios else None


def judge(runs: list[Run]) -> list[tuple[Goal, float, bool]]:
    """Return each goal that was measured, its ratio, and whether it is met."""
    found = [(goal, ratio(runs, goal.scenario, goal.ours, goal.theirs)) for goal in GOALS]
    return [(goal, value, value <= goal.bound) for goal, value in found if value is not None]


TITLES = {
    "h1": "HTTP/1.1 keep-alive, 100 routes, 64 connections, request head of some 500 bytes, answer of 128",
    "varying": "The same with a trace id and a cookie that differ in every request",
    "https": "HTTPS keep-alive (TLS 1.3, P-256), otherwise the same",
    "body": "1 MiB answers, 16 connections",
    "routes": "Route tables of 10 and of 10,000 routes, the same load over five hosts",
    "hosts": "A table of 10,000 routes, load over 500 hosts",
    "h2": "HTTP/2 inside TLS to an HTTP/1.1 upstream, 8 connections of 32 streams",
    "h2c": "HTTP/2 in clear text, otherwise the same",
    "h2vary": "HTTP/2 in clear text, 997 targets in turn",
    "grpc": "gRPC: unary calls of 105 bytes each way, HTTP/2 in clear text on both sides, 8 connections of 32 streams",
    "grpc1": "The same, 64 connections with one call at a time",
}


def markdown(
    runs: list[Run], machine: dict[str, str | int], versions: dict[str, str], about: dict[str, str | int]
) -> str:
    """Return the report of one benchmark."""
    lines = [
        f"# Load benchmark, {about['date']}",
        "",
        f"Commit {about['commit']}. {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB,"
        f" Linux {machine['kernel']}, Python {machine['python']}."
        f" {about['rounds']} interleaved rounds of {about['seconds']} s; the proxy on core 0, load and upstream on core"
        " 1.",
        "",
        *(f"- {name}: {text}" for name, text in versions.items()),
    ]
    rows = summarise(runs)
    for scenario, title in TITLES.items():
        some = [row for row in rows if row.scenario == scenario]
        if some:
            lines += ["", f"## {title}", "", *_table(runs, some)]
    verdicts = judge(runs)
    if verdicts:
        lines += ["", "## Goals", ""]
        lines += [f"- {goal.text}: {value:.2f}, {'met' if met else 'MISSED'}" for goal, value, met in verdicts]
    return "\n".join(lines) + "\n"


def _table(runs: list[Run], rows: list[Row]) -> list[str]:
    several = len({row.n_routes for row in rows}) > 1
    reference = "10 routes" if several else "nginx"
    lines = [
        f"| proxy | CPU µs per request, median (min..max) | to {reference} | requests/s | core used | by others |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in sorted(rows, key=lambda row: (row.proxy, row.n_routes) if several else (row.cpu_us, 0)):
        name = f"{row.proxy}, {row.n_routes} routes" if several else row.proxy
        against = (row.proxy, 10) if several else ("nginx", row.n_routes)
        value = ratio(runs, row.scenario, (row.proxy, row.n_routes), against)
        lines.append(
            f"| {name} | {row.cpu_us:.1f} ({row.cpu_us_min:.1f}..{row.cpu_us_max:.1f}) |"
            f" {'' if value is None else f'{value:.2f}'} | {row.rps:,.0f} | {row.core:.0%} | {row.foreign:.0%} |"
        )
    return lines
