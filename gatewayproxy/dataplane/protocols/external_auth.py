"""External authorization: a request goes on once the servers of its rule consent. GEP-1494, HTTPExternalAuthFilter.

While they are asked, an `Admission` stands where the exchange has its upstream: what the client sends of a body goes
there, and a client that leaves, or `timeouts.request`, abandons the call. A server that is to see the body gets all of
it, at most `forwardBody.maxSize` and `ext_auth_body_bytes`; otherwise the client is not read until the verdict.
What all requests of the worker keep so is bounded, too (`ext_auth_bodies_bytes`).
Whatever goes wrong refuses the request. Mirrors, sessions and backends see it only once it is admitted.
"""

from __future__ import annotations

from copy import copy
from time import time_ns
from typing import TYPE_CHECKING, Final

from gatewayproxy.dataplane.protocols import waiting
from gatewayproxy.dataplane.protocols.external_auth_call import AuthAnswer, AuthCall
from gatewayproxy.dataplane.protocols.forwarded import client_of
from gatewayproxy.dataplane.protocols.state import BODY
from gatewayproxy.dataplane.upstream.connection import Sink, Upstream
from gatewayproxy.dataplane.upstream.pool import ClusterState
from gatewayproxy.errors import LocalProtocolError, RemoteProtocolError, UpstreamError
from gatewayproxy.model.plan import ExternalAuth
from gatewayproxy.wire.auth import Verdict, apply, fields_seen, http_question, http_verdict, without_cors
from gatewayproxy.wire.chunked import ChunkedReader
from gatewayproxy.wire.edit import edit_fields
from gatewayproxy.wire.ext_authz import Question, call_head, framed, read_answer
from gatewayproxy.wire.grammar import join_kept
from gatewayproxy.wire.grpc import code_of_lines
from gatewayproxy.wire.head import CHUNKED
from gatewayproxy.wire.response import parse_response

if TYPE_CHECKING:
    from gatewayproxy.dataplane.protocols.exchange import Exchange
    from gatewayproxy.dataplane.protocols.targets import Guard

__all__ = ["Admission", "judge"]

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


def judge(exchange: Exchange, guard: Guard, body: bytes) -> None:
    """Have *exchange*, which begins with *body*, admitted or refused."""
    Admission(exchange, guard).begin(body)


