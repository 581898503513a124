"""Everything an exchange may wait for: endpoints, a connection, another try, its timeouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatewayproxy.dataplane.upstream.pool import ClusterState, EndpointPool
from gatewayproxy.errors import UpstreamError

if TYPE_CHECKING:
    from gatewayproxy.dataplane.protocols.exchange import Exchange

__all__ = [
    "ATTEMPTS", "cancel_upstream_timer", "find_connection", "retry", "start_request_timer", "start_upstream_timer",
    "try_again", "try_next_endpoint", "wait_for_connection", "wait_for_endpoints",
]  # fmt: skip


ATTEMPTS: Final = 4  # to have a request served that endpoints refuse, or whose connections break
_GOODBYES: Final = 16  # the same where endpoints end connections in good order, GOAWAY


def find_connection(exchange: Exchange, cluster: ClusterState) -> None:
    """Take a connection to *cluster* for a request that did not begin with one, or wait for it."""
    pool = cluster.pick()
    if pool is None:
        wait_for_endpoints(exchange, cluster)
    else:
        _take_or_wait(exchange, pool)


def wait_for_connection(exchange: Exchange, pool: EndpointPool) -> None:
    """Queue *exchange* at *pool*. The client's body stays where it is until there is somewhere to send it."""
    exchange.pool = pool
    exchange.connection.pause_body()
    try:
        pool.wait(exchange)
    except UpstreamError as error:
        exchange.answer_with(error.status, error.kind, str(error))


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


def try_next_endpoint(exchange: Exchange, pool: EndpointPool) -> bool:
    """Go to an endpoint not tried yet, as *pool* has no connection to give; return whether there is one."""
    assert exchange.target is not None
    cluster = exchange.target.cluster
    assert cluster is not None
    exchange.tried += (pool,)
    other = cluster.pick(exchange.tried)
    if other is None:
        return False
    _take_or_wait(exchange, other)
    return True


def try_again(exchange: Exchange) -> None:
    """Send a request again whose wait is over: to an endpoint not tried yet, if there is one, else to any."""
    exchange.upstream_timer = None
    assert exchange.target is not None
    cluster = exchange.target.cluster
    assert cluster is not None
    pool = cluster.pick(exchange.tried)
    if pool is None:
        exchange.tried = ()
        pool = cluster.pick()
    if pool is None:
        exchange.answer(cluster.failure)
    else:
        _take_or_wait(exchange, pool)


def retry(exchange: Exchange, error: UpstreamError) -> None:
    """Send an unanswered request again: elsewhere where the endpoint did not want it, else on a new connection."""
    pool = exchange.pool
    assert pool is not None
    assert exchange.target is not None
    cancel_upstream_timer(exchange)
    ordered = error.unprocessed and error.kind == "upstream_closed"
    if exchange.attempts >= (_GOODBYES if ordered else ATTEMPTS):
        exchange.answer_with(error.status, error.kind, str(error))
        return
    if error.unprocessed:
        cluster = exchange.target.cluster
        assert cluster is not None
        exchange.tried += (pool,)
        pool = cluster.pick(exchange.tried) or pool
    pool.drop_idle()  # they may all be stale
    _move(exchange, pool)
    wait_for_connection(exchange, pool)


def start_request_timer(exchange: Exchange, timeout_s: float) -> None:
    """Bound the whole exchange (timeouts.request)."""
    exchange.request_timer = exchange.connection.site.deadlines.after(timeout_s, exchange.on_request_timeout)


def start_upstream_timer(exchange: Exchange, timeout_s: float) -> None:
    """Bound one attempt (timeouts.backendRequest)."""
    cancel_upstream_timer(exchange)
    exchange.upstream_timer = exchange.connection.site.deadlines.after(timeout_s, exchange.on_upstream_timeout)


def _take_or_wait(exchange: Exchange, pool: EndpointPool) -> None:
    _move(exchange, pool)
    exchange.pool = pool
    idle = pool.take(must_live=True)
    if idle is None:
        wait_for_connection(exchange, pool)
    else:
        exchange.on_connection(idle)


def _move(exchange: Exchange, pool: EndpointPool) -> None:
    """Have a persistent session follow the request to *pool*."""
    target = exchange.target
    if target is not None and target.entry.session is not None:
        state = exchange.connection.site.entries.get(target.entry)
        if state is not None:  # else a new table serves, whose sessions are other values
            state.move(exchange, pool)


def cancel_upstream_timer(exchange: Exchange) -> None:
    """Stop the timer of an attempt, or of the wait for the next."""
    if exchange.upstream_timer is not None:
        exchange.upstream_timer.cancel()
        exchange.upstream_timer = None
