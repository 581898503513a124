"""Request targets and authorities: what may be said, and which paths could mean two things. Pure.

RFC 9112 §3.2, RFC 9110 §4.2, RFC 3986 §3. Nothing is normalised: a path goes to the backend as it came or not at all.
docs/decisions/002-path-ambiguity.md argues the rules of `odd_path` and `readings`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final, NamedTuple

from gatewayproxy.errors import RemoteProtocolError

__all__ = [
    "PLAIN_AUTHORITY", "PLAIN_PATH", "QUERY", "Target", "check_authority", "is_origin_form", "odd_path",
    "parse_absolute", "readings",
]  # fmt: skip

# RFC 3986 pchar and "/", and "|" "[" "]", which user agents send as they are (WHATWG URL, path percent-encode set).
_PATH: Final = rb"/[A-Za-z0-9\-._~!$&'()*+,;=:@/%|\[\]]*+"
# A path with one reading, see `odd_path`: no "%", no ";", no empty segment but the last, none that starts with ".".
_SEGMENT: Final = rb"A-Za-z0-9\-_~!$&'()*+,=:@|\[\]"
PLAIN_PATH: Final = rb"/(?:[" + _SEGMENT + rb"][" + _SEGMENT + rb".]*+/?+)*+"
# What user agents send in a query unencoded; '"', "<", ">" and "#" they never do.
QUERY: Final = rb"[!$-;=?-~]*+"

_AUTHORITY: Final = re.compile(rb"([A-Za-z0-9._~\-]++|\[[0-9A-Fa-f:.]++\])(?::([0-9]{0,5}))?")
# An authority that `check_authority` takes for certain.
PLAIN_AUTHORITY: Final = rb"[A-Za-z0-9.\-]++(?>(?::[0-9]{1,4}+)?)"
_ABSOLUTE: Final = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*+)://([^/?#]*+)(" + _PATH + rb")?(?:\?(" + QUERY + rb"))?")
_PLAIN: Final = re.compile(PLAIN_PATH)
_ORIGIN: Final = re.compile(_PATH + rb"(?:\?" + QUERY + rb")?+")
_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})|%00")
_SEPARATOR: Final = re.compile(rb"/|%2[fF]|%5[cC]")
_DOTS: Final = frozenset((b".", b".."))
_ENCODED: Final = re.compile(rb"%[0-9A-Fa-f]{2}")
# Encodings of what a path, and so a rule, may also hold as it is: pchar and "/"; a backslash, which some take for "/".
_NEEDLESS: Final = rb"%(?:2[146-9A-Fa-f]|3[0-9ABDabd]|4[0-9A-Fa-f]|5[0-9ACFacf]|6[1-9A-Fa-f]|7[0-9AEae])"
_NEEDLESSLY_ENCODED: Final = re.compile(_NEEDLESS)
_TWO_READINGS: Final = re.compile(rb"//|;|" + _NEEDLESS)


class Target(NamedTuple):
    """An absolute-form target taken apart."""

    scheme: bytes  # lower-case
    authority: bytes
    path: bytes  # "/" where there is none
    query: bytes | None


def check_authority(authority: bytes) -> None:
    """Raise RemoteProtocolError unless *authority* is a host with an optional port (RFC 9110 §7.2)."""
    if len(authority) <= _KEPT_BYTES:
        _check_and_keep(authority)
    else:
        _check(authority)


def _check(authority: bytes) -> None:
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise RemoteProtocolError("invalid host: send a name or an IP literal, and a port at most", reason="bad_host")
    if found[2] and int(found[2]) > 65535:
        raise RemoteProtocolError("invalid host: port above 65535", reason="bad_host")
    if authority[0] == 0x5B:
        try:
            IPv6Address(found[1][1:-1].decode("ascii"))
        except ValueError:
            raise RemoteProtocolError("invalid host: not an IPv6 address", reason="bad_host") from None


_KEPT_BYTES: Final = 300  # no name that exists is longer; what is kept of strangers has a bound
_check_and_keep: Final = lru_cache(maxsize=1024)(_check)  # PERF: clients of a gateway ask for few hosts


def is_origin_form(target: bytes) -> bool:
    """Return whether *target* is a path with an optional query (RFC 9112 §3.2.1)."""
    return _ORIGIN.fullmatch(target) is not None


def parse_absolute(target: bytes) -> Target:
    """Return the parts of absolute-form *target*; raise RemoteProtocolError where it is none."""
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        raise RemoteProtocolError("request target has no valid form", reason="bad_target")
    scheme = found[1].lower()
    if scheme not in (b"http", b"https"):
        raise RemoteProtocolError("request target: only http and https are served", reason="bad_target")
    check_authority(found[2])  # RFC 9110 §4.2.1: an empty host MUST be rejected; §4.2.4: userinfo is an error
    return Target(scheme, found[2], found[3] or b"/", found[4])


def odd_path(path: bytes) -> bool:
    """Return whether *path* may be read in two ways (see `readings`); raise RemoteProtocolError if it must not pass.

    Refused always: an invalid percent-encoding, an encoded NUL, a segment that is "." or ".." in any spelling and with
    any parameter. No client sends them: RFC 3986 §6.2.2.3 has dot segments removed before a request is made.
    """
    if _PLAIN.fullmatch(path) is not None:
        return False
    if _PERCENT.search(path) is not None:
        raise RemoteProtocolError("path: invalid percent-encoding", reason="bad_target")
    for segment in _SEPARATOR.split(path):
        if _decoded(segment).partition(b";")[0] in _DOTS:
            raise RemoteProtocolError("path: remove dot segments before sending", reason="ambiguous_path")
    return _TWO_READINGS.search(path) is not None


def readings(path: bytes, spelled: int = 0) -> tuple[bytes, ...]:
    """Return the other paths that common backends take *path* for; its first *spelled* bytes, whole segments, stand.

    They decode percent-encodings (some before they split segments), drop path parameters, and merge slashes. A gateway
    whose rules tell these readings apart must not choose one. What a rule can only hold encoded (%20) stays encoded.
    """
    start, path = path[:spelled], path[spelled:]
    decoded = _NEEDLESSLY_ENCODED.sub(_octet, path)
    slashed = decoded.replace(b"\\", b"/")
    bare = re.sub(rb";[^/]*+", b"", slashed)
    candidates = (decoded, slashed, bare, _merged(path), _merged(slashed), _merged(bare))
    return tuple(dict.fromkeys(start + each for each in candidates if each != path))


def _decoded(text: bytes) -> bytes:
    return _ENCODED.sub(_octet, text) if b"%" in text else text


def _octet(found: re.Match[bytes]) -> bytes:
    return bytes.fromhex(found[0][1:].decode("ascii"))


def _merged(path: bytes) -> bytes:
    return re.sub(rb"/{2,}+", b"/", path)
