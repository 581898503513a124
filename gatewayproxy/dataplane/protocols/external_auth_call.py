"""One call of an external authorization server: a question goes out, a whole answer or the lack of one comes back.

It uses the pools of ordinary requests. An endpoint that cannot be reached is passed over, and a connection that turns
out stale is replaced, for a question may be asked twice; beyond that nothing is retried. `ext_auth_timeout_s` bounds
all of it, `ext_auth_answer_bytes` what an answer may hold.
"""

from __future__ import annotations

from asyncio import TimerHandle, get_running_loop
from collections.abc import Callable
from typing import Final, NamedTuple

from gatewayproxy.dataplane.upstream.connection import Upstream
from gatewayproxy.dataplane.upstream.pool import ClusterState, EndpointPool
from gatewayproxy.errors import UpstreamError
from gatewayproxy.model.limits import Limits
from gatewayproxy.wire.grammar import join_kept
from gatewayproxy.wire.response import ResponseHead

__all__ = ["AuthAnswer", "AuthCall"]

_ATTEMPTS: Final = 4  # on connections that turn out stale


class AuthAnswer(NamedTuple):
    """A whole answer; *lines* are its fields but for those of the connection, each ended by CRLF."""

    status: int
    lines: bytes
    body: bytes
    trailers: bytes


class AuthCall:
    """See the module: a `Sink` and a `Waiter`. *done* is called once, unless `abandon` comes first."""

    __slots__ = (
        "_answer", "_bodiless", "_cluster", "_done", "_limits", "_n_attempts", "_out", "_pool", "_size", "_timer",
        "_tried", "_upstream", "chunked", "opening", "parts", "payload_only", "request_trailers", "sensitive",
    )  # fmt: skip

    def __init__(
        self,
        cluster: ClusterState,
        out: bytes,
        limits: Limits,
        done: Callable[[AuthAnswer | UpstreamError], None],
        *,
        bodiless: bool = False,
        sensitive: frozenset[bytes] = frozenset(),
    ) -> None:
        self.payload_only = True
        self.opening = None
        self.chunked = False
        self.request_trailers = b""
        self.sensitive = sensitive
        self.parts: list[bytes] = []  # of the answer's body
        self._cluster = cluster
        self._out = out
        self._limits = limits
        self._done: Callable[[AuthAnswer | UpstreamError], None] | None = done
        self._bodiless = bodiless
        self._answer = AuthAnswer(0, b"", b"", b"")
        self._size = self._n_attempts = 0
        self._pool: EndpointPool | None = None
        self._tried: tuple[EndpointPool, ...] = ()
        self._upstream: Upstream | None = None
        self._timer: TimerHandle | None = None

    def begin(self) -> None:
        """Ask; *done* may be called before this returns."""
        self._timer = get_running_loop().call_later(self._limits.ext_auth_timeout_s, self._on_late)
        self._find()

    def abandon(self) -> None:
        """Forget the question; *done* is not called."""
        self._done = None
        self._release()

    def _find(self) -> None:
        """Go to an endpoint, now or when the cluster's name is resolved."""
        if self._done is None:
            return  # abandoned meanwhile
        cluster = self._cluster
        pool = cluster.pick(self._tried)
        if pool is not None:
            self._take(pool)
        elif cluster.unresolved is not None:
            cluster.unresolved[self._find] = None
        else:
            self._settle(UpstreamError("it has no endpoints", kind=cluster.failure, status=503))

    def _take(self, pool: EndpointPool) -> None:
        self._pool = pool
        idle = pool.take(must_live=True)
        if idle is not None:
            self.on_connection(idle)
        else:
            self._wait(pool)

    def _wait(self, pool: EndpointPool) -> None:
        try:
            pool.wait(self)
        except UpstreamError as error:
            self._settle(error)

    def _on_late(self) -> None:
        self._timer = None
        message = f"no answer within {self._limits.ext_auth_timeout_s:g} s"
        self._settle(UpstreamError(message, kind="auth_timeout", status=504))

    def _settle(self, outcome: AuthAnswer | UpstreamError) -> None:
        done, self._done = self._done, None
        self._release()
        if done is not None:
            done(outcome)

    def _release(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abandon()
        elif self._pool is not None:
            self._pool.cancel(self)

    # Waiter

    def on_connection(self, connection: Upstream) -> None:
        """Send the question."""
        self._upstream = connection
        self._n_attempts += 1
        connection.start(self, self._out, self._bodiless, True)

    def on_no_connection(self, pool: EndpointPool, error: UpstreamError) -> None:
        """Try the next endpoint, or give up."""
        self._tried += (pool,)
        other = self._cluster.pick(self._tried)
        if other is None:
            self._settle(error)
        else:
            self._take(other)

    # Sink

    def on_head(self, head: ResponseHead, body: bytes) -> None:
        """Note the head."""
        lines = join_kept(head.buf, head.fields_start, head.fields_end, head.cuts)
        self._answer = AuthAnswer(head.status, lines, b"", b"")
        if body:
            self.on_body(body)

    def on_interim(self, head: ResponseHead) -> None:
        """Ignore: the answer is yet to come."""

    def on_switch(self, head: ResponseHead, data: bytes) -> bool:
        """Refuse: nothing but an answer was asked for."""
        return False

    def on_body(self, data: bytes, last: bool = False) -> None:
        """Keep it, as far as the bound goes."""
        self._size += len(data)
        bound = self._limits.ext_auth_answer_bytes
        if self._size > bound:
            message = f"its answer has more than {bound} bytes; see --ext-auth-answer-bytes"
            self._settle(UpstreamError(message, kind="auth_failed", status=503))
        else:
            self.parts.append(data)

    def on_trailers(self, lines: bytes) -> None:
        """Note the trailers."""
        self._answer = self._answer._replace(trailers=lines)

    def on_end(self) -> None:
        """The answer is complete."""
        self._upstream = self._pool = None
        self._settle(self._answer._replace(body=b"".join(self.parts)))

    def on_tunnel_eof(self) -> None:
        """There are no tunnels here."""

    def on_failure(self, error: UpstreamError) -> None:
        """Ask again where nobody has seen the question, else give up."""
        self._upstream = None
        pool = self._pool
        if error.retryable and pool is not None and not self._answer.status and self._n_attempts < _ATTEMPTS:
            pool.drop_idle()  # they may all be stale
            self._wait(pool)
        else:
            self._pool = None
            self._settle(error)

    def on_upstream_full(self) -> None:
        """Go on: the question is bounded, and sent already."""

    def on_upstream_ready(self) -> None:
        """There is no more to send."""
