"""Streams: the live connections of one L4 port, who they are given to, and how they are counted and cut."""

from __future__ import annotations

import asyncio
from collections import Counter
from time import monotonic
from typing import Final

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.protocols.splice_reactor import Reactor
from gatewayproxy.dataplane.protocols.splice_record import Client, Cutoff, record
from gatewayproxy.dataplane.protocols.splice_stream import Stream
from gatewayproxy.dataplane.protocols.splice_ways import NoWay, Ways
from gatewayproxy.routing.table import RouteEntry

__all__ = ["Streams"]

_TALLY_S: Final = 5.0  # how often the bytes of live streams are added to the counters
_TALLIES_PER_TIMEOUT: Final = 4  # an idle stream outlives its timeout by a quarter at most


class Streams:
    """All connections accepted on a port, from `admit` to `forget`; the last one out closes what it leaves behind."""

    __slots__ = (
        "_label", "_live", "_n_admitted", "_stopped", "_timer", "context", "protocol", "reactor", "ways",
    )  # fmt: skip

    def __init__(self, context: Context, reactor: Reactor, *, protocol: str, label: str) -> None:
        self.context = context
        self.reactor = reactor
        self.protocol = protocol
        self._label = label  # of the connection gauges
        self._live: dict[Stream, None] = {}
        self._n_admitted = 0
        self.ways = Ways(context)
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        for counter in (context.stats.connections, context.stats.connections_total):
            counter.setdefault(label, 0)
        reactor.acquire()

    def __len__(self) -> int:
        return self._n_admitted

    def fingerprints(self) -> Counter[bytes]:
        """Return how many live streams follow each rule, by RouteEntry.fingerprint."""
        return Counter(stream.way.entry.fingerprint for stream in self._live)

    def admit(self, fd: int, address: bytes) -> Client:
        """Count an accepted connection in; *address* is its sockaddr. It must come to `start` or `refuse`."""
        context, label = self.context, self._label
        self._n_admitted += 1
        context.connections.enter()
        for counter in (context.stats.connections, context.stats.connections_total):
            counter[label] = counter.get(label, 0) + 1
        return Client(fd, address, monotonic())

    def start(self, client: Client, *, listener: str, entry: RouteEntry) -> None:
        """Give *client* to the next backend of *entry*, or refuse it for the reason the entry has."""
        way = self.ways.pick(entry)
        if isinstance(way, NoWay):
            self.refuse(client, way.cutoff, listener=listener, entry=entry, backend=way.backend)
            return
        stream = Stream(self, client, listener, way)
        self._live[stream] = None
        if self._timer is None:
            self._timer = self.reactor.loop.call_later(self._tally_s(), self._tally)
        stream.dial()

    def refuse(
        self, client: Client, cutoff: Cutoff, *, listener: str, entry: RouteEntry | None = None, backend: str = ""
    ) -> None:
        """Close *client* without a byte; count and log why."""
        self.context.stats.refuse(listener, cutoff.reason)
        if self.context.access is not None:
            self.context.access(
                record(
                    client,
                    cutoff,
                    protocol=self.protocol,
                    listener=listener,
                    label=entry.label if entry is not None else None,
                    generation=self.context.generation,
                    duration_s=monotonic() - client.accepted_at,
                    backend=backend,
                )
            )
        self._leave(client)

    def forget(self, stream: Stream) -> None:
        """Count an ended stream out and close its client."""
        del self._live[stream]
        self._leave(stream.client)

    def new_table(self) -> None:
        """Forget what belongs to the choices of the table before."""
        self.ways.new_table()

    def cut_all(self, reason: str) -> None:
        """Reset every stream."""
        for stream in list(self._live):
            stream.cut(reason)

    def stop(self) -> None:
        """Admit no more: what is shared is given up with the last connection."""
        self._stopped = True
        self._give_up_if_over()

    def release(self) -> None:
        """Forget one admitted client: another owner counts its connection, in the worker's gate too, and closes it."""
        self.context.stats.connections_total[self._label] -= 1
        self._count_out()

    def _leave(self, client: Client) -> None:
        self.reactor.discard(client.fd)
        self.context.connections.leave()
        self._count_out()

    def _count_out(self) -> None:
        self._n_admitted -= 1
        self.context.stats.connections[self._label] -= 1
        if self._stopped:
            self._give_up_if_over()

    def _give_up_if_over(self) -> None:
        if not self._n_admitted:
            self._stopped = False
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self.reactor.release()

    def _tally_s(self) -> float:
        timeout_s = self.context.limits.tcp_idle_timeout_s
        return min(_TALLY_S, timeout_s / _TALLIES_PER_TIMEOUT) if timeout_s else _TALLY_S

    def _tally(self) -> None:
        now = monotonic()
        timeout_s = self.context.limits.tcp_idle_timeout_s
        for stream in list(self._live):
            stream.tally(now, timeout_s)
        self._timer = self.reactor.loop.call_later(self._tally_s(), self._tally) if self._live else None
