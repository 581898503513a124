"""gRPC clients and servers of other people, grpcio and grpclib, behind one interface; messages are bytes.

    with serving("grpcio") as port:
        async with CLIENTS["grpclib"]((host, port)) as client:
            assert (await client.call("Unary", b"x")).messages == [b"x"]

What the methods of the servers do: `tests.support.grpc_server`.
"""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # the tests start processes, and none goes on with gRPC

import grpc
import grpc.aio
from grpclib.client import Channel, StreamStreamMethod, StreamUnaryMethod, UnaryStreamMethod, UnaryUnaryMethod
from grpclib.config import Configuration
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError, StreamTerminatedError

from tests.support import certs
from tests.support.backend import until

__all__ = ["CLIENTS", "ENDED_IN_TIME", "MESSAGE", "METHODS", "SERVICE", "Bytes", "Client", "Outcome", "serving"]

SERVICE: Final = "peers.Echo"
MESSAGE: Final = "50 % für später"  # to be encoded in grpc-message
METHODS: Final = {
    "Unary": (False, False),
    "Collect": (True, False),
    "Count": (False, True),
    "Chat": (True, True),
    "Fail": (False, True),
    "Refuse": (False, False),
    "Hang": (True, True),
    "Gone": (False, False),
}  # whether the client streams, whether the server does; what is none of them is a path, and unary
# DEADLINE_EXCEEDED by the client's clock, or CANCELLED where the gateway's cut an answer that had begun, just earlier.
ENDED_IN_TIME: Final = (4, 1)
MAX_BYTES: Final = 16 << 20
Metadata = Sequence[tuple[str, str | bytes]]


@dataclass
class Outcome:
    """What came of a call."""

    status: int = 0
    message: str = ""
    messages: list[bytes] = field(default_factory=list)
    initial: dict[str, str | bytes] = field(default_factory=dict)
    trailing: dict[str, str | bytes] = field(default_factory=dict)


class Talk(Protocol):
    """A call under way."""

    async def send(self, message: bytes) -> None: ...
    async def receive(self) -> bytes: ...
    async def end(self) -> None: ...
    async def cancel(self) -> None: ...


class Client(Protocol):
    """A channel to one server."""

    async def call(
        self, method: str, *messages: bytes, metadata: Metadata = (), timeout: float | None = None
    ) -> Outcome:
        """Make a call and return what came of it, errors included."""
        ...

    def talk(self, method: str) -> Any:
        """Return an async context manager: a call as a `Talk`."""
        ...


