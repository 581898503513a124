"""Flow: what one client of a UDP port sends, the endpoint that gets it, and the replies on their way back.

A flow begins with a client's first datagram and ends with silence. It has a socket of its own, connected to its
endpoint: replies are its client's, and nobody else's datagrams come in. An endpoint that refuses (ICMP) is left for
another one at the next datagram; what it was sent is lost, as datagrams may be. Nothing is queued here: where a socket
has no room, the datagram is dropped and counted.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
from time import monotonic
from typing import Final, NamedTuple, Protocol

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.protocols.splice_dial import target_of
from gatewayproxy.dataplane.protocols.splice_reactor import Reactor
from gatewayproxy.dataplane.protocols.splice_record import Client, Cutoff, record
from gatewayproxy.dataplane.protocols.udp_gate import Ages, FlowGate
from gatewayproxy.dataplane.protocols.udp_socket import BATCH, FULL, Key, Return, open_datagram
from gatewayproxy.dataplane.stats import RuleStats
from gatewayproxy.dataplane.upstream.pool import ClusterState, EndpointPool
from gatewayproxy.model.plan import Endpoint
from gatewayproxy.routing.table import RuleLabel

__all__ = ["Course", "Flow", "FlowOwner"]

_ATTEMPTS: Final = 3  # endpoints tried for one datagram
_NONE: Final = -1  # no descriptor
_PEACE: Final = Cutoff()
_SILENT: Final = frozenset({errno.EAGAIN, errno.EINTR})
_OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Course(NamedTuple):
    """What every flow of a rule to a backend shares. Without a cluster their datagrams are dropped, for *cutoff*."""

    label: RuleLabel | None
    backend: str  # its name
    cluster: ClusterState | None
    row: RuleStats
    cutoff: Cutoff = _PEACE


class FlowOwner(Protocol):
    """What the flows of one port share."""

    context: Context
    reactor: Reactor
    gate: FlowGate
    label: str
    table: int  # changes with the routing table
    stopped: bool  # the port is gone: flows stay where they are until they end

    def choose(self) -> Course:
        """Return the course of the next flow."""

    def course_to(self, endpoint: Endpoint, backend: str) -> tuple[Course, EndpointPool] | None:
        """Return how the table in force still leads to *endpoint*, preferably by *backend*; None: it does not."""

    def drop(self, reason: str, n: int) -> None:
        """Count *n* datagrams as dropped."""

    def count(self, direction: int, n: int) -> None:
        """Count *n* datagrams from clients (0), or to them (1)."""

    def forget(self, flow: Flow) -> None:
        """*flow* is over."""


class Flow:
    """One client's, from its first datagram on. *listening* is the descriptor it came to, and replies leave by."""

    __slots__ = (
        "_ages", "_avoid", "_back", "_bytes_in", "_bytes_out", "_course", "_generation", "_listening", "_n_endpoints",
        "_owner", "_pool", "_started_at", "_table", "_trouble", "_upstream", "active_at", "key",
    )  # fmt: skip

    def __init__(self, owner: FlowOwner, key: Key, listening: int, now: float) -> None:
        self.key = key
        self.active_at = now
        self._owner = owner
        self._listening = listening
        self._back = Return(key[-1], key[0] if len(key) > 1 else b"")
        self._started_at = now
        self._generation = owner.context.generation
        self._table = owner.table
        self._upstream = _NONE
        self._pool: EndpointPool | None = None  # where the datagrams go, while there is an upstream socket
        self._avoid: tuple[EndpointPool, ...] = ()  # the endpoint that failed last
        self._trouble = _PEACE  # why the last datagram was lost, if it was
        self._n_endpoints = 0
        self._bytes_in = self._bytes_out = 0
        self._ages: Ages = owner.gate.admit(self)
        self._course = course = owner.choose()
        course.row.active += 1
        if course.cluster is None:
            self._log(course.cutoff, 0.0, "")

    def forward(self, start: int, end: int, now: float) -> None:
        """Send datagrams *start* up to *end* of the batch on."""
        self.active_at = now
        self._ages.move_to_end(self)
        if self._table != self._owner.table and not self._follow(end - start):
            return
        pool = self._pool
        sent = 0 if pool is None or pool.retired else BATCH.send(self._upstream, start, end)
        if sent == end - start:
            self._count(start, end)
        else:
            self._forward_rest(start, end, sent)

    def ready(self, events: int) -> None:
        """Take what the endpoint has sent back to the client, a batch of it."""
        n = BATCH.receive(self._upstream)
        if n < 0:
            code = ctypes.get_errno()
            if code not in _SILENT:
                self._endpoint_failed(code)
            return
        owner = self._owner
        self.active_at = monotonic()
        if self._ages is owner.gate.answered:
            self._ages.move_to_end(self)
        else:
            self._ages = owner.gate.settle(self)
        n_lost = BATCH.send_back(self._listening, n, self._back)
        owner.count(1, n - n_lost)
        n_bytes = BATCH.size(0, n)
        self._bytes_out += n_bytes
        self._course.row.bytes_out += n_bytes
        self._trouble = _PEACE
        if n_lost:
            owner.drop("client_full", n_lost)

    def expire(self) -> None:
        """End: silence is how flows end."""
        self._end(self._trouble)

    def give_way(self) -> None:
        """End: another flow needs the place."""
        self.cut("flow_limit")

    def crashed(self) -> None:
        """End: our code raised on its behalf."""
        self.cut("internal_error")

    def cut(self, reason: str) -> None:
        """End now, and count why."""
        self._owner.context.stats.refuse(self._owner.label, reason)
        self._end(Cutoff(reason))

    def _forward_rest(self, start: int, end: int, sent: int) -> None:
        """Go on after a `Batch.send` of *start* up to *end* that returned *sent*: elsewhere, or not at all."""
        attempts = 0
        while True:
            if sent > 0:
                self._count(start, start + sent)
                start += sent
            elif sent < 0:
                code = ctypes.get_errno()
                if code in FULL:
                    self._owner.drop("upstream_full", end - start)
                    return
                if code == errno.EMSGSIZE:
                    self._owner.drop("too_large", 1)
                    start += 1
                else:
                    self._endpoint_failed(code)
                    attempts += 1
            if start == end:
                return
            if attempts == _ATTEMPTS or not self._has_endpoint():
                self._owner.drop(self._trouble.reason, end - start)
                return
            sent = BATCH.send(self._upstream, start, end)

    def _count(self, start: int, end: int) -> None:
        n_bytes = BATCH.size(start, end)
        self._bytes_in += n_bytes
        self._course.row.bytes_in += n_bytes

    def _follow(self, n: int) -> bool:
        """Go by the table in force: on to the same endpoint where it still leads there. False: *n* were dropped."""
        owner = self._owner
        self._table = owner.table
        course = self._stay()
        if course is None:
            self._leave()
            course = owner.choose()
        if course.cluster is None and self._course.cluster is not None:
            owner.drop(course.cutoff.reason, n)
            self._end(course.cutoff)  # its client may come back, with another one's luck
            return False
        self._course.row.active -= 1
        course.row.active += 1
        self._course = course
        return True

    def _stay(self) -> Course | None:
        """Return the course of the table in force that leads to the present endpoint, if one does."""
        if self._pool is None:
            return None
        found = self._owner.course_to(self._pool.endpoint, self._course.backend)
        if found is None:
            return None
        course, pool = found
        self._pool.n_streams -= 1
        pool.n_streams += 1
        self._pool = pool
        return course

    def _has_endpoint(self) -> bool:
        """Connect to an endpoint unless there is one; return whether there is, else `_trouble` says why not."""
        if self._pool is not None and (self._owner.stopped or not self._pool.retired):
            return True
        self._leave()
        cluster = self._course.cluster
        if cluster is None:
            self._trouble = self._course.cutoff
            return False
        for _ in range(_ATTEMPTS):
            pool = cluster.pick(self._avoid) or cluster.pick()
            if pool is None:
                self._trouble = Cutoff(cluster.failure)
                return False
            if self._connect(pool):
                return True
        return False

    def _connect(self, pool: EndpointPool) -> bool:
        self._n_endpoints += 1
        try:
            self._upstream = open_datagram(*target_of(pool.endpoint))
            self._owner.reactor.watch(self._upstream, self, select.EPOLLIN)
        except OSError as error:
            if error.errno in _OURS:  # no fault of the endpoint's
                self._trouble = Cutoff("connect_failed", os.strerror(error.errno))
                self._leave()
            else:
                self._failed(pool, error.strerror or str(error))
            return False
        self._pool = pool
        pool.n_streams += 1
        pool.n_opened += 1
        return True

    def _endpoint_failed(self, code: int) -> None:
        assert self._pool is not None
        self._failed(self._pool, os.strerror(code))

    def _failed(self, pool: EndpointPool, why: str) -> None:
        pool.stream_failed()
        self._avoid = (pool,)
        self._trouble = Cutoff("connect_failed", f"{pool.name}: {why}")
        self._leave()

    def _leave(self) -> None:
        """Close the upstream socket, if there is one."""
        if self._upstream != _NONE:
            self._owner.reactor.discard(self._upstream)
            self._upstream = _NONE
        if self._pool is not None:
            self._pool.n_streams -= 1
            self._pool = None

    def _end(self, cutoff: Cutoff) -> None:
        endpoint = self._pool.name if self._pool is not None else ""
        self._leave()
        del self._ages[self]
        course = self._course
        course.row.active -= 1
        if course.cluster is not None:
            duration_s = self.active_at - self._started_at
            course.row.done(0, duration_s, 0, 0)  # bytes are counted as they pass
            self._log(cutoff, duration_s, endpoint)
        self._owner.forget(self)

    def _log(self, cutoff: Cutoff, duration_s: float, endpoint: str) -> None:
        context, course = self._owner.context, self._course
        if context.access is None:
            return
        context.access(
            record(
                Client(_NONE, self.key[-1], self._started_at),
                cutoff,
                protocol="udp",
                listener=self._owner.label,
                label=course.label,
                generation=self._generation,
                duration_s=duration_s,
                backend=course.backend,
                endpoint=endpoint,
                bytes_in=self._bytes_in,
                bytes_out=self._bytes_out,
                attempts=self._n_endpoints,
            )
        )
