"""The heads of HTTP/2 messages: header blocks to heads, checked against RFC 9113 §8. Pure.

A HeadReader turns every block of a connection into a Head, or refuses it: H2Error where the block breaks HPACK (of the
connection) or the message is malformed (of the stream, RFC 9113 §8.1.1), RemoteProtocolError with a status where it is
well-formed but more than we serve. The grammar is that of `wire.head`: nothing passes that HTTP/1.1 could not say.
Names and values are checked in one text with separators that neither may hold; it becomes HTTP/1.1's field lines.
"""

from __future__ import annotations

import re
from typing import Final

from gatewayproxy.errors import H2Error, RemoteProtocolError
from gatewayproxy.model.limits import Limits
from gatewayproxy.wire.grammar import MAX_LENGTH_DIGITS, TEXT, TOKEN
from gatewayproxy.wire.h2frames import ErrorCode
from gatewayproxy.wire.hpack import Decoder, Field
from gatewayproxy.wire.target import check_authority, is_origin_form

__all__ = ["Head", "HeadReader", "malformed"]

_LINES: Final = re.compile(
    rb"(?>(?:[!#$%&'*+\-.^_`|~0-9a-z]++\x00(?![\t ])" + TEXT + rb"(?<![\t ])\r\n)*)"  # atomic: see wire.grammar
)
_METHOD: Final = re.compile(TOKEN)
_SCHEMES: Final = frozenset((b"http", b"https"))
_SCHEME: Final = re.compile(rb"[a-z][a-z0-9+.\-]*+")
_STATUS: Final = re.compile(rb"[1-5][0-9]{2}")
_ORDINARY: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
_METHOD_BYTES: Final = 64
_KEPT: Final = 16
_KEPT_BYTES: Final = 512  # of a block, and
_KEPT_FIELDS: Final = 64  # of its list: some 60 kB a connection at most, for all that is kept

_REQUEST: Final = frozenset((b":method", b":scheme", b":authority", b":path", b":protocol"))
_RESPONSE: Final = frozenset((b":status",))
# RFC 9113 §8.2.2: an endpoint MUST NOT generate a message with connection-specific fields; malformed if it does.
_CONNECTION: Final = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
_SINGLE: Final = frozenset((b"content-length", b"host"))
_SPECIAL: Final = _CONNECTION | {b"content-length", b"cookie", b"host", b"te"}


class _Section:
    """The regular fields of a message, as Head has them; *host* is b"" where there is none."""

    __slots__ = ("fields", "host", "length", "lines")

    def __init__(self, fields: list[Field], stream_id: int) -> None:
        self.fields = fields
        self.lines = _lines(fields, stream_id)
        self.length = -1
        self.host = b""
        special = [field for field in fields if field[0] in _SPECIAL]
        if special:
            self._read_special(special, stream_id)

    def _read_special(self, special: list[Field], stream_id: int) -> None:
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
            if not length.isdigit() or len(length) > MAX_LENGTH_DIGITS:
                raise malformed("content-length is not a number of bytes", stream_id)
            self.length = int(length)
        host = by_name.get(b"host")
        if host == b"":
            raise malformed("host is empty", stream_id)
        if host is not None or len(special) > len(by_name):
            self.host = host or b""
            self.fields = _rewritten(self.fields)
            self.lines = b"".join([b"%b: %b\r\n" % field for field in self.fields])


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

    def __init__(self, section: _Section, sensitive: frozenset[bytes]) -> None:
        self.fields = section.fields
        self.lines = section.lines
        self.length = section.length
        self.authority = section.host
        self.sensitive = sensitive
        self.method = self.scheme = self.path = self.protocol = b""
        self.status = 0


