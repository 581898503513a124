"""Mirrors: a copy of a request goes to another cluster, and nobody waits for it. GEP-3171, HTTPRequestMirrorFilter.

A mirror never slows the primary: what it cannot take at once is buffered up to `buffer_bytes`, beyond that the copy is
given up, and so are the oldest of those that wait for a connection where all of a worker are more than `mirror_bytes`.
Its answer is read and dropped; one that is not complete `ANSWER_S` after the copy was sent is not waited for,
so that a mirror that hangs keeps neither descriptors nor memory.
"""

from __future__ import annotations

from asyncio import TimerHandle, get_running_loop
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from gatewayproxy.dataplane.gates import ByteGate
from gatewayproxy.dataplane.protocols.grpc_web import Translation, asked_form
from gatewayproxy.dataplane.protocols.state import BODY
from gatewayproxy.dataplane.upstream.connection import Upstream
from gatewayproxy.dataplane.upstream.pool import ClusterState, EndpointPool
from gatewayproxy.errors import RemoteProtocolError, UpstreamError
from gatewayproxy.wire.edit import rewrite_request
from gatewayproxy.wire.head import CHUNKED
from gatewayproxy.wire.response import ResponseHead

if TYPE_CHECKING:
    from gatewayproxy.dataplane.protocols.exchange import Exchange
    from gatewayproxy.dataplane.protocols.targets import Target

__all__ = ["ANSWER_S", "MirrorCall", "start"]

ANSWER_S: Final = 30.0


def start(target: Target, exchange: Exchange, own: bytes, body: bytes) -> tuple[MirrorCall, ...]:
    """Send the copies that are due for this request; return those that want the rest of its body."""
    turn = target.base.mirror_turns
    target.base.mirror_turns += 1
    connection = exchange.connection
    calls = []
    for mirror, cluster in target.mirrors:
        # Of every `denominator` turns `numerator` are due, spread evenly.
        if (turn + 1) * mirror.numerator // mirror.denominator == turn * mirror.numerator // mirror.denominator:
            continue
        head = rewrite_request(exchange.head, own, mirror.request)
        call = MirrorCall(
            head,
            cluster,
            connection.site.limits.buffer_bytes,
            connection.site.context.copies,
            bodiless=exchange.head.method == b"HEAD",
            chunked=exchange.head.length == CHUNKED,
        )
        if target.entry.grpc and (form := asked_form(exchange.head)) is not None:
            call.translate = partial(Translation, form, limits=connection.site.limits)
        call.sensitive = exchange.sensitive
        framed, complete = exchange.chunked, connection.state is not BODY
        call.begin(body, framed=framed, complete=complete, trailers=exchange.request_trailers)
        calls.append(call)
    return tuple(calls) if connection.state is BODY else ()


