"""Stream: one L4 connection from its backend choice to its end.

A stream dials at once, before the client has said a word: many protocols let the server speak first. Until the upstream
is there, the client's bytes wait in its socket. An endpoint that cannot be reached is followed by the next one of the
cluster. A refusal closes without a byte; a stream that is cut is reset on both sides, so that it cannot look complete.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.protocols.splice import Half
from gatewayproxy.dataplane.protocols.splice_dial import keep_alive, target_of
from gatewayproxy.dataplane.protocols.splice_reactor import ARRIVALS, EDGES, Reactor
from gatewayproxy.dataplane.protocols.splice_record import Client, Cutoff, record
from gatewayproxy.dataplane.protocols.splice_socket import connect, error_of, reset_at_close
from gatewayproxy.dataplane.protocols.splice_ways import Way
from gatewayproxy.dataplane.stats import AccessRecord
from gatewayproxy.dataplane.upstream.pool import EndpointPool

__all__ = ["Stream", "StreamOwner"]

_ATTEMPTS: Final = 3  # endpoints tried for one stream
_OUT: Final = select.EPOLLOUT
_FAILED: Final = select.EPOLLERR | select.EPOLLHUP
_PEACE: Final = Cutoff()
_NONE: Final = -1  # no descriptor


class StreamOwner(Protocol):
    """What the streams of one port share."""

    context: Context
    reactor: Reactor
    protocol: str  # of access records: "tcp" or "tls"

    def forget(self, stream: Stream) -> None:
        """*stream* is over: its client is closed."""


class Stream:
    """Moves between *client* and an endpoint of *way*'s cluster until both have closed, or one fails."""

    __slots__ = (
        "_active_at", "_cluster", "_connect_s", "_counted_in", "_counted_out", "_down", "_failure", "_generation",
        "_kept_alive", "_owner", "_pool", "_row", "_tried", "_up", "_upstream", "client", "closed", "listener",
        "way",
    )  # fmt: skip

    # PERF: benchmarks/l4 connections: keywords to a constructor cost a dict.
    def __init__(self, owner: StreamOwner, client: Client, listener: str, way: Way) -> None:
        self._owner = owner
        self.client = client
        self.listener = listener
        self.way = way
        self.closed = False
        self._cluster = way.cluster
        self._tried: tuple[EndpointPool, ...] = ()
        self._pool: EndpointPool | None = None  # counts this stream, once connected
        self._failure = ""  # of the last attempt
        self._generation = owner.context.generation
        self._row = row = way.row
        row.active += 1
        self._upstream = _NONE
        self._down: Half | None = None  # client to upstream, once connected
        self._up: Half | None = None  # upstream to client
        self._connect_s = 0.0
        self._active_at = client.accepted_at
        self._counted_in = 0
        self._counted_out = 0
        self._kept_alive = False  # the upstream's keep-alive is on

    def dial(self) -> None:
        """Begin to connect to the next endpoint that one can begin with; none left: refuse."""
        while len(self._tried) < _ATTEMPTS:
            pool = self._cluster.pick(self._tried)
            if pool is None:
                break
            self._tried += (pool,)
            try:
                self._upstream = connect(*target_of(pool.endpoint))
                self._owner.reactor.watch(self._upstream, self)
            except OSError as error:
                self._attempt_failed(error.strerror or str(error))
                continue
            self._owner.reactor.dialling.add(self)
            return
        if self._tried:
            self._end(Cutoff("connect_failed", self._failure))
        else:
            self._wait_for_endpoints()

    def ready(self, events: int) -> None:
        """Act on the events of a connecting upstream."""
        if events & _FAILED:
            error = error_of(self._upstream)
            self._next(os.strerror(error) if error else "closed at once")
        elif events & _OUT:
            self._owner.reactor.dialling.drop(self)
            self._join(self._upstream, events)

    def expire(self) -> None:
        """Give the connecting endpoint up, or the wait for one: the connect timeout has passed."""
        if self._upstream == _NONE:
            self._end(Cutoff(self._cluster.failure, "timed out"))
        else:
            self._next("timed out")

    def ended(self) -> None:
        """End in peace: both sides have closed."""
        self._end(_PEACE)

    def broken(self, culprit: int, error: OSError | None) -> None:
        """End after *culprit*'s connection failed; the other side is reset unless it already has all there was."""
        if self.closed:
            return
        by_client = culprit == self.client.fd
        half = self._down if by_client else self._up
        code = error.errno if error is not None else error_of(culprit)
        other = self._upstream if by_client else self.client.fd
        if half is not None and not half.done and other != _NONE:
            reset_at_close(other)
        self._end(Cutoff("client_reset" if by_client else "upstream_reset", os.strerror(code) if code else ""))

    def cut(self, reason: str, detail: str = "") -> None:
        """End now: both sides are reset."""
        if self.closed:
            return
        for fd in (self.client.fd, self._upstream):
            if fd != _NONE:
                reset_at_close(fd)
        self._end(Cutoff(reason, detail))

    def crashed(self) -> None:
        """End: our code raised on its behalf."""
        self.cut("internal_error")

    def tally(self, now: float, idle_timeout_s: float) -> None:
        """Add the bytes since the last tally to the counters; cut the stream if there were none for too long."""
        if self._down is None or self._up is None:
            return  # connecting has a deadline of its own
        if not self._kept_alive:  # PERF: benchmarks/l4 connections: nothing that short streams have to pay for
            self._kept_alive = True
            keep_alive(self._upstream)
        if self._count(self._down, self._up):
            self._active_at = now
        elif idle_timeout_s and now - self._active_at >= idle_timeout_s:
            self.cut("idle_timeout")

    def _next(self, failure: str) -> None:
        self._owner.reactor.dialling.drop(self)
        self._attempt_failed(failure)
        self.dial()

    def _wait_for_endpoints(self) -> None:
        """Wait for the first answer of the cluster's name; without one to come, refuse."""
        waiting = self._cluster.unresolved
        if waiting is None:
            self._end(Cutoff(self._cluster.failure))
            return
        self._owner.reactor.dialling.add(self)
        waiting[self._resolved] = None

    def _resolved(self) -> None:
        if self.closed:
            return
        self._owner.reactor.dialling.drop(self)
        if self._cluster.pools:
            self.dial()
        else:
            self._end(Cutoff(self._cluster.failure))

    def _attempt_failed(self, failure: str) -> None:
        pool = self._tried[-1]
        pool.stream_failed()
        self._failure = f"{pool.name}: {failure}"
        if self._upstream != _NONE:
            self._owner.reactor.discard(self._upstream)
            self._upstream = _NONE

    def _join(self, upstream: int, events: int) -> None:
        """Connect the two sides; *events* are the upstream's: its first bytes may be there already."""
        reactor = self._owner.reactor
        now = monotonic()
        self._connect_s = now - self.client.accepted_at
        self._active_at = now
        self._pool = pool = self._tried[-1]
        pool.stream_opened()
        client = self.client.fd
        tcp = not pool.endpoint.host.startswith("unix:")
        self._down = down = Half(reactor, self, client, upstream, EDGES, True)
        self._up = up = Half(reactor, self, upstream, client, ARRIVALS, tcp)
        down.peer, up.peer = up, down
        reactor.hand_over(upstream, up)
        down.move()  # what the client has sent by now needs no event of its own
        if not self.closed:
            reactor.watch(client, down, ARRIVALS)
            if events != _OUT:
                up.ready(events)

    def _count(self, down: Half, up: Half) -> bool:
        """Add what moved since the last time to the row; return whether anything did."""
        n_in, n_out = down.moved - self._counted_in, up.moved - self._counted_out
        self._counted_in, self._counted_out = down.moved, up.moved
        self._row.bytes_in += n_in
        self._row.bytes_out += n_out
        return n_in + n_out > 0

    def _end(self, cutoff: Cutoff) -> None:
        self.closed = True
        owner = self._owner
        down, up = self._down, self._up
        if down is not None and up is not None:
            down.release()
            up.release()
            self._count(down, up)
            self._down = self._up = None
        else:
            owner.reactor.dialling.drop(self)
        if self._pool is not None:
            self._pool.stream_closed()
        if self._upstream != _NONE:
            owner.reactor.discard(self._upstream)
        duration_s = monotonic() - self.client.accepted_at
        self._row.active -= 1
        self._row.done(0, duration_s, 0, 0)  # bytes are counted as they pass
        if cutoff.reason:
            owner.context.stats.refuse(self.listener, cutoff.reason)
        if owner.context.access is not None:
            self._log(owner.context.access, cutoff, duration_s)
        owner.forget(self)

    def _log(self, access: Callable[[AccessRecord], None], cutoff: Cutoff, duration_s: float) -> None:
        access(
            record(
                self.client,
                cutoff,
                protocol=self._owner.protocol,
                listener=self.listener,
                label=self.way.entry.label,
                generation=self._generation,
                duration_s=duration_s,
                backend=self.way.backend,
                endpoint=self._tried[-1].name if self._tried else "",
                bytes_in=self._counted_in,
                bytes_out=self._counted_out,
                connect_s=self._connect_s,
                attempts=len(self._tried),
            )
        )
