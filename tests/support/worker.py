"""A data plane in this process, serving a hand-made table on ephemeral ports.

As a program it serves one HTTP port for trying things by hand:
`python -m tests.support.worker PORT UPSTREAM_PORT [PATH=UPSTREAM_PORT ...]`.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.server import DataPlane
from gatewayproxy.dataplane.stats import AccessRecord
from gatewayproxy.dataplane.upstream.registry import Registry
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.names import BindKey
from gatewayproxy.model.plan import Cluster, Endpoint
from gatewayproxy.routing.pick import step_for
from gatewayproxy.routing.table import (
    BackendChoice,
    BackendGroup,
    Candidate,
    HostIndex,
    ListenerLabel,
    PathIndex,
    Port,
    PortKind,
    RouteEntry,
    RoutingTable,
    RuleLabel,
    VirtualHost,
)

LABEL = ListenerLabel(0, "default/gw/http")
_index = itertools.count()


def cluster(*ports: int, name: str = "default/app:80", host: str = "127.0.0.1") -> Cluster:
    """Return a cluster of endpoints on loopback."""
    return Cluster(name=name, endpoints=tuple(Endpoint(host, port) for port in ports))


def entry(*choices: BackendChoice | tuple[BackendChoice, int], route: str = "default/r", **rest: Any) -> RouteEntry:
    """Return an entry of weighted *choices*, or of what *rest* says."""
    index = next(_index)
    pairs = [each if isinstance(each, tuple) else (each, 1) for each in choices]
    bounds = tuple(itertools.accumulate(weight for _, weight in pairs))
    group = None
    if pairs:
        group = BackendGroup(
            index=index, choices=tuple(choice for choice, _ in pairs), bounds=bounds, step=step_for(bounds[-1])
        )
    label = RuleLabel(LABEL.name, "HTTPRoute", route, index)
    return RouteEntry(index=index, label=label, fingerprint=index.to_bytes(16, "big"), group=group, **rest)


def forward(target: Cluster, **rest: Any) -> RouteEntry:
    """Return an entry that forwards everything to *target*."""
    return entry(BackendChoice(name=target.name, cluster=target, **rest))


def vhost(prefixes: Mapping[bytes, RouteEntry], label: ListenerLabel = LABEL) -> VirtualHost:
    """Return a virtual host of path prefixes; b"" is "/"."""
    paths = PathIndex(
        prefix={path: (Candidate(entry=each),) for path, each in prefixes.items()},
        depth=max(path.count(b"/") for path in prefixes),
    )
    return VirtualHost(listener=label, layers=(paths,))


def table(port: Port, generation: int = 1) -> RoutingTable:
    """Return a table of one port."""
    return RoutingTable(generation=generation, digest=str(generation), ports=(port,), n_entries=0, n_groups=0)


def http_port(bind_port: int, index: HostIndex, *, listeners: tuple[ListenerLabel, ...] = (LABEL,)) -> Port:
    """Return an HTTP port on loopback that clients know as port 80."""
    return Port(kind=PortKind.HTTP, address="127.0.0.1", bind_port=bind_port, port=80, listeners=listeners, http=index)


@dataclass
class Served:
    """A data plane at work."""

    plane: DataPlane
    context: Context
    number: int  # of the bound port
    records: list[AccessRecord] = field(default_factory=list)

    def apply(self, index: HostIndex, generation: int = 2) -> None:
        """Serve *index* from now on."""
        self.plane.apply(table(http_port(self.number, index), generation), {})

    def counted(self) -> tuple[int, int, int]:
        """Return how many exchanges all rules have ended, had answers of class 5xx, and failed calls of gRPC."""
        rows = self.context.stats.rows.values()
        return (
            sum(sum(row.classes) for row in rows),
            sum(row.classes[5] for row in rows),
            sum(row.failed_calls for row in rows),
        )

    def reasons(self) -> dict[str, int]:
        """Return how often each reason was counted."""
        return {reason: n for (_, reason), n in self.context.stats.reasons.items()}


def serve(
    index: HostIndex, *, limits: Limits | None = None, number: int = 0, log: bool = True
) -> AbstractContextManager[Served]:
    """Serve *index* on an ephemeral port of the running loop."""
    return serve_port(lambda number: http_port(number, index), limits=limits, number=number, log=log)


@contextmanager
def serve_port(
    make_port: Callable[[int], Port],
    *,
    limits: Limits | None = None,
    number: int = 0,
    log: bool = True,
    secret: bytes = b"",
) -> Iterator[Served]:
    """Serve what *make_port* makes of a bound port's number."""
    sock = socket.create_server(("127.0.0.1", number), backlog=1024)
    number = sock.getsockname()[1]
    context = Context(registry=Registry(), limits=limits or Limits(), ticket_secret=secret)
    served = Served(DataPlane(context), context, number)
    if log:
        context.access = served.records.append
    try:
        served.plane.apply(table(make_port(number)), {BindKey("127.0.0.1", number): [sock]})
        sock.close()
        yield served
    finally:
        served.plane.abort()
        context.registry.close()


def main() -> None:
    """Serve until interrupted."""
    import uvloop

    number, upstream, *rest = sys.argv[1:]
    prefixes = {b"": int(upstream)}
    for each in rest:
        path, _, where = each.partition("=")
        prefixes[path.encode()] = int(where)

    timeout_s = 2.0 if rest else 0.0

    async def run() -> None:
        entries = {}
        for path, where in prefixes.items():
            target = cluster(where, name=f"default/{where}:80")
            entries[path] = entry(BackendChoice(name=target.name, cluster=target), backend_timeout_s=timeout_s)
        index = HostIndex(exact={b"b.test": vhost({b"": entries.get(b"/admin", entries[b""])})}, default=vhost(entries))
        with serve(index, number=int(number), log=False, limits=Limits(head_timeout_s=5.0)):
            await asyncio.Event().wait()

    uvloop.run(run())


if __name__ == "__main__":
    main()
