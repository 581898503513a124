"""Pools and the registry: what is kept, what is passed over, what is closed."""

from __future__ import annotations

from time import monotonic

import pytest

from gatewayproxy.dataplane.stats import Stats
from gatewayproxy.dataplane.upstream.connection import UpstreamConnection
from gatewayproxy.dataplane.upstream.pool import FAILED_S, EndpointPool
from gatewayproxy.dataplane.upstream.registry import Registry, clusters_of
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import Endpoint
from gatewayproxy.routing.table import BackendChoice, HostIndex, Mirror
from tests.support.backend import until
from tests.support.memory import MemoryTransport
from tests.support.worker import cluster, entry, forward, http_port, table, vhost


def idle_in(pool: EndpointPool) -> MemoryTransport:
    transport = MemoryTransport()
    connection = UpstreamConnection(pool)
    connection.connection_made(transport)
    pool.connections.add(connection)
    pool.put(connection)
    return transport


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [
        (Endpoint("10.0.0.7", 80), "10.0.0.7:80"),
        (Endpoint("::1", 80), "[::1]:80"),
        (Endpoint("unix:/run/a.sock", 0), "unix:/run/a.sock"),
    ],
)
def test_endpoints_have_readable_addresses(endpoint: Endpoint, name: str) -> None:
    assert endpoint.address == name


async def test_endpoints_are_taken_in_turn_and_failed_ones_passed_over() -> None:
    registry = Registry()
    state = registry.cluster(cluster(1, 2, 3))
    turns = [state.pick() for _ in range(6)]
    assert len(set(turns)) == 3
    assert turns[:3] == turns[3:]
    bad = state.pools[0]
    bad.failed_until = monotonic() + FAILED_S
    assert bad not in [state.pick() for _ in range(6)]
    for pool in state.pools:
        pool.failed_until = monotonic() + FAILED_S
    assert state.pick() is not None  # better a bad endpoint than none
    assert state.pick(state.pools) is None
    registry.close()


async def test_a_table_keeps_the_pools_it_names_and_closes_the_others() -> None:
    registry = Registry()
    kept, gone, mirrored = cluster(1), cluster(2, name="gone"), cluster(3, name="mirrored")
    transports = {each.name: idle_in(registry.cluster(each).pools[0]) for each in (kept, gone, mirrored)}
    choice = BackendChoice(
        name="x", cluster=cluster(1), mirrors=(Mirror(cluster=mirrored, numerator=1, denominator=1),)
    )
    new = table(http_port(1, HostIndex(default=vhost({b"": entry(choice)}))))
    assert set(clusters_of(new)) == {kept, mirrored}
    state = registry.cluster(kept)
    registry.retain(new)
    await until(lambda: transports["gone"].closed)
    assert not transports[kept.name].closed
    assert not transports["mirrored"].closed
    assert registry.cluster(cluster(1)) is state
    registry.close()


async def test_connections_outlive_the_value_of_their_cluster_before_its_first_request() -> None:
    registry = Registry()
    transport, other = (idle_in(registry.cluster(each).pools[0]) for each in (cluster(1), cluster(9, name="gone")))
    renamed = cluster(1, 2, name="renamed")
    registry.retain(table(http_port(1, HostIndex(default=vhost({b"": forward(renamed)})))))
    await until(lambda: other.closed)
    assert not transport.closed
    assert registry.cluster(renamed).pools[0].idle
    registry.close()


async def test_a_cluster_that_gains_an_endpoint_keeps_its_connections_to_the_others() -> None:
    registry = Registry()
    transport = idle_in(registry.cluster(cluster(1)).pools[0])
    wider = registry.cluster(cluster(1, 2))
    registry.retain(table(http_port(1, HostIndex(default=vhost({b"": forward(cluster(1, 2))})))))
    assert not transport.closed
    assert len(wider.pools[0].idle) == 1
    registry.close()


async def test_a_connection_idle_too_long_is_closed() -> None:
    registry = Registry(Limits(upstream_idle_s=10))
    pool = registry.cluster(cluster(1)).pools[0]
    old, young = idle_in(pool), idle_in(pool)
    pool.idle[0].idle_since -= 11
    pool.sweep(monotonic())
    assert (old.closed, young.closed) == (True, False)
    registry.close()


async def test_endpoint_counters_reach_the_stats() -> None:
    stats = Stats()
    registry = Registry(Limits(), stats)
    pool = registry.cluster(cluster(1)).pools[0]
    idle_in(pool)
    registry.collect()
    assert stats.upstream["127.0.0.1:1"] == [0, 1, 0, 0]
    registry.close()
