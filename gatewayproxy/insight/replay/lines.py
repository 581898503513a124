"""Lines of access logs by what a decision may depend on: a sketch, and a target. Pure.

A sketch is a tuple of parts of a line, as they are written. Lines with equal sketches say the same of their requests
and of what became of them, all but target and time: so one of them is read (`access_logs.FORMS`), and the table is
asked for their targets alone. What is left out cannot matter: the client, fields that no match of the table asks for,
and the query where no match asks for one. A line that is written in any unusual way has no sketch, and is read itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import itemgetter
from typing import Final, NamedTuple

from gatewayproxy.insight.access_logs import HOST

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
    """How lines of one form are sketched."""

    pattern: re.Pattern[bytes]  # matched in full
    time: int  # the group of *pattern* that is the time
    target: int
    sketch: Callable[[re.Match[bytes]], Sketch]  # the other groups


def sketchers(fields: frozenset[bytes], *, queries: bool) -> dict[str, Sketcher]:
    """Return the sketchers for a table whose matches ask for header *fields*, and, if *queries*, for parameters.

    A form that logs one of *fields* has none.
    """
    target = _TARGET if queries else _PATH
    return {
        form: _sketcher(re.compile(pattern.replace(b"TARGET", target)))
        for form, pattern in _PATTERNS.items()
        if not fields & LOGGED_FIELDS[form]
    }


def _sketcher(pattern: re.Pattern[bytes]) -> Sketcher:
    named = pattern.groupindex
    others = sorted({*range(1, pattern.groups + 1)}.difference(named.values()))
    return Sketcher(pattern, named["time"], named["target"], itemgetter(*others))


# What JSON and every log write as it is: so a part of a line stands for one value, and one value for it.
_TARGET: Final = rb"(?P<target>/[!#-\[\]-~]*)"
_PATH: Final = rb"(?P<target>/[!#->@-\[\]-~]*)(?:\?[!$-;=?-\[\]-~]*)?"  # `wire.target.QUERY`
_FIELD: Final = rb'"[ !#-\[\]-~]*"'  # of a field: no grammar refuses it
_WORD: Final = rb"[!-\[\]-~]++"
_WORDS: Final = _WORD + rb"(?:\\u0020" + _WORD + rb")*+"
_NUMBER: Final = rb"(?:0|[1-9][0-9]{0,17})"

_PATTERNS: Final[dict[str, bytes]] = {
    "json": (
        rb'\{"time":"(?P<time>[ !#-\[\]-~]*)",("protocol":"https?/[0-9.]+","listener":%b,"route":%b,"rule":%b),'
        rb'"backend":%b,"endpoint":%b,"client":%b,"method":(%b),"target":"TARGET",'
        rb'"status":([1-9][0-9]{2}(?:,"grpc_status":%b)?,"host":%b(?:,"reason":%b)?)(?:,"detail":%b)?'
        rb'(?:,"request_id":%b)?,"bytes_in":%b,"bytes_out":%b,"duration_ms":%b\.[0-9]+,"connect_ms":%b\.[0-9]+,'
        rb'"upstream_ms":%b\.[0-9]+,"attempts":%b,"generation":%b\}'
        % (*(_FIELD,) * 7, _NUMBER, *(_FIELD,) * 4, *(_NUMBER,) * 7)
    ),
    "text": (
        rb'(?P<time>\S+) \S+ (https?/[0-9.]+ "%b) TARGET" (%b [0-9]{1,3} [a-z0-9_-]+) \d+ \d+ [\d.]+ [\d.]+ [\d.]+ '
        rb"(%b %b %b) \S+ \S+ \d+ \S+ \S+"
        rb'(?: -| "[^"\\]*(?:\\.[^"\\]*)*")?' % (_WORD, _WORD, _WORD, _WORDS, _WORDS)
    ),
    "haproxy": (
        rb"(?:[^ ]*+ ){0,20}?\[?[0-9a-fA-F.:]+\]?:\d+ \[(?P<time>[^\]]*)\] [^\s~]+(~?) \S+ [0-9/+-]+ "
        rb"(-?\d{1,3}) \+?\d+ \S+ \S+ \S+ [0-9/+]+ [0-9/+]+(?: \{(?>(?:(?:[^}|]*+\|)*?(%b)(?=[|}]))?)[^}]*\})?"
        rb'(?: \{[^}]*\})? "([!-~]+) TARGET (HTTP/[0-9.]+)"(?: .*)?' % HOST
    ),
    "envoy": (
        rb'\[(?P<time>[^\]]*)\] "([!-~]+) TARGET (HTTP/[0-9.]+" \d{1,3}) \S+ [^"]*(?>(?:"[^"]*"(?= \d)[^"]*)?)'
        rb'"[^"]*" %b %b "([^"]*)" "[^"]*"(?: .*)?' % (_FIELD, _FIELD)
    ),
    "combined": (
        rb'\S+ \S+ [^\[]*?\[(?P<time>[^\]]*)\] "([!-~]+) TARGET (HTTP/[0-9.]+" \d{3}) (?:\d+|-)'
        rb'(?: %b %b(?: .*)?|(?: [^"].*)?)' % (_FIELD, _FIELD)
    ),
}
