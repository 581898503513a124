"""gRPC calls: their deadlines, which count on GRPCRoutes alone, and how they ended, for counters and access log."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.wire.grpc import SERVER_FAULTS, code_of_http, code_of_lines, timeout_s

if TYPE_CHECKING:
    from gatewayproxy.dataplane.protocols.exchange import Exchange
    from gatewayproxy.routing.table import RouteEntry
    from gatewayproxy.wire.head import RequestHead
    from gatewayproxy.wire.response import ResponseHead

__all__ = ["SUCCESS", "keep_deadline", "note_head", "note_status"]

SUCCESS: Final = b"grpc-status: 0\r\n"  # PERF: how trailers mostly begin; to compare is to have read them
_TIMEOUT: Final = b"\ngrpc-timeout:"
_STARTS: Final = (_TIMEOUT,)


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
    """Note how the endpoint says that the call ended; *lines* are those of a head or trailers."""
    code = code_of_lines(lines)
    if code >= 0:
        exchange.grpc_status = str(code)
        exchange.failed = code in SERVER_FAULTS


def note_head(exchange: Exchange, head: ResponseHead) -> None:
    """Note how a call ended whose answer has no messages; without grpc-status, as its client takes the HTTP status."""
    note_status(exchange, head.buf[head.fields_start : head.fields_end])
    if not exchange.grpc_status:
        exchange.failed = head.status != 200 and code_of_http(head.status) in SERVER_FAULTS


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
