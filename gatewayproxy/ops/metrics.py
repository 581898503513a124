"""/metrics: one scrape's counters in the Prometheus text format.

Label values come from the configuration and from closed lists of ours, never from a peer. What a long life of changing
configurations could pile up is bounded: beyond `MAX_ROWS` (rule, backend) pairs, the rest is summed under "(other)".
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gatewayproxy import __version__
from gatewayproxy.ops.rules import RuleState
from gatewayproxy.ops.snapshot import BUCKETS, RowName, Snapshot

__all__ = ["CONTENT_TYPE", "MAX_ROWS", "ProcessState", "expose"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
MAX_ROWS: Final = 20_000
_OTHER: Final = RowName("(other)", "", "(other)", 0, "", "(other)")
_ROW_LABELS: Final = ("listener", "route", "rule", "backend")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
    """What the supervisor knows beside the workers' counters."""

    generation: int
    ready: bool
    reloads: Mapping[str, int]  # by result: applied, unchanged, failed
    reload_at: float  # Unix seconds of the last reload that did not fail
    reload_s: float  # how long the last reload took
    restarts: Mapping[str, int]  # by worker
    unbound: int  # addresses and ports that could not be bound
    held: int  # objects whose text has errors, so that their last accepted version serves
    pids: Mapping[str, int] = field(default_factory=dict)  # by process name
    rolled_back: bool = False  # to documents of the history, not those on disk
    kept: int = 0  # generations in the history
    guard_reverts: int = 0
    dropped_events: int = 0  # lines of the supervisor's event log


