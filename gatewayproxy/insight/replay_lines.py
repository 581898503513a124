"""Lines of access logs by what a decision may depend on: sketches, which repeat where requests do. Pure.

A sketch is a tuple of the parts of a line from which `request_of` makes the request that the table is asked about: so
lines with equal sketches have equal decisions, and a table is asked once for all of them. What is left out cannot
matter: the client, fields that no match of the table asks for, and the query where no match asks for one. A line that
is written in any unusual way has no sketch, and is read by `access_logs.FORMS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from gatewayproxy.insight.access_logs import Logged, captured_host, own_request
from gatewayproxy.insight.requests import Kind, Request, server_name_for

__all__ = ["LOGGED_FIELDS", "Sketch", "Sketcher", "sketchers"]

Sketch = tuple[bytes | None, ...]

# The header fields that a log of each form knows.
LOGGED_FIELDS: Final[dict[str, frozenset[bytes]]] = {
    "json": frozenset(),
    "text": frozenset(),
    "haproxy": frozenset(),
    "envoy": frozenset((b"user-agent", b"x-request-id")),
    "combined": frozenset((b"user-agent", b"referer")),
}


class Sketcher(NamedTuple):
    """How lines of one form are sketched: group 1 of *pattern*, matched in full, is the time, the others the sketch."""

    pattern: re.Pattern[bytes]
    read: Callable[[Sketch, bytes], Logged]  # the time is left out; with the host of requests that name none


def sketchers(fields: frozenset[bytes], *, queries: bool) -> dict[str, Sketcher]:
    """Return the sketchers for a table whose matches ask for header *fields*, and, if *queries*, for parameters.

    A form that logs one of *fields* has none.
    """
    made = {}
    for form, (pattern, read) in _SKETCHES.items():
        if not fields & LOGGED_FIELDS[form]:
            target = rb'(/[^ "\\]*)' if queries else rb'(/[^ ?"\\]*)(?:\?[!$-;=?-\[\]-~]*)?'  # `wire.target.QUERY`
            made[form] = Sketcher(re.compile(pattern.replace(b"TARGET", target)), read)
    return made


_WORD: Final = rb'"[^"\\]*"'
_FIELD: Final = rb'"[ !#-\[\]-~]*"'  # a field value without escapes: one that no grammar refuses


def _json(sketch: Sketch, _host: bytes) -> Logged:
    protocol, listener, route, rule, method, target, status, host, reason = sketch
    scheme, _, version = (protocol or b"").decode("latin-1").partition("/")
    request = own_request(
        Kind.HTTP, scheme, version, method=method or b"", authority=host or b"", target=target or b"",
        listener=_text(listener), client="",
    )  # fmt: skip
    return Logged(request, int(status or 0), "", _text(route), _text(rule), _text(reason))


def _text(word: bytes | None) -> str:
    return (word or b"").decode("latin-1")


def _words(sketch: Sketch, host: bytes) -> Logged:
    protocol, method, target, named, status, reason, listener, route, rule = (_plain(each) for each in sketch)
    return _json((protocol, listener, route, rule, method, target, status, named, reason), host)


def _plain(word: bytes | None) -> bytes:
    return b"" if word is None or word == b"-" else word.replace(b"\\u0020", b" ")


def _foreign(
    method: bytes | None, target: bytes, version: bytes, authority: bytes, *, tls: bool | None = None
) -> Request:
    """Return what `access_logs.foreign_request` does. PERF: of an origin-form target, 2.0 -> 1.2 us."""
    path, _, query = target.partition(b"?")
    name = server_name_for(authority) if tls is not False else None
    short = "2" if version[:1] in (b"2", b"3") else version.decode("ascii")
    return Request(Kind.HTTP, 0, "", "", tls, name, short, method or b"", authority, target, path, query)


def _combined(sketch: Sketch, host: bytes) -> Logged:
    method, target, version, status = sketch
    return Logged(_foreign(method, target or b"", version or b"", host), int(status or 0))


def _envoy(sketch: Sketch, host: bytes) -> Logged:
    method, target, version, status, named = sketch
    authority = named if named and named != b"-" else host
    return Logged(_foreign(method, target or b"", version or b"", authority), int(status or 0))


def _haproxy(sketch: Sketch, host: bytes) -> Logged:
    tls, status, captured, method, target, version = sketch
    authority = captured_host(captured or b"") or host
    return Logged(_foreign(method, target or b"", version or b"", authority, tls=tls == b"~"), max(int(status or 0), 0))


_SKETCHES: Final[dict[str, tuple[bytes, Callable[[Sketch, bytes], Logged]]]] = {
    "json": (
        rb'\{"time":"([^"\\]*)","protocol":"(https?/[0-9.]+)","listener":"([^"\\]*)","route":"([^"\\]*)",'
        rb'"rule":"([^"\\]*)","backend":%b,"endpoint":%b,"client":%b,"method":"([^"\\]*)","target":"TARGET",'
        rb'"status":(\d{1,3})(?:,"grpc_status":\d+)?,"host":"([^"\\]*)"(?:,"reason":"([^"\\]*)")?(?:,"detail":%b)?'
        rb'(?:,"request_id":%b)?,"bytes_in":\d+(?:,"[a-z_]+":[0-9.]+)*\}' % ((_WORD,) * 5),
        _json,
    ),
    "text": (
        rb'(\S+) \S+ (https?/[0-9.]+) "([!-\[\]-~]+) TARGET" ([!-\[\]-~]+) (\d{1,3}) ([a-z0-9_-]+) \d+ \d+ '
        rb"[\d.]+ [\d.]+ [\d.]+ ([!-\[\]-~]+) ((?:[!-\[\]-~]|\\u0020)+) ((?:[!-\[\]-~]|\\u0020)+) \S+ \S+ \d+ \S+ \S+"
        rb'(?: -| "[^"\\]*(?:\\.[^"\\]*)*")?',
        _words,
    ),
    "haproxy": (
        rb"(?:.*? )??\[?[0-9a-fA-F.:]+\]?:\d+ \[([^\]]*)\] [^\s~]+(~?) \S+ [0-9/+-]+ (-?\d{1,3}) \+?\d+ \S+ \S+ \S+ "
        rb'[0-9/+]+ [0-9/+]+(?: \{([^}]*)\})?(?: \{[^}]*\})? "([!-~]+) TARGET HTTP/([0-9.]+)"(?: .*)?',
        _haproxy,
    ),
    "envoy": (
        rb'\[([^\]]*)\] "([!-~]+) TARGET HTTP/([0-9.]+)" (\d{1,3}) \S+ [^"]*(?>(?:"[^"]*"(?= \d)[^"]*)?)'
        rb'"[^"]*" %b %b "([^"]*)" "[^"]*"(?: .*)?' % (_FIELD, _FIELD),
        _envoy,
    ),
    "combined": (
        rb'\S+ \S+ [^\[]*?\[([^\]]*)\] "([!-~]+) TARGET HTTP/([0-9.]+)" (\d{3}) (?:\d+|-)'
        rb'(?: %b %b(?: .*)?|(?: [^"].*)?)' % (_FIELD, _FIELD),
        _combined,
    ),
}
