"""What another table would have done: each request is decided on it as well, and what differs is counted. Pure.

Nothing here touches the request. Counts are kept by (listener, what happened, what would have), at most MAX_PAIRS of
them with MAX_SAMPLES requests each; beyond, they are one sum. A sample has no query, no client and no header fields.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, NamedTuple

from gatewayproxy.model.names import BindKey
from gatewayproxy.routing.dispatch import Incoming, dispatch
from gatewayproxy.routing.match import find_host, host_key
from gatewayproxy.routing.server_names import find_target
from gatewayproxy.routing.table import HostIndex, ListenerLabel, Port, PortKind, RouteEntry, RoutingTable, SniAction

__all__ = ["MAX_PAIRS", "MAX_SAMPLES", "Came", "Shadow"]

MAX_PAIRS: Final = 100
MAX_SAMPLES: Final = 3  # of a pair: the last ones
MAX_TEXT_BYTES: Final = 512  # of a host or path in a sample
_OTHER: Final = "(other)"
_NOTHING: Final = HostIndex()
_SCHEMES: Final = {b"http": (PortKind.HTTP,), b"https": (PortKind.HTTPS, PortKind.TLS)}


class Came(NamedTuple):
    """Where a request came in."""

    bound: BindKey
    scheme: bytes
    listener: ListenerLabel | None  # that the server name of its connection led to
    label: str  # the listener it is counted for


class _Pair:
    """What happened to some requests, and what would have."""

    __slots__ = ("n", "samples")

    def __init__(self) -> None:
        self.n = 0
        self.samples: deque[tuple[str, str, str]] = deque(maxlen=MAX_SAMPLES)


class Shadow:
    """A table that decides and does nothing else."""

    def __init__(self, table: RoutingTable) -> None:
        self.digest = table.digest
        self.n_requests = 0
        self.n_failed = 0  # requests that could not be decided: an error of ours
        self.n_different = 0
        self._ports = {port.bound: port for port in table.ports}
        self._pairs: dict[tuple[str, str, str], _Pair] = {}

    def compare(self, came: Came, request: Incoming, host: bytes, entry: RouteEntry | None, reason: str) -> None:
        """Decide *request* for *host*, and compare with what happened: *entry* took it, or *reason* was answered.

        Never raises.
        """
        self.n_requests += 1
        try:
            found, why = self._decide(came, request, host)
        except Exception:  # what a candidate does must not reach a request
            self.n_failed += 1
            return
        if found is None or entry is None:
            same = found is entry and why == reason
        else:
            same = found.fingerprint == entry.fingerprint
        if not same:
            self._note(came.label, _text(entry, reason), self._would(entry, found, why), request, host)

    def _decide(self, came: Came, request: Incoming, host: bytes) -> tuple[RouteEntry | None, str]:
        port = self._ports.get(came.bound)
        if port is None:
            return None, "no_port"
        if port.kind not in _SCHEMES[came.scheme]:
            return None, "wrong_protocol"
        vhost = find_host(port.http or _NOTHING, host_key(host))
        own = _listener(port, came.listener, host_key(host))
        entry, reason, _ = dispatch(vhost, request, own, came.scheme)
        return entry, "" if entry is not None else reason

    @staticmethod
    def _would(entry: RouteEntry | None, found: RouteEntry | None, why: str) -> str:
        text = _text(found, why)
        if entry is None or found is None or text != _text(entry, ""):
            return text
        return (
            f"{text}, changed" if entry.label.listener == found.label.listener else f"{text} on {found.label.listener}"
        )

    def _note(self, listener: str, did: str, would: str, request: Incoming, host: bytes) -> None:
        self.n_different += 1
        key = (listener, did, would)
        pair = self._pairs.get(key)
        if pair is None:
            if len(self._pairs) >= MAX_PAIRS:
                key = (_OTHER, _OTHER, _OTHER)
            pair = self._pairs.setdefault(key, _Pair())
        pair.n += 1
        pair.samples.append((_shown(request.method), _shown(host), _shown(request.path)))

    def told(self) -> dict[str, Any]:
        """Return the counts, ready for JSON."""
        return {
            "digest": self.digest,
            "requests": self.n_requests,
            "failed": self.n_failed,
            "different": self.n_different,
            "pairs": [[*key, pair.n, list(pair.samples)] for key, pair in self._pairs.items()],
        }


def _listener(port: Port, listener: ListenerLabel | None, host: bytes) -> ListenerLabel | None:
    """Return the listener of *port* that the connection would have got: that of the same name.

    Where it has gone, the one of *host*, which is what most clients give for a server name.
    """
    if listener is None or port.sni is None:
        return None
    for label in port.listeners:
        if label.name == listener.name:
            return label
    target = find_target(port.sni, host)
    return target.listener if target is not None and target.action is SniAction.HTTP else listener


def _text(entry: RouteEntry | None, reason: str) -> str:
    return f"{entry.label.route_text} rule {entry.label.rule_text}" if entry is not None else reason


def _shown(raw: bytes) -> str:
    return raw[:MAX_TEXT_BYTES].decode("latin-1")