class HeadReader:
    """Reads the header blocks of one direction of a connection; each must come here, in order, for HPACK's sake.

    PERF: a client repeats itself. While the dynamic table stays as it is, equal blocks are equal heads: 0.2 µs instead
    of 11 for a request of 12 fields. Where only the path changes, the other fields are still equal: 7 µs.
    """

    __slots__ = ("_changes", "_connect", "_decoder", "_heads", "_limits", "_sections", "_trailers")

    def __init__(self, limits: Limits, *, connect: bool = False) -> None:
        self._limits = limits
        self._connect = connect  # we offered extended CONNECT
        self._decoder = Decoder(limits.head_bytes)
        self._heads: dict[bytes, Head] = {}  # by block, all read since the table's last change
        self._trailers: dict[bytes, Head] = {}  # the same, of what comes behind a body
        self._changes = 0
        self._sections: dict[tuple[Field, ...], _Section] = {}

    def request(self, block: bytes, stream_id: int) -> Head:
        """Return the head of a request."""
        head = self._heads.get(block) if self._changes == self._decoder.changes else self._forget()
        if head is None:
            fields, sensitive = self._decoder.decode(block)
            n = _count_pseudo(fields, _REQUEST)
            head = Head(self._section(fields[n:], stream_id), sensitive)
            self._read_request(head, dict(fields[:n]), n, stream_id)
            self._keep(self._heads, block, fields, head)
        return head

    def response(self, block: bytes, stream_id: int) -> Head:
        """Return the head of a response; its *length* is 0 where its status allows no body."""
        head = self._heads.get(block) if self._changes == self._decoder.changes else self._forget()
        if head is None:
            fields, sensitive = self._decoder.decode(block)
            n = _count_pseudo(fields, _RESPONSE)
            head = Head(self._section(fields[n:], stream_id), sensitive)
            _read_status(head, fields[:n], stream_id)
            if len(head.fields) > self._limits.head_fields:
                raise RemoteProtocolError("response head too large", status=502, reason="response_head_too_large")
            self._keep(self._heads, block, fields, head)
        return head

    def trailers(self, block: bytes, stream_id: int) -> Head:
        """Return trailers: a Head with fields alone."""
        head = self._trailers.get(block) if self._changes == self._decoder.changes else self._forget()
        if head is None:
            fields, sensitive = self._decoder.decode(block)
            head = Head(self._section(fields, stream_id), sensitive)
            if len(head.fields) > self._limits.head_fields:
                raise RemoteProtocolError("trailer section too large", status=431, reason="trailers_too_large")
            self._keep(self._trailers, block, fields, head)
        return head

    def skip(self, block: bytes) -> None:
        """Read a block that nobody wants."""
        try:
            self._decoder.decode(block)
        except H2Error:
            raise
        except RemoteProtocolError:  # too large
            return

    def _forget(self) -> Head | None:
        """Let go of what was read by another table; so there is nothing to find."""
        self._changes = self._decoder.changes
        self._heads.clear()
        self._trailers.clear()
        return None

    def _keep(self, heads: dict[bytes, Head], block: bytes, fields: list[Field], head: Head) -> None:
        small = len(block) <= _KEPT_BYTES and len(fields) <= _KEPT_FIELDS
        if small and self._changes == self._decoder.changes:
            if len(heads) >= _KEPT:
                heads.clear()
            heads[block] = head

    def _section(self, fields: list[Field], stream_id: int) -> _Section:
        """Return the regular fields, checked; that depends on nothing else, so it is kept."""
        key = tuple(fields)
        section = self._sections.get(key)
        if section is None:
            section = _Section(fields, stream_id)
            if len(section.lines) <= 4 * _KEPT_BYTES and len(fields) <= _KEPT_FIELDS:
                if len(self._sections) >= _KEPT:
                    self._sections.clear()
                self._sections[key] = section
        return section

    def _read_request(self, head: Head, pseudo: dict[bytes, bytes], n: int, stream_id: int) -> None:
        if len(pseudo) < n:
            raise malformed("pseudo-header field more than once", stream_id)
        get = pseudo.get
        head.method = method = get(b":method", b"")
        head.scheme = scheme = get(b":scheme", b"")
        head.path = path = get(b":path", b"")
        if method not in _ORDINARY:
            _check_method(head, pseudo, stream_id, self._connect)
        elif b":protocol" in pseudo:
            raise malformed(":protocol without CONNECT", stream_id)
        if scheme not in _SCHEMES and _SCHEME.fullmatch(scheme) is None:
            raise malformed(":scheme is missing or invalid", stream_id)
        if not is_origin_form(path) and not (path == b"*" and method == b"OPTIONS"):
            raise malformed(":path is missing or invalid", stream_id)
        head.authority = _authority(get(b":authority"), head.authority, stream_id)
        _check_limits(head, self._limits)


def malformed(message: str, stream_id: int) -> H2Error:
    """Return the error of a stream whose message is malformed, RFC 9113 §8.1.1."""
    return H2Error(message, code=ErrorCode.PROTOCOL_ERROR, stream_id=stream_id, reason="malformed_message")


def _count_pseudo(fields: list[Field], known: frozenset[bytes]) -> int:
    """Return how many pseudo-header fields come first; behind them, and if unknown, their ":" is in no valid name."""
    n = 0
    for name, _ in fields:
        if name not in known:
            break
        n += 1
    return n


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


def _rewritten(fields: list[Field]) -> list[Field]:
    """Return *fields* without host, and with cookie crumbs joined in the place of the first."""
    crumbs = [value for name, value in fields if name == b"cookie" and value]  # no value ends in "; "
    kept = []
    for field in fields:
        if field[0] == b"cookie":
            if crumbs:
                kept.append((b"cookie", b"; ".join(crumbs)))
                crumbs = []
        elif field[0] != b"host":
            kept.append(field)
    return kept


def _read_status(head: Head, pseudo: list[Field], stream_id: int) -> None:
    status = pseudo[0][1] if len(pseudo) == 1 else b""
    if _STATUS.fullmatch(status) is None or status == b"101":  # §8.6: no 101 in HTTP/2
        raise malformed(":status is missing, repeated or invalid", stream_id)
    head.status = int(status)
    if head.status in (204, 304) or head.status < 200:
        head.length = 0


def _authority(authority: bytes | None, host: bytes, stream_id: int) -> bytes:
    """Return the host to route by; RFC 9113 §8.3.1."""
    if authority is None:
        authority = host
    elif host and host != authority:
        raise malformed(":authority and host differ", stream_id)
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
