"""Flows: the clients of one UDP port, which course each takes, and how they all end.

A client keeps the backend its turn fell to, and the endpoint: weights count per client, refused shares too. A new table
takes flows along: at the next datagram a flow stays with its endpoint if the route still leads there, else it moves.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Sequence
from time import monotonic
from typing import Final

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.protocols.splice_reactor import reactor_of
from gatewayproxy.dataplane.protocols.splice_record import Cutoff
from gatewayproxy.dataplane.protocols.udp_flow import Course, Flow
from gatewayproxy.dataplane.protocols.udp_gate import gate_of
from gatewayproxy.dataplane.protocols.udp_socket import BATCH, BATCH_SIZE, Key, key_reader, queue_drops
from gatewayproxy.dataplane.stats import RuleStats
from gatewayproxy.dataplane.upstream.pool import EndpointPool
from gatewayproxy.model.plan import Endpoint
from gatewayproxy.routing.pick import pick
from gatewayproxy.routing.table import BackendChoice, Port, RouteEntry

__all__ = ["Flows"]

DRAIN_SILENCE_S: Final = 2.0  # silence that ends a flow of a port that is removed
_SWEEP_S: Final = 0.25
_LAST: Final = 64  # batches read at most when a port is removed, and before its flows are found silent
_POLL_S: Final = 1.0  # after datagrams came, the kernel is asked what it dropped


class Flows:
    """The flows of one port, and the sockets it listens on: its own from now on."""

    def __init__(self, port: Port, sockets: Sequence[socket.socket], context: Context) -> None:
        self.context = context
        self.reactor = reactor_of(context)
        self.gate = gate_of(context)
        self.label = port.label
        self.bound = port.bound
        self.table = 0
        self.stopped = False
        self.holder: object = None  # the listener that answers for the flows
        self._stats = context.stats
        for counter in (context.stats.connections, context.stats.connections_total):
            counter.setdefault(self.label, 0)
        self._entry: RouteEntry | None = None
        self._turn = -1
        self._courses: dict[BackendChoice | None, Course] = {}  # of one table
        self._flows: dict[Key, Flow] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self.update(port)
        self.reactor.acquire()
        self._doors = [Door(self, sock) for sock in sockets]

    def __len__(self) -> int:
        return len(self._flows)

    def update(self, port: Port) -> None:
        """Send datagrams by *port* from now on."""
        self.table += 1
        self._entry = entry = port.udp
        self._courses.clear()
        if entry is None or entry.group is None:
            return
        for choice in entry.group.choices:
            # Now, so that names resolve before the first datagram, and endpoints that stay are not given up meanwhile.
            self._courses[choice] = self._course(entry, choice)

    def choose(self) -> Course:
        """Return the course of the next flow."""
        entry = self._entry
        if entry is None or entry.group is None:
            return self._courses.get(None) or self._refusal(entry)
        self._turn += 1
        return self._courses[pick(entry.group, self._turn)]

    def course_to(self, endpoint: Endpoint, backend: str) -> tuple[Course, EndpointPool] | None:
        """Return how the table in force still leads to *endpoint*, preferably by *backend*; None: it does not."""
        for course in sorted(self._courses.values(), key=lambda course: course.backend != backend):
            for pool in course.cluster.pools if course.cluster is not None else ():
                if pool.endpoint == endpoint:
                    return course, pool
        return None

    def drop(self, reason: str, n: int) -> None:
        """Count *n* datagrams as dropped."""
        self._stats.refuse(self.label, reason, n)

    def count(self, direction: int, n: int) -> None:
        """Count *n* datagrams from clients (0), or to them (1)."""
        counts = self._stats.datagrams.get(self.label)
        if counts is None:
            counts = self._stats.datagrams[self.label] = [0, 0]
        counts[direction] += n

    def take(self, n: int, keys: list[Key], listening: int) -> None:
        """Forward the *n* datagrams of the batch, which came from *keys* to the descriptor *listening*."""
        self.count(0, n)
        now = monotonic()
        flows = self._flows
        start = 0
        while start < n:
            key = keys[start]
            end = start + 1
            while end < n and keys[end] == key:
                end += 1
            flow = flows.get(key)
            if flow is not None:
                flow.forward(start, end, now)
            elif self.stopped:
                self.drop("draining", end - start)
            else:
                flow = flows[key] = Flow(self, key, listening, now)
                for counter in (self._stats.connections, self._stats.connections_total):
                    counter[self.label] = counter.get(self.label, 0) + 1
                flow.forward(start, end, now)
            start = end

    def forget(self, flow: Flow) -> None:
        """Count an ended flow out."""
        del self._flows[flow.key]
        self._stats.connections[self.label] -= 1
        if self.stopped and not self._flows:
            self._close()

    def stop(self) -> None:
        """Begin no more flows after those that wait to be read; the others have until they fall silent."""
        self._hear()
        self.stopped = True
        self.gate.leaving[self.bound] = self
        if self._flows:
            self._sweep = self.reactor.loop.call_later(_SWEEP_S, self._end_silent)
        else:
            self._close()

    def resume(self, port: Port, sockets: Sequence[socket.socket]) -> bool:
        """Serve *port* again, after `stop`, if *sockets* are the ones that are still read; these are closed then."""
        if sorted(map(_identity, sockets)) != sorted(door.identity for door in self._doors):
            return False
        for sock in sockets:
            sock.close()
        del self.gate.leaving[self.bound]
        self.stopped = False
        self._cancel_sweep()
        self.update(port)
        return True

    def cut_all(self, reason: str) -> None:
        """End every flow."""
        for flow in list(self._flows.values()):
            flow.cut(reason)

    def _course(self, entry: RouteEntry, choice: BackendChoice) -> Course:
        if choice.cluster is not None:
            row = self._stats.row(entry.label, choice.name)
            return Course(entry.label, choice.name, self.context.registry.cluster(choice.cluster), row)
        refusal = choice.refusal
        cutoff = Cutoff(refusal.reason, refusal.detail) if refusal else Cutoff("no_endpoints")
        return Course(entry.label, choice.name, None, RuleStats(), cutoff)

    def _refusal(self, entry: RouteEntry | None) -> Course:
        """Return the course of a port without a route, or without backends."""
        refusal = entry.refusal if entry is not None else None
        cutoff = Cutoff(refusal.reason, refusal.detail) if refusal else Cutoff("no_route")
        label = entry.label if entry is not None else None
        course = self._courses[None] = Course(label, "", None, RuleStats(), cutoff)
        return course

    def _hear(self) -> None:
        """Forward what waits to be read, within bounds."""
        for door in tuple(self._doors):
            for _ in range(_LAST):
                if not self._doors or not door.read():
                    break

    def _end_silent(self) -> None:
        self._sweep = self.reactor.loop.call_later(_SWEEP_S, self._end_silent)
        self._hear()  # a loop that was held up has not read it yet: that is no silence of the clients
        now = monotonic()
        for flow in [each for each in self._flows.values() if each.active_at + DRAIN_SILENCE_S <= now]:
            flow.expire()

    def _cancel_sweep(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def _close(self) -> None:
        self._cancel_sweep()
        self.holder = None
        self.gate.leaving.pop(self.bound, None)
        for door in self._doors:
            door.close()
        self._doors.clear()
        self.reactor.release()


class Door:
    """A socket that clients send to."""

    __slots__ = ("_fd", "_flows", "_n_dropped", "_read_key", "_timer", "identity")

    def __init__(self, flows: Flows, sock: socket.socket) -> None:
        self.identity = _identity(sock)
        self._flows = flows
        sock.setblocking(False)
        any_address = sock.getsockname()[0] in ("0.0.0.0", "::")
        self._read_key = key_reader(sock.family, any_address=any_address).unpack_from
        self._fd = sock.detach()
        self._n_dropped = queue_drops(self._fd)
        self._timer: asyncio.TimerHandle | None = None
        flows.reactor.watch(self._fd, self, select.EPOLLIN)

    def ready(self, events: int) -> None:
        """Read a batch: then others come first."""
        self.read()

    def crashed(self) -> None:
        """Go on: what failed is one datagram's fault."""

    def read(self) -> bool:
        """Forward a batch; return whether there may be more."""
        n = BATCH.receive_from(self._fd)
        if n < 0:
            return False
        origins, read_key = BATCH.origins, self._read_key
        keys = [read_key(origins, at) for at in BATCH.origin_at[:n]]
        self._flows.take(n, keys, self._fd)
        if self._timer is None:
            self._timer = self._flows.reactor.loop.call_later(_POLL_S, self._poll)
        return n == BATCH_SIZE

    def close(self) -> None:
        """Listen no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._poll()
        # The socket lives on with whoever shares it: closing our descriptor alone would leave it in the epoll.
        self._flows.reactor.unwatch(self._fd)
        self._flows.reactor.discard(self._fd)

    def _poll(self) -> None:
        """Count what the kernel dropped because we did not read in time."""
        self._timer = None
        n_dropped = queue_drops(self._fd)
        if n_dropped != self._n_dropped:
            self._flows.drop("queue_full", (n_dropped - self._n_dropped) & 0xFFFF_FFFF)
            self._n_dropped = n_dropped


def _identity(sock: socket.socket) -> int:
    """Return what a socket and its duplicates have in common."""
    return os.fstat(sock.fileno()).st_ino
