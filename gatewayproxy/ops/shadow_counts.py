"""What differed on a shadow table, summed over workers, and as metrics.

A sum starts anew with each candidate. Workers that are gone stay in it. Cardinality is that of
`dataplane.shadow.MAX_PAIRS`, here once more over all workers, so that the names of rules cannot pile up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["MAX_PAIRS", "MAX_SAMPLES", "ShadowCounts", "expose"]

MAX_PAIRS: Final = 200  # (listener, did, would); beyond, the rest is summed under "(other)"
MAX_SAMPLES: Final = 6  # of a pair
_OTHER: Final = ("(other)", "(other)", "(other)")
Pair = tuple[str, str, str]  # listener, what happened, what would have


class ShadowCounts:
    """Sums of what workers tell (`dataplane.shadow.Shadow.told`)."""

    def __init__(self) -> None:
        self.requests = 0
        self.different = 0
        self.failed = 0
        self.pairs: dict[Pair, int] = {}
        self.samples: dict[Pair, list[list[str]]] = {}

    def add(self, told: Mapping[str, Any]) -> None:
        """Add what a worker told."""
        self.requests += told["requests"]
        self.different += told["different"]
        self.failed += told["failed"]
        for listener, did, would, n, samples in told["pairs"]:
            self._add_pair((listener, did, would), n, samples)

    def merge(self, other: ShadowCounts) -> None:
        """Add all of *other*."""
        self.requests += other.requests
        self.different += other.different
        self.failed += other.failed
        for pair, n in other.pairs.items():
            self._add_pair(pair, n, other.samples[pair])

    def _add_pair(self, pair: Pair, n: int, samples: Sequence[list[str]]) -> None:
        if pair not in self.pairs and len(self.pairs) >= MAX_PAIRS:
            pair = _OTHER
        self.pairs[pair] = self.pairs.get(pair, 0) + n
        self.samples[pair] = [*self.samples.get(pair, ()), *samples][-MAX_SAMPLES:]


def expose(counts: ShadowCounts, *, deciding: bool) -> bytes:
    """Return the exposition of *counts*; *deciding*: there is a candidate that compiled."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Scrape(counts, deciding))
    return generate_latest(registry)


class _Scrape(Collector):
    """One scrape; prometheus-client wants an object to ask."""

    def __init__(self, counts: ShadowCounts, deciding: bool) -> None:
        self._counts = counts
        self._deciding = deciding

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        counts = self._counts
        yield GaugeMetricFamily(
            "gatewayproxy_shadow_deciding", "1 where a candidate decides beside what serves.", value=int(self._deciding)
        )
        yield CounterMetricFamily(
            "gatewayproxy_shadow_requests", "Requests decided on the candidate, too.", value=counts.requests
        )
        yield CounterMetricFamily(
            "gatewayproxy_shadow_failures", "Requests that could not be decided on the candidate.", value=counts.failed
        )
        differences = CounterMetricFamily(
            "gatewayproxy_shadow_differences",
            "Requests that the candidate would have treated otherwise.",
            labels=("listener", "did", "would"),
        )
        for pair, n in counts.pairs.items():
            differences.add_metric(pair, n)
        yield differences
