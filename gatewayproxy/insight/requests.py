"""A Request: what a client asks of the gateway, as tools write it down. Pure.

It is what `routing.dispatch` looks at (`routing.dispatch.Incoming`), and what stands before it: where the client
connects to, and whether it speaks TLS, and for which server name. Streams and datagrams are requests of other kinds.
`insight.command_line` reads one from words like curl's, `insight.access_logs` from a line of a log.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple

from gatewayproxy.routing.match import host_key
from gatewayproxy.wire.target import odd_path, readings

__all__ = ["Kind", "Request", "describe", "head_bytes", "server_name_for"]


_MOST_DIGITS: Final = 20  # of a number that counts something


class Kind(Enum):
    """What a client sends first."""

    HTTP = "HTTP"  # a request, in clear text or over TLS
    TLS = "TLS"  # a ClientHello, and then nothing that we know of
    TCP = "TCP"
    UDP = "UDP"

    __hash__ = object.__hash__  # PERF: that of Enum is written in Python; kinds are keys of what replay asks for


class Request(NamedTuple):
    """One request. *path* and *query* are those of *target*: `with_target` keeps them together.

    What is not known is 0, "" or None: tools then look at every port, address or protocol that could be meant.
    """

    kind: Kind = Kind.HTTP
    port: int = 0  # that the client connects to, as it knows it
    address: str = ""  # the same: an IP literal
    listener: str = ""  # a log's "namespace/gateway/listener", or the bound address: of what received it
    tls: bool | None = False
    server_name: bytes | None = None  # that a ClientHello asks for, lower-case; None: for none
    version: str = "1.1"  # HTTP's: "1.0", "1.1" or "2"
    method: bytes = b"GET"
    authority: bytes = b""  # Host, :authority
    target: bytes = b"/"  # in origin-form, or "*"
    path: bytes = b"/"
    query: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()  # in order, names as written, without Host
    scheme: bytes | None = None  # of an absolute-form target
    client: str = ""  # its address

    def field(self, name: bytes) -> bytes | None:
        """Return the value of field *name* (lower-case), repeated lines joined by ","; None where there is none."""
        if name == b"host":
            return self.authority
        found = [value for key, value in self.headers if key.lower() == name]
        return b",".join(found) if found else None

    @property
    def odd(self) -> bool:
        """Return whether the path has other readings; raise RemoteProtocolError if it is refused in any case."""
        return self.path != b"*" and odd_path(self.path)

    @property
    def max_forwards(self) -> int:
        """Return the number in Max-Forwards, -1 where there is none."""
        value = self.field(b"max-forwards")
        return int(value) if value is not None and value.isdigit() and len(value) < _MOST_DIGITS else -1

    def other_paths(self, spelled: int = 0) -> tuple[bytes, ...]:
        """Return the other readings of an odd path; its first *spelled* bytes have none."""
        return readings(self.path, spelled)

    def with_target(self, target: bytes) -> Request:
        """Return this request for *target*."""
        path, _, query = target.partition(b"?")
        return Request._make((*self[:9], target, path, query, *self[12:]))  # PERF: `_replace` takes 2 us more

    def bare(self, target: bytes) -> Request:
        """Return this request for *target*, without header fields and client."""
        path, _, query = target.partition(b"?")
        return Request._make((*self[:9], target, path, query, (), self.scheme, ""))


def head_bytes(request: Request) -> bytes:
    """Return *request*, of kind HTTP, as an HTTP/1.1 head, which is what requests of HTTP/2 become here, too."""
    lines = b"".join(b"%b: %b\r\n" % field for field in request.headers)
    target = request.target if request.scheme is None else b"%b://%b%b" % (
        request.scheme, request.authority, request.target,
    )  # fmt: skip
    minor = b"0" if request.version == "1.0" else b"1"
    return b"%b %b HTTP/1.%b\r\nHost: %b\r\n%b\r\n" % (request.method, target, minor, request.authority, lines)


@lru_cache(maxsize=4_096)  # PERF: logs name few hosts
def server_name_for(authority: bytes) -> bytes | None:
    """Return what a client of *authority* asks for in its ClientHello; None: nothing (RFC 6066 §3, no IP literals)."""
    name = host_key(authority)
    # The last label of a name is never a number (RFC 3696 §2).
    return None if name[:1] in (b"", b"[") or name[name.rfind(b".") + 1 :].isdigit() else name


def describe(request: Request) -> str:
    """Return *request* in one line: `GET https://shop.example:8443/cart?full=1`."""
    where = f"{'*' if not request.address else request.address}:{request.port or '*'}"
    if request.kind is Kind.TLS:
        name = request.server_name
        return f"TLS for {name.decode('latin-1')} to {where}" if name else f"TLS without a server name to {where}"
    if request.kind is not Kind.HTTP:
        return f"{request.kind.value} to {where}"
    scheme = {True: "https", False: "http", None: "http(s)"}[request.tls]
    usual = {"http": 80, "https": 443}.get(scheme, 0)
    authority = request.authority.decode("latin-1") or "(no host)"
    port = "" if ":" in authority.rpartition("]")[2] or request.port in (0, usual) else f":{request.port}"
    line = f"{request.method.decode('latin-1')} {scheme}://{authority}{port}{request.target.decode('latin-1')}"
    return line + _hello(request)


def _hello(request: Request) -> str:
    """Return what the client's TLS asks for, where that is not the host."""
    name = request.server_name
    if not request.tls or name == host_key(request.authority):
        return ""
    return f", over TLS for {name.decode('latin-1')}" if name else ", over TLS without a server name"
