"""TlsStreams: the live streams of one port whose TLS ends here, how they get a backend, are counted and cut."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.protocols.splice_ways import NoWay, Ways
from gatewayproxy.dataplane.protocols.tls_stream import TlsStream
from gatewayproxy.routing.table import Port, RouteEntry, SniTarget

__all__ = ["TlsStreams"]

_TALLY_S: Final = 5.0  # how often the bytes of live streams are added to the counters
_TALLIES_PER_TIMEOUT: Final = 4  # an idle stream outlives its timeout by a quarter at most


class TlsStreams:
    """A Speaker whose language is the backend's. Live streams go on as they began when a table replaces theirs."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._loop = asyncio.get_running_loop()
        self._ways = Ways(context)
        self._live: dict[TlsStream, None] = {}
        self._left: set[TlsStream] = set()
        self._timer: asyncio.TimerHandle | None = None

    def speak(self, target: SniTarget, alpn: str | None, server_name: bytes) -> asyncio.Protocol:
        """Return a stream to a backend of *target*'s route."""
        return TlsStream(self, target, server_name)

    def update(self, port: Port) -> None:
        """Choose backends by *port* from now on."""
        self._ways.new_table()

    def drain(self) -> None:
        """Let streams end by themselves: what they carry is not ours to judge."""

    def abort(self) -> None:
        """Reset every stream."""
        for stream in list(self._live):
            stream.cut("drain_timeout")

    def refused(self, entry: RouteEntry) -> NoWay | None:
        """Return why every stream of *entry* is refused, None where some are not."""
        return self._ways.refused(entry)

    @property
    def without_client(self) -> int:
        """Return how many streams are not over though their clients are gone."""
        return len(self._left)

    # TlsStreamOwner

    def opened(self, stream: TlsStream) -> None:
        """Give *stream* to the next backend of its entry, or refuse it for the reason the entry has."""
        entry, name = stream.target.entry, stream.target.listener.name
        assert entry is not None, "a server name without a route is refused before the handshake"
        stats = self.context.stats
        stats.connections[name] = stats.connections.get(name, 0) + 1
        stats.connections_total[name] = stats.connections_total.get(name, 0) + 1
        self._live[stream] = None
        if self._timer is None:
            self._timer = self._loop.call_later(self._tally_s(), self._tally)
        way = self._ways.pick(entry)
        if isinstance(way, NoWay):
            stream.refuse(way.cutoff, way.backend)
        else:
            stream.dial(way)

    def left(self, stream: TlsStream) -> None:
        """Keep *stream* in sight until its backend has what the client sent."""
        self._left.add(stream)

    def forget(self, stream: TlsStream) -> None:
        """Count a stream out whose connections are closed."""
        self._left.discard(stream)
        if self._live.pop(stream, stream) is None:
            self.context.stats.connections[stream.target.listener.name] -= 1

    def _tally_s(self) -> float:
        timeout_s = self.context.limits.tcp_idle_timeout_s
        return min(_TALLY_S, timeout_s / _TALLIES_PER_TIMEOUT) if timeout_s else _TALLY_S

    def _tally(self) -> None:
        now = monotonic()
        timeout_s = self.context.limits.tcp_idle_timeout_s
        for stream in list(self._live):
            stream.tally(now, timeout_s)
        self._timer = self._loop.call_later(self._tally_s(), self._tally) if self._live else None
