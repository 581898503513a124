"""A server of one's own manners for tests of the real process: a function per connection, in threads."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Handle", "peer", "read_until", "relay"]

Handle = Callable[[socket.socket], None]


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256


@contextmanager
def peer(address: tuple[str, int], handle: Handle) -> Iterator[tuple[str, int]]:
    """Run *handle* on each connection to *address*; it may end by closing or by an OSError."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.settimeout(60)
            with contextlib.suppress(OSError):
                handle(self.request)

    with _Server(address, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_address[:2]
        finally:
            server.shutdown()
            thread.join()


def read_until(sock: socket.socket, end: bytes) -> bytes:
    """Read byte by byte up to and with *end*; ConnectionError if the stream ends before."""
    data = b""
    while not data.endswith(end):
        piece = sock.recv(1)
        if not piece:
            raise ConnectionError(f"ended after {data!r}")
        data += piece
    return data


def relay(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until both sides have ended."""

    def carry(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    back = threading.Thread(target=carry, args=(other, one), daemon=True)
    back.start()
    carry(one, other)
    back.join()
