"""Registry: per-worker state of clusters and endpoints, keyed by value, so that a reload keeps what did not change.

Pools belong to endpoints, so a cluster that gains one keeps its connections to the others. `retain` walks a new table
in small bites and then drops what it does not name: idle connections at once, busy ones after their exchange.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from time import monotonic
from typing import Any, Final, NamedTuple

from gatewayproxy.dataplane.stats import Stats
from gatewayproxy.dataplane.upstream.budget import BudgetState
from gatewayproxy.dataplane.upstream.http2_pool import Http2Pool
from gatewayproxy.dataplane.upstream.pool import ClusterState, EndpointPool
from gatewayproxy.dataplane.upstream.resolve import resolve_forever
from gatewayproxy.dataplane.upstream.tls import TlsClient
from gatewayproxy.dataplane.upstream.tls_contexts import ClientContexts
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import BackendTls, Cluster, Endpoint
from gatewayproxy.model.protocols import AppProtocol
from gatewayproxy.model.traffic import RetryBudget
from gatewayproxy.routing.table import BackendChoice, Candidate, HostIndex, PathIndex, Port, RouteEntry, RoutingTable

__all__ = ["Registry", "clusters_of"]

_SWEEP_S: Final = 0.5
_PER_TURN: Final = 200
_ALPN: Final[dict[AppProtocol, tuple[str, ...]]] = {
    AppProtocol.OPAQUE: (),  # the stream's own language is not ours to name
    AppProtocol.HTTP: ("http/1.1",),
    AppProtocol.WS: ("http/1.1",),
    AppProtocol.H2C: ("h2",),
}


class _PoolKey(NamedTuple):
    """What connections are shared by."""

    endpoint: Endpoint
    multiplexed: bool  # it speaks HTTP/2
    tls: BackendTls | None
    alpn: tuple[str, ...]  # what is offered over TLS


class Registry:
    """Clusters and their pools. `attach` gives it the worker's limits and counters before the first use."""

    def __init__(self, limits: Limits | None = None, stats: Stats | None = None) -> None:
        self._limits = limits or Limits()
        self._stats = stats or Stats()
        self._clusters: dict[Cluster, ClusterState] = {}
        self._budgets: dict[RetryBudget, BudgetState] = {}  # by value: a reload that leaves one alone keeps its counts
        self._pools: dict[_PoolKey, EndpointPool] = {}
        self._contexts = ClientContexts()
        self._retired: list[EndpointPool] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._resolvers: dict[Cluster, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._walk = 0  # the newest `retain`; an older one under way stops

    def attach(self, limits: Limits, stats: Stats) -> None:
        """Use *limits* and *stats* from now on."""
        self._limits = limits
        self._stats = stats

    def cluster(self, cluster: Cluster) -> ClusterState:
        """Return the state of *cluster*, made at first use."""
        state = self._clusters.get(cluster)
        if state is None:
            state = ClusterState(cluster, ())
            state.use(self._pool(endpoint, state) for endpoint in cluster.endpoints)
            self._clusters[cluster] = state
            if cluster.dns is not None:
                self._resolve(state, cluster.dns)
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)
        return state

    def budget(self, bounds: RetryBudget) -> BudgetState:
        """Return the state of a retry budget, made at first use."""
        state = self._budgets.get(bounds)
        if state is None:
            state = self._budgets[bounds] = BudgetState(bounds)
        return state

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run a task of the upstream side; `close` ends it."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def retain(self, table: RoutingTable) -> None:
        """Drop clusters and endpoints that *table* does not name, after walking it a few objects a turn."""
        self._walk += 1
        self._retain_some(self._walk, clusters_of(table), set())

    def collect(self) -> None:
        """Bring the endpoint counters of the worker's stats up to date."""
        counters: dict[str, list[int]] = {}
        for pool in self._pools.values():
            counts = pool.counts()
            known = counters.get(pool.name)
            counters[pool.name] = counts if known is None else [a + b for a, b in zip(known, counts, strict=True)]
        self._stats.upstream.update(counters)

    def close(self) -> None:
        """Close every connection and end every task."""
        self._walk += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in list(self._tasks):
            task.cancel()
        for pool in [*self._pools.values(), *self._retired]:
            pool.retire()
            for connection in list(pool.connections):
                connection.abandon()
        self._pools.clear()
        self._clusters.clear()
        self._resolvers.clear()

    def _pool(self, endpoint: Endpoint, state: ClusterState) -> EndpointPool:
        key = _key(endpoint, state.cluster)
        pool = self._pools.get(key)
        if pool is None:
            kind = Http2Pool if key.multiplexed else EndpointPool
            pool = self._pools[key] = kind(endpoint, self._limits, self.spawn, self._tls_client(state, endpoint))
        return pool

    def _tls_client(self, state: ClusterState, endpoint: Endpoint) -> TlsClient | None:
        tls = state.cluster.tls
        if tls is None:
            return None
        return TlsClient(tls, _ALPN[state.cluster.protocol], self._contexts, endpoint.address)

    def _resolve(self, state: ClusterState, name: Endpoint) -> None:
        state.unresolved = {}

        def on_answer(endpoints: tuple[Endpoint, ...]) -> None:
            if endpoints:
                state.use(self._pool(endpoint, state) for endpoint in endpoints)
                self._drop_unused_pools()
            waiting, state.unresolved = state.unresolved, None
            for resume in waiting or ():
                resume()

        self._resolvers[state.cluster] = self.spawn(resolve_forever(name, on_answer), f"resolve {name.host}")

    def _retain_some(self, walk: int, clusters: Iterator[Cluster], named: set[Cluster]) -> None:
        if walk != self._walk:
            return
        for _ in range(_PER_TURN):
            cluster = next(clusters, None)
            if cluster is None:
                self._drop_clusters(named)
                return
            if cluster not in named:
                named.add(cluster)
                self._claim_pools(cluster)
        asyncio.get_running_loop().call_soon(self._retain_some, walk, clusters, named)

    def _claim_pools(self, cluster: Cluster) -> None:
        """Open *cluster* now if endpoints of it have pools, which would be nobody's until its first request."""
        if cluster not in self._clusters and any(_key(each, cluster) in self._pools for each in cluster.endpoints):
            self.cluster(cluster)

    def _drop_clusters(self, named: set[Cluster]) -> None:
        for cluster in [each for each in self._clusters if each not in named]:
            del self._clusters[cluster]
            resolver = self._resolvers.pop(cluster, None)
            if resolver is not None:
                resolver.cancel()
        budgets = {cluster.retry_budget for cluster in named}
        self._budgets = {bounds: state for bounds, state in self._budgets.items() if bounds in budgets}
        self._drop_unused_pools()

    def _drop_unused_pools(self) -> None:
        used = {pool for state in self._clusters.values() for pool in state.pools}
        for key in [key for key, pool in self._pools.items() if pool not in used]:
            pool = self._pools.pop(key)
            self._stats.upstream.pop(pool.name, None)
            pool.retire()
            self._retired.append(pool)

    def _sweep(self) -> None:
        now = monotonic()
        self._timer = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)
        for pool in [*self._pools.values(), *self._retired]:
            pool.sweep(now)
        self._retired = [pool for pool in self._retired if pool.connections]
        self.collect()


