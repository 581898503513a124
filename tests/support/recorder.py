"""An HTTP/1.1 backend that remembers every request whole, and answers as its path asks, in threads of its own.

with recorder("app") as app: ...; app.requests[0].body

/fail/N     503 to the first N requests of this path, then as any other
/trailers   a chunked body and a trailer X-Sum
/stream     "first", then "second" once the test sets `go_on`
any other   200, JSON: backend, method, path, headers (lower-case names, joined by ", ")
"""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

__all__ = ["Recorder", "Request", "recorder"]


class Request(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]  # lower-case names; values of one name joined by ", "
    body: bytes
    peer: int  # the port of the connection's other end


class Recorder(http.server.ThreadingHTTPServer):
    """A running backend."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, name: str, host: str = "127.0.0.1") -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, 0), _Handler)
        self.name = name
        self.requests: list[Request] = []
        self.go_on = threading.Event()
        self.n_failed: Counter[str] = Counter()

    @property
    def endpoint(self) -> str:
        """As the annotation gatewayproxy.io/endpoints wants it."""
        host, port = self.server_address[:2]
        return f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Recorder

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def do_GET(self) -> None:
        asked = Request(self.command, self.path, self._fields(), self._body(), self.client_address[1])
        self.server.requests.append(asked)
        what, _, number = self.path[1:].partition("/")
        if what == "fail" and self.server.n_failed[self.path] < int(number):
            self.server.n_failed[self.path] += 1
            self._answer(503, b"")
        elif what == "trailers":
            self._pieces(b"body", end=b"0\r\nX-Sum: 42\r\n\r\n")
        elif what == "stream":
            self._pieces(b"first")
            self.server.go_on.wait(60)
            self.wfile.write(b"6\r\nsecond\r\n0\r\n\r\n")
        else:
            seen = {"backend": self.server.name, **asked._asdict(), "body": asked.body.decode("latin-1")}
            self._answer(200, json.dumps(seen).encode())

    do_POST = do_PUT = do_GET

    def _fields(self) -> dict[str, str]:
        return {name.lower(): ", ".join(self.headers.get_all(name, [])) for name in self.headers}

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", "0")))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _pieces(self, first: bytes, end: bytes = b"") -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n%s" % (len(first), first, end))

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def recorder(name: str, host: str = "127.0.0.1") -> Iterator[Recorder]:
    """Run a recording backend on a port of its own."""
    with Recorder(name, host) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.go_on.set()
            server.shutdown()
            thread.join()
