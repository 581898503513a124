"""Peers that the seed systems name: gRPC health and reflection, a NATS-like server, a CONNECT proxy, a token stream."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from grpclib.client import Channel, StreamStreamMethod, UnaryUnaryMethod
from grpclib.const import Cardinality, Handler
from grpclib.server import Server, Stream

from tests.support.grpc_peers import Bytes
from tests.support.threaded_peer import Handle, peer, read_until, relay

__all__ = ["GrpcServer", "connect_proxy", "grpc_check", "grpc_list", "grpc_server", "nats", "streaming", "tokens"]

CHECK = "/grpc.health.v1.Health/Check"
LIST = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
SERVING = b"\x08\x01"  # HealthCheckResponse{status: SERVING}
LIST_SERVICES = b"\x3a\x00"  # ServerReflectionRequest{list_services: ""}
SERVICES = ("grpc.health.v1.Health", "nvcf.Invocation")


class GrpcServer:
    """Answers health checks and lists its services."""

    async def check(self, stream: Stream[bytes, bytes]) -> None:
        assert await stream.recv_message() == b""
        await stream.send_message(SERVING)

    async def list(self, stream: Stream[bytes, bytes]) -> None:
        async for request in stream:
            assert request == LIST_SERVICES
            names = (name.encode() for name in SERVICES)
            entries = (_tagged(1, _tagged(1, name)) for name in names)
            await stream.send_message(_tagged(6, b"".join(entries)))  # list_services_response

    def __mapping__(self) -> dict[str, Handler]:
        return {
            CHECK: Handler(self.check, Cardinality.UNARY_UNARY, bytes, bytes),
            LIST: Handler(self.list, Cardinality.STREAM_STREAM, bytes, bytes),
        }


def _tagged(number: int, value: bytes) -> bytes:
    """Return a length-delimited protobuf field of less than 128 bytes."""
    return bytes([number << 3 | 2, len(value)]) + value


@asynccontextmanager
async def grpc_server(address: tuple[str, int]) -> AsyncIterator[None]:
    """Serve gRPC, clear text by prior knowledge, at *address*."""
    server = Server([GrpcServer()], codec=Bytes())
    await server.start(*address)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


def _channel(host: str, port: int, authority: str) -> Channel:
    channel = Channel(host, port, codec=Bytes())
    channel._authority = authority or channel._authority
    return channel


async def grpc_check(host: str, port: int, authority: str = "") -> bool:
    """Return whether the server at *host*:*port* says that it is SERVING; *authority* as `grpcurl -authority`."""
    channel = _channel(host, port, authority)
    try:
        answer = await UnaryUnaryMethod(channel, CHECK, bytes, bytes)(b"", timeout=60)
        return bool(answer == SERVING)
    finally:
        channel.close()


async def grpc_list(host: str, port: int, authority: str = "") -> bytes:
    """Return the answer to a request for the list of services, as protobuf."""
    channel = _channel(host, port, authority)
    try:
        (answer,) = await StreamStreamMethod(channel, LIST, bytes, bytes)([LIST_SERVICES], timeout=60)
        return bytes(answer)
    finally:
        channel.close()


def nats(sock: socket.socket) -> None:
    """Speak first, as NATS does; then answer PING, and MSG to every PUB."""
    info = {"server_id": "N", "version": "2.10.0", "proto": 1, "max_payload": 1_048_576}
    sock.sendall(f"INFO {json.dumps(info)}\r\n".encode())
    while True:
        verb, *words = read_until(sock, b"\r\n").split()
        if verb == b"PING":
            sock.sendall(b"PONG\r\n")
        elif verb == b"PUB":
            subject, size = words
            payload = read_until(sock, b"\r\n")
            assert len(payload) == int(size) + 2
            sock.sendall(b"MSG %s 1 %s\r\n%s" % (subject, size, payload))


def connect_proxy(asked: list[bytes], origin: tuple[str, int]) -> Handle:
    """Return a CONNECT proxy that leads everything to *origin* and notes the request lines in *asked*."""

    def handle(sock: socket.socket) -> None:
        head = read_until(sock, b"\r\n\r\n")
        asked.append(head.partition(b"\r\n")[0])
        with socket.create_connection(origin, timeout=60) as up:
            sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            relay(sock, up)

    return handle


def tokens(may_go_on: threading.Semaphore, on_head: Callable[[bytes], None]) -> Handle:
    """Return a backend that streams "data: one", then "data: [DONE]"; the head and each event wait for *may_go_on*."""

    def handle(sock: socket.socket) -> None:
        on_head(read_until(sock, b"\r\n\r\n"))
        may_go_on.acquire(timeout=60)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for event in (b"data: one\n\n", b"data: [DONE]\n\n"):
            may_go_on.acquire(timeout=60)
            sock.sendall(b"%x\r\n%s\r\n" % (len(event), event))
        sock.sendall(b"0\r\n\r\n")

    return handle


@contextmanager
def streaming(
    address: tuple[str, int], connection: http.client.HTTPConnection, host: str
) -> Iterator[tuple[Callable[[], http.client.HTTPResponse], Callable[[], None]]]:
    """Ask *host* for `tokens` from a backend at *address*.

    Yield two functions: one returns the response as soon as its head is there, one lets the backend go on a step.
    """
    steps, arrived = threading.Semaphore(0), threading.Event()
    with peer(address, tokens(steps, lambda _: arrived.set())):
        connection.request("POST", "/v1/chat/completions", body=b"{}", headers={"Host": host})
        assert arrived.wait(60), "no request reached the backend"
        try:
            yield connection.getresponse, steps.release
        finally:
            steps.release(3)
