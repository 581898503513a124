"""The field lists of HTTP/2 messages: checked against RFC 9113 §8, and given the shape a gateway needs. Pure.

`read_request`, `read_response` and `read_trailers` turn what HPACK gave into a Head, or refuse it: H2Error where the
message is malformed (an error of its stream, RFC 9113 §8.1.1), RemoteProtocolError with a status where it is
well-formed but more than we serve. The grammar is that of `wire.head`: nothing passes that HTTP/1.1 could not say.
Names and values are checked in one text with separators that neither may hold; it becomes HTTP/1.1's field lines.
"""

from __future__ import annotations

import re
from typing import Final

from gatewayproxy.errors import H2Error, RemoteProtocolError
from gatewayproxy.model.limits import Limits
from gatewayproxy.wire.grammar import CONTENT_LENGTH, TOKEN
from gatewayproxy.wire.h2frames import ErrorCode
from gatewayproxy.wire.hpack import Field
from gatewayproxy.wire.target import PATH, QUERY, check_authority

__all__ = ["Head", "malformed", "read_request", "read_response", "read_trailers"]

_LINES: Final = re.compile(
    rb"(?:[!#$%&'*+\-.^_`|~0-9a-z]++\x00(?:[\x21-\x7e\x80-\xff]++(?:[\t ]++[\x21-\x7e\x80-\xff]++)*+)?+\r\n)*+"
)
_METHOD: Final = re.compile(TOKEN)
_SCHEME: Final = re.compile(rb"https?|[a-z][a-z0-9+.\-]*+")
_TARGET: Final = re.compile(PATH + rb"(?:\?" + QUERY + rb")?+")
_STATUS: Final = re.compile(rb"[1-5][0-9]{2}")
_ORDINARY: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
_METHOD_BYTES: Final = 64

_REQUEST: Final = frozenset((b":method", b":scheme", b":authority", b":path", b":protocol"))
_RESPONSE: Final = frozenset((b":status",))
_TRAILERS: Final[frozenset[bytes]] = frozenset()
# RFC 9113 §8.2.2: an endpoint MUST NOT generate a message with connection-specific fields; malformed if it does.
_CONNECTION: Final = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
_SINGLE: Final = frozenset((b"content-length", b"host"))
_SPECIAL: Final = _CONNECTION | {b"content-length", b"cookie", b"host", b"te"}


class Head:
    """A checked head, or trailers. It may be shared by equal messages of a connection: read it, never change it.

    *fields* are the regular fields, names in lower case, cookie crumbs joined (RFC 9113 §8.2.3), without host; *lines*
    are the same as HTTP/1.1 field lines. A request has *method*, *scheme*, *authority* (or what host said), *path* with
    its query, and *protocol* of an extended CONNECT (RFC 8441), b"" where there is none. A response has *status*.
    *length* is Content-Length, -1 where there is none. *sensitive* names must never be indexed where they go on.
    """

    __slots__ = (
        "authority", "fields", "length", "lines", "method", "path", "protocol", "scheme", "sensitive", "status",
    )  # fmt: skip

    def __init__(self, fields: list[Field], lines: bytes, sensitive: frozenset[bytes]) -> None:
        self.fields = fields
        self.lines = lines
        self.sensitive = sensitive
        self.method = self.scheme = self.authority = self.path = self.protocol = b""
        self.status = 0
        self.length = -1


def read_request(
    fields: list[Field], sensitive: frozenset[bytes], stream_id: int, limits: Limits, *, connect: bool
) -> Head:
    """Return the head of a request; *connect*: we offered extended CONNECT."""
    pseudo, regular = _split(fields, _REQUEST, stream_id)
    head = Head(regular, _lines(regular, stream_id), sensitive)
    host = _read_special(head, stream_id)
    get = pseudo.get
    head.method = method = get(b":method", b"")
    head.scheme = scheme = get(b":scheme", b"")
    head.path = path = get(b":path", b"")
    if method not in _ORDINARY:
        _check_method(head, pseudo, stream_id, connect)
    elif b":protocol" in pseudo:
        raise malformed(":protocol without CONNECT", stream_id)
    if _SCHEME.fullmatch(scheme) is None:
        raise malformed(":scheme is missing or invalid", stream_id)
    if _TARGET.fullmatch(path) is None and not (path == b"*" and method == b"OPTIONS"):
        raise malformed(":path is missing or invalid", stream_id)
    head.authority = _authority(get(b":authority"), host, stream_id)
    _check_limits(head, limits)
    return head


def read_response(fields: list[Field], sensitive: frozenset[bytes], stream_id: int, limits: Limits) -> Head:
    """Return the head of a response; *length* is 0 where its status allows no body."""
    pseudo, regular = _split(fields, _RESPONSE, stream_id)
    status = pseudo.get(b":status", b"")
    if _STATUS.fullmatch(status) is None or status == b"101":  # §8.6: no 101 in HTTP/2
        raise malformed(":status is missing or invalid", stream_id)
    head = Head(regular, _lines(regular, stream_id), sensitive)
    _read_special(head, stream_id)
    head.status = int(status)
    if head.status in (204, 304) or head.status < 200:
        head.length = 0
    if len(regular) > limits.head_fields:
        raise RemoteProtocolError("response head too large", status=502, reason="response_head_too_large")
    return head


