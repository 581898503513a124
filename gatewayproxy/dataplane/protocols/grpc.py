"""gRPC calls: their deadlines, and the gateway's own answers in the form that gRPC and gRPC-Web clients read.

The Content-Type of a request says whether it is a call, on any route: a client that is none must not take an error for
success because it came with status 200. An answer of ours to a call is Trailers-Only (grpc/doc PROTOCOL-HTTP2.md):
status 200, grpc-status and grpc-message in the head, and no body. 421 stays what it is, and so do redirects: the client
must go elsewhere, which grpc-status cannot say. Deadlines count on GRPCRoutes alone.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

from gatewayproxy.dataplane.protocols.answers import ANSWERS
from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.model.refusals import FILTER_UNSUPPORTED, REFUSALS
from gatewayproxy.wire.grammar import cut_lines, join_kept
from gatewayproxy.wire.grpc import Code, code_of_http, code_of_lines, content_type, status_lines, timeout_s
from gatewayproxy.wire.grpc_web import form_of

if TYPE_CHECKING:
    from gatewayproxy.dataplane.protocols.exchange import Exchange
    from gatewayproxy.routing.table import RouteEntry
    from gatewayproxy.wire.head import RequestHead

__all__ = ["DEADLINES", "CallAnswer", "answer_to", "code_of", "end_lines", "keep_deadline", "note_status"]

# What is said of a reason where that is more than its HTTP status can say; for the rest, `wire.grpc.code_of_http`.
_CODES: Final = {
    **dict.fromkeys(REFUSALS, Code.UNAVAILABLE),  # GRPCRouteRule.backendRefs
    FILTER_UNSUPPORTED: Code.INTERNAL,
    "trailers_too_large": Code.RESOURCE_EXHAUSTED,
    "auth_body_too_large": Code.RESOURCE_EXHAUSTED,
    "body_too_large": Code.RESOURCE_EXHAUSTED,
    "body_timeout": Code.DEADLINE_EXCEEDED,
    "auth_timeout": Code.DEADLINE_EXCEEDED,
    "request_timeout": Code.DEADLINE_EXCEEDED,
    "upstream_timeout": Code.DEADLINE_EXCEEDED,
    "deadline_exceeded": Code.DEADLINE_EXCEEDED,
    "bad_response": Code.INTERNAL,
    "response_head_too_large": Code.RESOURCE_EXHAUSTED,
    "internal_error": Code.INTERNAL,
}
DEADLINES: Final = frozenset(reason for reason, code in _CODES.items() if code is Code.DEADLINE_EXCEEDED)
_REFUSED: Final = "the configuration says so, see the route's conditions"
_OURS: Final = frozenset((b"content-type", b"grpc-status", b"grpc-message"))
_MISDIRECTED: Final = 421
_TIMEOUT: Final = b"\ngrpc-timeout:"
_STARTS: Final = (_TIMEOUT,)


class CallAnswer(NamedTuple):
    """An answer to a call: its code, and the field lines of its head."""

    code: Code
    lines: bytes


def code_of(status: int, reason: str) -> Code:
    """Return the status code of an answer for *reason*, whose HTTP status is *status*."""
    return _CODES.get(reason) or code_of_http(status)


def answer_to(head: RequestHead, status: int, reason: str, lines: bytes) -> CallAnswer | None:
    """Return the answer for *reason* if *head* begins a call, with *lines* that filters add; else None."""
    if status < 400 or status == _MISDIRECTED:
        return None
    kind = head.field(b"content-type")
    if kind is None or not content_type(kind):
        return None
    form = form_of(kind, head.field(b"accept"))
    media = form.answer if form is not None else b"application/grpc"
    kept = _without_ours(lines) if lines else b""
    told = end_lines(status, reason)
    return CallAnswer(code_of(status, reason), b"content-type: %b\r\n%b%b" % (media, told, kept))


def end_lines(status: int, reason: str) -> bytes:
    """Return the field lines that tell a call's client why it ends; *status* is what HTTP would say."""
    meaning = ANSWERS[reason][1] if reason in ANSWERS else _REFUSED
    return status_lines(code_of(status, reason), f"{reason}: {meaning}")


def keep_deadline(exchange: Exchange, entry: RouteEntry) -> bool:
    """Bound *exchange* by its grpc-timeout; return False where it is answered instead.

    The field goes on as it came: the endpoint counts from when it gets it, the client ends the call in any case.
    """
    head = exchange.head
    allowed_s = head.allowed_s
    if allowed_s is None:
        try:
            allowed_s = head.allowed_s = timeout_s(_timeout_value(head)) if head.mentions(_STARTS) else inf
        except RemoteProtocolError as error:
            exchange.answer_with(error.status, error.reason, str(error))
            return False
    if allowed_s == inf:
        return True
    if 0.0 < entry.request_timeout_s <= allowed_s:
        return True
    if not allowed_s:
        exchange.answer("deadline_exceeded")
        return False
    if exchange.request_timer is not None:
        exchange.request_timer.cancel()
    exchange.request_timer = exchange.connection.site.deadlines.after(allowed_s, exchange.on_call_deadline)
    return True


def note_status(exchange: Exchange, lines: bytes) -> None:
    """Note for the access log how the endpoint says that the call ended; *lines* are those of a head or trailers."""
    code = code_of_lines(lines)
    if code >= 0:
        exchange.grpc_status = str(code)


def _timeout_value(head: RequestHead) -> bytes:
    """Return the value of the grpc-timeout that *head* mentions; of two, what is none.

    PERF: calls mostly have one, and reading all of their fields for it takes 3 us.
    """
    low = head.low
    assert low is not None
    at = low.find(_TIMEOUT)
    if low.find(_TIMEOUT, at + 1) >= 0:
        return b","
    start = head.fields_start - 1 + at + len(_TIMEOUT)
    return head.buf[start : head.buf.find(b"\r", start)].strip(b" \t")


def _without_ours(lines: bytes) -> bytes:
    buf = b"\n" + lines
    return join_kept(buf, 1, len(buf), cut_lines(buf, 1, len(buf), _OURS))
