"""A blocking TLS client over memory BIOs: every byte on the wire can be cut, held back or forged."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable

Split = Callable[[bytes], Iterable[bytes]]


def whole(data: bytes) -> Iterable[bytes]:
    """Send as one segment."""
    return (data,)


def bytewise(data: bytes) -> Iterable[bytes]:
    """Send each byte by itself."""
    return (data[i : i + 1] for i in range(len(data)))


def records_of(size: int) -> Split:
    """Cut the (only) record of a flight into records of *size* bytes."""

    def split(data: bytes) -> Iterable[bytes]:
        head, body = data[:3], data[5:]
        pieces = (body[i : i + size] for i in range(0, len(body), size))
        return (b"".join(head + len(piece).to_bytes(2, "big") + piece for piece in pieces),)

    return split


class TlsClient:
    """One connection; *split* cuts what is sent."""

    def __init__(self, port: int, context: ssl.SSLContext, name: str | None, *, split: Split = whole) -> None:
        self.split = split
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)

    def __enter__(self) -> TlsClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def flush(self) -> None:
        """Send what OpenSSL has to send."""
        data = self.outgoing.read()
        if data:
            for piece in self.split(data):
                self.sock.sendall(piece)

    def fill(self) -> None:
        """Receive once; ConnectionError at the end of the stream."""
        data = self.sock.recv(65_536)
        if not data:
            raise ConnectionError("closed by the server")
        self.incoming.write(data)

    def handshake(self, *, split_hello: Split | None = None, data: bytes = b"") -> TlsClient:
        """Shake hands; *split_hello* cuts the first flight instead of `split`, *data* goes with our last one."""
        usual, self.split = self.split, split_hello or self.split
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                self.split = usual
                self.fill()
            else:
                if data:
                    self.tls.write(data)
                self.flush()
                return self

    def send(self, data: bytes) -> None:
        """Encrypt and send *data*."""
        self.tls.write(data)
        self.flush()

    def receive(self, n: int) -> bytes:
        """Return exactly *n* bytes of plaintext."""
        data = b""
        while len(data) < n:
            try:
                piece = self.tls.read(n - len(data))
            except ssl.SSLWantReadError:
                self.fill()
                continue
            if not piece:
                raise ConnectionError("close_notify")
            data += piece
        return data

    def end(self) -> str:
        """Read to the end; say how it came: "close_notify", "fin" (a truncation) or "reset"."""
        while True:
            try:
                if not self.tls.read(65_536):
                    return "close_notify"
            except ssl.SSLZeroReturnError:  # both sides have said it
                return "close_notify"
            except ssl.SSLWantReadError:
                try:
                    self.fill()
                except ConnectionResetError:
                    return "reset"
                except ConnectionError:
                    return "fin"

    def close_notify(self) -> None:
        """Say that nothing more comes, and leave TCP open."""
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass
        self.flush()
