"""Everything an exchange may wait for: endpoints, a connection, another try, its timeouts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayproxy.dataplane.upstream.connection import UpstreamConnection
from gatewayproxy.dataplane.upstream.pool import ClusterState, EndpointPool, alive
from gatewayproxy.errors import UpstreamError

if TYPE_CHECKING:
    from gatewayproxy.dataplane.protocols.exchange import Exchange

__all__ = [
    "living", "retry", "start_request_timer", "start_upstream_timer", "try_next_endpoint", "wait_for_connection",
    "wait_for_endpoints",
]  # fmt: skip


def wait_for_connection(exchange: Exchange, pool: EndpointPool) -> None:
    """Queue *exchange* at *pool*. The client's body stays where it is until there is somewhere to send it."""
    exchange.pool = pool
    exchange.connection.pause_body()
    try:
        pool.wait(exchange)
    except UpstreamError as error:
        exchange.answer_with(error.status, error.kind, str(error))


def living(pool: EndpointPool, idle: UpstreamConnection) -> UpstreamConnection | None:
    """Return *idle* or another pooled connection whose socket is well: for a request that must not be sent twice."""
    if alive(idle):
        return idle
    idle.close()
    return pool.take(must_live=True)


def wait_for_endpoints(exchange: Exchange, cluster: ClusterState) -> None:
    """Wait for the first answer of the cluster's name; without one to come, refuse."""
    waiting = cluster.unresolved
    if waiting is None:
        exchange.answer(cluster.failure)
        return

    def resume() -> None:
        if exchange.finished:
            return
        pool = cluster.pick()
        if pool is None:
            exchange.answer(cluster.failure)
        else:
            _take_or_wait(exchange, pool)

    exchange.connection.pause_body()
    waiting[resume] = None


def try_next_endpoint(exchange: Exchange, pool: EndpointPool, error: UpstreamError) -> None:
    """Go to an endpoint not tried yet; *pool* has none to give, because of *error*."""
    assert exchange.target is not None
    cluster = exchange.target.cluster
    assert cluster is not None
    exchange.tried += (pool,)
    other = cluster.pick(exchange.tried)
    if other is None:
        exchange.answer_with(error.status, error.kind, str(error))
    else:
        _take_or_wait(exchange, other)


def retry(exchange: Exchange) -> None:
    """Send an unanswered request once more, on a connection made for it: pooled ones may all be stale."""
    assert exchange.pool is not None
    _cancel_upstream_timer(exchange)
    while (stale := exchange.pool.take(must_live=False)) is not None:
        stale.close()
    wait_for_connection(exchange, exchange.pool)


def start_request_timer(exchange: Exchange, timeout_s: float) -> None:
    """Bound the whole exchange (timeouts.request)."""
    exchange.request_timer = exchange.connection.site.loop.call_later(timeout_s, exchange.on_request_timeout)


def start_upstream_timer(exchange: Exchange, timeout_s: float) -> None:
    """Bound one attempt (timeouts.backendRequest)."""
    _cancel_upstream_timer(exchange)
    exchange.upstream_timer = exchange.connection.site.loop.call_later(timeout_s, exchange.on_upstream_timeout)


def _take_or_wait(exchange: Exchange, pool: EndpointPool) -> None:
    exchange.pool = pool
    idle = pool.take(must_live=True)
    if idle is None:
        wait_for_connection(exchange, pool)
    else:
        exchange.on_connection(idle)


def _cancel_upstream_timer(exchange: Exchange) -> None:
    if exchange.upstream_timer is not None:
        exchange.upstream_timer.cancel()
        exchange.upstream_timer = None
