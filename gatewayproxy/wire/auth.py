"""External authorization over HTTP, and what a verdict does to a request. GEP-1494, HTTPExternalAuthFilter. Pure.

A question is a request head made of what the client's has; a verdict says whether the request goes on, with which
fields, or what its client is told. Questions and verdicts of Envoy's gRPC protocol are in `wire.ext_authz`.
What a server puts into a request replaces the client's fields of that name, also those with "_" for "-": backends that
read fields as CGI does could not tell the two apart.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.wire.edit import FRAMING
from gatewayproxy.wire.grammar import FIELD, FIELD_LINE, join_kept, plain_name
from gatewayproxy.wire.head import RequestHead

__all__ = [
    "DENIED", "OF_ONE", "Action", "Change", "Verdict", "apply", "denial", "field_lines", "fields_seen", "http_question",
    "http_verdict", "kept_line", "without_cors",
]  # fmt: skip

DENIED: Final = 403  # where the server does not say how, or says it in a way that would pass for success

# Of one connection or one message: they never go from one to another.
OF_ONE: Final = FRAMING | {
    b"authority", b"expect", b"http2-settings", b"keep-alive", b"max-forwards", b"proxy-connection", b"te", b"trailer",
}  # fmt: skip
# They describe the server's own answer. DEVIATION: "all headers from the authorization server except Authority or Host
# must be copied"; the client's body would then go on under the Content-Type of another. Whoever wants one names it.
_OF_ANSWER: Final = frozenset((
    b"accept-ranges", b"alt-svc", b"connection", b"content-disposition", b"content-encoding", b"content-language",
    b"content-location", b"content-range", b"content-type", b"date", b"etag", b"last-modified", b"server", b"vary",
    b"via", b"x-request-id",
))  # fmt: skip
_ALWAYS: Final = frozenset((b"authorization",))
_LINE: Final = re.compile(FIELD)
_ALLOWED: Final = 200
_EMPTY: Final = frozenset((304,))


class Action(Enum):
    """What becomes of a field that the request has already."""

    SET = "set"
    ADD = "add"
    ADD_IF_ABSENT = "add if absent"
    SET_IF_PRESENT = "set if present"


class Change(NamedTuple):
    """One field for the request; *name* is lower-case."""

    name: bytes
    value: bytes
    action: Action = Action.SET


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an authorization server says of a request."""

    allowed: bool
    changes: tuple[Change, ...] = ()  # to the request, if allowed
    removed: frozenset[bytes] = frozenset()  # lower-case names of fields that it loses before
    answer_lines: bytes = b""  # field lines for the client: beside the backend's if allowed, else of the answer
    answer_removed: frozenset[bytes] = frozenset()  # lower-case names of the backend's fields that they stand for
    status: int = DENIED  # of the answer if not allowed, and its body
    body: bytes = b""


def field_lines(lines: bytes, names: Collection[bytes]) -> bytes:
    """Return those of the field *lines* whose lower-case name is in *names*, and that may go from message to message.

    Of *names* that are ours: patterns are not made of them.
    """
    return b"".join(
        found[0] for found in FIELD_LINE.finditer(lines) if (name := found[1].lower()) in names and not _of_one(name)
    )


def fields_seen(head: RequestHead, lines: bytes, names: Collection[bytes], scheme: bytes) -> dict[bytes, bytes]:
    """Return what a gRPC server sees of *head*, whose field lines are now *lines*: GRPCAuthConfig.allowedHeaders.

    Fields by lower-case name, repeated ones joined by ","; of all names, HTTP/2's own among them, without *names*.
    """
    seen = {} if names else {b":method": head.method, b":path": head.target, b":scheme": scheme}
    if not names:
        seen[b":authority"] = head.authority
    for found in FIELD_LINE.finditer(lines):
        name, value = found[1].lower(), found[2].rstrip(b" \t")
        if name in names if names else name != b"host":
            seen[name] = b"%b,%b" % (seen[name], value) if name in seen else value
    return seen