def read_trailers(fields: list[Field], sensitive: frozenset[bytes], stream_id: int, limits: Limits) -> Head:
    """Return trailers: a Head with fields alone."""
    _, regular = _split(fields, _TRAILERS, stream_id)
    head = Head(regular, _lines(regular, stream_id), sensitive)
    _read_special(head, stream_id)
    if len(head.fields) > limits.head_fields:
        raise RemoteProtocolError("trailer section too large", status=431, reason="trailers_too_large")
    return head


def malformed(message: str, stream_id: int) -> H2Error:
    """Return the error of a stream whose message is malformed, RFC 9113 §8.1.1."""
    return H2Error(message, code=ErrorCode.PROTOCOL_ERROR, stream_id=stream_id, reason="h2_malformed")


def _split(fields: list[Field], known: frozenset[bytes], stream_id: int) -> tuple[dict[bytes, bytes], list[Field]]:
    """Return pseudo-header fields by name, and the fields behind them: there a name with ":" is no token."""
    pseudo: dict[bytes, bytes] = {}
    for name, value in fields:
        if name[:1] != b":":
            break
        if name in pseudo or name not in known:
            raise malformed("pseudo-header field that is unknown here, or repeated", stream_id)
        pseudo[name] = value
    return pseudo, fields[len(pseudo) :]


def _lines(fields: list[Field], stream_id: int) -> bytes:
    """Return *fields* as HTTP/1.1 lines.

    SAFETY: a line of the text is one field because the terminators are as many as the fields: one in a name or a value
    would make more of them.
    """
    if not fields:
        return b""
    text = b"\r\n".join([b"\0".join(field) for field in fields]) + b"\r\n"
    if _LINES.fullmatch(text) is None or text.count(b"\n") != len(fields):
        raise malformed("field with an invalid name or value", stream_id)
    return text.replace(b"\0", b": ")


def _read_special(head: Head, stream_id: int) -> bytes | None:
    """Read the fields that matter to framing and routing; return host."""
    special = [field for field in head.fields if field[0] in _SPECIAL]
    if not special:
        return None
    by_name = dict(special)
    if not _CONNECTION.isdisjoint(by_name):
        raise malformed("connection-specific field", stream_id)
    if any(name == b"te" and value.lower() != b"trailers" for name, value in special):
        raise malformed('te other than "trailers"', stream_id)
    singles = [name for name, _ in special if name in _SINGLE]
    if len(singles) > len(set(singles)):
        raise malformed("host or content-length more than once", stream_id)
    length = by_name.get(b"content-length")
    if length is not None:
        if CONTENT_LENGTH.fullmatch(length) is None:
            raise malformed("content-length is not a number of bytes", stream_id)
        head.length = int(length)
    host = by_name.get(b"host")
    if host is not None or len(special) > len(by_name):
        _rewrite(head)
    return host


def _rewrite(head: Head) -> None:
    """Take host out, and join cookie crumbs in the place of the first."""
    crumbs = [value for name, value in head.fields if name == b"cookie"]
    fields = []
    for field in head.fields:
        if field[0] == b"cookie":
            if crumbs:
                fields.append((b"cookie", b"; ".join(crumbs)))
                crumbs = []
        elif field[0] != b"host":
            fields.append(field)
    head.fields = fields
    head.lines = b"".join([b"%b: %b\r\n" % field for field in fields])


def _authority(authority: bytes | None, host: bytes | None, stream_id: int) -> bytes:
    """Return the host to route by; RFC 9113 §8.3.1."""
    if authority is None:
        authority = host
    elif host is not None and host != authority:
        raise malformed(":authority and host differ", stream_id)
    if authority is None:
        raise malformed(":authority is missing", stream_id)
    try:
        check_authority(authority)
    except RemoteProtocolError as error:
        raise malformed(str(error), stream_id) from None
    return authority


def _check_method(head: Head, pseudo: dict[bytes, bytes], stream_id: int, connect: bool) -> None:
    method = head.method
    if _METHOD.fullmatch(method) is None:
        raise malformed(":method is missing or invalid", stream_id)
    protocol = pseudo.get(b":protocol")
    if method == b"CONNECT":
        if protocol is None:
            if b":scheme" in pseudo or b":path" in pseudo or b":authority" not in pseudo:  # §8.5
                raise malformed("CONNECT names an authority, and nothing else", stream_id)
            raise RemoteProtocolError("CONNECT is not served here", status=405, reason="method_not_allowed")
        if not connect or _METHOD.fullmatch(protocol) is None:
            raise malformed(":protocol was not offered, or is invalid", stream_id)
        head.protocol = protocol
    elif protocol is not None:
        raise malformed(":protocol without CONNECT", stream_id)
    elif len(method) > _METHOD_BYTES:
        raise RemoteProtocolError("unknown method", status=501, reason="method_too_long")
    elif method == b"TRACE":
        raise RemoteProtocolError("TRACE is not served here", status=405, reason="method_not_allowed")


def _check_limits(head: Head, limits: Limits) -> None:
    if len(head.path) > limits.target_bytes:
        raise RemoteProtocolError(
            f"request target of more than {limits.target_bytes} bytes", status=414, reason="target_too_long"
        )
    if len(head.fields) > limits.head_fields:
        raise RemoteProtocolError(f"more than {limits.head_fields} header fields", status=431, reason="head_too_large")
    if head.length > limits.body_bytes > 0:
        raise RemoteProtocolError(f"body of more than {limits.body_bytes} bytes", status=413, reason="body_too_large")
