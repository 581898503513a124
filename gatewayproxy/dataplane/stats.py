"""Counters of one worker: plain integer slots, incremented inline, read at scrape. Pure.

Rows are kept by name across reloads, so counters never go back. Their number is bounded by the configuration
(rules x backends) plus the closed list of reasons.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final, NamedTuple

from gatewayproxy.routing.table import RuleLabel

__all__ = ["BUCKETS", "AccessRecord", "RuleStats", "Stats"]

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class AccessRecord(NamedTuple):
    """One line of the access log: an HTTP exchange, a TCP / passthrough stream, or a UDP flow. "" and 0 = absent."""

    protocol: str  # "http/1.1", "https/1.1", "tcp", "tls", "udp"
    listener: str
    client: str  # address of the client, after trusted hops
    started_at: float  # loop time, seconds
    generation: int
    route: str = ""  # "HTTPRoute namespace/name"
    rule: str = ""  # "2" or "2 (name)"
    backend: str = ""  # "namespace/name:port"
    endpoint: str = ""  # "10.0.0.7:8080"
    method: bytes = b""
    host: bytes = b""  # Host, or the server name of a TLS stream
    target: bytes = b""
    status: int = 0
    reason: str = ""  # why the gateway answered itself or cut the exchange; "" for a plain upstream answer
    detail: str = ""
    bytes_in: int = 0  # body (or stream) bytes from the client
    bytes_out: int = 0
    duration_s: float = 0.0
    connect_s: float = 0.0  # waiting for an upstream connection
    upstream_s: float = 0.0  # head sent to response head received
    request_id: bytes = b""
    attempts: int = 0
    grpc_status: str = ""  # of a gRPC call, where it is known


class RuleStats:
    """Counters of one (rule, backend)."""

    __slots__ = ("active", "buckets", "bytes_in", "bytes_out", "classes", "duration_sum", "failed_calls", "retries")

    def __init__(self) -> None:
        self.classes = [0] * 6  # by status // 100; [0] = no status (streams, cut exchanges)
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.duration_sum = 0.0
        self.bytes_in = 0
        self.bytes_out = 0
        self.active = 0
        self.retries = 0
        self.failed_calls = 0  # of gRPC, which no status of class 5xx tells of: see `wire.grpc.SERVER_FAULTS`

    def done(self, status: int, duration_s: float, bytes_in: int, bytes_out: int) -> None:
        """Count one finished exchange or stream."""
        self.classes[status // 100] += 1
        self.buckets[bisect_left(BUCKETS, duration_s)] += 1
        self.duration_sum += duration_s
        self.bytes_in += bytes_in
        self.bytes_out += bytes_out


class RowKey(NamedTuple):
    """What a row counts."""

    label: RuleLabel
    backend: str


class Stats:
    """All counters of a worker."""

    __slots__ = ("connections", "connections_total", "datagrams", "reasons", "rows", "upstream")

    def __init__(self) -> None:
        self.rows: dict[RowKey, RuleStats] = {}
        # By (listener, reason): local answers, refused streams, dropped datagrams.
        self.reasons: dict[tuple[str, str], int] = {}
        self.connections: dict[str, int] = {}  # listener or port label -> open downstream connections
        self.connections_total: dict[str, int] = {}
        self.datagrams: dict[str, list[int]] = {}  # UDP listener -> [from clients, to clients]
        self.upstream: dict[str, list[int]] = {}  # endpoint -> [active, idle, opened, failed]

    def row(self, label: RuleLabel, backend: str) -> RuleStats:
        """Return the row of (*label*, *backend*), made at first use."""
        key = RowKey(label, backend)
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = RuleStats()
        return row

    def refuse(self, listener: str, reason: str, n: int = 1) -> None:
        """Count a local answer or a refused stream, or *n* dropped datagrams."""
        key = (listener, reason)
        self.reasons[key] = self.reasons.get(key, 0) + n
