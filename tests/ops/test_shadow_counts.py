"""What workers tell of a candidate adds up, and names in the metrics are bounded."""

from __future__ import annotations

from typing import Any

from gatewayproxy.ops.shadow_counts import MAX_PAIRS, MAX_SAMPLES, ShadowCounts, expose


def told(*pairs: list[Any], requests: int = 1, failed: int = 0) -> dict[str, Any]:
    different = sum(pair[3] for pair in pairs)
    return {"requests": requests, "different": different, "failed": failed, "pairs": list(pairs)}


def test_workers_add_up() -> None:
    counts, gone = ShadowCounts(), ShadowCounts()
    counts.add(told(["l", "a", "b", 2, [["GET", "h", "/1"]]], requests=5))
    counts.add(told(["l", "a", "b", 3, [["GET", "h", "/2"]]], requests=6, failed=1))
    gone.add(told(["l", "a", "c", 1, []], requests=2))
    counts.merge(gone)
    assert (counts.requests, counts.different, counts.failed) == (13, 6, 1)
    assert counts.pairs == {("l", "a", "b"): 5, ("l", "a", "c"): 1}
    assert counts.samples["l", "a", "b"] == [["GET", "h", "/1"], ["GET", "h", "/2"]]


def test_pairs_beyond_the_bound_are_one_sum_and_samples_are_the_last() -> None:
    counts = ShadowCounts()
    for number in range(MAX_PAIRS + 50):
        counts.add(told(["l", f"a{number}", "b", 1, [["GET", "h", f"/{number}"]]]))
    assert len(counts.pairs) == MAX_PAIRS + 1
    assert sum(counts.pairs.values()) == counts.different == MAX_PAIRS + 50
    assert len(counts.samples["(other)", "(other)", "(other)"]) == MAX_SAMPLES
    lines = expose(counts, deciding=True).decode().splitlines()
    assert sum(line.startswith("gatewayproxy_shadow_differences_total{") for line in lines) == MAX_PAIRS + 1
    assert "gatewayproxy_shadow_deciding 1.0" in lines
