"""Values of persistent sessions, as cookies and header fields carry them. GEP-1619. Pure: key and clock are arguments.

    value   = mark *("." mark)          one mark for each rule that uses the name; at most MAX_MARKS
    mark    = base64url(begun endpoint seal)
    begun   = Unix seconds, 5 bytes
    endpoint, seal = keyed digests, the first of rule, backend and address, the second of rule, begun and endpoint

A mark tells nobody but us which endpoint it means, is of use to its own rule only, and cannot be made without the key.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache
from hashlib import blake2b
from hmac import compare_digest
from math import ceil
from typing import Final, NamedTuple

from gatewayproxy.model.traffic import Session

__all__ = ["MARK_BYTES", "MAX_MARKS", "Mark", "endpoint_digest", "make_mark", "marks_of", "read_mark", "session_line"]

MARK_BYTES: Final = 44
MAX_MARKS: Final = 8  # of one request; more are not looked at, and not kept
_BEGUN_BYTES: Final = 5
_ENDPOINT_BYTES: Final = 12
_SEAL_BYTES: Final = 16
_MARK: Final = rb"[A-Za-z0-9_-]{%d}" % MARK_BYTES
_VALUE: Final = rb"(%b(?>(?:\.%b){0,%d}))" % (_MARK, _MARK, MAX_MARKS - 1)


class Mark(NamedTuple):
    """A mark whose seal is right."""

    begun: int  # Unix seconds
    endpoint: bytes  # `endpoint_digest`


def endpoint_digest(key: bytes, rule: str, backend: str, endpoint: str) -> bytes:
    """Return what marks of *rule* call *endpoint* of *backend*."""
    text = "\n".join((rule, backend, endpoint)).encode("utf-8", "surrogatepass")
    return blake2b(text, key=key, digest_size=_ENDPOINT_BYTES, person=b"endpoint").digest()


def make_mark(key: bytes, rule: str, mark: Mark) -> bytes:
    """Return *mark* for clients of *rule*."""
    plain = mark.begun.to_bytes(_BEGUN_BYTES, "big") + mark.endpoint
    return urlsafe_b64encode(plain + _seal(key, rule, plain))


def read_mark(key: bytes, rule: str, text: bytes) -> Mark | None:
    """Return the mark in *text*, of the alphabet of `marks_of`; None where it is not one of *rule*'s, or forged."""
    raw = urlsafe_b64decode(text)
    plain, seal = raw[:-_SEAL_BYTES], raw[-_SEAL_BYTES:]
    if not compare_digest(seal, _seal(key, rule, plain)):
        return None
    return Mark(int.from_bytes(plain[:_BEGUN_BYTES], "big"), plain[_BEGUN_BYTES:])


def marks_of(session: Session, field: bytes | None) -> tuple[bytes, ...]:
    """Return the texts of marks in *field*, the request's `cookie` or the session's own field; the last one first."""
    if field is None:
        return ()
    found: list[bytes] = []
    for match in _values(session).finditer(field):
        found.extend(match[1].split(b"."))
        if len(found) >= MAX_MARKS:
            break
    return tuple(reversed(found[:MAX_MARKS]))


def session_line(session: Session, marks: tuple[bytes, ...], *, secure: bool) -> bytes:
    """Return the response's field line that gives *marks*, newest first, to the client."""
    value = b".".join(reversed(marks[:MAX_MARKS]))
    if session.header:
        return b"%b: %b\r\n" % (session.name, value)
    lasts = b"; Max-Age=%d" % ceil(session.absolute_s) if session.permanent else b""
    safe = b"; Secure" if secure else b""
    return b"set-cookie: %b=%b; Path=%b%b; HttpOnly%b; SameSite=Strict\r\n" % (
        session.name, value, session.path, lasts, safe,
    )  # fmt: skip


def _seal(key: bytes, rule: str, plain: bytes) -> bytes:
    text = rule.encode("utf-8", "surrogatepass") + b"\n" + plain
    return blake2b(text, key=key, digest_size=_SEAL_BYTES, person=b"seal").digest()


@lru_cache(maxsize=1024)
def _values(session: Session) -> re.Pattern[bytes]:
    """Return what finds the values: among cookies by name, else anywhere in the list that the field is."""
    if session.header:
        return re.compile(rb"(?:^|(?<=[, \t]))" + _VALUE + rb"(?=$|[, \t])")
    # Lines of HTTP/1.1 are joined by ",", cookies of one line are parted by ";".
    return re.compile(rb"(?:^|(?<=[;, \t]))" + re.escape(session.name) + rb'="?' + _VALUE + rb'(?=$|[";, \t])')
