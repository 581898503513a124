"""HTTP servers of other people behind the gateway: Python's own over HTTP/1.1, and nginx over HTTP/2 in clear text.

POST /digest    200, JSON: protocol, fields, length and SHA-256 of the body
GET  /bytes/N   200, N bytes, with Content-Length
GET  /stream/N  200, N bytes, without
GET  /trailers  200, and a trailer X-Sum (HTTP/1.1 only: nginx drops it)
GET  /none      204
POST /early     413 before the body is read, then the connection is closed
"""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from tests.support.peers import require, serving
from tests.support.ports import free_port

__all__ = ["http1_server", "nginx_h2c", "pattern"]

_NGINX = """\
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 256; }}
http {{
  access_log off; client_max_body_size 0; keepalive_timeout 60s;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} http2;
    location / {{
      proxy_pass http://127.0.0.1:{origin}; proxy_http_version 1.1; proxy_set_header Host $http_host;
      proxy_set_header Connection ""; proxy_set_header X-Protocol $server_protocol;
      proxy_buffering off; proxy_request_buffering off;
    }}
  }}
}}
"""


def pattern(n: int) -> bytes:
    """Return *n* bytes that do not repeat within a frame."""
    return bytes(range(251)) * (n // 251) + bytes(range(n % 251))


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        what, _, size = self.path[1:].partition("/")
        if what == "none":
            self._answer(204)
        elif what == "bytes":
            self._answer(200, pattern(int(size)))
        elif what == "stream":
            self._stream(pattern(int(size)))
        elif what == "trailers":
            self._stream(b"body", trailer=b"X-Sum: 42\r\n")
        else:
            self._digest(b"")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        if self.path == "/early":
            self._answer(413, b"too much")
            self._body()  # else the kernel resets the connection, and the answer may be lost with it
            self.close_connection = True
            return
        self._digest(self._body())

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", "0")))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline() != b"\r\n":
            pass
        return body

    def _digest(self, body: bytes) -> None:
        fields = {name.lower(): value for name, value in self.headers.items()}
        told = {
            "protocol": fields.get("x-protocol", self.request_version),
            "fields": fields,
            "length": len(body),
            "digest": hashlib.sha256(body).hexdigest(),
        }
        self._answer(200, json.dumps(told).encode())

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _stream(self, body: bytes, trailer: bytes = b"") -> None:
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for at in range(0, len(body), 100_000):
            part = body[at : at + 100_000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n" + trailer + b"\r\n")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that went away


@contextmanager
def http1_server() -> Iterator[int]:
    """Serve HTTP/1.1; yield the port on 127.0.0.1."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@asynccontextmanager
async def nginx_h2c(origin: int, folder: Path) -> AsyncIterator[int]:
    """Serve what is at port *origin* over HTTP/2 by prior knowledge; yield the port on 127.0.0.1."""
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port, origin=origin))
    command = [require("nginx"), "-p", folder, "-c", config, "-e", folder / "error.log"]
    async with serving(command, ("127.0.0.1", port), folder / "nginx.log"):
        yield port
