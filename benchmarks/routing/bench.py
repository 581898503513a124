"""Kernel benchmark of routing: lookups with 10 and 10,000 routes, lowering, hand-over, dismantling.

    python -m benchmarks.routing.bench [--routes 10000] [--rounds 15]

Small and large tables are asked in turns within one run, so that a busy machine slows both; the median of the rounds
is compared. A lookup is host_key + find_host + find_entry. Times are CPU nanoseconds of this process.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable, Generator
from statistics import median
from time import process_time, process_time_ns
from typing import cast

from gatewayproxy.compiler.lower import lower
from gatewayproxy.model.names import ListenerKey, ResourceKey
from gatewayproxy.model.plan import Attachment, Backend, Cluster, Endpoint, Listener, Match, PathKind, Plan, Route, Rule
from gatewayproxy.model.protocols import Protocol
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.routing.handover import Assembler, dismantle, slices
from gatewayproxy.routing.match import find_entry, find_host, host_key
from gatewayproxy.routing.table import RoutingTable

LOOKUPS = 20_000
SAMPLES = 10  # hosts or paths asked for, whatever the size: both tables see equally warm memory


class Ask:
    """A request."""

    __slots__ = ("host", "path")
    method = b"GET"
    query = b""

    def __init__(self, host: bytes, path: bytes) -> None:
        self.host = host
        self.path = path

    def field(self, name: bytes) -> bytes | None:
        return None


def plan(n: int, shape: str, n_regexes: int = 0) -> Plan:
    """Return *n* routes with a host each ("hosts"), or a prefix each below one host ("paths")."""
    attachments = []
    for index in range(n):
        name = f"default/web-{index}:80"
        cluster = Cluster(name=name, endpoints=(Endpoint("127.0.0.1", 8080), Endpoint("127.0.0.2", 8080)))
        match = Match(path=b"/p%05d" % index) if shape == "paths" else Match(path=b"/app")
        if index < n_regexes:
            match = Match(path_kind=PathKind.REGEX, path=b"/r%d/[a-z]+" % index)
        rule = Rule(index=0, matches=(match,), backends=(Backend(name=name, cluster=cluster),))
        route = Route(key=ResourceKey("HTTPRoute", "default", f"web-{index}"), rules=(rule,))
        host = "app.example.com" if shape == "paths" else f"h{index:05}.example.com"
        attachments.append(Attachment(route, ((host, host),)))
    listener = Listener(
        key=ListenerKey("default", "gateway", "http"),
        protocol=Protocol.HTTP,
        port=80,
        bind_port=80,
        attachments=tuple(attachments),
    )
    return Plan(listeners=(listener,))


def asks(n: int, shape: str) -> list[Ask]:
    """Return requests that match routes spread over the table."""
    indexes = [number * n // SAMPLES for number in range(SAMPLES)]
    if shape == "paths":
        return [Ask(b"app.example.com", b"/p%05d/x/y" % index) for index in indexes]
    return [Ask(b"h%05d.example.com" % index, b"/app/x/y") for index in indexes]


def lookup_ns(table: RoutingTable, requests: list[Ask]) -> float:
    """Return CPU nanoseconds per lookup."""
    index = table.ports[0].http
    assert index is not None
    turns = range(LOOKUPS // len(requests))
    start = process_time_ns()
    for _ in turns:
        for request in requests:
            vhost = find_host(index, host_key(request.host))
            assert vhost is not None
            assert find_entry(vhost, request) is not None
    return (process_time_ns() - start) / (len(turns) * len(requests))


def compare(shape: str, n: int, rounds: int) -> None:
    """Print lookup times of 10 and of *n* routes, measured in turns."""
    tables = {size: lower(plan(size, shape), CompileOptions()) for size in (10, n)}
    requests = {size: asks(size, shape) for size in tables}
    gc.freeze()
    samples: dict[int, list[float]] = {size: [] for size in tables}
    for _ in range(rounds):
        for size, table in tables.items():
            samples[size].append(lookup_ns(table, requests[size]))
    small, large = median(samples[10]), median(samples[n])
    print(f"lookup, {shape}: 10 routes {small:.0f} ns, {n:,} routes {large:.0f} ns ({large / small - 1:+.1%})")


def steps(step: Callable[[], object], more: Callable[[], bool]) -> list[float]:
    """Return the CPU milliseconds of every step."""
    times = []
    while more():
        start = process_time()
        step()
        times.append((process_time() - start) * 1e3)
    return times


def life(shape: str, n: int) -> None:
    """Print what lowering, handing over and dropping *n* routes (a tenth of them regexes) cost."""
    compiled = plan(n, shape, n // 10)
    start = process_time()
    table = lower(compiled, CompileOptions())
    lowered_s = process_time() - start
    start = process_time()
    chunks = list(slices(table))
    cut_s = process_time() - start
    gc.collect()
    gc.freeze()
    gc.disable()  # as a worker does while it takes a table
    assembler = Assembler()
    rest = iter(chunks)
    fed = steps(lambda: assembler.feed(next(rest)), lambda: not assembler.complete)
    dropping = cast("Generator[None]", dismantle(assembler.table))
    dropped = steps(lambda: next(dropping, None), lambda: dropping.gi_frame is not None)
    gc.enable()
    size = sum(map(len, chunks))
    print(f"life, {shape}: lower {n:,} routes {lowered_s:.2f} s, cut {len(chunks)} slices {size:,} bytes {cut_s:.2f} s")
    print(
        f"  feed {sum(fed):.0f} ms, longest step {max(fed):.2f} ms; drop {sum(dropped):.0f} ms, {max(dropped):.2f} ms"
    )


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--routes", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    for shape in ("hosts", "paths"):
        compare(shape, options.routes, options.rounds)
        life(shape, options.routes)


if __name__ == "__main__":
    main()
