"""find(): the one and only matching code, for traffic and for every tool. Pure.

Two questions: which VirtualHost has this host (`find_host`), and which entry of it takes the request (`find_entry`).
Cost does not grow with the number of hosts or routes: dict lookups by label of the host and by segment of the path.
"""

from __future__ import annotations

from typing import Protocol

from gatewayproxy.routing.table import HostIndex, RouteEntry, VirtualHost

__all__ = ["Request", "find_entry", "find_host", "host_key"]


class Request(Protocol):
    """What matching may ask of a request; heads of any protocol version provide it."""

    @property
    def method(self) -> bytes: ...
    @property
    def path(self) -> bytes: ...  # without the query
    @property
    def query(self) -> bytes: ...  # after "?", b"" where there is none
    def field(self, name: bytes) -> bytes | None: ...  # lower-case name; repeated lines joined by ","


def host_key(host: bytes) -> bytes:
    """Return *host* as the index spells it: lower-case, without port and trailing dot."""
    raise NotImplementedError


def find_host(index: HostIndex, host: bytes) -> VirtualHost | None:
    """Return the VirtualHost of *host* (`host_key` form): exact, else longest wildcard suffix, else the default."""
    raise NotImplementedError


def find_entry(vhost: VirtualHost, request: Request) -> RouteEntry | None:
    """Return the entry that takes *request*, by the precedence of HTTPRouteRule.matches, or None (404)."""
    raise NotImplementedError
