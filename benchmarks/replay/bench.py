"""Kernel benchmark of replay: lines a second and core, for each form of log.

    python -m benchmarks.replay.bench [--rules 4] [--lines 100000] [--rounds 5]

Lines are of 20 hosts. Their paths are 400 that come again; or each has one of its own; or that, and a third of them no
rule takes. Time, client and request id differ from line to line in any case. A log is a file, read and replayed as by
the command, and CPU time of this process is what counts. The best of the rounds is told: others use the machine, too.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable
from tempfile import TemporaryDirectory
from time import process_time

from gatewayproxy.compiler.lower import lower
from gatewayproxy.dataplane.stats import AccessRecord
from gatewayproxy.insight.replay import Replay
from gatewayproxy.model.names import ListenerKey, ResourceKey
from gatewayproxy.model.plan import Attachment, Backend, Cluster, Endpoint, Listener, Match, Plan, Route, Rule
from gatewayproxy.model.protocols import Protocol
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.ops.accesslog import json_line, text_line
from gatewayproxy.ops.replaying import replay_logs
from gatewayproxy.routing.table import RoutingTable

HOSTS = 20
PATHS = 400
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SCENARIOS = ("requests repeat", "every path is new", "and nothing takes a third")


def table(n_rules: int) -> RoutingTable:
    """Return a table with *n_rules* rules for the hosts of lines: prefixes, some of them for one method alone."""
    cluster = Cluster(name="default/web:80", endpoints=(Endpoint("127.0.0.1", 8080),))
    rules = []
    for index in range(n_rules):
        match = Match(path=b"/s%d" % index, method=b"GET" if index % 2 else None)
        rules.append(Rule(index=index, matches=(match,), backends=(Backend(name=cluster.name, cluster=cluster),)))
    route = Route(key=ResourceKey("HTTPRoute", "default", "shop"), rules=tuple(rules))
    attachment = Attachment(route, tuple((name, name) for name in map(host, range(HOSTS))))
    listener = Listener(
        key=ListenerKey("default", "web", "http"), protocol=Protocol.HTTP, port=80, bind_port=80,
        attachments=(attachment,),
    )  # fmt: skip
    return lower(Plan(listeners=(listener,)), CompileOptions())


def host(n: int) -> str:
    """Return the name of host *n*."""
    return f"shop{n % HOSTS}.example.com"


def path(n: int, scenario: str, n_rules: int) -> str:
    """Return the path of line *n*."""
    if scenario == SCENARIOS[0]:
        n = n * 7919 % PATHS
    place = f"s{n // 3 % n_rules}" if scenario != SCENARIOS[2] or n % 3 else "gone"
    return f"/{place}/products/{n:08x}/reviews"


class Line:
    """What differs from line to line."""

    def __init__(self, n: int, scenario: str, n_rules: int) -> None:
        self.path, self.n = path(n, scenario, n_rules), n
        self.clock = f"{n // 360_000 % 24:02}:{n // 6_000 % 60:02}:{n // 100 % 60:02}"
        self.time = f"2026-11-21T{self.clock}.{n * 7 % 1000:03}Z"
        self.client = f"10.{n % 251}.{n % 241}.{n % 239}"
        self.trace = f"{n * 2654435761 % (1 << 128):032x}"
        self.host = host(n if scenario != SCENARIOS[0] else n * 7919 % PATHS)
        self.status = 404 if "/gone/" in self.path else 200


def record(line: Line) -> AccessRecord:
    """Return *line* as a gateway of ours knows it."""
    return AccessRecord(
        protocol="http/1.1", listener="default/web/http", client=line.client, started_at=0.0, generation=3,
        route="HTTPRoute default/shop", rule="2", backend="default/web:80", endpoint="127.0.0.1:8080", method=b"GET",
        host=line.host.encode(), target=line.path.encode(), status=200, duration_s=line.n % 97 / 1e3, attempts=1,
        bytes_out=line.n % 9973, request_id=line.trace.encode(),
    )  # fmt: skip


def envoy(line: Line) -> str:
    return (
        f'[{line.time}] "GET {line.path} HTTP/1.1" {line.status} - 0 {line.n % 9973} 12 11 "{line.client}" "{AGENT}" '
        f'"{line.trace}" "{line.host}" "10.0.2.1:8080"'
    )


def nginx(line: Line) -> str:
    return (
        f'{line.client} - - [21/Nov/2026:{line.clock} +0000] "GET {line.path} HTTP/1.1" {line.status} {line.n % 9973} '
        f'"-" "{AGENT}"'
    )


def haproxy(line: Line) -> str:
    return (
        f"Nov 21 {line.clock} lb haproxy[14389]: {line.client}:{line.n % 60_000} "
        f"[21/Nov/2026:{line.clock}.{line.n * 7 % 1000:03}] web static/srv1 1/0/3/{line.n % 97}/69 {line.status} "
        f'{line.n % 9973} - - ---- 1/1/1/1/0 0/0 {{{line.host}}} "GET {line.path} HTTP/1.1"'
    )


FORMS: dict[str, Callable[[Line], str]] = {
    "Envoy": envoy,
    "nginx, combined": nginx,
    "HAProxy": haproxy,
    "ours, JSON": lambda line: json_line(record(line), line.time).rstrip("\n"),
    "ours, text": lambda line: text_line(record(line), line.time).rstrip("\n"),
}


def measure(routing: RoutingTable, log: str) -> float:
    """Return lines a second."""
    replay = Replay(routing, host=host(1).encode())
    gc.collect()
    start = process_time()
    counts = replay_logs(replay, [log], jobs=1, progress=lambda *_: None)
    spent = process_time() - start
    assert not counts.unread + counts.hostless
    return counts.decided / spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", type=int, default=4)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--form", default="", help="only forms with this in their name")
    options = parser.parse_args()
    routing = table(options.rules)
    print(f"{options.rules} rules; lines a second: | " + " | ".join(SCENARIOS), flush=True)
    with TemporaryDirectory() as folder:
        log = f"{folder}/access.log"
        for form in (form for form in FORMS if options.form in form):
            best = []
            for scenario in SCENARIOS:
                lines = (FORMS[form](Line(n, scenario, options.rules)) + "\n" for n in range(options.lines))
                with open(log, "w") as file:
                    file.writelines(lines)
                best.append(max(measure(routing, log) for _ in range(options.rounds)))
            print(f"| {form:15} | " + " | ".join(f"{each:>9,.0f}" for each in best) + " |", flush=True)


if __name__ == "__main__":
    main()
