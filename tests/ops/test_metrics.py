"""The exposition: every family readable by Prometheus' own parser, series bounded."""

from __future__ import annotations

import os
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gatewayproxy.dataplane.stats import BUCKETS
from gatewayproxy.ops import metrics
from gatewayproxy.ops.metrics import ProcessState, expose
from gatewayproxy.ops.rules import RuleName, RuleState
from gatewayproxy.ops.snapshot import Row, RowName, Snapshot

STATE = ProcessState(
    generation=3, ready=True, reloads={"applied": 2, "unchanged": 0, "failed": 1}, reload_at=1.5, reload_s=0.25,
    restarts={"worker-0": 1}, unbound=0, held=2, pids={"supervisor": os.getpid(), "gone": 2**22 - 1},
)  # fmt: skip


def _row(n: int) -> Row:
    return Row([0, 0, n, 0, 0, 0], [0] * len(BUCKETS) + [n], 0.5 * n, 1, 2, 0, 0)


def _samples(body: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(body.decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_hostile_names_survive_the_format() -> None:
    total = Snapshot()
    total.rows[RowName('a"b\\c\n', "HTTPRoute", "ns/r", 2, "named", "ns/app:80")] = _row(4)
    samples = _samples(expose(total, STATE))
    labels = (("backend", "ns/app:80"), ("listener", 'a"b\\c\n'), ("route", "HTTPRoute ns/r"), ("rule", "2 (named)"))
    assert samples["gatewayproxy_requests_total", (labels[0], ("code", "2xx"), *labels[1:])] == 4
    assert samples["gatewayproxy_request_duration_seconds_count", labels] == 4
    assert samples["gatewayproxy_request_duration_seconds_sum", labels] == 2.0
    assert ("gatewayproxy_failed_calls_total", labels) not in samples
    total.rows = {name: row._replace(failed_calls=3) for name, row in total.rows.items()}
    assert _samples(expose(total, STATE))["gatewayproxy_failed_calls_total", labels] == 3


def test_the_process_is_told() -> None:
    samples = _samples(expose(Snapshot(), STATE))
    assert samples["gatewayproxy_config_generation", ()] == 3
    assert samples["gatewayproxy_config_reloads_total", (("result", "failed"),)] == 1
    assert samples["gatewayproxy_process_resident_memory_bytes", (("process", "supervisor"),)] > 1 << 20
    assert ("gatewayproxy_process_resident_memory_bytes", (("process", "gone"),)) not in samples


def test_rows_beyond_the_bound_are_summed_under_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_ROWS", 100)
    total = Snapshot()
    for n in range(150):
        total.rows[RowName("l", "HTTPRoute", f"ns/r{n}", 0, "", "b")] = _row(1)
    total.connections["l"] = 9
    samples = _samples(expose(total, STATE))
    requests = {labels: v for (name, labels), v in samples.items() if name == "gatewayproxy_requests_total"}
    assert len(requests) == 101
    assert sum(requests.values()) == 150
    assert samples["gatewayproxy_downstream_connections", (("listener", "l"),)] == 9


def _known(n: int, hits: int = 0, *, name: str = "", last: float = 0.0) -> RuleState:
    state = RuleState(RuleName("l", "HTTPRoute", "ns/r", name or str(n)), n, name, "")
    state.hits, state.last_hit_at, state.generation = hits, last, 3
    return state


def test_every_rule_in_force_has_its_series_hit_or_not() -> None:
    samples = _samples(expose(Snapshot(), STATE, [_known(0), _known(1, 7, name="beta", last=1e9)]))
    found = {(n.removeprefix("gatewayproxy_rule_"), dict(labels)["rule"]): v for (n, labels), v in samples.items()
             if n.startswith("gatewayproxy_rule_")}  # fmt: skip
    assert found == {
        ("hits_total", "0"): 0, ("generation", "0"): 3,
        ("hits_total", "beta"): 7, ("generation", "beta"): 3, ("last_hit_timestamp_seconds", "beta"): 1e9,
    }  # fmt: skip


def test_rules_beyond_the_bound_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_ROWS", 100)
    samples = _samples(expose(Snapshot(), STATE, [_known(n, 1, last=1.0) for n in range(150)]))
    hits = {labels: v for (name, labels), v in samples.items() if name == "gatewayproxy_rule_hits_total"}
    assert len(hits) == 101
    assert sum(hits.values()) == 150
    assert sum(name == "gatewayproxy_rule_generation" for name, _ in samples) == 100


def test_names_follow_the_conventions_of_prometheus() -> None:
    total = Snapshot()
    total.rows[RowName("l", "HTTPRoute", "ns/r", 0, "", "b")] = _row(1)
    for family in text_string_to_metric_families(expose(total, STATE).decode()):
        assert re.fullmatch(r"gatewayproxy(_[a-z]+)+", family.name)
        assert family.documentation.endswith(".")
        assert not re.search(r"_(ms|milliseconds|minutes|kib|mib|percent|count|sum|bucket)$", family.name)
        assert family.type in ("counter", "gauge", "histogram")
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)
