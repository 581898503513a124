"""Run an example folder on loopback: `python config/demo.py config/quickstart [FLAG ...]`.

Makes what a cluster would have supplied, then starts `gatewayproxy run` on the folder with the flags:
- a certificate for every Secret whose `gatewayproxy.io/cert-file` is absent (self-signed, 30 days);
- a backend at every loopback endpoint of a Service. `demo.gatewayproxy.io/serves` says what it speaks: http (an echo
  in JSON), https (the same behind its own certificate), greeting (a line before the client says anything, then an
  echo of lines), grpc (calls of shop.v1.Cart), nothing (somebody else listens there, or nobody should).
Ports below 1024 are moved up by 8000, so that nobody needs to be root. Ctrl-C ends everything.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import ipaddress
import json
import os
import shlex
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpclib.const import Cardinality
from grpclib.const import Handler as CallHandler
from grpclib.encoding.base import CodecBase
from grpclib.server import Server as GrpcServer
from grpclib.server import Stream

ENDPOINTS = "gatewayproxy.io/endpoints"
CERT_FILE = "gatewayproxy.io/cert-file"
KEY_FILE = "gatewayproxy.io/key-file"
SERVES = "demo.gatewayproxy.io/serves"
NAMES = "demo.gatewayproxy.io/names"
PRIVILEGED = 1024
MOVED_UP = 8000
MAX_BODY = 1 << 20


class Document(NamedTuple):
    """A manifest and the folder that its file paths are relative to."""

    folder: Path
    tree: Mapping[str, Any]

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.tree.get("metadata", {}).get("annotations") or {}

    @property
    def name(self) -> str:
        metadata = self.tree.get("metadata", {})
        return f"{metadata.get('namespace', 'default')}/{metadata.get('name')}"


def documents(folder: Path) -> Iterator[Document]:
    """Yield the manifests of *folder*, deepest last."""
    for file in sorted(folder.rglob("*.yaml")):
        for tree in yaml.safe_load_all(file.read_text()):
            if isinstance(tree, dict):
                yield Document(file.parent, tree)


# --- certificates


def issue(certificate: Path, key: Path, names: list[str]) -> None:
    """Write a self-signed pair for *names*; the key is readable by its owner only."""
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([general_name(name) for name in names]), critical=False)
        .sign(private, hashes.SHA256())
    )
    certificate.parent.mkdir(parents=True, exist_ok=True)
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key.touch(mode=0o600)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def general_name(name: str) -> x509.GeneralName:
    """Return *name* as a SAN: an address or a DNS name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def issue_missing(folder: Path) -> list[Path]:
    """Make the certificates that Secrets of *folder* name and that are not there; return them."""
    made = []
    for document in documents(folder):
        if document.tree.get("kind") != "Secret" or NAMES not in document.annotations:
            continue
        certificate = document.folder / document.annotations[CERT_FILE]
        if not certificate.exists():
            names = [name.strip() for name in document.annotations[NAMES].split(",")]
            issue(certificate, document.folder / document.annotations[KEY_FILE], names)
            made.append(certificate)
    return made


# --- backends


class Echo(BaseHTTPRequestHandler):
    """Answers any request with what it saw, as JSON."""

    protocol_version = "HTTP/1.1"
    service: ClassVar[str] = ""

    def answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(min(length, MAX_BODY))
        seen = {
            "service": self.service,
            "endpoint": "{}:{}".format(*self.connection.getsockname()[:2]),
            "method": self.command,
            "path": self.path,
            "headers": dict(self.headers.items()),
            "body": body.decode("utf-8", "replace"),
        }
        reply = (json.dumps(seen, indent=2) + "\n").encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the gateway's access log has it."""


class Greeting(socketserver.StreamRequestHandler):
    """Speaks first, then repeats every line."""

    service: ClassVar[str] = ""

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            self.wfile.write(f"hello from {self.service}\n".encode())
            while line := self.rfile.readline(MAX_BODY):
                self.wfile.write(line)


class LineServer(socketserver.ThreadingTCPServer):
    """A thread per connection; restarts need not wait for old connections."""

    allow_reuse_address = True
    daemon_threads = True


class TlsServer(ThreadingHTTPServer):
    """HTTPS; the handshake belongs to the connection's thread, a silent client holds up nobody else."""

    context: ssl.SSLContext

    def finish_request(self, request: Any, client_address: Any) -> None:
        with contextlib.suppress(OSError), self.context.wrap_socket(request, server_side=True) as tls:
            super().finish_request(tls, client_address)


