"""Names of things: resources, listeners, sockets, places in a file.

Hostnames are `str`, lower-case, without a trailing dot: "a.example.com", "*.example.com", or "" for any host.
On the wire side (routing, dataplane) the same names are `bytes`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["BindKey", "ListenerKey", "Origin", "ResourceKey", "widening"]


class Origin(NamedTuple):
    """A place in a source: file as the operator named it, 1-based line (0: the whole file)."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class ResourceKey(NamedTuple):
    """A Kubernetes object; *namespace* is "" for cluster-scoped kinds."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.full_name}"

    @property
    def full_name(self) -> str:
        """Return `namespace/name`, the form the Gateway API breaks ties by."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class ListenerKey(NamedTuple):
    """A listener of a Gateway, or of a ListenerSet (*kind*); each has names of its own."""

    namespace: str
    parent: str
    name: str
    kind: str = "Gateway"

    def __str__(self) -> str:
        # A namespace has no upper-case letters: the two forms cannot be taken for each other.
        full_name = f"{self.namespace}/{self.parent}/{self.name}"
        return full_name if self.kind == "Gateway" else f"{self.kind}/{full_name}"


class BindKey(NamedTuple):
    """What a socket of a listener is bound to; *address* is an IP literal, "" for all interfaces."""

    address: str
    bind_port: int
    udp: bool = False  # else TCP: each has port numbers of its own

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address or "*"
        return f"{host}:{self.bind_port}{'/udp' if self.udp else ''}"


def widening(name: str) -> Iterator[str]:
    """Yield every hostname that covers *name*, narrowest first: itself, its wildcards, "" (any host)."""
    yield name
    rest = name.removeprefix("*.")
    while "." in rest:
        rest = rest.partition(".")[2]
        yield f"*.{rest}"
    if name:
        yield ""
