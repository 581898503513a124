"""Retries as a rule asks for them (GEP-1731): after an answer of one of its codes, a broken connection, a timeout.

A request is sent again only while all that was sent of it is still in hand (`upstream_retry_bytes`), and nothing of an
answer has gone to the client. A retry goes to another endpoint where there is one, after the rule's backoff and some
jitter, which doubles from retry to retry; `timeouts.request` bounds everything. The last answer is passed on as it is.
The Service's budget may forbid a retry: then the client gets 503.
"""

from __future__ import annotations

import random
from time import monotonic
from typing import TYPE_CHECKING, Final

from gatewayproxy.dataplane.protocols import waiting
from gatewayproxy.dataplane.protocols.sessions import Pinned
from gatewayproxy.dataplane.upstream.connection import Sink, Upstream
from gatewayproxy.errors import UpstreamError

if TYPE_CHECKING:
    from gatewayproxy.dataplane.protocols.exchange import Exchange
    from gatewayproxy.model.traffic import Retry
    from gatewayproxy.wire.response import ResponseHead

__all__ = ["after_failure", "after_timeout", "counted", "guarded"]

_MAX_DOUBLINGS: Final = 4  # of the backoff
_JITTER: Final = 0.5  # of a wait, on top of it, at most
_BROKEN: Final = ("upstream_closed", "upstream_reset")
_DROP_S: Final = 0.25  # an answer that nobody wants may end by itself for so long, so that its connection lives on


def counted(exchange: Exchange, upstream: Upstream) -> tuple[Upstream, Sink]:
    """Count a request towards the budget of its Service."""
    _count(exchange)
    return upstream, exchange


def guarded(exchange: Exchange, upstream: Upstream) -> tuple[Upstream, Sink]:
    """Return who takes the answer of one try of *exchange* on *upstream*."""
    _count(exchange)
    return upstream, Guard(exchange, upstream)


def after_failure(exchange: Exchange, error: UpstreamError) -> bool:
    """Retry where no endpoint could be reached, or the connection broke; return whether the request is taken care of.

    The upstream of *exchange* is gone already.
    """
    if error.kind != "upstream_queue_timeout" and _again(exchange, failed=True):  # what is too busy is left alone
        return True
    if exchange.retries and error.kind in _BROKEN:
        exchange.answer_with(503, "retries_failed", str(error))
        return True
    return False


def after_timeout(exchange: Exchange) -> bool:
    """Retry where timeouts.backendRequest has run out; return whether the request is taken care of."""
    upstream = exchange.upstream
    if exchange.status or not _may_retry(exchange):
        return False
    exchange.upstream = None
    if upstream is not None:
        upstream.abandon()
    elif exchange.pool is not None:
        exchange.pool.cancel(exchange)
    return _again(exchange, failed=True)


class Guard:
    """A `Sink` for one try: it passes the answer on to *exchange*, or drops it and has the request sent again."""

    __slots__ = ("_exchange", "_over", "_upstream", "payload_only")

    def __init__(self, exchange: Exchange, upstream: Upstream) -> None:
        self.payload_only = exchange.payload_only
        self._exchange = exchange
        self._upstream: Upstream | None = upstream  # None: the answer has ended
        self._over = False  # the exchange has no part in this try any more

    @property
    def chunked(self) -> bool:
        """Return whether the body of the request goes up in chunks."""
        return self._exchange.chunked

    @property
    def opening(self) -> tuple[bytes, bytes] | None:
        """Return what the head begins with, if others begin so too."""
        return self._exchange.opening

    @property
    def sensitive(self) -> frozenset[bytes]:
        """Return the names of fields that must never be indexed."""
        return self._exchange.sensitive

    @property
    def request_trailers(self) -> bytes:
        """Return the field lines behind the request."""
        return self._exchange.request_trailers

    def on_head(self, head: ResponseHead, body: bytes) -> None:
        """Pass the answer on, unless it is to be another."""
        exchange = self._exchange
        retry = _policy(exchange)
        if head.status in retry.codes and _may_retry(exchange):
            self._over = True
            exchange.upstream = None
            exchange.connection.site.loop.call_later(_DROP_S, self._drop)
            _again(exchange, failed=False)
        else:
            exchange.on_head(head, body)

    def on_interim(self, head: ResponseHead) -> None:
        """Pass a 1xx on: it is not the answer, which may still be another try's."""
        exchange = self._exchange
        out = exchange.out
        exchange.on_interim(head)
        exchange.out = out

    def on_switch(self, head: ResponseHead, data: bytes) -> bool:
        """Tunnels are not guarded: this one was not asked for."""
        return False

    def on_body(self, data: bytes, last: bool = False) -> None:
        """Pass more of the body on."""
        if not self._over:
            self._exchange.on_body(data, last)

    def on_trailers(self, lines: bytes) -> None:
        """Pass the trailers on."""
        if not self._over:
            self._exchange.on_trailers(lines)

    def on_end(self) -> None:
        """The answer is complete."""
        self._upstream = None
        if not self._over:
            self._exchange.on_end()

    def on_tunnel_eof(self) -> None:
        """Tunnels are not guarded."""

    def on_failure(self, error: UpstreamError) -> None:
        """Have the request sent again, if it may."""
        self._upstream = None
        exchange = self._exchange
        if self._over:
            return
        if error.unprocessed or exchange.status:
            exchange.on_failure(error)
            return
        exchange.upstream = None
        if not after_failure(exchange, error):
            exchange.answer_with(error.status, error.kind, str(error))

    def on_upstream_full(self) -> None:
        """Stop reading the client."""
        if not self._over:
            self._exchange.on_upstream_full()

    def on_upstream_ready(self) -> None:
        """Read the client again."""
        if not self._over:
            self._exchange.on_upstream_ready()

    def _drop(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abandon()


def _policy(exchange: Exchange) -> Retry:
    assert exchange.target is not None
    assert exchange.target.entry.retry is not None
    return exchange.target.entry.retry


def _may_retry(exchange: Exchange) -> bool:
    return bool(exchange.out) and exchange.retries < _policy(exchange).attempts


def _again(exchange: Exchange, *, failed: bool) -> bool:
    """Have *exchange*, which has no upstream now, sent again; return whether it is taken care of.

    *failed*: the endpoint gave no answer, so that even a persistent session goes elsewhere.
    """
    target = exchange.target
    assert target is not None
    assert target.cluster is not None
    if not _may_retry(exchange):
        return False
    waiting.cancel_upstream_timer(exchange)
    if target.budget is not None and not target.budget.take(monotonic()):
        exchange.answer("retry_budget")
        return True
    retry = _policy(exchange)
    wait_s = retry.backoff_s * 2 ** min(exchange.retries, _MAX_DOUBLINGS) * (1 + random.random() * _JITTER)
    exchange.retries += 1
    stays = isinstance(target.cluster, Pinned) and not target.cluster.begun
    if exchange.pool is not None and (failed or not stays):
        exchange.tried += (exchange.pool,)
    connection = exchange.connection
    connection.pause_body()
    exchange.upstream_timer = connection.site.loop.call_later(wait_s, waiting.try_again, exchange)
    return True


def _count(exchange: Exchange) -> None:
    target = exchange.target
    assert target is not None
    if target.budget is not None and not exchange.attempts:
        target.budget.count(monotonic())
