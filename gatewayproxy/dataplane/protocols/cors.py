"""CORS at work: preflights are answered here, and answers of our own say what a backend's would (GEP-1767).

A preflight announces a request: the rule that this one would reach answers it, if it has a CORS filter. What a
preflight cannot tell are the header fields that a match may ask for. A preflight for a rule without the filter is a
request like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayproxy.routing.match import find_entry
from gatewayproxy.wire.origins import actual_lines, preflight_lines

if TYPE_CHECKING:
    from gatewayproxy.dataplane.protocols.exchange import Exchange
    from gatewayproxy.routing.table import RouteEntry, VirtualHost

__all__ = ["answer_lines", "answer_preflight"]

_VARY = b"vary: origin, access-control-request-method, access-control-request-headers\r\n"


def answer_preflight(exchange: Exchange, vhost: VirtualHost) -> bool:
    """Answer a request of method OPTIONS if it is a preflight and a rule of *vhost* cares; return whether it was."""
    head = exchange.head
    origin, method = head.field(b"origin"), head.field(b"access-control-request-method")
    if origin is None or method is None:
        return False
    entry = _announced_entry(exchange, vhost, method) or find_entry(vhost, head)
    if entry is None or entry.cors is None or (head.odd and not exchange.same_rule(vhost, entry)):
        return False
    site = exchange.connection.site
    exchange.target = target = (site.entries.get(entry) or site.open_entry(entry)).own
    target.row.active += 1
    lines = preflight_lines(entry.cors, origin, method, head.field(b"access-control-request-headers"))
    if lines:
        exchange.answer_with(200, "preflight", lines=lines + _VARY, body=b"")
    else:
        exchange.answer_with(403, "origin_not_allowed", f"origin {origin[:200]!r}", lines=_VARY)
    return True


def answer_lines(exchange: Exchange) -> bytes:
    """Return what an answer of our own says of CORS, so that scripts may read of the failure; a preflight says it."""
    target = exchange.target
    if target is None or target.entry.cors is None or exchange.reason in ("preflight", "origin_not_allowed"):
        return b""
    return actual_lines(target.entry.cors, exchange.head.field(b"origin"))


def _announced_entry(exchange: Exchange, vhost: VirtualHost, method: bytes) -> RouteEntry | None:
    """Return the entry with CORS of the request that a preflight announces, None where that has none."""
    head = exchange.head
    own, head.method = head.method, method
    try:
        entry = find_entry(vhost, head)
        usable = entry is not None and entry.cors is not None and not head.odd
    finally:
        head.method = own
    return entry if usable else None
