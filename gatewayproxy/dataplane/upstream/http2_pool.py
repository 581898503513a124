"""The pool of an endpoint that speaks HTTP/2: what it gives out are streams of as few connections as will do.

A further connection is made only for waiters that the open ones, and those being made, have no room for. Bounds:
`upstream_h2_streams` of a connection, or fewer where the endpoint says so; `upstream_connections`; those of the queue.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gatewayproxy.dataplane.upstream.connection import EndpointConnection, Upstream
from gatewayproxy.dataplane.upstream.http2 import Http2Upstream
from gatewayproxy.dataplane.upstream.pool import EndpointPool, Spawn, Waiter
from gatewayproxy.dataplane.upstream.tls import TlsClient
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import Endpoint

__all__ = ["Http2Pool"]


class Http2Pool(EndpointPool):
    """See the module; *idle* is always empty."""

    __slots__ = ("_learned", "_open", "_per_connection", "codec_limits", "scheme")

    def __init__(self, endpoint: Endpoint, limits: Limits, spawn: Spawn, tls: TlsClient | None = None) -> None:
        super().__init__(endpoint, limits, spawn, tls)
        self.scheme = b"http" if tls is None else b"https"
        self._open: list[Http2Upstream] = []  # those that may have room, oldest first
        self._per_connection = limits.upstream_h2_streams  # as the endpoint's last SETTINGS allow
        self._learned = False  # they have come once
        # By them the codec keeps windows within which no stream stops another: `h2_connection_window_bytes` in all.
        self.codec_limits = replace(limits, h2_streams=limits.upstream_h2_streams)

    def take(self, *, must_live: bool) -> Upstream | None:
        """Return a stream of the oldest connection that has room."""
        for connection in self._open:  # PERF: those at work need no look at the socket, nor the call for it
            if 0 < len(connection.codec.streams) < connection.most:
                return connection.open()
        return self._take(self._open, must_live)

    def _take(self, connections: Iterable[Http2Upstream], must_live: bool) -> Upstream | None:
        for connection in connections:
            n_streams = len(connection.codec.streams)
            if n_streams < connection.most:
                if n_streams or not must_live or connection.lives():
                    return connection.open()
                connection.leave()  # changes what we walk
                return self._take(self._open, must_live)
        return None

    def wait(self, waiter: Waiter) -> None:
        """Give *waiter* a stream now, or queue it.

        Of the newest connection: the waiter may have met with the end of an older one.
        """
        stream = None if self._queue else self._take(reversed(self._open), must_live=True)
        if stream is None:
            super().wait(waiter)
        else:
            waiter.on_connection(stream)

    def serve(self, connection: Http2Upstream) -> None:
        """Give waiters the room that *connection* has."""
        queue = self._queue
        while queue and len(connection.codec.streams) < connection.most:
            waiter = next(iter(queue))
            del queue[waiter]
            waiter.on_connection(connection.open())
        if queue:
            self._connect_more()
        elif self.retired:
            connection.leave()

    def first_streams(self) -> int:
        """Return how many streams a new connection may have until the endpoint says so.

        One, before the endpoint has ever said it: some end the connection where there are too many.
        """
        return self._per_connection if self._learned else 1

    def learn(self, most: int) -> None:
        """Note how many streams the endpoint allows on a connection; for one that allows none, nothing is expected."""
        self._per_connection = max(most, 1)
        self._learned = True

    @property
    def wanted(self) -> bool:
        """Return whether someone waits for room."""
        return bool(self._queue)

    def close_to_new(self, connection: Http2Upstream) -> None:
        """Give no more streams of *connection*."""
        if connection in self._open:
            self._open.remove(connection)

    def lose(self, connection: Http2Upstream) -> None:
        """Let go of a closed connection; waiters get a new one."""
        self.close_to_new(connection)
        self.connections.discard(connection)
        if self._queue:
            self._connect_more()

    def retire(self) -> None:
        """Close what is idle, and the rest behind their streams."""
        self.retired = True
        for connection in list(self._open):
            connection.leave()

    def drop_idle(self) -> None:
        """Nothing is idle: a connection that has ended leaves by itself."""

    def sweep(self, now: float) -> None:
        """Let connections look at the time, refuse waiters who waited too long."""
        for connection in self.connections.copy():
            assert isinstance(connection, Http2Upstream)
            connection.on_tick(now)
        self._refuse_late(now)

    def counts(self) -> list[int]:
        """Return [active, idle, opened, failed]: streams at work, connections without any, and connections made."""
        active = n_idle = 0
        for connection in self.connections:
            assert isinstance(connection, Http2Upstream)
            n_streams = len(connection.codec.streams)
            active += n_streams
            n_idle += not n_streams
        return [active + self.n_streams, n_idle, self.n_opened, self.n_failed]

    def _connect_more(self) -> None:
        room = self.limits.upstream_connections - len(self.connections) - self._connecting
        coming = self._connecting + sum(not connection.greeted for connection in self._open)
        missing = len(self._queue) - coming * self._per_connection
        for _ in range(min(room, -(-missing // self._per_connection))):
            self._connecting += 1
            self._spawn(self._connect(), f"connect {self.name}")

    def _make(self) -> EndpointConnection:
        return Http2Upstream(self)

    def _connected(self, made: EndpointConnection) -> None:
        assert isinstance(made, Http2Upstream)
        self.n_opened += 1
        if made.transport.is_closing():
            self._useless(made)
            return
        self.failed_until = 0.0
        self.connections.add(made)
        self._open.append(made)
        self.serve(made)
