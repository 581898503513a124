"""Exchange: one request and its answer. The life of a request, read from top to bottom.

    begin             head -> virtual host -> entry -> target -> bytes to send -> idle connection
    on_request_body   more of the request body goes up
    on_head           the response head comes down, edited; then its body: `http1_exchange`, `http2_exchange`
    on_end            counted, recorded, and the connection goes on to the next request

Warm path (idle upstream there, no timeouts, no mirrors): plain callbacks, no task, no await, no future. What can wait,
be retried or time out is in `waiting`; tunnels are in `upgrade`; answers of our own are made by `answer`.
"""

from __future__ import annotations

import logging
from asyncio import TimerHandle
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from gatewayproxy.dataplane.deadlines import Deadline
from gatewayproxy.dataplane.protocols import (
    cors,
    external_auth,
    forwarded,
    grpc,
    grpc_web,
    mirror,
    retries,
    shadowed,
    trail,
    upgrade,
    waiting,
)
from gatewayproxy.dataplane.protocols.answers import ANSWERS
from gatewayproxy.dataplane.protocols.record import access_record
from gatewayproxy.dataplane.protocols.state import BODY, State
from gatewayproxy.dataplane.protocols.targets import Target
from gatewayproxy.dataplane.upstream.connection import Sink, Upstream
from gatewayproxy.dataplane.upstream.pool import EndpointPool
from gatewayproxy.errors import RemoteProtocolError, UpstreamError
from gatewayproxy.model.plan import Refusal
from gatewayproxy.routing.dispatch import PREFLIGHT, dispatch, unmatched
from gatewayproxy.routing.match import find_entry, find_host, host_key
from gatewayproxy.routing.table import ListenerLabel, RouteEntry, VirtualHost
from gatewayproxy.wire.chunked import ended_with, kept_trailers
from gatewayproxy.wire.edit import edited_lines, location, named, rewrite_request
from gatewayproxy.wire.head import CHUNKED, RequestHead
from gatewayproxy.wire.response import ResponseHead

if TYPE_CHECKING:
    from gatewayproxy.dataplane.protocols.site import Site
    from gatewayproxy.routing.table import HostIndex

__all__ = ["Downstream", "Exchange"]

log = logging.getLogger(__name__)

# RFC 9110 §9.2.2: may be sent again when the connection died before an answer.
IDEMPOTENT: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))


class Downstream(Protocol):
    """The client, as its exchange sees it: a connection of HTTP/1.1, or a stream of HTTP/2."""

    site: Site
    listener: ListenerLabel | None  # the one that a TLS server name chose
    peer: bytes
    constant: bytes  # `forwarded.constant_lines`
    state: State
    tunnel_half_closed: bool
    known_host: bytes
    known_index: HostIndex | None
    known_vhost: VirtualHost | None
    known_target: Target | None  # of the last request for known_host,
    known_lines: bytes | None  # what its plain requests get, `forwarded.standing_lines`

    def pause_body(self) -> None:
        """Stop reading the body until `resume_body`."""

    def resume_body(self) -> None:
        """Read the body, or the tunnel, again."""

    def send_eof(self) -> None:
        """End our direction of a tunnel."""

    def close(self) -> None:
        """Close a tunnel behind what is buffered."""


