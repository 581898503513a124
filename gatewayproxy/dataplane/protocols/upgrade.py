"""Tunnels: after a 101 the two connections exchange bytes until both directions have ended. RFC 9110 §7.8, RFC 6455.

Each direction ends by itself (half-close). Backpressure is that of the transports; `tunnel_idle_timeout_s` bounds the
silence of both directions together. What is said here of a client's connection holds for a stream of HTTP/2 too, whose
END_STREAM is that end: `http2_tunnel`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayproxy.wire.edit import rewrite_response

if TYPE_CHECKING:
    from gatewayproxy.dataplane.protocols.exchange import Exchange
    from gatewayproxy.dataplane.protocols.http1_exchange import Http1Exchange
    from gatewayproxy.wire.response import ResponseHead

__all__ = ["begin_tunnel", "on_client_eof", "on_upstream_eof", "on_upstream_lost", "switch"]

_LINES = b"connection: upgrade\r\nupgrade: websocket\r\n"


def switch(exchange: Http1Exchange, head: ResponseHead, data: bytes) -> bool:
    """Make *exchange* a tunnel, if it asked for one; *data* follows the 101."""
    if not exchange.head.upgrade or not head.upgrade:
        return False
    target, connection, upstream = exchange.target, exchange.connection, exchange.upstream
    assert target is not None
    assert upstream is not None
    begin_tunnel(exchange, 101)
    exchange.bytes_out += len(data)
    connection.transport.write(rewrite_response(head, _LINES, target.response) + data)
    early = connection.start_tunnel()
    if early:
        exchange.bytes_in += len(early)
        upstream.send(early, complete=False)
    if connection.at_eof:
        on_client_eof(exchange)
    return True


def begin_tunnel(exchange: Exchange, status: int) -> None:
    """Note that the answer is *status* and that a tunnel follows: timeouts bound the handshake alone."""
    exchange.status = status
    exchange.out = b""
    exchange.tunnel = True
    for timer in (exchange.request_timer, exchange.upstream_timer):
        if timer is not None:
            timer.cancel()


def on_client_eof(exchange: Exchange) -> None:
    """Pass the client's end on; the other direction goes on unless it has ended too."""
    upstream = exchange.upstream
    if upstream is None or exchange.connection.tunnel_half_closed:
        _end(exchange)
        return
    exchange.connection.tunnel_half_closed = True
    upstream.send_eof()


def on_upstream_eof(exchange: Exchange) -> None:
    """Pass the endpoint's end on."""
    connection = exchange.connection
    if connection.tunnel_half_closed:
        _end(exchange)
        return
    connection.tunnel_half_closed = True
    connection.send_eof()


def on_upstream_lost(exchange: Exchange, reason: str) -> None:
    """The endpoint is gone: what it sent is delivered, then the client's connection closes.

    *reason* is told unless one direction had ended before: then this was the other one's turn.
    """
    if not exchange.connection.tunnel_half_closed:
        exchange.reason = reason
    exchange.connection.close()


def _end(exchange: Exchange) -> None:
    """Close both connections: each gets what is still buffered for it, if it takes it in time."""
    upstream, exchange.upstream = exchange.upstream, None
    connection = exchange.connection
    if upstream is not None:
        if upstream.unsent:
            connection.site.loop.call_later(connection.site.limits.idle_timeout_s, upstream.abandon)
        upstream.close()
    connection.close()
