"""Origins of cross-origin requests, and the field lines that answer them. Fetch standard §3.2, HTTPCORSFilter. Pure.

An origin is `scheme://host` with a port unless it is the scheme's own. A `*` at the start of a configured host stands
for any labels, dots included; `*` alone for any origin at all.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from gatewayproxy.model.traffic import ANY, Cors
from gatewayproxy.wire.grammar import TOKEN

__all__ = ["actual_lines", "normal_origin", "preflight_lines"]

MAX_ORIGIN_BYTES: Final = 512  # longer ones match nothing
_ORIGIN: Final = re.compile(rb"[!-+\--~]++")  # one value: no list, no blanks
_LABELS: Final = rb"[a-z0-9_-]++(?>(?:\.[a-z0-9_-]++)*)"
_MEMBERS: Final = re.compile(rb"[ \t]*" + TOKEN + rb"[ \t]*(?>(?:,[ \t]*" + TOKEN + rb"[ \t]*)*)")
_METHOD: Final = re.compile(TOKEN)
_VARY_BY_ORIGIN: Final = b"vary: origin\r\n"
_OWN_PORTS: Final = {b"http": b":80", b"https": b":443"}


def normal_origin(origin: bytes) -> bytes:
    """Return *origin* as browsers write it: in lower case, without the scheme's own port."""
    origin = origin.lower()
    return origin.removesuffix(_OWN_PORTS.get(origin.partition(b"://")[0], b""))


def actual_lines(cors: Cors, origin: bytes | None) -> bytes:
    """Return what an answer to a request of *origin* says of CORS; `vary` included where other origins get another."""
    vary = b"" if cors.uniform else _VARY_BY_ORIGIN
    allowed = _allow(cors, origin)
    return vary + allowed + _expose(cors) if allowed else vary


def preflight_lines(cors: Cors, origin: bytes, method: bytes, headers: bytes | None) -> bytes:
    """Return the answer to a preflight for *method* and a list of *headers*, b"" where *origin* is not allowed."""
    allowed = _allow(cors, origin)
    if not allowed:
        return b""
    lines = [allowed, _expose(cors)]
    methods = _choice(cors, cors.methods, method if _METHOD.fullmatch(method) else b"")
    if methods:
        lines.append(b"access-control-allow-methods: %b\r\n" % methods)
    listed = headers if headers is not None and _MEMBERS.fullmatch(headers) else b""
    names = _choice(cors, cors.headers, listed.strip(b" \t"))
    if names:
        lines.append(b"access-control-allow-headers: %b\r\n" % names)
    lines.append(b"access-control-max-age: %d\r\n" % cors.max_age_s)
    return b"".join(lines)


def _allow(cors: Cors, origin: bytes | None) -> bytes:
    """Return the lines that let *origin* read an answer, b"" where it may not."""
    if cors.origins == ANY and not cors.credentials:
        return b"access-control-allow-origin: *\r\n"
    if origin is None or len(origin) > MAX_ORIGIN_BYTES or not _ORIGIN.fullmatch(origin):
        return b""
    if cors.origins != ANY and not _pattern(cors.origins).fullmatch(normal_origin(origin)):
        return b""
    credentials = b"access-control-allow-credentials: true\r\n" if cors.credentials else b""
    return b"access-control-allow-origin: %b\r\n%b" % (origin, credentials)


def _expose(cors: Cors) -> bytes:
    # HTTPCORSFilter.exposeHeaders: with credentials "*" means nothing to a browser, and "cannot" be used
    if not cors.expose or (cors.credentials and b"*" in cors.expose):
        return b""
    return b"access-control-expose-headers: %b\r\n" % b", ".join(cors.expose)


def _choice(cors: Cors, configured: tuple[bytes, ...], asked: bytes) -> bytes:
    """Return the list to answer with: as configured; for any, "*", or what was asked where "*" must not be said."""
    if configured != ANY:
        return b", ".join(configured)
    return asked if cors.credentials else b"*"


@lru_cache(maxsize=1024)
def _pattern(origins: tuple[bytes, ...]) -> re.Pattern[bytes]:
    """Return what matches any of *origins* (`normal_origin` form)."""
    return re.compile(b"|".join(_one(origin) for origin in origins) or rb"(?!)")


def _one(origin: bytes) -> bytes:
    start, star, rest = origin.partition(b"*")
    if not star:
        return re.escape(origin)
    # A greedy run of labels would swallow the configured ones; a look-ahead asks for valid labels, then any may be.
    return re.escape(start) + rb"(?=" + _LABELS + rb"(?::|$))[^:]+" + re.escape(rest)
