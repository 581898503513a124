"""Words like curl's, into a Request: `-X POST -H 'X-Beta: 1' https://shop.example/cart --resolve ...:127.0.0.1`. Pure.

What can be asked about beside http and https: `grpc://host:port/package.Service/Method` (`grpcs` over TLS),
`ws://` and `wss://`, `tls://server-name:port`, `tcp://address:port` and `udp://address:port`, both also as `tcp://:port`;
and a line of an access log, as one word. Options that do not change what is sent (-s, -k, -o ...) are passed over.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from typing import Final

from gatewayproxy.errors import UsageError
from gatewayproxy.insight.access_logs import parse_line
from gatewayproxy.insight.requests import Kind, Request, server_name_for
from gatewayproxy.insight.urls import SCHEMES, WHAT_TO_WRITE, Url, ip, is_port, parse_url, quoted

__all__ = ["parse_words"]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# No line of a log begins so, and what does is meant to be a URL, whatever is wrong with it.
_URL_LIKE: Final = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*://")
_STREAMS: Final = {"tls": Kind.TLS, "tcp": Kind.TCP, "udp": Kind.UDP}
_HEADER: Final = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)([:;])[ \t]*(.*)", re.S)
_WEBSOCKET: Final = (
    (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", b"13"),
    (b"Sec-WebSocket-Key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
)  # fmt: skip
_GRPC: Final = ((b"content-type", b"application/grpc"), (b"te", b"trailers"))
# Options without a value that change nothing of what is sent.
_SILENT: Final = _names(
    "--compressed-ssh --fail --globoff --include --insecure --ipv4 --ipv6 --location --no-buffer --no-progress-meter "
    "--path-as-is --proto-default --show-error --silent --tlsv1.2 --tlsv1.3 --verbose"
)
# The same with a value.
_SILENT_VALUES: Final = _names(
    "--cacert --cert --connect-timeout --interface --key --max-time --noproxy --output --retry --write-out"
)
_SHORT: Final = {
    "X": "--request", "H": "--header", "d": "--data", "I": "--head", "G": "--get", "k": "--insecure", "s": "--silent",
    "S": "--show-error", "v": "--verbose", "i": "--include", "L": "--location", "f": "--fail", "A": "--user-agent",
    "e": "--referer", "b": "--cookie", "u": "--user", "o": "--output", "w": "--write-out", "m": "--max-time",
    "E": "--cert", "N": "--no-buffer", "4": "--ipv4", "6": "--ipv6", "g": "--globoff", "0": "--http1.0",
}  # fmt: skip


def parse_words(words: Sequence[str]) -> Request:
    """Return the request that *words* ask for; raise UsageError, which says what to write."""
    asked = _Asked()
    for option, value in _options(words[1:] if words[:1] == ["curl"] else words):
        asked.take(option, value)
    return asked.request()


def _options(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (long option, its value or ""), and ("", word) for what is no option."""
    left = iter(words)
    for word in left:
        if word == "-" or not word.startswith("-"):
            yield "", word
        elif word.startswith("--"):
            name, given, value = word.partition("=")
            if name in _Asked.VALUED or name in _SILENT_VALUES:
                value = value if given else _value(name, left)
            yield name, value
        else:
            yield from _short_options(word, left)