class Exchange:
    """A request of *connection*; a `Sink` of the upstream connection and a `Waiter` of its pool."""

    __slots__ = (
        "attempts", "bytes_in", "bytes_out", "connect_s", "connection", "detail", "failed", "finished", "first_at",
        "generation", "grpc_status", "head", "mirrors", "number", "opening", "out", "payload_only", "pool", "reason",
        "received_id", "request_timer", "request_trailers", "retries", "started_at", "status", "target", "tried",
        "tunnel", "upstream", "upstream_timer", "vhost",
    )  # fmt: skip

    def __init__(self, connection: Downstream, head: RequestHead) -> None:
        self.connection = connection
        self.head = head
        self.started_at = monotonic()
        self.generation = connection.site.context.generation
        self.vhost: VirtualHost | None = None
        self.target: Target | None = None
        self.upstream: Upstream | None = None
        self.pool: EndpointPool | None = None  # whose connection we have or wait for
        self.tried: tuple[EndpointPool, ...] = ()
        self.opening: tuple[bytes, bytes] | None = None  # what `out` begins with, if many requests have it in common
        self.out = b""  # what has been sent so far, while it may have to be sent again; else b""
        self.payload_only = head.minor == 0  # an HTTP/1.0 client knows no chunks
        self.request_trailers = b""  # field lines behind the body
        self.mirrors: tuple[mirror.MirrorCall, ...] = ()
        self.request_timer: Deadline | TimerHandle | None = None
        self.upstream_timer: Deadline | TimerHandle | None = None
        self.status = 0
        self.reason = self.detail = self.grpc_status = ""
        self.number = 0  # of those that this worker's port has sent on
        self.received_id = b""  # X-Request-Id of a trusted proxy
        self.bytes_in = self.bytes_out = self.attempts = 0
        self.retries = 0  # of the attempts: those that the rule's `retry` asked for
        self.connect_s = self.first_at = 0.0
        self.tunnel = False
        self.failed = False  # a call of gRPC that ended by the fault of a server, whatever its HTTP status
        self.finished = False

    # The request

    def begin(self, body: bytes) -> None:
        """Route the request and send it, with the first *body* bytes, ready to send on."""
        connection = self.connection
        head = self.head
        site = connection.site
        entry = self._find(connection)
        if entry is None:
            shadowed.compare_refused(self)
            return
        state = site.entries.get(entry) or site.open_entry(entry)
        self.target = target = state.only or state.pick(self)
        target.row.active += 1
        cluster = target.cluster
        if cluster is None:
            self.answer_for(target, body)
            return
        self.number = number = next(site.ids)
        if connection.known_target is not target:
            self._note_lines(target)
        body = self.first_piece(body, cluster.multiplexed) if head.length else b""
        lines, starts = connection.known_lines, target.request_starts
        start = head.buf[: head.fields_end] if head.intact else forwarded.standing_start(head, cluster.multiplexed)
        if lines is None or not start or (starts and head.mentions(starts)):
            out = self._rewrite(target, body)
        else:
            out = b"".join((start, lines, b"%x\r\n\r\n" % number, body))
            if cluster.multiplexed:
                self.opening = start, lines
        if entry.request_timeout_s:
            waiting.start_request_timer(self, entry.request_timeout_s)
        if entry.grpc and not grpc.keep_deadline(self, entry):
            return
        self.out = out
        self.pool = pool = cluster.only or cluster.pick()
        if pool is None:
            waiting.wait_for_endpoints(self, cluster)
            return
        once = head.length != 0 or head.method not in IDEMPOTENT  # it could not be sent twice
        upstream = pool.take(must_live=once) if once or not pool.idle else pool.idle.pop()
        if upstream is None:
            waiting.wait_for_connection(self, pool)
        else:
            self.on_connection(upstream)

    def first_piece(self, body: bytes, multiplexed: bool) -> bytes:
        """Count and return what there is of the *body* as `chunked` says; *multiplexed*: it goes to HTTP/2."""
        if self.request_trailers:
            body = self.cut_trailers(body)
        self.bytes_in = len(body)
        return body

    def cut_trailers(self, body: bytes) -> bytes:
        """Return *body*, which ends, in chunks, with `request_trailers`, without those that must not go on."""
        lines = self.request_trailers
        self.request_trailers = kept = self.kept_trailers(lines)
        return ended_with(body, lines, kept)

    def kept_trailers(self, lines: bytes) -> bytes:
        """Return those of the field *lines* behind the body whose names nobody has decided about. RFC 9110 §6.5.1."""
        target = self.target
        gone = self.head.settled
        if target is not None and target.request is not None:
            gone |= named(target.request)
        return kept_trailers(lines, gone)

    @property
    def chunked(self) -> bool:
        """Return whether the body goes up in chunks."""
        return self.head.length == CHUNKED

    @property
    def sensitive(self) -> frozenset[bytes]:
        """Return the names of fields that must never be indexed."""
        return self.head.sensitive

    @property
    def may_be_silent(self) -> bool:
        """Return whether this is a call of a GRPCRoute under way: its streams rest as long as both sides like."""
        target = self.target
        return target is not None and target.entry.grpc and self.upstream is not None

    def _note_lines(self, target: Target) -> None:
        """Have ready what this request and those like it on its connection get; None if each needs its own.

        PERF: making our lines and applying the edit for every request took 2.4 us, putting in ready ones 0.5.
        """
        connection = self.connection
        site = connection.site
        lines = None
        if not site.limits.trusted_hops and not target.mirrors:
            authority = self.head.authority
            lines = forwarded.standing_lines(connection.constant, authority, target.request, site.id_prefix)
        connection.known_target, connection.known_lines = target, lines

    def _rewrite(self, target: Target, body: bytes) -> bytes:
        """Return what to send, made for this request alone."""
        return self.dressed(target, self.own_lines(), body)

    def own_lines(self) -> bytes:
        """Return our lines for this request."""
        head, connection = self.head, self.connection
        if not connection.site.limits.trusted_hops:
            return forwarded.own_lines(head, connection.constant, self.request_id)
        own, self.received_id = forwarded.trusted_lines(head, connection.constant, self.request_id)
        return own

    def dressed(self, target: Target, own: bytes, body: bytes) -> bytes:
        """Return head and *body* to send, with *own* lines; start the mirrors, whose copies differ by edits."""
        head = self.head
        assert target.cluster is not None
        if target.cluster.multiplexed:
            own += forwarded.te_line(head)
        if target.mirrors:
            self.mirrors = mirror.start(target, self, own, body)
        return rewrite_request(head, own, target.request) + body

    @property
    def request_id(self) -> bytes:
        """X-Request-Id as the endpoint gets it; b"" for a request that was not sent on."""
        number = self.number
        return self.received_id or (b"%b%x" % (self.connection.site.id_prefix, number) if number else b"")

    @property
    def version(self) -> str:
        """HTTP's, as the access log has it."""
        return f"1.{self.head.minor}"

    def _find(self, connection: Downstream) -> RouteEntry | None:
        """Return the entry that takes the request; answer it here where there is none."""
        head = self.head
        site = connection.site
        index = site.index
        # PERF: keep-alive clients ask for one host again and again.
        if connection.known_host == head.authority and connection.known_index is index:
            vhost = connection.known_vhost
        else:
            vhost = find_host(index, host_key(head.authority))
            connection.known_host, connection.known_index, connection.known_vhost = head.authority, index, vhost
            connection.known_target = None
        self.vhost = vhost
        listener = connection.listener
        # PERF: `dispatch` says it all; what nearly every request is, is seen here without calling it.
        if (
            vhost is None
            or (listener is not None and listener.scope != vhost.listener.scope)
            or head.scheme is not None
            or head.method == b"OPTIONS"
            or head.odd
        ):
            return self._dispatch(vhost, listener)
        entry = find_entry(vhost, head)
        if entry is None:
            reason = unmatched(vhost)
            self.answer(reason, trail.detail(self, reason))
        return entry

    def _dispatch(self, vhost: VirtualHost | None, listener: ListenerLabel | None) -> RouteEntry | None:
        """Return the entry that takes a request that is not like most; answer it here where there is none."""
        entry, reason, detail = dispatch(vhost, self.head, listener, self.connection.site.scheme)
        if not reason:
            return entry
        if reason == PREFLIGHT and entry is not None:
            cors.answer_preflight(self, entry)
        else:
            self.answer(reason, detail or trail.detail(self, reason))
        return None

    def on_connection(self, upstream: Upstream) -> None:
        """Send what there is of the request on *upstream*."""
        connection = self.connection
        target = self.target
        assert target is not None
        head = self.head
        sink: Sink = self
        dress = target.dress
        if head.upgrade:
            upstream = upstream.tunnel()
        elif dress is not None:
            upstream, sink = dress(self, upstream)
        self.upstream = upstream
        self.attempts += 1
        if connection.site.context.access is not None:
            self.connect_s = monotonic() - self.started_at
        if target.entry.backend_timeout_s:
            waiting.start_upstream_timer(self, target.entry.backend_timeout_s)
        complete = connection.state is not BODY
        upstream.start(sink, self.out, head.method == b"HEAD", complete)
        if not complete and self.upstream is upstream:
            self._keep(b"")
            if not upstream.full:
                connection.resume_body()

    def _keep(self, data: bytes) -> None:
        """Keep what has been sent, and *data*, of a request whose body is on its way, if it may be sent again at all.

        Only HTTP/2 endpoints say that they have not begun to serve a request, else the rule must ask for retries; and
        only a short one is kept.
        """
        target = self.target
        assert target is not None
        assert target.cluster is not None
        kept = target.cluster.multiplexed or target.entry.retry is not None
        bound = self.connection.site.limits.upstream_retry_bytes if kept else 0
        self.out = self.out + data if len(self.out) + len(data) <= bound else b""

    def on_no_connection(self, pool: EndpointPool, error: UpstreamError) -> None:
        """Try the next endpoint, or give up."""
        target = self.target
        assert target is not None
        if waiting.try_next_endpoint(self, pool):
            return
        if target.entry.retry is None or not retries.after_failure(self, error):
            self.answer_with(error.status, error.kind, str(error))

    def on_request_body(self, data: bytes, complete: bool) -> None:
        """Send more of the request body; it is ready to send on."""
        self.bytes_in += len(data)
        upstream = self.upstream
        assert upstream is not None
        if self.out:
            self._keep(data)
        upstream.send(data, complete)
        for each in self.mirrors:
            each.on_request_body(data, complete, self.request_trailers)

    def on_bad_request(self, error: RemoteProtocolError) -> None:
        """The request broke the protocol after its head: refuse it if we still can, else cut."""
        self._abandon_upstream()
        if self.status:
            self.cut(error.reason)
        else:
            self.answer_with(error.status, error.reason, str(error), close=True)

    # The response: Sink, as far as it is the same for all clients

    def on_head(self, head: ResponseHead, body: bytes) -> None:
        """Send the response head and the first bytes of its body."""
        raise NotImplementedError

    def on_interim(self, head: ResponseHead) -> None:
        """Pass a 1xx on."""
        raise NotImplementedError

    def on_switch(self, head: ResponseHead, data: bytes) -> bool:
        """Become a tunnel; return whether one was asked for."""
        raise NotImplementedError

    def on_body(self, data: bytes, last: bool = False) -> None:
        """Send more of the response body, or of a tunnel's bytes."""
        raise NotImplementedError

    def on_trailers(self, lines: bytes) -> None:
        """Take what stands behind a body that came without framing."""
        raise NotImplementedError

    def on_end(self) -> None:
        """The response is complete."""
        raise NotImplementedError

    def on_tunnel_eof(self) -> None:
        """Pass the endpoint's end of a tunnel on."""
        upgrade.on_upstream_eof(self)

    def on_failure(self, error: UpstreamError) -> None:
        """The endpoint failed: try again where that is safe, answer 502 where we still can, else cut."""
        upstream, self.upstream = self.upstream, None
        if self.tunnel:
            upgrade.on_upstream_lost(self, error.kind)
        elif error.retryable and self.out and (error.unprocessed or self.head.method in IDEMPOTENT):
            waiting.retry(self, error)
        elif self.status:
            self._break_off(upstream, error.status, error.kind)
        else:
            self.answer_with(error.status, error.kind, str(error))

    def on_upstream_full(self) -> None:
        """Stop reading the client until the endpoint takes more."""
        self.connection.pause_body()

    def on_upstream_ready(self) -> None:
        """Read the client again."""
        self.connection.resume_body()

    # Answers of our own, and the end

    def answer(self, reason: str, detail: str = "") -> None:
        """Answer for *reason*, a code of ANSWERS."""
        self.answer_with(ANSWERS[reason][0], reason, detail)

    def answer_with(
        self,
        status: int,
        reason: str,
        detail: str = "",
        *,
        lines: bytes = b"",
        body: bytes | None = None,
        close: bool = False,
    ) -> None:
        """Answer *status*: further field *lines*, and what *reason* says unless there is a *body*."""
        raise NotImplementedError

    def _answer_lines(self, lines: bytes) -> bytes:
        """Return the *lines* of an answer of our own, with what is said of CORS, and of ourselves."""
        lines += cors.answer_lines(self)
        site = self.connection.site
        if site.disclosure is not None:
            listener = self.vhost.listener if self.vhost is not None else self.connection.listener
            lines = site.disclosure.answer_lines(lines, self.target, listener, self.reason, self.generation)
        return lines

    def answer_for(self, target: Target, body: bytes) -> None:
        """Answer as the table says: a redirect or a refusal. A guarded target has the request judged first."""
        if target.guard is not None:
            external_auth.judge(self, target.guard, body)
            return
        choice = target.choice
        respond = choice.respond
        if respond is None:
            refusal = choice.refusal or Refusal(500, "no_backends")
            self.answer_with(refusal.status, refusal.reason, refusal.detail, lines=edited_lines(b"", choice.response))
            return
        where = location(respond, self.head.authority, self.head.target)
        if self.connection.site.limits.trusted_hops and forwarded.leads_back(self.head, where):
            self.answer_with(508, "redirect_loop", "X-Forwarded-* say that this is where the redirect leads")
            return
        lines = edited_lines(b"location: %b\r\n" % where, choice.response)
        self.answer_with(respond.status, "redirect", lines=lines, body=b"")

    def go_to(self, target: Target) -> None:
        """Have the request, which is counted already, go to *target* now."""
        if self.target is not None:
            self.target.row.active -= 1
        self.target = target
        target.row.active += 1

    def cut(self, reason: str) -> None:
        """End an answer that has begun in a way that its reader notices."""
        raise NotImplementedError

    def on_client_lost(self) -> None:
        """The client is gone: so is the request."""
        ended = self.tunnel and self.connection.tunnel_half_closed  # by both sides, one after the other
        if not self.reason and not ended:
            self.reason = "client_closed"
        self._abandon_upstream()
        self.finish()

    def on_request_timeout(self) -> None:
        """timeouts.request has run out."""
        self._give_up("request_timeout")

    def on_call_deadline(self) -> None:
        """grpc-timeout has run out."""
        self._give_up("deadline_exceeded")

    def on_upstream_timeout(self) -> None:
        """timeouts.backendRequest has run out."""
        if self.target is None or self.target.entry.retry is None or not retries.after_timeout(self):
            self._give_up("upstream_timeout")

    def on_fault(self) -> None:
        """Our own code failed: tell the log once, and the client."""
        log.exception("exchange_failed route=%s", self.target.entry.label.route if self.target is not None else "")
        self._give_up("internal_error")

    def _give_up(self, reason: str) -> None:
        upstream = self.upstream
        self._abandon_upstream()
        if self.status:
            self._break_off(upstream, ANSWERS[reason][0], reason)
        else:
            self.answer(reason)

    def _break_off(self, upstream: Upstream | None, status: int, reason: str) -> None:
        """End an answer that has begun on *upstream*: a call of gRPC-Web can be told of it, anyone else will notice."""
        if isinstance(upstream, grpc_web.Translation) and upstream.end(status, reason):
            self.reason = reason
            self._count_refusal()
            self.on_end()
        else:
            self.failed = self.target is not None and self.target.entry.grpc
            self.cut(reason)

    def _abandon_upstream(self) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.abandon()
        elif self.pool is not None:
            self.pool.cancel(self)

    def _count_refusal(self) -> None:
        vhost = self.vhost
        site = self.connection.site
        site.context.stats.refuse(vhost.listener.name if vhost is not None else site.label, self.reason)

    def finish(self) -> float:
        """Count the exchange, once; return the time, monotonic."""
        now = monotonic()
        if self.finished:
            return now
        self.finished = True
        target = self.target
        if target is not None:
            row = target.row
            row.active -= 1
            row.done(self.status, now - self.started_at, self.bytes_in, self.bytes_out)
            if self.attempts > 1:
                row.retries += self.attempts - 1
            if self.failed and self.status < 500:
                row.failed_calls += 1
        if self.request_timer is not None:
            self.request_timer.cancel()
        if self.upstream_timer is not None:
            self.upstream_timer.cancel()
        for each in self.mirrors:
            if not each.complete:
                each.give_up()
        access = self.connection.site.context.access
        if access is not None:
            access(access_record(self, now))
        return now