def http_question(head: RequestHead, fields: bytes, *, prefix: bytes, names: Iterable[bytes], length: int) -> bytes:
    """Return the head that asks whether *head* may pass, whose field lines are now *fields*.

    *prefix* goes before the path; *names* (lower-case) are sent beside Host, Content-Length and Authorization;
    *length* is that of the body that follows: HTTPAuthConfig.allowedHeaders.
    """
    kept = field_lines(fields, _ALWAYS.union(names))
    return b"%b %b%b HTTP/1.1\r\nhost: %b\r\ncontent-length: %d\r\n%b\r\n" % (
        head.method, prefix, head.target, head.authority, length, kept,
    )  # fmt: skip


def http_verdict(status: int, lines: bytes, body: bytes, names: tuple[bytes, ...]) -> Verdict:
    """Return what an answer of *status* with field *lines* and *body* means; *names*: allowedResponseHeaders.

    The client's own fields of these names never go on: without them the server has said that there are none.
    """
    if status != _ALLOWED:
        return denial(status, lines, body)
    found = [Change(name, value, Action.ADD) for name, value in _pairs(lines) if _goes_on(name, names)]
    return Verdict(allowed=True, changes=tuple(found), removed=frozenset(change.name for change in found).union(names))


def denial(status: int, lines: bytes, body: bytes) -> Verdict:
    """Return the refusal that the server words so; what a client would take for success becomes a bare 403."""
    if not 300 <= status <= 599 or status in _EMPTY:
        return Verdict(allowed=False)
    kept = b"".join(found[0] for found in FIELD_LINE.finditer(lines) if not _of_one(found[1]))
    return Verdict(allowed=False, status=status, answer_lines=kept, body=body)


def apply(verdict: Verdict, head: RequestHead, own: bytes) -> bytes:
    """Let *head* lose the fields that the *verdict* replaces or removes; return our *own* lines with what it adds."""
    present = _present(head, own)
    gone = set(verdict.removed)
    added: list[tuple[bytes, bytes]] = []
    for name, value, action in verdict.changes:
        if _of_one(name):
            continue
        there = (plain_name(name) in present and name not in gone) or any(name == each for each, _ in added)
        if (action is Action.ADD_IF_ABSENT and there) or (action is Action.SET_IF_PRESENT and not there):
            continue
        if action is not Action.ADD:
            gone.add(name)
            added = [each for each in added if each[0] != name]
        added.append((name, value))
    twins = frozenset(plain_name(name) for name in gone) - OF_ONE
    if twins:
        spans = FIELD_LINE.finditer(head.buf, head.fields_start, head.fields_end)
        head.cuts += tuple(found.span() for found in spans if plain_name(found[1]) in twins)
        head.intact = False
        own = b"".join(found[0] for found in FIELD_LINE.finditer(own) if plain_name(found[1]) not in twins)
    head.settled |= twins.union(plain_name(name) for name, _ in added)
    return own + b"".join(b"%b: %b\r\n" % each for each in added)


def kept_line(name: bytes, value: bytes) -> bytes:
    """Return a field as a line; raise RemoteProtocolError where it is none."""
    line = b"%b: %b\r\n" % (name, value)
    if b":" in name or _LINE.fullmatch(line) is None:
        raise RemoteProtocolError(f"malformed header field {name[:64]!r}", status=502, reason="bad_response")
    return line


def without_cors(lines: bytes) -> bytes:
    """Return field *lines* without those of CORS: a rule with a filter of that name says them itself."""
    return b"".join(
        found[0] for found in FIELD_LINE.finditer(lines) if not found[1].lower().startswith(b"access-control-")
    )


def _goes_on(name: bytes, names: tuple[bytes, ...]) -> bool:
    return name in names if names else name not in _OF_ANSWER


def _pairs(lines: bytes) -> Iterable[tuple[bytes, bytes]]:
    for found in FIELD_LINE.finditer(lines):
        name = found[1].lower()
        if not _of_one(name):
            yield name, found[2].rstrip(b" \t")


def _present(head: RequestHead, own: bytes) -> set[bytes]:
    kept = join_kept(head.buf, head.fields_start, head.fields_end, head.cuts) + own
    return {plain_name(found[1]) for found in FIELD_LINE.finditer(kept)}


def _of_one(name: bytes) -> bool:
    return plain_name(name) in OF_ONE