def _short_options(word: str, left: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Yield what a cluster like -sSXPOST says."""
    for at, letter in enumerate(word[1:], 2):
        name = _SHORT.get(letter, "-" + letter)
        if name in _Asked.VALUED or name in _SILENT_VALUES:
            yield name, word[at:] or _value(f"-{letter}", left)
            return
        yield name, ""


def _value(name: str, left: Iterator[str]) -> str:
    for word in left:
        return word
    raise UsageError(f"{name} wants a value behind it")


class _Asked:
    """What was asked for so far."""

    VALUED: Final = _names(
        "--request --header --data --data-raw --data-binary --data-urlencode --json --user-agent --referer --cookie "
        "--user --url --resolve --connect-to"
    )

    def __init__(self) -> None:
        self.word: str | None = None
        self.method = self.version = ""
        self.headers: list[tuple[bytes, bytes]] = []
        self.host: bytes | None = None
        self.body: list[bytes] = []
        self.in_query = False
        self.places: list[tuple[str, str, str, str]] = []  # host and port, and where they are instead
        self._take: dict[str, Callable[[str], None]] = {
            "": self._word, "--url": self._word, "--request": self._method, "--header": self._header,
            "--head": lambda _: self._method("HEAD"), "--get": self._get, "--resolve": self._resolve,
            "--connect-to": self._connect_to, "--json": self._json, "--user": self._user,
            "--user-agent": lambda value: self._add("User-Agent", value),
            "--referer": lambda value: self._add("Referer", value),
            "--cookie": lambda value: self._add("Cookie", value),
            "--compressed": lambda _: self._add("Accept-Encoding", "deflate, gzip"),
            "--http1.0": lambda _: self._version("1.0"), "--http1.1": lambda _: self._version("1.1"),
            "--http2": lambda _: self._version("2?"), "--http2-prior-knowledge": lambda _: self._version("2"),
        }  # fmt: skip
        for name in ("--data", "--data-raw", "--data-binary", "--data-urlencode"):
            self._take[name] = self._data

    def take(self, option: str, value: str) -> None:
        """Take one option; raise UsageError."""
        take = self._take.get(option)
        if take is not None:
            take(value)
        elif option not in _SILENT and option not in _SILENT_VALUES:
            near = get_close_matches(option, [*self._take, *_SILENT], 1)
            raise UsageError(
                f"{quoted(option)} is no option of a request; "
                + (f"did you mean {near[0]}?" if near else f"those of explain itself stand before --; {WHAT_TO_WRITE}")
            )

    def request(self) -> Request:
        """Return the whole; raise UsageError."""
        if self.word is None:
            raise UsageError(f"no request; {WHAT_TO_WRITE}")
        if not _URL_LIKE.match(self.word) and (" " in self.word.strip() or self.word.startswith("{")):
            return self._logged(self.word)
        url = parse_url(self.word)
        if url.user:
            self._user(url.user)
        return self._http(url) if url.scheme in SCHEMES else self._stream(_STREAMS[url.scheme], url)

    def _http(self, url: Url) -> Request:
        tls, usual = SCHEMES[url.scheme]
        number = url.port or usual
        address, number_there = self._place(url.host, number)
        if url.scheme in ("grpc", "grpcs"):
            self._call(url.rest)
        elif url.scheme in ("ws", "wss"):
            self.headers += _WEBSOCKET
        version = self.version or "1.1"
        if version == "2?":  # over TLS, by ALPN; in clear text curl asks to upgrade, which is declined
            version = "2" if tls else "1.1"
        authority = url.host + (f":{number}" if number != usual else "")
        request = Request(
            port=number_there,
            address=address,
            tls=tls,
            server_name=server_name_for(url.host.encode("ascii")) if tls else None,
            version=version,
            method=self._verb(),
            authority=authority.encode("ascii") if self.host is None else self.host,
            headers=self._fields(),
        )
        rest = url.rest if url.rest.startswith("/") else f"/{url.rest}"
        return request.with_target(self._with_query(rest.encode("ascii")))

    def _call(self, rest: str) -> None:
        if not re.fullmatch(r"/[^/?]+/[^/?]+", rest):
            raise UsageError(f"{quoted(self.word or '')}: write a call as grpc://HOST:PORT/PACKAGE.SERVICE/METHOD")
        self.method = self.method or "POST"
        self.version = "2"
        self.headers += _GRPC

    def _stream(self, kind: Kind, url: Url) -> Request:
        address, number = self._place(url.host, url.port)
        name = server_name_for(url.host.encode("ascii")) if kind is Kind.TLS else None
        return Request(kind=kind, port=number, address=address, tls=kind is Kind.TLS, server_name=name)

    def _logged(self, line: str) -> Request:
        """Return the request of a line; options say what it does not."""
        logged = parse_line(line.strip().encode("utf-8", "surrogateescape"))
        if logged is None:
            raise UsageError(
                "this line is of no access log that is known (gatewayproxy's JSON and text, nginx's combined, Envoy's "
                "default, HAProxy's httplog), or names no request; write the request itself: "
                "-H 'Host: shop.example' http://10.0.0.1/path"
            )
        request = logged.request
        host = self.host if self.host is not None else request.authority
        if request.kind is Kind.HTTP and not host:
            raise UsageError("the line does not say which host was asked for; add -H 'Host: shop.example'")
        if request.tls is None and request.server_name is None:
            request = request._replace(server_name=server_name_for(host))
        return request._replace(authority=host, headers=request.headers + tuple(self.headers))

    def _place(self, host: str, port: int) -> tuple[str, int]:
        """Return the address and port that *host* and *port* are at, as far as that was said."""
        for name, number, address, other in self.places:
            if name in ("", "*", host) and number in ("", str(port)):
                return ip(address) or "", int(other or port)
        return ip(host) or "", port

    def _verb(self) -> bytes:
        if self.method:
            return self.method.encode("ascii")
        return b"POST" if self.body and not self.in_query else b"GET"

    def _fields(self) -> tuple[tuple[bytes, bytes], ...]:
        if not self.body or self.in_query:
            return tuple(self.headers)
        names = {name.lower() for name, _ in self.headers}
        kind = () if b"content-type" in names else ((b"Content-Type", b"application/x-www-form-urlencoded"),)
        return (*self.headers, *kind, (b"Content-Length", b"%d" % len(b"&".join(self.body))))

    def _with_query(self, target: bytes) -> bytes:
        if not self.in_query or not self.body:
            return target
        return target + (b"&" if b"?" in target else b"?") + b"&".join(self.body)

    # Options

    def _word(self, value: str) -> None:
        if self.word is not None:
            raise UsageError(f"one request at a time: {quoted(self.word)}, or {quoted(value)}?")
        self.word = value

    def _method(self, value: str) -> None:
        if not re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", value):
            raise UsageError(f"{quoted(value)} is no method; write -X POST")
        self.method = value

    def _version(self, value: str) -> None:
        self.version = value

    def _header(self, value: str) -> None:
        found = _HEADER.fullmatch(value)
        if found is None or (found[2] == ";" and found[3]) or "\n" in value or "\r" in value:
            raise UsageError(f"{quoted(value)} is no header; write -H 'Name: value'")
        if found[2] == ":" and not found[3]:  # curl: do not send it; there is nothing that we would
            return
        if found[1].lower() == "host":
            self.host = found[3].strip().encode("latin-1", "replace")
        else:
            self._add(found[1], found[3].strip())

    def _add(self, name: str, value: str) -> None:
        self.headers.append((name.encode("ascii"), value.encode("utf-8", "surrogateescape")))

    def _user(self, value: str) -> None:
        self._add("Authorization", "Basic " + base64.b64encode(value.encode()).decode())

    def _data(self, value: str) -> None:
        self.body.append(value.encode("utf-8", "surrogateescape"))

    def _json(self, value: str) -> None:
        self._add("Content-Type", "application/json")
        self._add("Accept", "application/json")
        self._data(value)

    def _get(self, _: str) -> None:
        self.in_query = True

    def _resolve(self, value: str) -> None:
        host, _, rest = value.partition(":")
        port, _, address = rest.partition(":")
        if not (host and is_port(port) and ip(address.partition(",")[0])):
            raise UsageError(f"--resolve {quoted(value)}: write --resolve HOST:PORT:ADDRESS")
        self.places.append((host.removeprefix("+"), port, address.partition(",")[0], ""))

    def _connect_to(self, value: str) -> None:
        found = re.fullmatch(r"([^:]*):(\d{0,5}):(\[[^\]]*\]|[^:]*):(\d{0,5})", value)
        if found is None or not all(port == "" or is_port(port) for port in (found[2], found[4])):
            raise UsageError(f"--connect-to {quoted(value)}: write --connect-to HOST:PORT:ADDRESS:PORT")
        if found[3] and ip(found[3]) is None:
            raise UsageError(f"--connect-to {quoted(value)}: no name is looked up; write an address behind HOST:PORT")
        self.places.append((found[1], found[2], found[3], found[4]))
