"""Tunnels: after a 101 the two connections exchange bytes until both directions have ended. RFC 9110 §7.8, RFC 6455.

Each direction ends by itself (half-close). Backpressure is that of the transports; `tunnel_idle_timeout_s` bounds the
silence of both directions together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayproxy.wire.edit import rewrite_response

if TYPE_CHECKING:
    from gatewayproxy.dataplane.protocols.exchange import Exchange
    from gatewayproxy.wire.response import ResponseHead

__all__ = ["on_client_eof", "on_upstream_eof", "on_upstream_lost", "switch"]

_LINES = b"connection: upgrade\r\nupgrade: websocket\r\n"


def switch(exchange: Exchange, head: ResponseHead, data: bytes) -> bool:
    """Make *exchange* a tunnel, if it asked for one; *data* follows the 101."""
    if not exchange.head.upgrade or not head.upgrade:
        return False
    target, connection, upstream = exchange.target, exchange.connection, exchange.upstream
    assert target is not None
    assert upstream is not None
    exchange.status = 101
    exchange.out = b""
    exchange.tunnel = True
    for timer in (exchange.request_timer, exchange.upstream_timer):
        if timer is not None:
            timer.cancel()  # timeouts bound the handshake, not the conversation
    exchange.bytes_out += len(data)
    connection.transport.write(rewrite_response(head, _LINES, target.response) + data)
    early = connection.start_tunnel()
    if early:
        exchange.bytes_in += len(early)
        upstream.send(early, complete=False)
    return True


def on_client_eof(exchange: Exchange) -> None:
    """Pass the client's end on; the other direction goes on unless it has ended too."""
    upstream = exchange.upstream
    if upstream is None or exchange.connection.tunnel_half_closed:
        exchange.connection.close()
        return
    exchange.connection.tunnel_half_closed = True
    upstream.send_eof()


def on_upstream_eof(exchange: Exchange) -> None:
    """Pass the endpoint's end on."""
    connection = exchange.connection
    if connection.tunnel_half_closed:
        connection.close()
        return
    connection.tunnel_half_closed = True
    if connection.transport.can_write_eof():
        connection.transport.write_eof()


def on_upstream_lost(exchange: Exchange, reason: str) -> None:
    """The endpoint is gone: what it sent is delivered, then the client's connection closes.

    *reason* is told unless one direction had ended before: then this was the other one's turn.
    """
    if not exchange.connection.tunnel_half_closed:
        exchange.reason = reason
    exchange.connection.close()
