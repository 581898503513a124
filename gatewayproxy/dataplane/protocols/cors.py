"""CORS at work: preflights are answered here, and answers of our own say what a backend's would (GEP-1767).

Which requests are preflights, and whose filter answers them, `routing.dispatch` knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayproxy.wire.origins import actual_lines, preflight_lines

if TYPE_CHECKING:
    from gatewayproxy.dataplane.protocols.exchange import Exchange
    from gatewayproxy.routing.table import RouteEntry

__all__ = ["answer_lines", "answer_preflight"]

_VARY = b"vary: origin, access-control-request-method, access-control-request-headers\r\n"


def answer_preflight(exchange: Exchange, entry: RouteEntry) -> None:
    """Answer a preflight that `routing.dispatch` found the CORS filter of *entry* to be meant by."""
    head, cors = exchange.head, entry.cors
    assert cors is not None
    origin, method = head.field(b"origin") or b"", head.field(b"access-control-request-method") or b""
    site = exchange.connection.site
    exchange.target = target = (site.entries.get(entry) or site.open_entry(entry)).own
    target.row.active += 1
    lines = preflight_lines(cors, origin, method, head.field(b"access-control-request-headers"))
    if lines:
        exchange.answer_with(200, "preflight", lines=lines + _VARY, body=b"")
    else:
        exchange.answer_with(403, "origin_not_allowed", f"origin {origin[:200]!r}", lines=_VARY)


def answer_lines(exchange: Exchange) -> bytes:
    """Return what an answer of our own says of CORS, so that scripts may read of the failure; a preflight says it."""
    target = exchange.target
    if target is None or target.entry.cors is None or exchange.reason in ("preflight", "origin_not_allowed"):
        return b""
    return actual_lines(target.entry.cors, exchange.head.field(b"origin"))