class Bytes(CodecBase):
    """Messages as they are on the wire, for grpclib."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> bytes:
        return bytes(data)


def kind_of(method: str) -> tuple[bool, bool]:
    return METHODS.get(method, (False, False))


def path(method: str) -> str:
    return method if method.startswith("/") else f"/{SERVICE}/{method}"


def joined(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str | bytes]:
    """Return metadata by name, the texts of one name joined as header fields are."""
    found: dict[str, str | bytes] = {}
    for name, value in metadata:
        before = found.get(name)
        found[name] = f"{before}, {value}" if isinstance(before, str) and isinstance(value, str) else value
    return found


@contextmanager
def serving(name: str) -> Iterator[int]:
    """Run the server of *name*, one of `tests.support.grpc_server`, in a process; yield its port on 127.0.0.1."""
    command = [sys.executable, "-m", "tests.support.grpc_server", name]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


# --- grpcio


class _GrpcioTalk:
    def __init__(self, call: Any) -> None:
        self._call = call

    async def send(self, message: bytes) -> None:
        await self._call.write(message)

    async def receive(self) -> bytes:
        return bytes(await self._call.read())

    async def end(self) -> None:
        await self._call.done_writing()

    async def cancel(self) -> None:
        self._call.cancel()


class _GrpcioClient:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    def _start(self, method: str, messages: Iterable[bytes], **options: Any) -> Any:
        streams_in, streams_out = kind_of(method)
        kind = f"{'stream' if streams_in else 'unary'}_{'stream' if streams_out else 'unary'}"
        start = getattr(self._channel, kind)(path(method))
        return start(iter(messages) if streams_in else next(iter(messages)), **options)

    async def call(
        self, method: str, *messages: bytes, metadata: Metadata = (), timeout: float | None = None
    ) -> Outcome:
        call = self._start(method, messages, metadata=tuple(metadata), timeout=timeout)
        outcome = Outcome()
        try:
            if kind_of(method)[1]:
                async for message in call:
                    outcome.messages.append(message)
            else:
                outcome.messages.append(await call)
        except grpc.aio.AioRpcError:
            pass  # the code tells
        outcome.status = (await call.code()).value[0]
        outcome.message = await call.details() or ""
        outcome.initial = joined(await call.initial_metadata() or ())
        outcome.trailing = joined(await call.trailing_metadata() or ())
        return outcome

    @asynccontextmanager
    async def talk(self, method: str) -> AsyncIterator[Talk]:
        assert kind_of(method) == (True, True)
        call = self._channel.stream_stream(path(method))()
        try:
            yield _GrpcioTalk(call)
        finally:
            call.cancel()


@asynccontextmanager
async def _grpcio(address: tuple[str, int], name: str = "", authority: str = "") -> AsyncIterator[Client]:
    target = "{}:{}".format(*address)
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", MAX_BYTES),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
    ]
    if authority:
        options.append(("grpc.default_authority", authority))
    if name:
        options.append(("grpc.ssl_target_name_override", name))
        credentials = grpc.ssl_channel_credentials(certs.authority().cert_pem.bytes())
        opened = grpc.aio.secure_channel(target, credentials, options)
    else:
        opened = grpc.aio.insecure_channel(target, options)
    async with opened:
        yield _GrpcioClient(opened)


# --- grpclib


class _GrpclibTalk:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def send(self, message: bytes) -> None:
        await self._stream.send_message(message)

    async def receive(self) -> bytes:
        message = await self._stream.recv_message()
        assert message is not None
        return bytes(message)

    async def end(self) -> None:
        await self._stream.end()

    async def cancel(self) -> None:
        await self._stream.cancel()


class _GrpclibClient:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def _method(self, name: str) -> Any:
        kinds: dict[tuple[bool, bool], Any] = {
            (False, False): UnaryUnaryMethod,
            (False, True): UnaryStreamMethod,
            (True, False): StreamUnaryMethod,
            (True, True): StreamStreamMethod,
        }
        return kinds[kind_of(name)](self._channel, path(name), bytes, bytes)

    async def call(
        self, method: str, *messages: bytes, metadata: Metadata = (), timeout: float | None = None
    ) -> Outcome:
        outcome = Outcome()
        try:
            async with self._method(method).open(timeout=timeout, metadata=list(metadata)) as stream:
                for n, message in enumerate(messages):
                    await stream.send_message(message, end=n == len(messages) - 1)
                if not messages:
                    await stream.send_request(end=True)
                await stream.recv_initial_metadata()
                async for message in stream:
                    outcome.messages.append(message)
                await stream.recv_trailing_metadata()
        except GRPCError as error:
            outcome.status, outcome.message = error.status.value, error.message or ""
        except TimeoutError:
            outcome.status = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        except StreamTerminatedError as error:
            outcome.status, outcome.message = grpc.StatusCode.CANCELLED.value[0], str(error)
        outcome.initial = dict(stream.initial_metadata or {})
        outcome.trailing = dict(stream.trailing_metadata or {})
        return outcome

    @asynccontextmanager
    async def talk(self, method: str) -> AsyncIterator[Talk]:
        async with self._method(method).open() as stream:
            await stream.send_request()
            yield _GrpclibTalk(stream)
            if not stream._cancel_done and not stream._recv_trailing_metadata_done:
                await stream.cancel()


@asynccontextmanager
async def _grpclib(address: tuple[str, int], name: str = "", authority: str = "") -> AsyncIterator[Client]:
    context: ssl.SSLContext | None = certs.client_context(alpn=("h2",)) if name else None
    config = Configuration(ssl_target_name_override=name or None)
    channel = Channel(*address, ssl=context, config=config, codec=Bytes())
    channel._authority = authority or channel._authority
    try:
        yield _GrpclibClient(channel)
    finally:
        await _closed(channel)


async def _closed(channel: Channel) -> None:
    """Close *channel* for good: a transport inside TLS says farewell first, and may outlive the loop."""
    protocol = channel._protocol
    transport = protocol.connection._transport if protocol is not None else None
    channel.close()
    if transport is not None:
        socket = transport.get_extra_info("socket")
        transport.abort()
        await until(lambda: socket is None or socket.fileno() < 0)


# By name: (host and port, server name of TLS or "", :authority where it is neither) -> context manager.
CLIENTS: Final = {"grpcio": _grpcio, "grpclib": _grpclib}
