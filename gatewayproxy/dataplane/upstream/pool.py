"""Pools: the connections to one endpoint, and which endpoint of a cluster is next.

An idle connection is taken last in, first out, by a plain call. Without one a waiter queues, and at most one
connection per waiter is being made. Bounds: `upstream_connections`, `upstream_queue`, `upstream_queue_s`. An endpoint
that just refused a connection is passed over for FAILED_S while others are left.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from time import monotonic
from typing import Any, Final, Protocol, TypeVar

from gatewayproxy.dataplane.keepalive import KEEPALIVE
from gatewayproxy.dataplane.upstream.connection import EndpointConnection, Upstream, UpstreamConnection
from gatewayproxy.dataplane.upstream.tls import TlsClient
from gatewayproxy.errors import UpstreamError
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import Cluster, Endpoint
from gatewayproxy.model.protocols import AppProtocol

__all__ = ["FAILED_S", "ClusterState", "EndpointPool", "Waiter", "alive"]

FAILED_S: Final = 1.0

P = TypeVar("P", bound=asyncio.Protocol)

Spawn = Callable[[Coroutine[Any, Any, None], str], object]  # runs a task that its owner cancels at the end


class Waiter(Protocol):
    """Who waits for a connection; exactly one of the two calls follows, unless `EndpointPool.cancel` comes first."""

    def on_connection(self, connection: Upstream) -> None:
        """Use *connection* now."""

    def on_no_connection(self, pool: EndpointPool, error: UpstreamError) -> None:
        """There is none to be had from *pool*."""


class EndpointPool:
    """Connections of one worker to one endpoint, by HTTP/1.1; `http2_pool` is for HTTP/2."""

    __slots__ = (
        "_connecting", "_queue", "_spawn", "_swept_at", "connections", "endpoint", "failed_until", "idle", "limits",
        "n_failed", "n_opened", "n_streams", "name", "retired", "tls",
    )  # fmt: skip

    def __init__(self, endpoint: Endpoint, limits: Limits, spawn: Spawn, tls: TlsClient | None = None) -> None:
        self.endpoint = endpoint
        self.tls = tls  # None: plain text
        self.limits: Limits = limits
        self.name = endpoint.address
        self.idle: list[UpstreamConnection] = []
        self.connections: set[EndpointConnection] = set()
        self.failed_until = 0.0  # monotonic; 0 = well
        self.n_opened = self.n_failed = 0
        self.n_streams = 0  # TCP and passthrough streams; these connections are not pooled
        self.retired = False  # no table names it any more
        self._queue: dict[Waiter, float] = {}  # in order of arrival, with their deadlines
        self._connecting = 0
        self._spawn = spawn
        self._swept_at = monotonic()  # PERF: the clock of `put`: as exact as `sweep`, which alone reads it, 40 ns less

    def take(self, *, must_live: bool) -> Upstream | None:
        """Return a way that is ready; *must_live*: the request could not be sent twice, so look at the socket first."""
        idle = self.idle
        while idle:
            connection = idle.pop()
            if not must_live or alive(connection):
                return connection
            connection.close()
        return None

    def wait(self, waiter: Waiter) -> None:
        """Queue *waiter*, and make a connection if the bound allows. Raises UpstreamError when the queue is full."""
        if len(self._queue) >= self.limits.upstream_queue:
            raise UpstreamError(f"{self.name}: too many requests wait", kind="upstream_overflow", status=503)
        self._queue[waiter] = monotonic() + self.limits.upstream_queue_s
        self._connect_more()

    def cancel(self, waiter: Waiter) -> None:
        """Let *waiter* wait no more."""
        self._queue.pop(waiter, None)

    def put(self, connection: UpstreamConnection) -> None:
        """Take back a connection that is ready for another request."""
        if self._queue:
            waiter = next(iter(self._queue))
            del self._queue[waiter]
            waiter.on_connection(connection)
        elif self.retired:
            connection.close()
        else:
            connection.idle_since = self._swept_at
            self.idle.append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        """Let go of a closed connection; waiters get a new one."""
        if connection in self.connections:
            self.connections.discard(connection)
            self.discard_idle(connection)
            if self._queue:
                self._connect_more()

    def discard_idle(self, connection: UpstreamConnection) -> None:
        """Do not hand out *connection*: its peer has ended it."""
        if connection in self.idle:
            self.idle.remove(connection)

    def retire(self) -> None:
        """Close what is idle, and the rest after their exchanges."""
        self.retired = True
        self.drop_idle()

    def drop_idle(self) -> None:
        """Close what is idle."""
        while self.idle:
            self.idle.pop().close()

    def sweep(self, now: float) -> None:
        """Close connections idle too long, refuse waiters who waited too long."""
        self._swept_at = now
        oldest = now - self.limits.upstream_idle_s
        while self.idle and self.idle[0].idle_since < oldest:
            self.idle.pop(0).close()
        self._refuse_late(now)

    def _refuse_late(self, now: float) -> None:
        late = [waiter for waiter, deadline_at in self._queue.items() if deadline_at < now]
        for waiter in late:
            if self._queue.pop(waiter, None) is not None:
                message = f"{self.name}: no connection became free"
                waiter.on_no_connection(self, UpstreamError(message, kind="upstream_queue_timeout", status=503))

    def counts(self) -> list[int]:
        """Return [active, idle, opened, failed]."""
        n_idle = len(self.idle)
        return [len(self.connections) - n_idle + self.n_streams, n_idle, self.n_opened, self.n_failed]

    def stream_opened(self) -> None:
        """Count a stream that connected in; `stream_closed` must follow."""
        self.n_streams += 1
        self.n_opened += 1
        self.failed_until = 0.0

    def stream_closed(self) -> None:
        """Count a stream out."""
        self.n_streams -= 1

    def stream_failed(self) -> None:
        """Note that a stream could not connect."""
        self.n_failed += 1
        self.failed_until = monotonic() + FAILED_S

    def _connect_more(self) -> None:
        room = self.limits.upstream_connections - len(self.connections) - self._connecting
        for _ in range(min(room, len(self._queue) - self._connecting)):
            self._connecting += 1
            self._spawn(self._connect(), f"connect {self.name}")

    async def dial(self, make: Callable[[], P]) -> P:
        """Connect, over TLS where the cluster asks for it, within `connect_timeout_s`; return the protocol of *make*.

        Its `connection_made` comes when bytes may be written. Raises UpstreamError.
        """
        try:
            async with asyncio.timeout(self.limits.connect_timeout_s):
                if self.tls is None:
                    return await self._reach(make)
                handshake = await self._reach(partial(self.tls.handshake, make))
                return await handshake.established()
        except TimeoutError as error:
            message = f"{self.name}: connect timed out"
            raise UpstreamError(message, kind="connect_timeout", status=503) from error
        except (OSError, UnicodeError) as error:
            message = f"{self.name}: {type(error).__name__}: {error}"
            raise UpstreamError(message, kind="connect_failed", status=503) from error

    async def _reach(self, make: Callable[[], P]) -> P:
        loop = asyncio.get_running_loop()
        host, port = self.endpoint
        if host.startswith("unix:"):
            _, made = await loop.create_unix_connection(make, host[5:])
        else:
            transport, made = await loop.create_connection(make, host, port)
            if not transport.is_closing():
                for option in KEEPALIVE:
                    transport.get_extra_info("socket").setsockopt(*option)
        return made

    async def _connect(self) -> None:
        try:
            made = await self.dial(self._make)
        except UpstreamError as error:
            self._failed(error)
        else:
            self._connected(made)
        finally:
            self._connecting -= 1
        if self._queue:  # who had no room for a connection of its own, and now may
            self._connect_more()

    def _make(self) -> EndpointConnection:
        return UpstreamConnection(self)

    def _connected(self, made: EndpointConnection) -> None:
        assert isinstance(made, UpstreamConnection)
        self.n_opened += 1
        # TLS: what waits in the socket may be tickets; other bytes inside have closed the connection already.
        if made.transport.is_closing() if self.tls is not None else not alive(made):
            self._useless(made)
            return
        self.failed_until = 0.0
        self.connections.add(made)
        self.put(made)

    def _useless(self, made: EndpointConnection) -> None:
        """Refuse a connection that ended as soon as it was there."""
        made.transport.abort()
        message = f"{self.name}: the backend ended the connection, or spoke, before it was asked"
        error = UpstreamError(message, kind="bad_response", status=502)
        self._failed((self.tls and self.tls.error_of(made.transport)) or error)

    def _failed(self, error: UpstreamError) -> None:
        self.n_failed += 1
        self.failed_until = monotonic() + FAILED_S
        if self._queue:
            waiter = next(iter(self._queue))
            del self._queue[waiter]
            waiter.on_no_connection(self, error)


class ClusterState:
    """The endpoints of one cluster, taken in turn."""

    __slots__ = ("_next_turn", "_turn", "cluster", "failure", "multiplexed", "only", "pools", "unresolved")

    def __init__(self, cluster: Cluster, pools: Iterable[EndpointPool]) -> None:
        self.cluster = cluster
        self.multiplexed = cluster.protocol is AppProtocol.H2C  # its pools give out streams of HTTP/2 connections
        self.pools: tuple[EndpointPool, ...] = ()
        self.only: EndpointPool | None = None  # PERF: where there is just one, no turns are taken
        self.use(pools)
        self.unresolved: dict[Callable[[], None], None] | None = None  # who waits for a first DNS answer
        self.failure = "no_endpoints" if cluster.dns is None else "dns_failed"  # why there are no pools
        self._turn = self._next_turn = 0

    def use(self, pools: Iterable[EndpointPool]) -> None:
        """Spread over *pools* from now on."""
        self.pools = tuple(pools)
        self.only = self.pools[0] if len(self.pools) == 1 else None

    def pick(self, tried: tuple[EndpointPool, ...] = ()) -> EndpointPool | None:
        """Return the next endpoint's pool, None where every one was *tried* or there is none."""
        pools = self.pools
        n = len(pools)
        if n == 0:
            return None
        if tried:  # turns of their own: else requests and retries could fall into step, and the same ones always fail
            self._next_turn = turn = (self._next_turn + 1) % n
            return self._pick_well(turn, tried)
        self._turn = turn = (self._turn + 1) % n
        pool = pools[turn]
        return self._pick_well(turn, tried) if pool.failed_until else pool

    def _pick_well(self, turn: int, tried: tuple[EndpointPool, ...]) -> EndpointPool | None:
        """Return the first pool from *turn* on that has not just failed, else the first that was not tried."""
        now = monotonic()
        left = [pool for pool in self.pools[turn:] + self.pools[:turn] if pool not in tried]
        well = [pool for pool in left if pool.failed_until < now]
        return well[0] if well else left[0] if left else None


def alive(connection: UpstreamConnection) -> bool:
    """Return whether an idle connection's socket has nothing to say: an end or stray bytes both make it useless.

    What is unread of a TLS connection may be a ticket, or close_notify: nobody can tell, so it is useless too.
    """
    if connection.transport.is_closing():
        return False
    sock = connection.transport.get_extra_info("socket")
    poller = select.poll()
    poller.register(sock.fileno(), select.POLLIN | select.POLLRDHUP)
    return not poller.poll(0)
