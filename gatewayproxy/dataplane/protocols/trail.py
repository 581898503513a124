"""The decision trail: why the gateway answers a request itself, in one line of its access log. Out of the warm path.

A 404 is counted among the worker's misses, and told with what came closest, as far as the bound on looking for it lets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatewayproxy.dataplane.misses import MAX_PATH_BYTES, Asked
from gatewayproxy.routing.causes import Cause, host_cause, printable, rule_cause
from gatewayproxy.routing.match import MAX_NAME_BYTES, host_key

if TYPE_CHECKING:
    from gatewayproxy.dataplane.protocols.exchange import Exchange

__all__ = ["UNEXAMINED", "detail"]

UNEXAMINED: Final = "closest not looked for: too many in this second"


def detail(exchange: Exchange, reason: str) -> str:
    """Return why *exchange*, which no entry takes, is answered for *reason*."""
    match reason:
        case "no_rule" | "no_route":
            return _missed(exchange, reason)
        case "misdirected":
            return _misdirected(exchange)
        case "ambiguous_path":
            others = [other for other in exchange.head.other_paths() if other != exchange.head.path]
            return f"also reads as {printable(others[0])}, which leads elsewhere" if others else ""
        case _:
            return ""


def _missed(exchange: Exchange, reason: str) -> str:
    head, site, vhost = exchange.head, exchange.connection.site, exchange.vhost
    misses, now = site.context.misses, exchange.started_at
    if not misses.may_count(now):
        return UNEXAMINED
    host = host_key(head.authority)
    asked = Asked(
        vhost.listener.name if vhost is not None else site.label,
        reason,
        host[:MAX_NAME_BYTES],
        head.method,
        head.path[:MAX_PATH_BYTES],
    )
    miss = misses.count(asked, now, exchange.generation)
    cause = miss.cause
    if cause is None or not cause.lasting or (asked.host, asked.path) != (host, head.path):
        if not misses.may_explain():
            return UNEXAMINED
        cause = miss.cause = _cause(exchange, host)
    return cause.text


def _cause(exchange: Exchange, host: bytes) -> Cause:
    nearest, vhost = exchange.connection.site.nearest, exchange.vhost
    if vhost is None or not vhost.layers:
        return host_cause(host, vhost, nearest.host(host))
    return rule_cause(nearest.match(vhost, exchange.head), exchange.head)


def _misdirected(exchange: Exchange) -> str:
    listener, vhost = exchange.connection.listener, exchange.vhost
    if listener is None or vhost is None:
        return ""
    return (
        f"the connection asked for a name of listener {listener.name}, the request for a host of {vhost.listener.name}"
    )