def expose(total: Snapshot, state: ProcessState, rules: Sequence[RuleState] = ()) -> bytes:
    """Return the exposition. Takes about 0.1 ms per (rule, backend): not for the loop's thread."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Scrape(total, state, rules))
    return generate_latest(registry)


class _Scrape(Collector):
    """One scrape; prometheus-client wants an object to ask."""

    def __init__(self, total: Snapshot, state: ProcessState, rules: Sequence[RuleState]) -> None:
        self._total = _bounded(total)
        self._in_force = rules
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        yield from _rules(self._total)
        yield from _in_force(self._in_force)
        yield from _connections(self._total)
        yield from _process(self._state, self._total)
        yield from _resources(self._state.pids)


def _bounded(total: Snapshot) -> Snapshot:
    if len(total.rows) <= MAX_ROWS:
        return total
    bounded = Snapshot()
    items = iter(total.rows.items())
    bounded.rows = dict(itertools.islice(items, MAX_ROWS))
    rest = [[list(_OTHER), list(row)] for _, row in items]
    bounded.take({"rows": rest})
    counters = Snapshot()
    counters.add(total)
    counters.rows.clear()
    bounded.add(counters)
    return bounded


def _labels(name: RowName) -> tuple[str, str, str, str]:
    rule = f"{name.rule} ({name.rule_name})" if name.rule_name else str(name.rule)
    return (name.listener, f"{name.kind} {name.route}".strip(), rule, name.backend)


def _rules(total: Snapshot) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "gatewayproxy_requests",
        "Finished HTTP exchanges and streams; code is the status class, 0 for streams and cut exchanges.",
        labels=(*_ROW_LABELS, "code"),
    )
    duration = HistogramMetricFamily(
        "gatewayproxy_request_duration_seconds",
        "First byte of a request to the last of its answer.",
        labels=_ROW_LABELS,
    )
    received = CounterMetricFamily(
        "gatewayproxy_received_bytes", "Body and stream bytes from clients.", labels=_ROW_LABELS
    )
    sent = CounterMetricFamily("gatewayproxy_sent_bytes", "Body and stream bytes to clients.", labels=_ROW_LABELS)
    active = GaugeMetricFamily("gatewayproxy_active_requests", "Exchanges and streams under way.", labels=_ROW_LABELS)
    retries = CounterMetricFamily("gatewayproxy_retries", "Further attempts at a backend.", labels=_ROW_LABELS)
    failed = CounterMetricFamily(
        "gatewayproxy_failed_calls",
        "gRPC calls that failed by the fault of a server, as grpc-status says, under another HTTP status than 5xx.",
        labels=_ROW_LABELS,
    )
    for name, row in total.rows.items():
        labels = _labels(name)
        for digit, n in enumerate(row.classes):
            if n:
                requests.add_metric((*labels, f"{digit}xx" if digit else "0"), n)
        duration.add_metric(labels, _cumulative(row.buckets), row.duration_sum)
        received.add_metric(labels, row.bytes_in)
        sent.add_metric(labels, row.bytes_out)
        active.add_metric(labels, row.active)
        retries.add_metric(labels, row.retries)
        if row.failed_calls:
            failed.add_metric(labels, row.failed_calls)
    local = CounterMetricFamily(
        "gatewayproxy_local_answers",
        "Answers the gateway made itself, streams it refused, datagrams it dropped.",
        labels=("listener", "reason"),
    )
    for key, n in total.reasons.items():
        local.add_metric(key, n)
    yield from (requests, duration, received, sent, active, retries, failed, local)


def _in_force(rules: Sequence[RuleState]) -> Iterator[Metric]:
    """Yield a series of each family for every rule in force; hits of what is beyond MAX_ROWS are summed."""
    labels = ("listener", "route", "rule")
    hits = CounterMetricFamily(
        "gatewayproxy_rule_hits",
        "Exchanges and streams that a rule in force has taken, finished or not; 0 for one never hit.",
        labels=labels,
    )
    last = GaugeMetricFamily(
        "gatewayproxy_rule_last_hit_timestamp_seconds", "When a look at the counters last found new hits.",
        labels=labels,
    )  # fmt: skip
    since = GaugeMetricFamily(
        "gatewayproxy_rule_generation", "The first generation that had the rule as it is.", labels=labels
    )
    for each in rules[:MAX_ROWS]:
        name = (each.name.listener, f"{each.name.kind} {each.name.route}", each.name.rule)
        hits.add_metric(name, each.hits)
        since.add_metric(name, each.generation)
        if each.last_hit_at:
            last.add_metric(name, each.last_hit_at)
    if len(rules) > MAX_ROWS:
        hits.add_metric((_OTHER.listener, _OTHER.route, ""), sum(each.hits for each in rules[MAX_ROWS:]))
    yield from (hits, last, since)


def _cumulative(buckets: Iterable[int]) -> list[tuple[str, float]]:
    bounds = [*(str(bound) for bound in BUCKETS), "+Inf"]
    return list(zip(bounds, map(float, itertools.accumulate(buckets)), strict=True))


def _connections(total: Snapshot) -> Iterator[Metric]:
    now = GaugeMetricFamily(
        "gatewayproxy_downstream_connections", "Open client connections; of UDP, flows.", labels=("listener",)
    )
    ever = CounterMetricFamily("gatewayproxy_downstream_connects", "Client connections accepted.", labels=("listener",))
    for family, counts in ((now, total.connections), (ever, total.connections_total)):
        for listener, n in counts.items():
            family.add_metric((listener,), n)
    datagrams = CounterMetricFamily(
        "gatewayproxy_datagrams", "Datagrams from clients (in) and to them (out).", labels=("listener", "direction")
    )
    for listener, (n_in, n_out) in total.datagrams.items():
        datagrams.add_metric((listener, "in"), n_in)
        datagrams.add_metric((listener, "out"), n_out)
    upstream = GaugeMetricFamily(
        "gatewayproxy_upstream_connections", "Open connections to an endpoint; idle ones wait in the pool.",
        labels=("endpoint", "state"),
    )  # fmt: skip
    connects = CounterMetricFamily(
        "gatewayproxy_upstream_connects", "Connections made to an endpoint.", labels=("endpoint",)
    )
    failures = CounterMetricFamily(
        "gatewayproxy_upstream_connect_failures", "Connections to an endpoint that failed.", labels=("endpoint",)
    )
    for endpoint, (active, idle, opened, failed) in total.upstream.items():
        upstream.add_metric((endpoint, "active"), active)
        upstream.add_metric((endpoint, "idle"), idle)
        connects.add_metric((endpoint,), opened)
        failures.add_metric((endpoint,), failed)
    yield from (now, ever, datagrams, upstream, connects, failures)


def _process(state: ProcessState, total: Snapshot) -> Iterator[Metric]:
    info = GaugeMetricFamily("gatewayproxy_build_info", "Always 1.", labels=("version",))
    info.add_metric((__version__,), 1)
    yield info
    yield GaugeMetricFamily("gatewayproxy_ready", "1 where /readyz says 200.", value=int(state.ready))
    yield GaugeMetricFamily("gatewayproxy_config_generation", "Generation in force.", value=state.generation)
    yield GaugeMetricFamily(
        "gatewayproxy_config_rolled_back",
        "1 where manifests of the history serve, not those on disk, until the next reload.",
        value=int(state.rolled_back),
    )
    yield GaugeMetricFamily(
        "gatewayproxy_config_history_generations", "Generations that can be rolled back to.", value=state.kept
    )
    yield CounterMetricFamily(
        "gatewayproxy_config_guard_reverts", "Reloads that the guard took back.", value=state.guard_reverts
    )
    yield GaugeMetricFamily(
        "gatewayproxy_config_unbound_ports", "Addresses and ports that could not be bound.", value=state.unbound
    )
    yield GaugeMetricFamily(
        "gatewayproxy_config_held_objects",
        "Objects whose text has errors, so that their last accepted version serves.",
        value=state.held,
    )
    reloads = CounterMetricFamily("gatewayproxy_config_reloads", "Reloads by result.", labels=("result",))
    for result, n in state.reloads.items():
        reloads.add_metric((result,), n)
    yield reloads
    yield GaugeMetricFamily(
        "gatewayproxy_config_last_reload_success_timestamp_seconds", "When a reload last worked.", value=state.reload_at
    )
    yield GaugeMetricFamily(
        "gatewayproxy_config_last_reload_duration_seconds", "How long the last reload took.", value=state.reload_s
    )
    restarts = CounterMetricFamily("gatewayproxy_worker_restarts", "Workers replaced.", labels=("worker",))
    for worker, n in state.restarts.items():
        restarts.add_metric((worker,), n)
    yield restarts
    yield CounterMetricFamily(
        "gatewayproxy_access_log_dropped_lines", "Lines lost to a slow or failing log file.", value=total.dropped_lines
    )
    yield CounterMetricFamily(
        "gatewayproxy_event_log_dropped_lines",
        "Lines lost to a reader of standard error that is slow or gone.",
        value=total.dropped_events + state.dropped_events,
    )


def _resources(pids: Mapping[str, int]) -> Iterator[Metric]:
    memory = GaugeMetricFamily("gatewayproxy_process_resident_memory_bytes", "Resident memory.", labels=("process",))
    cpu = CounterMetricFamily("gatewayproxy_process_cpu_seconds", "User and system time.", labels=("process",))
    for process, pid in pids.items():
        used = _usage(pid)
        if used is not None:
            memory.add_metric((process,), used[0])
            cpu.add_metric((process,), used[1])
    yield from (memory, cpu)


def _usage(pid: int) -> tuple[int, float] | None:
    """Return resident bytes and CPU seconds of *pid*, None if it has gone."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    user, system, resident = int(words[11]), int(words[12]), int(words[21])  # proc(5): fields 14, 15 and 24
    return resident * _PAGE_BYTES, (user + system) / _TICKS_PER_S