class Admission:
    """See the module: an `Upstream` that holds what it gets until the servers have spoken."""

    __slots__ = (
        "_at", "_body", "_call", "_chunks", "_content", "_exchange", "_guard", "_own", "_told",
        "_untold", "_wanted",
    )  # fmt: skip

    fresh = full = False
    unsent = 0

    def __init__(self, exchange: Exchange, guard: Guard) -> None:
        self._exchange = exchange
        self._guard = guard
        self._at = 0  # of the servers: who is asked
        self._own = b""  # our lines for the backend, and theirs
        self._told = b""  # lines for the answer to the client
        self._untold: frozenset[bytes] = frozenset()  # names of fields that they stand for
        self._body = bytearray()  # as the backend is to get it
        self._content = bytearray()  # the same without framing, where chunks frame it
        self._chunks: ChunkedReader | None = None
        self._wanted = 0  # most of the body that every server who wants it takes; 0: nobody wants it
        self._call: AuthCall | None = None

    def begin(self, body: bytes) -> None:
        """Ask, at once or when the body is there, which begins with *body*."""
        exchange = self._exchange
        connection = exchange.connection
        exchange.head = head = copy(exchange.head)  # clients of HTTP/2 repeat theirs, this one will lose fields
        head.standing = None
        target = exchange.target
        assert target is not None
        exchange.upstream = self
        exchange.number = next(connection.site.ids)
        self._own = exchange.own_lines()
        if target.entry.request_timeout_s:
            waiting.start_request_timer(exchange, target.entry.request_timeout_s)
        if not head.length:
            self._ask()
            return
        body = exchange.first_piece(body, multiplexed=True)
        self._wanted = self._most_wanted()
        if not self._wanted:
            self._body += body
            connection.pause_body()
            if self._may_hold(len(body)):
                self._ask()
        elif head.length > self._wanted:
            self._refuse_body()
        else:
            self._gather(body)

    def _most_wanted(self) -> int:
        bound = self._exchange.connection.site.limits.ext_auth_body_bytes
        wanted = [auth.server.body_bytes for auth, _ in self._guard.servers if auth.server.body_bytes]
        return min(bound, *wanted) if wanted else 0

    def _gather(self, body: bytes) -> None:
        """Wait for the whole body. A client that wants to be told to send it is told here."""
        exchange = self._exchange
        head, limits = exchange.head, exchange.connection.site.limits
        if exchange.chunked:
            self._chunks = ChunkedReader(limits, payload_only=True)
        if head.field(b"expect") is not None:
            told = parse_response(_CONTINUE, limits)
            assert told is not None
            exchange.on_interim(told)
            head.cut(b"expect")
            head.intact = False
        self.send(body, complete=exchange.connection.state is not BODY)

    def _refuse_body(self) -> None:
        self._let_go()
        self._exchange.answer("auth_body_too_large", f"body of more than {self._wanted} bytes")

    def _may_hold(self, n: int) -> bool:
        """Count *n* bytes of the body; return whether there is room for them, else the request is answered."""
        return not n or self._exchange.connection.site.context.judged.hold(self, n)

    def give_way(self) -> None:
        """Refuse the request: its body has waited longest, and there is no room for those of all."""
        self.abandon()
        self._exchange.upstream = None
        self._exchange.answer("auth_overflow")

    def _let_go(self) -> None:
        """Stand between exchange and upstream no longer."""
        self._exchange.upstream = None
        self._exchange.connection.site.context.judged.release(self)

    # Upstream, for the exchange

    def tunnel(self) -> Upstream:
        """Return itself; nothing is started on it."""
        return self

    def start(self, sink: Sink, out: bytes, bodiless: bool, complete: bool) -> None:
        """Refuse: who waits for consent does not send."""
        raise LocalProtocolError("a request was started on the wait for its admission")

    def send(self, data: bytes, complete: bool) -> None:
        """Keep more of the body; ask when it is whole and somebody is to see it."""
        before = len(self._body) + len(self._content)
        self._body += data
        if self._chunks is not None:
            self._content += self._chunks.feed(data)[0]
        if not self._may_hold(len(self._body) + len(self._content) - before) or not self._wanted:
            return
        if len(self._gathered()) > self._wanted:
            self._refuse_body()
        elif complete and self._call is None:
            self._ask()

    def _gathered(self) -> bytearray:
        return self._body if self._chunks is None else self._content

    def send_eof(self) -> None:
        """There is no tunnel yet."""

    def hold_back(self) -> None:
        """There is no answer yet."""

    def read_on(self) -> None:
        """There is no answer yet."""

    def close(self) -> None:
        """Do as `abandon`."""
        self.abandon()

    def abandon(self) -> None:
        """Forget the request."""
        self._exchange.connection.site.context.judged.release(self)
        call, self._call = self._call, None
        if call is not None:
            call.abandon()

    # The question

    def _ask(self) -> None:
        """Ask the next server."""
        exchange = self._exchange
        auth, cluster = self._guard.servers[self._at]
        self._own = edit_fields(exchange.head, self._own, auth.before)
        server = auth.server
        content = bytes(self._gathered()) if server.body_bytes else b""
        out = self._grpc_question(server, content) if server.grpc else self._http_question(server, content)
        self._call = AuthCall(
            cluster,
            out,
            exchange.connection.site.limits,
            self._on_answer,
            bodiless=exchange.head.method == b"HEAD" and not server.grpc,
            sensitive=exchange.sensitive,
        )
        self._call.begin()

    def _lines(self) -> bytes:
        """Return the fields of the request as it stands, the client's and ours."""
        head = self._exchange.head
        return join_kept(head.buf, head.fields_start, head.fields_end, head.cuts) + self._own

    def _http_question(self, server: ExternalAuth, content: bytes) -> bytes:
        head = self._exchange.head
        names = server.request_headers
        asked = http_question(head, self._lines(), prefix=server.path, names=names, length=len(content))
        return asked + content

    def _grpc_question(self, server: ExternalAuth, content: bytes) -> bytes:
        exchange = self._exchange
        connection, head = exchange.connection, exchange.head
        site = connection.site
        seconds, nanos = divmod(time_ns(), 1_000_000_000)
        question = Question(
            method=head.method,
            path=head.target,
            host=head.authority,
            scheme=site.scheme,
            protocol=b"HTTP/" + exchange.version.encode("ascii"),
            request_id=exchange.request_id,
            headers=fields_seen(head, self._lines(), server.request_headers, site.scheme),
            size=len(content) if self._wanted or head.length != CHUNKED else -1,
            body=content,
            source=client_of(head, connection.peer, site.limits.trusted_hops),
            address=site.port.address.encode("ascii"),
            port=site.port.port,
            seconds=seconds,
            nanos=nanos,
        )
        message = framed(question.encoded())
        return call_head(server.authority, site.limits.ext_auth_timeout_s, len(message)) + message

    # The answer

    def _on_answer(self, answer: AuthAnswer | UpstreamError) -> None:
        self._call = None
        auth, cluster = self._guard.servers[self._at]
        try:
            if isinstance(answer, UpstreamError):
                raise answer
            verdict = _verdict(auth.server, answer, self._exchange.connection.site.limits.head_fields)
        except (RemoteProtocolError, UpstreamError) as error:
            self._fail(cluster, error)
        else:
            self._follow(verdict)

    def _fail(self, cluster: ClusterState, error: RemoteProtocolError | UpstreamError) -> None:
        """Refuse: without a verdict nothing goes on."""
        self._let_go()
        late = isinstance(error, UpstreamError) and error.kind == "auth_timeout"
        self._exchange.answer("auth_timeout" if late else "auth_failed", f"{cluster.cluster.name}: {error}")

    def _follow(self, verdict: Verdict) -> None:
        exchange = self._exchange
        lines = verdict.answer_lines
        if exchange.target is not None and exchange.target.entry.cors is not None:
            lines = without_cors(lines)
        if not verdict.allowed:
            self._let_go()
            exchange.answer_with(verdict.status, "auth_denied", lines=lines, body=verdict.body)
            return
        self._own = apply(verdict, exchange.head, self._own)
        self._told += lines
        self._untold |= verdict.answer_removed
        self._at += 1
        if self._at < len(self._guard.servers):
            self._ask()
        else:
            self._admit()

    def _admit(self) -> None:
        """Send the request on, as if it had come so."""
        exchange = self._exchange
        head = exchange.head
        self._let_go()
        behind = self._guard.behind
        target = behind.only or behind.pick(exchange)
        if self._told:
            target = target.telling(self._told, self._untold)
        exchange.go_to(target)
        cluster = target.cluster
        if cluster is None:
            exchange.answer_for(target, b"")
            return
        body = exchange.first_piece(bytes(self._body), cluster.multiplexed) if head.length else b""
        exchange.out = exchange.dressed(target, self._own, body)
        waiting.find_connection(exchange, cluster)


def _verdict(server: ExternalAuth, answer: AuthAnswer, most: int) -> Verdict:
    """Return what *answer* means; *most*: fields it may name. Raises RemoteProtocolError where it means nothing."""
    if not server.grpc:
        return http_verdict(answer.status, answer.lines, answer.body, server.response_headers)
    code = code_of_lines(answer.trailers or answer.lines)
    if answer.status != 200 or code:
        what = f"grpc-status {code}" if code >= 0 else "no grpc-status"
        raise RemoteProtocolError(f"Check ended with HTTP status {answer.status}, {what}", status=502)
    return read_answer(answer.body, most)
