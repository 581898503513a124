"""URLs of requests, strictly: what no client could connect to is refused, with what to write instead. Pure.

The host is an address or a name that a ClientHello can carry (RFC 3986 §3.2, RFC 6066 §3). Behind it anything
printable goes: what a gateway answers to a path that it refuses is worth asking.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple
from urllib.parse import unquote

from gatewayproxy.errors import UsageError

__all__ = ["SCHEMES", "STREAMS", "WHAT_TO_WRITE", "Url", "ip", "is_port", "parse_url", "quoted"]

SCHEMES: Final = {  # whether over TLS, and the port that goes without saying
    "http": (False, 80), "https": (True, 443), "ws": (False, 80), "wss": (True, 443), "grpc": (False, 80),
    "grpcs": (True, 443),
}  # fmt: skip
STREAMS: Final = ("tls", "tcp", "udp")
WHAT_TO_WRITE: Final = (
    "write a URL with options like curl's (-X POST -H 'Name: value' https://shop.example/cart), "
    "grpc://HOST:PORT/SERVICE/METHOD, tls://NAME:PORT, tcp://:PORT, udp://:PORT, or a line of an access log in quotes"
)

_URL: Final = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?(?:([^/?#]*)@)?([^/?#@]*)([^#]*)(?:#.*)?")
_PLACE: Final = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::(.*))?")
_NAME: Final = re.compile(r"(?=.{1,253}\.?\Z)[0-9A-Za-z_-]{1,63}(?:\.[0-9A-Za-z_-]{1,63})*\.?")
_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MAX_PORT: Final = 65_535


class Url(NamedTuple):
    """A URL in parts; *host*: as written, IPv6 in brackets, "" only in those of streams; *port*: 0 where none is."""

    scheme: str
    user: str
    host: str
    port: int
    rest: str  # path and query


def parse_url(text: str) -> Url:
    """Return the parts of *text*, which http is taken for without a scheme; raise UsageError."""
    if " " in text:
        raise _wrong(text, "a URL has no spaces; write %20 in a path, and + or %20 in a query")
    if not text.isascii() or not text.isprintable():
        raise _wrong(text, f"is no URL; percent-encode what is not ASCII, and {WHAT_TO_WRITE}")
    found = _URL.fullmatch(text)
    assert found is not None
    scheme, user, place, rest = found.groups()
    scheme = (scheme or "http").lower()
    if scheme not in SCHEMES and scheme not in STREAMS:
        raise UsageError(f"{scheme}:// cannot be asked about; {WHAT_TO_WRITE}")
    parts = _PLACE.fullmatch(place)
    if parts is None:
        raise _wrong(text, "an IPv6 address stands in brackets: http://[2001:db8::1]:8080/")
    host, port = parts.groups()
    number = _port(text, port)
    if scheme in STREAMS:
        _check_stream(text, scheme, user, host, number, rest)
    elif not host:
        raise _wrong(text, f"names no host; {WHAT_TO_WRITE}")
    _check_host(text, host)
    return Url(scheme, _user(text, user), host, number, rest)


def is_port(text: str) -> bool:
    """Return whether *text* is the number of a port."""
    return text.isascii() and text.isdigit() and len(text) <= len(str(_MAX_PORT)) and 0 < int(text) <= _MAX_PORT


def ip(host: str) -> str | None:
    """Return *host* as an IP literal, None where it is a name."""
    try:
        return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        return None


def quoted(word: str) -> str:
    """Return what was typed, or pasted, as errors repeat it: nothing that a terminal acts on, and not all of a page."""
    return ascii(word if len(word) <= _MOST_QUOTED else f"{word[:_MOST_QUOTED]}...")


_MOST_QUOTED: Final = 200


def _port(text: str, port: str | None) -> int:
    if port is None:
        return 0
    if not is_port(port):
        hint = "; IPv6 addresses stand in brackets" if ":" in port else ""
        hint = "; and // behind the scheme" if text.partition(":")[0] in SCHEMES and "://" not in text else hint
        raise _wrong(text, f"write a port from 1 to {_MAX_PORT} behind the host{hint}")
    return int(port)


def _check_host(text: str, host: str) -> None:
    if not host:
        return
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1] if "%" not in host else "")
        except ValueError:
            raise _wrong(text, f"{host} is no IPv6 address; write http://[2001:db8::1]:8080/, without a zone") from None
    elif "*" in host:
        raise _wrong(text, f"a client asks for a name, and not for a pattern; write {host.replace('*', 'any')}")
    elif _NAME.fullmatch(host) is None:
        raise _wrong(
            text, f"{quoted(host)} is no name of a host; write letters, digits and -, labels of 1 to 63 of them"
        )
    elif host.rstrip(".").rpartition(".")[2].isdigit() and ip(host) is None:
        raise _wrong(text, f"{host} is no IPv4 address; write all four numbers, each up to 255")


def _check_stream(text: str, scheme: str, user: str | None, host: str, port: int, rest: str) -> None:
    if user is not None or rest not in ("", "/"):
        raise _wrong(text, f"is more than a place; write {scheme}://{host or ''}:{port or 443}")
    if not port:
        raise _wrong(text, f"wants a port: {scheme}://{'NAME' if scheme == 'tls' else ''}:443")
    if scheme != "tls" and host and ip(host) is None and not host.startswith("["):
        raise _wrong(text, f"no name is looked up; write {scheme}://:{port}, or an address before the port")


def _user(text: str, user: str | None) -> str:
    if user is None:
        return ""
    if not user or "@" in user or _PERCENT.search(user):
        raise _wrong(text, "write USER:PASSWORD before the host with %40 for @, and %25 for %; or -u USER:PASSWORD")
    return unquote(user)


def _wrong(text: str, what: str) -> UsageError:
    return UsageError(f"{quoted(text)}: {what}")