class Octets(CodecBase):
    """Messages as they are on the wire: the demo has no protobuf."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> bytes:
        return data


class CallServer:
    """gRPC in clear text: Get and Add of shop.v1.Cart answer with the name of the Service, as text."""

    def __init__(self, service: str, host: str, port: int) -> None:
        self.service = service
        self.listening = socket.create_server((host, port))

    def __mapping__(self) -> Mapping[str, CallHandler]:
        handler = CallHandler(self.answer, Cardinality.UNARY_UNARY, bytes, bytes)
        return {f"/shop.v1.Cart/{method}": handler for method in ("Get", "Add")}

    async def answer(self, stream: Stream[bytes, bytes]) -> None:
        await stream.recv_message()
        await stream.send_message(f"{self.service}\n".encode())

    def serve_forever(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        calls = GrpcServer([self], codec=Octets())
        await calls.start(sock=self.listening)
        await calls.wait_closed()


def server(document: Document, host: str, port: int) -> socketserver.BaseServer | CallServer:
    """Return a backend for the Service *document*, bound to *host*:*port*."""
    serves = document.annotations.get(SERVES, "http")
    handler: Any = type("Handler", (Greeting if serves == "greeting" else Echo,), {"service": document.name})
    if serves == "greeting":
        return LineServer((host, port), handler)
    if serves == "http":
        return ThreadingHTTPServer((host, port), handler)
    if serves == "grpc":
        return CallServer(document.name, host, port)
    if serves != "https":
        raise SystemExit(f"{document.name}: {SERVES} is http, https, greeting, grpc or nothing, not {serves!r}")
    name = document.name.partition("/")[2]
    certificate, key = (document.folder / "certs" / f"backend-{name}.{suffix}" for suffix in ("crt", "key"))
    if not certificate.exists():
        issue(certificate, key, [document.annotations.get(NAMES, f"{name}.localhost")])
    secure = TlsServer((host, port), handler)
    secure.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secure.context.load_cert_chain(certificate, key)
    return secure


def endpoints(document: Document) -> Iterator[tuple[str, int]]:
    """Yield the loopback addresses where the Service *document* is said to listen."""
    if document.tree.get("kind") != "Service" or document.annotations.get(SERVES) == "nothing":
        return
    for item in document.annotations.get(ENDPOINTS, "").split(","):
        host, _, port = item.strip().rpartition("=")[2].rpartition(":")
        if host.startswith("127."):
            yield host, int(port)


def start_backends(folder: Path) -> list[socketserver.BaseServer | CallServer]:
    """Start every demo backend of *folder*, each in a thread of its own."""
    running: list[socketserver.BaseServer | CallServer] = []
    for document in documents(folder):
        for host, port in endpoints(document):
            try:
                backend = server(document, host, port)
            except OSError as error:
                raise SystemExit(
                    f"backend {document.name}: {host}:{port}: {error.strerror}; is a demo running?"
                ) from None
            threading.Thread(target=backend.serve_forever, name=document.name, daemon=True).start()
            running.append(backend)
    return running


# --- the whole


def moved_ports(folder: Path) -> list[str]:
    """Return the flags that move privileged listener ports up."""
    ports = {
        listener["port"]
        for document in documents(folder)
        if document.tree.get("kind") == "Gateway"
        for listener in document.tree["spec"]["listeners"]
    }
    return [f"--map-port={port}={port + MOVED_UP}" for port in sorted(ports) if port < PRIVILEGED]


def hints(folder: Path) -> list[str]:
    """Return the commands of the folder's README that may be tried while it runs, and first what they need."""
    readme = folder / "README.md"
    lines = readme.read_text().splitlines() if readme.exists() else []
    path = f"$ export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
    return [path] + [line for line in lines if line.startswith("$ ")]


def main() -> int:
    parser = argparse.ArgumentParser(description="Run an example folder on loopback, with backends of its own.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backends-only", action="store_true", help="no gateway: start that yourself")
    options, flags = parser.parse_known_args()
    for certificate in issue_missing(options.folder):
        print(f"made {certificate}, self-signed")
    running = start_backends(options.folder)
    print(f"{len(running)} backends, {options.folder}")
    ports = moved_ports(options.folder)
    if options.backends_only:
        print("gateway: gatewayproxy run", options.folder, *ports, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
        return 0
    command = [sys.executable, "-m", "gatewayproxy", "run", str(options.folder), *ports, *flags]
    print(*command[2:])
    print(
        "\nTry, in another terminal (Ctrl-C here ends everything):", *hints(options.folder), "", sep="\n  ", flush=True
    )
    # One process group: Ctrl-C reaches the gateway by itself; SIGTERM and SIGHUP are passed on.
    gateway = subprocess.Popen(command)
    print(f"After a change of {options.folder}:\n\n  $ kill -HUP {gateway.pid}\n", flush=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: os.kill(gateway.pid, received))
    return gateway.wait()


if __name__ == "__main__":
    sys.exit(main())
