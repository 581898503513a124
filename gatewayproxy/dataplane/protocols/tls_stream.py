"""TlsStream: a connection whose TLS ends here and whose bytes go on to a backend, and back.

The backend is chosen and dialled once the handshake is over: a client that is not let in reaches nothing. Until the
backend is there, the client is not read. Ends pass through by direction: close_notify becomes FIN (or the close_notify
of the TLS towards the backend), and FIN close_notify. What ends otherwise, by a reset or a FIN without close_notify,
must not look complete on the other side: that one is reset, behind what had arrived.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from time import monotonic
from typing import Final, Protocol, cast

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.protocols.splice_record import Cutoff
from gatewayproxy.dataplane.protocols.splice_socket import reset_at_close
from gatewayproxy.dataplane.protocols.splice_ways import Way
from gatewayproxy.dataplane.stats import AccessRecord
from gatewayproxy.dataplane.tls.transport import TlsTransport
from gatewayproxy.dataplane.upstream.pool import ClusterState, EndpointPool
from gatewayproxy.dataplane.upstream.tls import FAILED
from gatewayproxy.errors import UpstreamError
from gatewayproxy.routing.table import SniTarget

__all__ = ["TlsStream"]

log = logging.getLogger(__name__)

_ATTEMPTS: Final = 3  # endpoints tried for one stream
_LINGER_S: Final = 30.0  # how long what is buffered may take to go out when a stream is over
_PEACE: Final = Cutoff()


class TlsStreamOwner(Protocol):
    """What the streams of one port share."""

    context: Context

    def opened(self, stream: TlsStream) -> None:
        """*stream* is to be given a backend, or ended."""

    def left(self, stream: TlsStream) -> None:
        """The client of *stream* is gone; what it has sent may still be on its way."""

    def forget(self, stream: TlsStream) -> None:
        """*stream* is over and both its connections are closed."""


class TlsStream(asyncio.Protocol):
    """The protocol inside a client's TLS, and the stream: both sides from here to their end."""

    __slots__ = (
        "_active_at", "_attempts", "_bytes_in", "_bytes_out", "_client", "_connect_s", "_counted_in", "_counted_out",
        "_dialling", "_down", "_down_ended", "_early", "_ended_at", "_generation", "_host", "_owner", "_started_at",
        "_tried", "_up", "_up_ended", "target", "way",
    )  # fmt: skip

    def __init__(self, owner: TlsStreamOwner, target: SniTarget, server_name: bytes) -> None:
        self._owner = owner
        self.target = target
        self.way: Way | None = None
        self._host = server_name
        self._client = ""  # address
        self._down: asyncio.Transport | None = None
        self._up: asyncio.Transport | None = None
        self._tried: EndpointPool | None = None  # last
        self._attempts = 0
        self._dialling: asyncio.Task[Cutoff] | None = None
        self._early: list[bytes] = []  # came with the end of the handshake: a read's worth at most
        self._down_ended = self._up_ended = False  # that side sends no more
        self._ended_at = 0.0  # monotonic; 0 = it goes on
        self._generation = owner.context.generation
        self._started_at = self._active_at = monotonic()
        self._connect_s = 0.0
        self._bytes_in = self._bytes_out = 0
        self._counted_in = self._counted_out = 0

    # The client's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a backend."""
        self._down = down = cast(asyncio.Transport, transport)
        peer = down.get_extra_info("peername")
        self._client = str(peer[0]).removeprefix("::ffff:") if peer else ""
        down.set_write_buffer_limits(high=self._owner.context.limits.buffer_bytes)
        down.pause_reading()
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """Pass on what the client says."""
        self._bytes_in += len(data)
        if self._up is None:
            self._early.append(data)
        else:
            self._up.write(data)

    def eof_received(self) -> bool:
        """Pass on the end of the client's direction; the other goes on."""
        self._down_ended = True
        if self._up is not None:
            self._end_direction(self._up)
        return True

    def pause_writing(self) -> None:
        """Hold the backend back: the client is slower."""
        if self._up is not None:
            self._up.pause_reading()

    def resume_writing(self) -> None:
        """Let the backend go on."""
        if self._up is not None:
            self._up.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the backend's side too, if it has not."""
        self._down = None
        reason = "client_closed" if isinstance(exc, ConnectionAbortedError) else "client_reset"
        self._end(Cutoff(reason, str(exc) if exc is not None else ""))
        self._owner.left(self)
        self._forget_if_over()

    # The backend's side

    def connected(self, transport: asyncio.Transport, pool: EndpointPool) -> None:
        """Take the connection to an endpoint of *pool*."""
        self._up = transport
        pool.stream_opened()
        if self._ended_at or self._down is None:
            _reset(transport)
            return
        self._active_at = monotonic()
        self._connect_s = self._active_at - self._started_at
        transport.set_write_buffer_limits(high=self._owner.context.limits.buffer_bytes)
        early, self._early = self._early, []
        for data in early:
            transport.write(data)
        if self._down_ended:
            self._end_direction(transport)
        else:
            self._down.resume_reading()

    def hold_client(self) -> None:
        """Read no more of the client: the backend is slower."""
        if self._down is not None:
            self._down.pause_reading()

    def release_client(self) -> None:
        """Let the client go on."""
        if self._down is not None:
            self._down.resume_reading()

    def answered(self, data: bytes) -> None:
        """Pass on what the backend says."""
        self._bytes_out += len(data)
        if self._down is not None:
            self._down.write(data)

    def answer_ended(self) -> None:
        """Pass on the end of the backend's direction."""
        self._up_ended = True
        if self._down is not None:
            self._end_direction(self._down)

    def backend_lost(self, exc: Exception | None) -> None:
        """End the client's side too, if it has not."""
        if self._up is None:
            return
        self._up = None
        if self._tried is not None:
            self._tried.stream_closed()
        self._end(Cutoff("upstream_reset", str(exc) if exc is not None else ""))
        self._forget_if_over()

    # Both

    def refuse(self, cutoff: Cutoff, backend: str = "") -> None:
        """End a stream that gets no backend."""
        self._end(cutoff, backend)

    def dial(self, way: Way) -> None:
        """Look for an endpoint of *way*'s cluster."""
        self.way = way
        way.row.active += 1
        loop = asyncio.get_running_loop()
        self._dialling = loop.create_task(self._try_endpoints(way.cluster), name=f"stream to {way.backend}")
        self._dialling.add_done_callback(self._dialled)

    def cut(self, reason: str) -> None:
        """End now: both sides are reset, what is buffered is dropped."""
        self._end(Cutoff(reason))
        self._abort()

    def tally(self, now: float, idle_timeout_s: float) -> None:
        """Add the bytes since the last tally to the counters; cut the stream if there were none for too long."""
        if self._ended_at:
            if now - self._ended_at > _LINGER_S:
                self._abort()
        elif self._count():
            self._active_at = now
        elif idle_timeout_s and self._up is not None and now - self._active_at >= idle_timeout_s:
            self.cut("idle_timeout")

    def _end_direction(self, towards: asyncio.Transport) -> None:
        towards.write_eof()
        if self._down_ended and self._up_ended:
            self._end(_PEACE)

    def _dialled(self, task: asyncio.Task[Cutoff]) -> None:
        """Take the outcome; a callback, since a task that is cancelled before its first turn does not run at all."""
        self._dialling = None
        if task.cancelled():
            self._drop_backend()
        elif self._up is None:
            error = task.exception()
            if error is not None:
                log.error("stream_crashed listener=%s", self.target.listener.name, exc_info=error)
            self._end(task.result() if error is None else Cutoff("internal_error"))
        self._forget_if_over()

    async def _try_endpoints(self, cluster: ClusterState) -> Cutoff:
        """Connect to the first endpoint that takes the stream, or return why none does."""
        await _wait_for_endpoints(cluster, self._owner.context.limits.connect_timeout_s)
        tried: tuple[EndpointPool, ...] = ()
        reason = failure = ""
        while len(tried) < _ATTEMPTS and (pool := cluster.pick(tried)) is not None:
            tried += (pool,)
            self._tried = pool
            self._attempts += 1
            try:
                await pool.dial(partial(_Backend, self, pool))
            except UpstreamError as error:
                reason = FAILED if error.kind == FAILED else "connect_failed"
                failure = str(error)
                self._drop_backend()
            if self._up is not None or self._ended_at:
                return _PEACE
            pool.stream_failed()
        return Cutoff(reason or cluster.failure, failure)

    def _drop_backend(self) -> None:
        """Give up a backend that was there as its dial was given up: uvloop says no more of such a connection."""
        if self._up is not None:
            self._up.abort()
            self.backend_lost(None)

    def _end(self, cutoff: Cutoff, backend: str = "") -> None:
        """Count and record the end, once, and let both sides go: in peace, or so that it does not look like that."""
        if self._ended_at:
            return
        self._ended_at = monotonic()
        if self._dialling is not None and self._up is None:
            self._dialling.cancel()
        self._count()
        duration_s = self._ended_at - self._started_at
        if self.way is not None:
            self.way.row.active -= 1
            self.way.row.done(0, duration_s, 0, 0)  # bytes are counted as they pass
        context = self._owner.context
        if cutoff.reason:
            context.stats.refuse(self.target.listener.name, cutoff.reason)
        if context.access is not None:
            context.access(self._record(cutoff, backend, duration_s))
        for transport, complete in ((self._down, self._up_ended), (self._up, self._down_ended)):
            if transport is not None and complete:
                transport.close()
            elif transport is not None:
                _reset(transport)

    def _abort(self) -> None:
        for transport in (self._down, self._up):
            if transport is not None:
                transport.abort()

    def _count(self) -> bool:
        """Add what moved since the last time to the row; return whether anything did."""
        n_in, n_out = self._bytes_in - self._counted_in, self._bytes_out - self._counted_out
        self._counted_in, self._counted_out = self._bytes_in, self._bytes_out
        if self.way is not None:
            self.way.row.bytes_in += n_in
            self.way.row.bytes_out += n_out
        return n_in + n_out > 0

    def _forget_if_over(self) -> None:
        if self._down is None and self._up is None and self._dialling is None:
            self._owner.forget(self)

    def _record(self, cutoff: Cutoff, backend: str, duration_s: float) -> AccessRecord:
        entry = self.target.entry
        label = entry.label if entry is not None else None
        return AccessRecord(
            protocol="tls",
            listener=self.target.listener.name,
            route=label.route_text if label is not None else "",
            rule=label.rule_text if label is not None else "",
            backend=self.way.backend if self.way is not None else backend,
            endpoint=self._tried.name if self._tried is not None else "",
            client=self._client,
            host=self._host,
            reason=cutoff.reason,
            detail=cutoff.detail,
            bytes_in=self._bytes_in,
            bytes_out=self._bytes_out,
            started_at=self._started_at,
            duration_s=duration_s,
            connect_s=self._connect_s,
            generation=self._generation,
            attempts=self._attempts,
        )


