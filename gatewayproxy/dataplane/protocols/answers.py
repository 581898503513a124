"""Answers that the gateway makes itself: their stable reasons, and their bytes.

A short text names the reason; `docs/reference.md` lists them. Reasons that configuration decides are in
`model.refusals`; those of unreadable messages come with the error that was raised, and are listed here.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

__all__ = ["ANSWERS", "answer_body", "answer_bytes", "meaning"]

# reason -> (status, what it means to an operator)
ANSWERS: Final[dict[str, tuple[int, str]]] = {
    "no_route": (404, "no listener or route has this host"),
    "no_rule": (404, "no rule of the host's routes matches this request"),
    "misdirected": (421, "the connection was opened for another listener"),
    "ambiguous_path": (400, "the path has two readings that lead to different rules"),
    "bad_request_line": (400, "the request line is malformed"),
    "bad_target": (400, "the request target is no valid path or absolute URI"),
    "bad_host": (400, "there is not exactly one valid Host"),
    "bad_header": (400, "a header field is malformed"),
    "bad_framing": (400, "Content-Length and Transfer-Encoding are invalid or contradict each other"),
    "bad_grpc_timeout": (400, "grpc-timeout is not 1 to 8 digits and a unit"),
    "bad_grpc_web": (400, "the gRPC-Web body is not base64, or not whole messages"),
    "bad_chunk": (400, "the chunked body is malformed"),
    "method_not_allowed": (405, "CONNECT and TRACE are not served"),
    "target_too_long": (414, "the request target is longer than allowed"),
    "unknown_protocol": (501, "an extended CONNECT asks for another protocol than websocket"),
    "bad_expectation": (417, "Expect asks for something else than 100-continue"),
    "head_too_large": (431, "the request head has more bytes or fields than allowed"),
    "trailers_too_large": (431, "the trailer section has more bytes or fields than allowed"),
    "method_too_long": (501, "the method has more than 64 bytes"),
    "bad_version": (505, "the HTTP version is not 1.0 or 1.1"),
    "options_answered": (200, "OPTIONS asked the gateway itself"),
    "head_timeout": (408, "the request head did not arrive in time"),
    "body_timeout": (408, "the request body stopped arriving"),
    "body_too_large": (413, "the request body is larger than allowed"),
    "request_timeout": (504, "timeouts.request of the rule ran out"),
    "deadline_exceeded": (504, "grpc-timeout of the call ran out"),
    "upstream_timeout": (504, "timeouts.backendRequest of the rule ran out"),
    "connect_failed": (503, "no endpoint accepted a connection"),
    "connect_timeout": (503, "no endpoint accepted a connection in time"),
    "upstream_tls_failed": (502, "no TLS with the backend: the log says why"),
    "no_endpoints": (503, "the backend has no endpoints"),
    "dns_failed": (503, "the backend's name did not resolve"),
    "upstream_overflow": (503, "too many requests wait for a connection to the backend"),
    "upstream_queue_timeout": (503, "no connection to the backend became free in time"),
    "upstream_closed": (502, "the backend closed the connection without an answer"),
    "upstream_reset": (502, "the backend reset the connection"),
    "upstream_refused": (503, "the backend refused the request, again and again"),
    "no_extended_connect": (501, "the backend speaks HTTP/2 and does not offer extended CONNECT for WebSockets"),
    "bad_response": (502, "the backend's answer cannot be read safely"),
    "response_head_too_large": (502, "the backend's answer has a head beyond the limits"),
    "retries_failed": (503, "the connection to the backend broke at every attempt that the rule's retry allows"),
    "retry_budget": (503, "the backend failed, and its XBackendTrafficPolicy allows no more retries just now"),
    "preflight": (200, "a CORS filter answered a preflight"),
    "origin_not_allowed": (403, "a CORS filter refused a preflight: allowOrigins does not have its origin"),
    "auth_denied": (403, "the external authorization server refused; the answer is its own"),
    "auth_failed": (503, "the external authorization server gave no answer that can be used: the detail says why"),
    "auth_timeout": (504, "the external authorization server gave no answer in time"),
    "auth_body_too_large": (413, "the request body is larger than the external authorization server may get"),
    "auth_overflow": (503, "the bodies that wait for external authorization servers are too many, this one the oldest"),
    "redirect": (302, "a RequestRedirect filter answered"),
    "redirect_loop": (508, "a RequestRedirect filter leads to the URL that a trusted proxy says was asked for"),
    "internal_error": (500, "a fault of the gateway itself"),
}

_UNKNOWN: Final = (0, "")
_PHRASES: Final = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


def meaning(reason: str) -> str:
    """Return what *reason* means to an operator, "" where it is no reason of an answer."""
    return ANSWERS.get(reason, _UNKNOWN)[1]


def answer_body(status: int, reason: str) -> bytes:
    """Return the text of an answer: status and reason code, nothing about the inside of the network."""
    return b"%d %b: %b\n" % (status, _PHRASES.get(status, b"Error"), reason.encode("ascii"))


def answer_bytes(status: int, body: bytes, *, head_only: bool, lines: bytes) -> bytes:
    """Return a complete response; *lines* are further field lines, each ended by CRLF."""
    told = lines.lower().startswith(b"content-type:") or b"\ncontent-type:" in lines.lower()  # by a response filter
    kind = b"content-type: text/plain; charset=utf-8\r\n" if body and not told else b""
    head = b"HTTP/1.1 %d %b\r\n%bcontent-length: %d\r\n%b\r\n" % (
        status, _PHRASES.get(status, b"Error"), kind, len(body), lines,
    )  # fmt: skip
    return head if head_only else head + body
