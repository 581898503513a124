"""From figures to a page: medians, spread, ratios of the same round, goals."""

from __future__ import annotations

import statistics
from typing import NamedTuple

OURS = "gatewayproxy"


class Scenario(NamedTuple):
    """What is measured, and in what."""

    title: str
    unit: str
    digits: int


class Goal(NamedTuple):
    """A promise on the median of per-round ratios."""

    scenario: str
    theirs: str
    bound: float


SCENARIOS = {
    "connections": Scenario("New connections, 32 at a time, 64 bytes each way", "CPU µs per connection", 1),
    "serial": Scenario("New connections, one after the other: every event is a wake-up", "CPU µs per connection", 1),
    "passthrough": Scenario(
        "TLS passthrough: new connections routed by server name, 32 at a time, a ClientHello each way",
        "CPU µs per connection",
        1,
    ),
    "exchange": Scenario("64 bytes to and fro on one connection", "CPU µs per exchange", 1),
    "bulk": Scenario("Bulk on one connection", "CPU-s per GiB", 3),
    "idle": Scenario("Idle connections, one exchange before, fresh process", "KiB per connection (Pss)", 2),
}
GOALS = (
    Goal("connections", "haproxy", 1.25),  # connections per core at least 0.80 x
    Goal("connections", "envoy", 0.71),
    Goal("passthrough", "haproxy", 1.43),
    Goal("passthrough", "envoy", 0.50),
    Goal("bulk", "haproxy", 0.90),
    Goal("bulk", "envoy", 0.65),
    Goal("idle", "haproxy", 0.20),
)

Results = dict[str, dict[str, list[float]]]  # scenario -> proxy -> a figure a round


def ratio(results: Results, scenario: str, ours: str, theirs: str) -> float | None:
    """Return the median over the rounds of ours / theirs; None where they never met."""
    figures = results.get(scenario, {})
    pairs = list(zip(figures.get(ours, ()), figures.get(theirs, ()), strict=False))
    return statistics.median(a / b for a, b in pairs if b > 0) if pairs else None


def judge(results: Results) -> list[tuple[Goal, float, bool]]:
    """Return each goal that was measured, its ratio, and whether it is met."""
    found = [(goal, ratio(results, goal.scenario, OURS, goal.theirs)) for goal in GOALS]
    return [(goal, value, value <= goal.bound) for goal, value in found if value is not None]


def markdown(
    results: Results, machine: dict[str, str | int], versions: dict[str, str], about: dict[str, str | int | float]
) -> str:
    """Return the report of one run."""
    lines = [
        f"# L4 benchmark, {about['date']}",
        "",
        f"Commit {about['commit']}. {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB,"
        f" Linux {machine['kernel']}, Python {machine['python']}. {about['rounds']} interleaved rounds of"
        f" {about['seconds']} s; the proxy on core 0, load and upstream on core 1, over loopback: the sender's core"
        " does the receiver's work in the kernel, so compare the figures of a table with each other,"
        " and with nothing else.",
        "",
        *(f"- {name}: {text}" for name, text in versions.items()),
    ]
    for name, figures in results.items():
        lines += ["", f"## {SCENARIOS[name].title}", "", *_table(results, name, figures)]
    lines += ["", "## Goals", ""]
    lines += [
        f"- {goal.scenario}, at most {goal.bound:g} x {goal.theirs}: {value:.2f}, {'met' if met else 'MISSED'}"
        for goal, value, met in judge(results)
    ]
    return "\n".join(lines) + "\n"


def _table(results: Results, name: str, figures: dict[str, list[float]]) -> list[str]:
    _, unit, digits = SCENARIOS[name]
    lines = [f"| proxy | {unit}, median (min..max) | to haproxy |", "|---|---:|---:|"]
    for proxy, values in sorted(figures.items(), key=lambda item: statistics.median(item[1])):
        against = ratio(results, name, proxy, "haproxy")
        lines.append(
            f"| {proxy} | {statistics.median(values):.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f}) |"
            f" {'' if against is None else f'{against:.2f}'} |"
        )
    return lines
