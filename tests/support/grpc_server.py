"""A gRPC server of grpcio or grpclib in a process of its own: `python -m tests.support.grpc_server grpcio`.

"grpcio-unavailable" and "grpclib-unavailable" answer Unary with UNAVAILABLE, one in its head, one in trailers.

Prints its port, serves until its standard input ends. Messages are bytes; the methods of `peers.Echo`:

    Unary    unary → unary     the message back; metadata x-ask and x-ask-bin come back as x-initial.. and x-trailing..
    Collect  stream → unary    all messages joined by ","
    Count    unary → stream    b"3" → b"1", b"2", b"3"
    Chat     stream → stream   each message back, as it comes
    Fail     unary → stream    a message, then ABORTED with `MESSAGE` and trailing metadata
    Refuse   unary → unary     FAILED_PRECONDITION with `MESSAGE` and no answer: trailers only
    Hang     stream → stream   a message with the seconds that are left, then nothing
    Gone     unary → unary     b"yes" when the call of Hang that began with this message was cancelled, within 10 s
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import grpc
import grpc.aio
import grpclib.server
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from tests.support.grpc_peers import MESSAGE, SERVICE, Bytes

MAX_BYTES: Final = 16 << 20
METADATA: Final = ("x-ask", "x-ask-bin")


class Gone:
    """The calls of Hang that were cancelled."""

    def __init__(self) -> None:
        self._events: dict[bytes, asyncio.Event] = {}

    def event(self, name: bytes) -> asyncio.Event:
        return self._events.setdefault(name, asyncio.Event())

    async def answer(self, name: bytes) -> bytes:
        try:
            async with asyncio.timeout(60):
                await self.event(name).wait()
        except TimeoutError:
            return b"no"
        return b"yes"


def renamed(metadata: Any, prefix: str) -> list[tuple[str, Any]]:
    return [(name.replace("x-ask", prefix), value) for name, value in metadata if name in METADATA]


# --- grpcio

Context = grpc.aio.ServicerContext[bytes, bytes]


class Grpcio:
    def __init__(self) -> None:
        self.gone = Gone()

    async def unary(self, message: bytes, context: Context) -> bytes:
        metadata = context.invocation_metadata()
        await context.send_initial_metadata(renamed(metadata, "x-initial"))
        context.set_trailing_metadata(renamed(metadata, "x-trailing"))
        return message

    async def collect(self, messages: AsyncIterator[bytes], _: Context) -> bytes:
        return b",".join([message async for message in messages])

    async def count(self, message: bytes, _: Context) -> AsyncIterator[bytes]:
        for n in range(int(message)):
            yield b"%d" % (n + 1)

    async def chat(self, messages: AsyncIterator[bytes], _: Context) -> AsyncIterator[bytes]:
        async for message in messages:
            yield message

    async def fail(self, message: bytes, context: Context) -> AsyncIterator[bytes]:
        yield message
        await context.abort(grpc.StatusCode.ABORTED, MESSAGE, (("x-why", "told"), ("x-why-bin", b"\0\xff")))

    async def refuse(self, _: bytes, context: Context) -> bytes:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, MESSAGE)
        return b""

    async def hang(self, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        message = await anext(messages)
        left = context.time_remaining()
        yield b"" if left is None or left > 1e6 else b"%f" % left
        try:
            await asyncio.Event().wait()
        finally:
            self.gone.event(message).set()

    async def was_gone(self, message: bytes, _: Context) -> bytes:
        return await self.gone.answer(message)

    def methods(self) -> dict[str, Any]:
        return {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Collect": grpc.stream_unary_rpc_method_handler(self.collect),
            "Count": grpc.unary_stream_rpc_method_handler(self.count),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
            "Fail": grpc.unary_stream_rpc_method_handler(self.fail),
            "Refuse": grpc.unary_unary_rpc_method_handler(self.refuse),
            "Hang": grpc.stream_stream_rpc_method_handler(self.hang),
            "Gone": grpc.unary_unary_rpc_method_handler(self.was_gone),
        }


async def start_grpcio(service: Grpcio | None = None) -> int:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MAX_BYTES), ("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, (service or Grpcio()).methods()),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    KEPT.append(server)
    return port


# --- grpclib

Call = grpclib.server.Stream[bytes, bytes]


class Grpclib:
    def __init__(self) -> None:
        self.gone = Gone()

    async def unary(self, call: Call) -> None:
        message = await received(call)
        metadata = (call.metadata or {}).items()
        await call.send_initial_metadata(metadata=renamed(metadata, "x-initial"))
        await call.send_message(message)
        await call.send_trailing_metadata(metadata=renamed(metadata, "x-trailing"))

    async def collect(self, call: Call) -> None:
        await call.send_message(b",".join([message async for message in call]))

    async def count(self, call: Call) -> None:
        for n in range(int(await received(call))):
            await call.send_message(b"%d" % (n + 1))

    async def chat(self, call: Call) -> None:
        async for message in call:
            await call.send_message(message)

    async def fail(self, call: Call) -> None:
        await call.send_message(await received(call))
        why = [("x-why", "told"), ("x-why-bin", b"\0\xff")]
        await call.send_trailing_metadata(status=Status.ABORTED, status_message=MESSAGE, metadata=why)

    async def refuse(self, call: Call) -> None:
        await received(call)
        raise GRPCError(Status.FAILED_PRECONDITION, MESSAGE)

    async def hang(self, call: Call) -> None:
        message = await received(call)
        await call.send_message(b"" if call.deadline is None else b"%f" % call.deadline.time_remaining())
        try:
            await asyncio.Event().wait()
        finally:
            self.gone.event(message).set()

    async def was_gone(self, call: Call) -> None:
        await call.send_message(await self.gone.answer(await received(call)))

    def __mapping__(self) -> dict[str, Handler]:
        calls: dict[str, tuple[Callable[[Call], Awaitable[None]], Cardinality]] = {
            "Unary": (self.unary, Cardinality.UNARY_UNARY),
            "Collect": (self.collect, Cardinality.STREAM_UNARY),
            "Count": (self.count, Cardinality.UNARY_STREAM),
            "Chat": (self.chat, Cardinality.STREAM_STREAM),
            "Fail": (self.fail, Cardinality.UNARY_STREAM),
            "Refuse": (self.refuse, Cardinality.UNARY_UNARY),
            "Hang": (self.hang, Cardinality.STREAM_STREAM),
            "Gone": (self.was_gone, Cardinality.UNARY_UNARY),
        }
        return {f"/{SERVICE}/{name}": Handler(call, kind, bytes, bytes) for name, (call, kind) in calls.items()}


async def received(call: Call) -> bytes:
    message = await call.recv_message()
    assert message is not None
    return message


async def start_grpclib(service: Grpclib | None = None) -> int:
    server = grpclib.server.Server([service or Grpclib()], codec=Bytes())
    sock = socket.create_server(("127.0.0.1", 0))
    await server.start(sock=sock)
    KEPT.append(server)
    port: int = sock.getsockname()[1]
    return port


# --- servers that are there and cannot serve


class UnavailableGrpcio(Grpcio):
    async def unary(self, message: bytes, context: Context) -> bytes:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "warming up")  # no head before: trailers only
        return b""


async def start_unavailable_grpcio() -> int:
    return await start_grpcio(UnavailableGrpcio())


class UnavailableGrpclib(Grpclib):
    async def unary(self, call: Call) -> None:
        await received(call)
        await call.send_initial_metadata()  # so that the status comes in trailers
        await call.send_trailing_metadata(status=Status.UNAVAILABLE, status_message="warming up")


async def start_unavailable_grpclib() -> int:
    return await start_grpclib(UnavailableGrpclib())


KEPT: list[object] = []
START: Final = {
    "grpcio": start_grpcio,
    "grpclib": start_grpclib,
    "grpcio-unavailable": start_unavailable_grpcio,
    "grpclib-unavailable": start_unavailable_grpclib,
}


async def main(name: str) -> None:
    print(await START[name](), flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
    os._exit(0)  # calls that hang are no reason to stay