class _Backend(asyncio.Protocol):
    """The protocol towards the backend: hands everything to its stream."""

    __slots__ = ("_pool", "_stream")

    def __init__(self, stream: TlsStream, pool: EndpointPool) -> None:
        self._stream = stream
        self._pool = pool

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._stream.connected(cast(asyncio.Transport, transport), self._pool)

    def data_received(self, data: bytes) -> None:
        self._stream.answered(data)

    def eof_received(self) -> bool:
        self._stream.answer_ended()
        return True

    def pause_writing(self) -> None:
        self._stream.hold_client()

    def resume_writing(self) -> None:
        self._stream.release_client()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stream.backend_lost(exc)


async def _wait_for_endpoints(cluster: ClusterState, timeout_s: float) -> None:
    """Wait for the first answer of the cluster's name, where one is to come."""
    if cluster.pools or cluster.unresolved is None:
        return
    answered = asyncio.Event()
    waiting = cluster.unresolved
    waiting[answered.set] = None
    try:
        async with asyncio.timeout(timeout_s):
            await answered.wait()
    except TimeoutError:
        pass  # the cluster has no endpoints then, which is what its `failure` says
    finally:
        waiting.pop(answered.set, None)


def _reset(transport: asyncio.Transport) -> None:
    """Close behind what is buffered, by an end that nobody takes for the peer's: TCP's reset, and no close_notify."""
    reset_at_close(transport.get_extra_info("socket").fileno())
    if isinstance(transport, TlsTransport):
        transport.break_off()
    else:
        transport.close()