class MirrorCall:
    """One copy on its way: a `Sink` that drops what it gets and a `Waiter` for its connection."""

    __slots__ = (
        "_bodiless", "_bound", "_cluster", "_frames", "_gate", "_out", "_pool", "_timer", "_upstream", "chunked",
        "complete", "opening", "payload_only", "request_trailers", "sensitive", "translate",
    )  # fmt: skip

    def __init__(
        self, head: bytes, cluster: ClusterState, bound: int, gate: ByteGate, *, bodiless: bool, chunked: bool
    ) -> None:
        self.payload_only = True
        self.opening = None
        self.chunked = chunked
        self.request_trailers = b""
        self.sensitive: frozenset[bytes] = frozenset()
        self.complete = False
        self.translate: Callable[..., Upstream] | None = None  # into what the endpoint speaks
        self._frames = False  # what comes is not framed in chunks, and is to be
        self._out = bytearray(head)  # one buffer: a client may send the body byte by byte
        self._gate = gate
        self._cluster = cluster
        self._bound = bound
        self._bodiless = bodiless
        self._pool: EndpointPool | None = None
        self._upstream: Upstream | None = None
        self._timer: TimerHandle | None = None

    def begin(self, body: bytes, *, framed: bool, complete: bool, trailers: bytes = b"") -> None:
        """Start, with the first bytes of the *body*; *framed*: in chunks, as is what follows; *complete*: it is all.

        *trailers*: field lines behind it.
        """
        self._frames = self.chunked and not framed and not self._cluster.multiplexed
        self.chunked = framed or self._frames
        self.complete = complete
        self._out += self._piece(body, complete, trailers)
        self.send()

    def _piece(self, data: bytes, complete: bool, trailers: bytes) -> bytes:
        """Return *data* as this endpoint is to get it."""
        if not self._frames:
            self.request_trailers = trailers
            return data
        piece = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        return b"%b0\r\n%b\r\n" % (piece, trailers) if complete else piece

    def send(self) -> None:
        """Begin; without an endpoint the copy is dropped."""
        if self._bound < 0:
            return  # given up while the cluster's name was being resolved
        pool = self._cluster.pick()
        if pool is None:
            if self._cluster.unresolved is None:
                self.give_up()
            elif self._gate.hold(self, len(self._out)):
                self._cluster.unresolved[self.send] = None
            return
        self._pool = pool
        idle = pool.take(must_live=True)
        if idle is not None:
            self.on_connection(idle)
            return
        self._gate.release(self)  # what it held while the name was being resolved
        if not self._gate.hold(self, len(self._out)):
            return
        try:
            pool.wait(self)
        except UpstreamError:
            self.give_up()

    def give_way(self) -> None:
        """Do as `give_up`."""
        self.give_up()

    def give_up(self) -> None:
        """Drop the copy; the mirror sees a request that breaks off."""
        self._stop_waiting()
        self._gate.release(self)
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abandon()
        elif self._pool is not None:
            self._pool.cancel(self)
        self._pool = None
        self._out = bytearray()
        self._bound = -1

    def on_request_body(self, data: bytes, complete: bool, trailers: bytes) -> None:
        """Copy more of the body; *trailers*: field lines behind one that is not framed."""
        if self._bound < 0:
            return
        self.complete = complete
        data = self._piece(data, complete, trailers)
        upstream = self._upstream
        if upstream is None:
            self._out += data
            if len(self._out) > self._bound:
                self.give_up()
            else:
                self._gate.hold(self, len(data))
            return
        upstream.send(data, complete)
        if upstream.unsent > self._bound:
            self.give_up()
        elif complete:
            self._wait_for_answer()

    def on_connection(self, connection: Upstream) -> None:
        """Send what there is."""
        if self.translate is not None:
            connection = self.translate(sink=self, upstream=connection, refuse=self._on_bad_request)
        self._upstream = connection
        self._gate.release(self)
        out, self._out = bytes(self._out), bytearray()
        connection.start(self, out, self._bodiless, self.complete)
        if self.complete:
            self._wait_for_answer()

    def _on_bad_request(self, error: RemoteProtocolError) -> None:
        self.give_up()

    def on_no_connection(self, pool: EndpointPool, error: UpstreamError) -> None:
        """Drop the copy."""
        self.give_up()

    def on_head(self, head: ResponseHead, body: bytes) -> None:
        """Ignore."""

    def on_interim(self, head: ResponseHead) -> None:
        """Ignore."""

    def on_switch(self, head: ResponseHead, data: bytes) -> bool:
        """Refuse: a mirror is no party to a tunnel."""
        return False

    def on_body(self, data: bytes, last: bool = False) -> None:
        """Ignore."""

    def on_trailers(self, lines: bytes) -> None:
        """Ignore."""

    def on_end(self) -> None:
        """Done."""
        self._stop_waiting()
        self._upstream = None
        self._bound = -1

    def on_tunnel_eof(self) -> None:
        """Ignore."""

    def on_failure(self, error: UpstreamError) -> None:
        """Done, too."""
        self._stop_waiting()
        self._upstream = None
        self._bound = -1

    def on_upstream_full(self) -> None:
        """Go on: the bound is checked at each write."""

    def on_upstream_ready(self) -> None:
        """Ignore."""

    def _wait_for_answer(self) -> None:
        self._timer = get_running_loop().call_later(ANSWER_S, self.give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
