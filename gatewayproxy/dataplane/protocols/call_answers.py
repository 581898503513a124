"""The gateway's own answers to gRPC calls: status codes, in the form that gRPC and gRPC-Web clients read. Pure.

The Content-Type of a request says whether it is a call, on any route: a client that is none must not take an error for
success because it came with status 200. An answer of ours to a call is Trailers-Only (grpc/doc PROTOCOL-HTTP2.md):
status 200, grpc-status and grpc-message in the head, and no body. 421 stays what it is, and so do redirects: the client
must go elsewhere, which grpc-status cannot say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gatewayproxy.dataplane.protocols.answers import ANSWERS
from gatewayproxy.model.refusals import FILTER_UNSUPPORTED, REFUSALS
from gatewayproxy.wire.grammar import cut_lines, join_kept
from gatewayproxy.wire.grpc import Code, code_of_http, content_type, status_lines
from gatewayproxy.wire.grpc_web import form_of

if TYPE_CHECKING:
    from gatewayproxy.wire.head import RequestHead

__all__ = ["DEADLINES", "CallAnswer", "answer_to", "code_of", "end_lines"]

# What is said of a reason where that is more than its HTTP status can say; for the rest, `wire.grpc.code_of_http`.
_CODES: Final = {
    **dict.fromkeys(REFUSALS, Code.UNAVAILABLE),  # GRPCRouteRule.backendRefs
    FILTER_UNSUPPORTED: Code.INTERNAL,
    "trailers_too_large": Code.RESOURCE_EXHAUSTED,
    "auth_body_too_large": Code.RESOURCE_EXHAUSTED,
    "auth_overflow": Code.RESOURCE_EXHAUSTED,
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


def _without_ours(lines: bytes) -> bytes:
    buf = b"\n" + lines
    return join_kept(buf, 1, len(buf), cut_lines(buf, 1, len(buf), _OURS))