def _key(endpoint: Endpoint, cluster: Cluster) -> _PoolKey:
    alpn = _ALPN[cluster.protocol] if cluster.tls is not None else ()
    return _PoolKey(endpoint, cluster.protocol is AppProtocol.H2C, cluster.tls, alpn)


def clusters_of(table: RoutingTable) -> Iterator[Cluster]:
    """Yield every cluster that *table* names, repeatedly where it is named repeatedly."""
    for port in table.ports:
        for entry in _entries_of(port):
            yield from (auth.server.cluster for auth in entry.auths)
            for choice in (*entry.group.choices, *entry.resting) if entry.group is not None else ():
                yield from _clusters_of_choice(choice)


def _clusters_of_choice(choice: BackendChoice) -> Iterator[Cluster]:
    if choice.cluster is not None:
        yield choice.cluster
    for mirror in choice.mirrors:
        yield mirror.cluster


def _entries_of(port: Port) -> Iterator[RouteEntry]:
    if port.tcp is not None:
        yield port.tcp
    if port.udp is not None:
        yield port.udp
    if port.sni is not None:
        targets = [*port.sni.exact.values(), *port.sni.wildcard.values(), port.sni.default]
        yield from (target.entry for target in targets if target is not None and target.entry is not None)
    if port.http is not None:
        for layer in _layers_of(port.http):
            for candidates in _candidates_of(layer):
                yield from (candidate.entry for candidate in candidates)


def _layers_of(index: HostIndex) -> Iterator[PathIndex]:
    for vhost in (*index.exact.values(), *index.wildcard.values(), index.default):
        if vhost is not None:
            yield from vhost.layers


def _candidates_of(layer: PathIndex) -> Iterable[tuple[Candidate, ...]]:
    return (*layer.exact.values(), layer.regexes, *layer.prefix.values())
