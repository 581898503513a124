"""Lines of access logs into requests: ours (JSON, text), nginx's combined, Envoy's defaults, HAProxy's httplog. Pure.

A line is bytes without its end; a parser of FORMS returns None for a line that is not of its form, and for one of ours
that names no request: its head was answered 400 before it was read. A log knows less than a client: the `Request`
leaves out what it does not say. Header fields are not logged but for a few, so that decisions about rules that match by
other fields may differ from what happened.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from gatewayproxy.insight.requests import Kind, Request, server_name_for

__all__ = ["FORMS", "HOST", "Logged", "form_of", "parse_line"]


class Logged(NamedTuple):
    """A line of a log: the request, and what became of it as far as the line says; *time* as written."""

    request: Request
    status: int = 0
    time: str = ""
    route: str = ""  # "HTTPRoute shop/api"
    rule: str = ""  # "2" or "2 (checkout)"
    reason: str = ""


# PERF: a line of ours as we write it, without escapes, is read without a tree, 7 -> 4 us. No other line passes, so that
# it says what JSON says: each name comes once, texts are printable ASCII, numbers are JSON's.
_USUAL: Final = re.compile(
    rb'\{"time":WORD,"protocol":"(https?)/([0-9.]+)","listener":WORD,"route":WORD,"rule":WORD,"backend":"SAFE*",'
    rb'"endpoint":"SAFE*","client":WORD,"method":"(SAFE+)","target":"(SAFE+)","status":([1-9][0-9]{2})'
    rb'(?:,"grpc_status":NUMBER)?,"host":WORD(?:,"reason":WORD)?(?:,"detail":"SAFE*")?(?:,"request_id":"SAFE*")?,'
    rb'"bytes_in":NUMBER,"bytes_out":NUMBER,"duration_ms":NUMBER\.[0-9]+,"connect_ms":NUMBER\.[0-9]+,'
    rb'"upstream_ms":NUMBER\.[0-9]+,"attempts":NUMBER,"generation":NUMBER\}'.replace(b"WORD", rb'"(SAFE*)"')
    .replace(b"SAFE", rb"[ !#-\[\]-~]")
    .replace(b"NUMBER", rb"(?:0|[1-9][0-9]{0,17})")
)
_TEXT: Final = re.compile(
    rb"(\S+) (\S+) (https?/[0-9.]+|tcp|tls|udp) "
    rb'(?:-|"(\S+) ([^"\\]*(?:\\.[^"\\]*)*)") (\S+) (\d{1,3}|-) (\S+) \d+ \d+ [\d.]+ '
    rb"[\d.]+ [\d.]+ (\S+) (\S+) (\S+) (\S+) (\S+) \d+ (\S+) (\S+)"
    rb'(?: -| "[^"\\]*(?:\\.[^"\\]*)*")?'
)
_COMBINED: Final = re.compile(
    rb'(\S+) \S+ [^\[]*?\[([^\]]*)\] "([!-~]+) ([!-~\x80-\xff]+) HTTP/([0-9.]+)" (\d{3}) (?:\d+|-)'
    rb'(?: "([^"\\]*(?:\\.[^"\\]*)*)" "([^"\\]*(?:\\.[^"\\]*)*)")?(?: .*)?'
)
_ENVOY: Final = re.compile(
    rb'\[([^\]]*)\] "([!-~]+) ([!-~\x80-\xff]+) HTTP/([0-9.]+)" (\d{1,3}) (\S+) [^"]*(?>(?:"[^"]*"(?= \d)[^"]*)?)'
    rb'"([^"]*)" "([^"]*)" "([^"]*)" "([^"]*)" "[^"]*"(?: .*)?'
)
_HAPROXY: Final = re.compile(
    rb"(?:[^ ]*+ ){0,20}?(\[?[0-9a-fA-F.:]+\]?):\d+ \[([^\]]*)\] (\S+) (\S+) [0-9/+-]+ (-?\d{1,3}) \+?\d+ "
    rb"\S+ \S+ \S+ [0-9/+]+ [0-9/+]+(?: \{([^}]*)\})?(?: \{[^}]*\})? "
    rb'"([!-~]+) ([!-~\x80-\xff]+) HTTP/([0-9.]+)"(?: .*)?'
)
# What is a host among what HAProxy has captured.
HOST: Final = rb"(?:[A-Za-z0-9_-]+\.)+[A-Za-z0-9-]+(?::\d+)?|localhost(?::\d+)?|\[[0-9A-Fa-f:.]+\](?::\d+)?"
_CAPTURED_HOST: Final = re.compile(HOST)
_ABSOLUTE: Final = re.compile(rb"(https?)://([^/?#]+)(/[^#]*)?")
_ESCAPE: Final = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.S)
_CONTROL: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}


def parse_line(line: bytes) -> Logged | None:
    """Return what *line* says, whatever its form; None where it is of none."""
    form = form_of(line)
    return FORMS[form](line) if form else None


def form_of(line: bytes) -> str:
    """Return the form of *line*, a name of FORMS; "" where it is of none. The lines of a file have one form."""
    for name, parse in FORMS.items():
        if parse(line) is not None:
            return name
    return ""


def _json(line: bytes) -> Logged | None:
    if line[:1] != b"{":
        return None
    usual = _USUAL.fullmatch(line)
    if usual is not None:
        return _usual(usual)
    try:
        tree = json.loads(line)
    except (ValueError, RecursionError):  # the latter of what is nested without end
        return None
    if not isinstance(tree, dict):
        return None
    if "protocol" in tree and "listener" in tree:
        return _ours(tree)
    return _envoy_json(tree) if ":authority" in tree or "x-envoy-origin-path" in tree else None


def _ours(tree: dict[str, Any]) -> Logged | None:
    protocol, _, version = str(tree["protocol"]).partition("/")
    kind, get = _KINDS.get(protocol), tree.get
    if kind is None or (kind is Kind.HTTP and not get("method")):  # the latter: a head that could not be read
        return None
    authority = _octets(get("host"))
    request = _own_request(
        kind,
        protocol,
        version,
        method=_octets(get("method")) or b"GET",
        authority=authority,
        target=_octets(get("target")) or b"/",
        listener=str(tree["listener"]),
        client=str(get("client") or ""),
    )
    return Logged(
        request, _number(get("status")), str(get("time") or ""), str(get("route") or ""), str(get("rule") or ""),
        str(get("reason") or ""),
    )  # fmt: skip


def _usual(found: re.Match[bytes]) -> Logged:
    time, protocol, version, listener, route, rule, client, method, target, status, host, reason = found.groups()
    name = protocol.decode("latin-1")
    request = _own_request(
        _KINDS[name],
        name,
        version.decode("latin-1"),
        method=method,
        authority=host,
        target=target,
        listener=listener.decode("latin-1"),
        client=client.decode("latin-1"),
    )
    told = (reason or b"").decode("latin-1")
    return Logged(request, int(status), time.decode("latin-1"), route.decode("latin-1"), rule.decode("latin-1"), told)


def _number(value: object) -> int:
    """Return a status as JSON has it, 0 where it is none."""
    text = str(value)
    return int(text) if len(text) == _STATUS_DIGITS and text.isascii() and text.isdigit() else 0


_STATUS_DIGITS: Final = 3
_PORT_DIGITS: Final = 5


def _octets(value: object) -> bytes:
    return value.encode("latin-1", "replace") if isinstance(value, str) else b""


_KINDS: Final = {"http": Kind.HTTP, "https": Kind.HTTP, "tls": Kind.TLS, "tcp": Kind.TCP, "udp": Kind.UDP}


def _text(line: bytes) -> Logged | None:
    found = _TEXT.fullmatch(line)
    if found is None:
        return None
    time, client, protocol, method, target, host, status, reason, listener, route, rule = found.groups()[:11]
    name, _, version = protocol.decode("ascii").partition("/")
    if method is None and _KINDS[name] is Kind.HTTP:
        return None
    request = _own_request(
        _KINDS[name],
        name,
        version,
        method=method or b"GET",
        authority=_plain(host),
        target=_unescaped(target) if target else b"/",
        listener=_plain(listener).decode("latin-1"),
        client=_plain(client).decode("latin-1"),
    )
    told = (_plain(each).decode("latin-1") for each in (route, rule, reason))
    return Logged(request, int(status) if status != b"-" else 0, time.decode("latin-1"), *told)


def _plain(word: bytes) -> bytes:
    return b"" if word == b"-" else _unescaped(word)


def _unescaped(text: bytes) -> bytes:
    return _ESCAPE.sub(_character, text) if b"\\" in text else text


def _character(found: re.Match[bytes]) -> bytes:
    code = found[1] or found[2]
    if code:
        return chr(int(code, 16)).encode("latin-1", "replace")
    return _CONTROL.get(found[3], found[3])


def _own_request(
    kind: Kind,
    protocol: str,
    version: str,
    *,
    method: bytes,
    authority: bytes,
    target: bytes,
    listener: str,
    client: str,
) -> Request:
    """Return a request of a log of ours. What we log of a target is its origin-form."""
    tls = protocol in ("https", "tls")
    path, _, query = target.partition(b"?")
    name = server_name_for(authority) if tls else None
    return Request(kind, 0, "", listener, tls, name, version, method, authority, target, path, query, client=client)


def _foreign_request(
    *, method: bytes, target: bytes, version: bytes, authority: bytes, client: bytes, tls: bool | None = None,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> Request:  # fmt: skip
    """Return a request of another proxy's log: which port of ours would have got it is anyone's guess."""
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is not None:  # the proxy knew it to be for itself
        authority, target = absolute[2], absolute[3] or b"/"
    path, _, query = target.partition(b"?")
    name = server_name_for(authority) if tls is not False else None
    short = "2" if version[:1] in (b"2", b"3") else version.decode("ascii")
    return Request(
        Kind.HTTP, 0, "", "", tls, name, short, method, authority, target, path, query, headers,
        client=client.decode("latin-1"),
    )  # fmt: skip


def _combined(line: bytes) -> Logged | None:
    found = _COMBINED.fullmatch(line)
    if found is None:
        return None
    client, time, method, target, version, status, referer, agent = found.groups()
    headers = ((b"referer", referer), (b"user-agent", agent))
    request = _foreign_request(
        method=method, target=target, version=version, authority=b"", client=client,
        headers=tuple((name, _unescaped(value)) for name, value in headers if value not in (None, b"-", b"")),
    )  # fmt: skip
    return Logged(request, int(status), time.decode("latin-1"))


def _envoy(line: bytes) -> Logged | None:
    found = _ENVOY.fullmatch(line)
    if found is None:
        return None
    time, method, target, version, status, flags, client, agent, request_id, authority = found.groups()
    headers = ((b"user-agent", agent), (b"x-request-id", request_id))
    request = _foreign_request(
        method=method, target=target, version=version, authority=b"" if authority == b"-" else authority,
        client=client.partition(b",")[0], headers=tuple(each for each in headers if each[1] not in (b"-", b"")),
    )  # fmt: skip
    reason = "" if flags == b"-" else flags.decode("latin-1")
    return Logged(request, int(status), time.decode("latin-1"), reason=reason)


def _envoy_json(tree: dict[str, Any]) -> Logged | None:
    def octets(name: str) -> bytes:
        value = _octets(tree.get(name))
        return b"" if value == b"-" else value

    method, target = octets("method"), octets("x-envoy-origin-path") or octets("path")
    if not method or not target:
        return None
    port = octets("downstream_local_address").rpartition(b":")[2]
    name = octets("requested_server_name")
    agent = octets("user-agent")
    request = _foreign_request(
        method=method, target=target, version=octets("protocol").removeprefix(b"HTTP/") or b"1.1",
        authority=octets(":authority"), client=octets("x-forwarded-for").partition(b",")[0], tls=True if name else None,
        headers=((b"user-agent", agent),) if agent else (),
    )  # fmt: skip
    if name:
        request = request._replace(server_name=name.lower())
    if port.isdigit() and len(port) <= _PORT_DIGITS:
        request = request._replace(port=int(port))
    return Logged(
        request, _number(tree.get("response_code")), str(tree.get("start_time") or ""),
        reason=octets("response_flags").decode("latin-1"),
    )  # fmt: skip


def _haproxy(line: bytes) -> Logged | None:
    found = _HAPROXY.fullmatch(line)
    if found is None:
        return None
    client, time, frontend, _, status, captured, method, target, version = found.groups()
    request = _foreign_request(
        method=method, target=target, version=version, authority=_captured_host(captured or b""), client=client,
        tls=frontend.endswith(b"~"),
    )  # fmt: skip
    return Logged(request, max(int(status), 0), time.decode("latin-1"))


def _captured_host(captured: bytes) -> bytes:
    return next((each for each in captured.split(b"|") if _CAPTURED_HOST.fullmatch(each)), b"")


FORMS: Final[dict[str, Callable[[bytes], Logged | None]]] = {
    "json": _json,
    "text": _text,
    "haproxy": _haproxy,
    "envoy": _envoy,
    "combined": _combined,
}
