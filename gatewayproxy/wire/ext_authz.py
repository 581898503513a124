"""Envoy's external authorization v3: CheckRequest to bytes, CheckResponse to a Verdict. Pure.

envoy.service.auth.v3 (external_auth.proto, attribute_context.proto), envoy.config.core.v3.HeaderValueOption,
grpc/doc PROTOCOL-HTTP2.md (length-prefixed messages). Numbers below are those of the .proto files. `dynamic_metadata`
is not read; query parameters to set or remove, and fields of the answer that depend on the backend's, are refused, for
nothing must go on otherwise than the server wanted it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.wire.auth import DENIED, OF_ONE, Action, Change, Verdict, denial, kept_line
from gatewayproxy.wire.protobuf import Value, fields, message, number, signed, text

__all__ = ["METHOD", "Question", "call_head", "framed", "read_answer"]

METHOD: Final = b"/envoy.service.auth.v3.Authorization/Check"

_MOST_TIMEOUT: Final = 99_999_999  # grpc-timeout has eight digits
_PREFIX_BYTES: Final = 5  # compressed or not, and the length
_ACTIONS: Final = {  # HeaderValueOption.HeaderAppendAction
    0: Action.ADD,
    1: Action.ADD_IF_ABSENT,
    2: Action.SET,
    3: Action.SET_IF_PRESENT,
}


class Question(NamedTuple):
    """CheckRequest: what is told of a request. Text is UTF-8, or is made so."""

    method: bytes
    path: bytes  # with the query
    host: bytes
    scheme: bytes
    protocol: bytes  # "HTTP/1.1"
    request_id: bytes
    headers: Mapping[bytes, bytes]  # by lower-case name
    size: int  # of the body; -1 unknown
    body: bytes
    source: bytes  # address of the client
    address: bytes  # that it came to: the listener's
    port: int
    seconds: int  # Unix time
    nanos: int

    def encoded(self) -> bytes:
        """Return the CheckRequest."""
        http = b"".join((
            text(1, self.request_id),
            text(2, self.method),
            *(message(3, text(1, _utf8(name)) + text(2, _utf8(value))) for name, value in self.headers.items()),
            text(4, _utf8(self.path)),
            text(5, _utf8(self.host)),
            text(6, self.scheme),
            number(9, self.size),
            text(10, self.protocol),
            text(11 if _is_utf8(self.body) else 12, self.body),  # body, raw_body
        ))  # fmt: skip
        at = message(1, number(1, self.seconds) + number(2, self.nanos))  # Timestamp
        request = at + message(2, http)
        attributes = (
            message(1, _peer(self.source, 0)) + message(2, _peer(self.address, self.port)) + message(4, request)
        )
        return message(1, attributes)


def call_head(authority: bytes, timeout_s: float, length: int) -> bytes:
    """Return the head of the call that carries a message of *length* bytes, prefix included, as HTTP/1.1 has it."""
    return (
        b"POST %b HTTP/1.1\r\nhost: %b\r\ncontent-type: application/grpc\r\nte: trailers\r\n"
        b"grpc-timeout: %dm\r\ncontent-length: %d\r\n\r\n"
    ) % (METHOD, authority, min(round(timeout_s * 1000), _MOST_TIMEOUT) or 1, length)


def framed(content: bytes) -> bytes:
    """Return *content* as the one message of a gRPC call."""
    return b"\0%b%b" % (len(content).to_bytes(4, "big"), content)


def read_answer(body: bytes, most: int) -> Verdict:
    """Return what the one message in *body*, a CheckResponse, says. Raises RemoteProtocolError where it cannot be.

    *most*: fields that it may name in all, as many as a head of HTTP/1.1 may have.
    """
    if len(body) < _PREFIX_BYTES or int.from_bytes(body[1:5], "big") != len(body) - _PREFIX_BYTES:
        raise _bad("not one whole message")
    if body[0]:
        raise _bad("a compressed message that was not asked for")
    code = 0
    denied = allowed = b""
    for field, value in fields(body[_PREFIX_BYTES:]):
        if field == 1:
            code = _code(_content(value))
        elif field == 2:
            denied = _content(value)
        elif field == 3:
            allowed = _content(value)
    return _read_denied(denied, most) if code else _read_allowed(allowed, most)


def _read_allowed(content: bytes, most: int) -> Verdict:
    """Read an OkHttpResponse."""
    changes: list[Change] = []
    removed: set[bytes] = set()
    replaced: set[bytes] = set()
    lines = b""
    for field, value in _at_most(most, content):
        if field == 2:
            changes.append(_option(_content(value), Action.SET))
        elif field == 5:
            removed.add(_content(value).lower())
        elif field == 6:
            change = _option(_content(value), Action.ADD)
            if change.action not in (Action.ADD, Action.SET):
                raise _bad("a response field that depends on the backend's, which is not supported")
            if change.name in OF_ONE:
                continue
            lines += kept_line(change.name, change.value)
            if change.action is Action.SET:
                replaced.add(change.name)
        elif field in (7, 8):
            raise _bad("query parameters to set or remove, which is not supported")
    return Verdict(
        allowed=True,
        changes=tuple(changes),
        removed=frozenset(removed),
        answer_lines=lines,
        answer_removed=frozenset(replaced),
    )


def _read_denied(content: bytes, most: int) -> Verdict:
    """Read a DeniedHttpResponse."""
    status = DENIED
    lines = body = b""
    for field, value in _at_most(most, content):
        if field == 1:
            status = _code(_content(value)) or DENIED
        elif field == 2:
            change = _option(_content(value), Action.ADD)
            lines += kept_line(change.name, change.value)
        elif field == 3:
            body = _content(value)
    return denial(status, lines, body)


def _at_most(most: int, content: bytes) -> Iterator[tuple[int, Value]]:
    for n, each in enumerate(fields(content)):
        if n == most:
            raise _bad(f"more than {most} fields")
        yield each


def _code(content: bytes) -> int:
    """Read the first field of google.rpc.Status, HttpStatus or BoolValue."""
    code = 0
    for field, value in fields(content):
        if field == 1 and isinstance(value, int):
            code = signed(value)
    return code


def _option(content: bytes, usual: Action) -> Change:
    """Read a HeaderValueOption; *usual* is what is done where it does not say.

    OkHttpResponse.headers: "By leaving `append` as false, the filter will either add a new header, or override an
    existing one"; so does a server that leaves the newer `append_action` alone.
    """
    name = value = b""
    action = usual
    for field, part in fields(content):
        if field == 1:
            name, value = _header(_content(part))
        elif field == 2:  # BoolValue
            action = Action.ADD if _code(_content(part)) else Action.SET
        elif field == 3 and isinstance(part, int) and part:
            if part not in _ACTIONS:
                raise _bad(f"append_action {part}")
            action = _ACTIONS[part]
    kept_line(name, value)
    return Change(name.lower(), value.strip(b" \t"), action)


def _header(content: bytes) -> tuple[bytes, bytes]:
    """Read a HeaderValue."""
    parts = {field: _content(part) for field, part in fields(content) if field in (1, 2, 3)}
    return parts.get(1, b""), parts.get(2) or parts.get(3, b"")


def _peer(address: bytes, port: int) -> bytes:
    """Return an AttributeContext.Peer with a SocketAddress."""
    return message(1, message(1, text(2, address) + number(3, port)))


def _content(value: Value) -> bytes:
    if isinstance(value, int):
        raise _bad("a number where a message or text belongs")
    return value


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _utf8(data: bytes) -> bytes:
    return data if data.isascii() else data.decode("utf-8", "replace").encode("utf-8")


def _bad(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"malformed CheckResponse: {what}", status=502, reason="bad_response")
