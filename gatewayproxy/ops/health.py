"""grpc.health.v1.Health on the admin address, by grpclib: Check, Watch and List.

Service "" is the gateway as a whole, "namespace/name" a Gateway; both say what `/readyz` and the status say. For probes
of Kubernetes (`grpc:`), load balancers and gRPC clients. The messages have two fields, so they are written and read
here, and protobuf is no dependency. What a client can make grpclib hold is bounded by `HealthSession`.
https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from enum import IntEnum
from typing import Any, Final, Protocol, cast

from grpclib.config import Configuration
from grpclib.const import Cardinality, Handler, Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError
from grpclib.server import Server, Stream

from gatewayproxy.ops import logs
from gatewayproxy.wire.h2frames import FRAME_BYTES, PREFACE

__all__ = ["Health", "HealthServer", "HealthSession", "Serving", "Truth"]

log = logging.getLogger(__name__)
# Tracebacks that a client can provoke by closing at the wrong moment; our own faults are logged here.
logging.getLogger("grpclib").setLevel(logging.CRITICAL)

MAX_SESSIONS: Final = 32  # connections; at the bound the longest idle one gives way, else the new one is closed
MAX_WATCHERS: Final = 256  # streams of Watch in all; more are RESOURCE_EXHAUSTED
MAX_LISTED: Final = 100  # services in an answer to List; more are RESOURCE_EXHAUSTED, as the protocol says
MAX_REQUEST_BYTES: Final = 16_384  # of one stream; more closes the connection
REQUEST_TIMEOUT_S: Final = 10.0  # for a request to arrive whole
WATCH_INTERVAL_S: Final = 0.2  # between two looks at the truth
END_S: Final = 1.0  # for clients to take what they are told at the end
_SERVICE: Final = "/grpc.health.v1.Health/"
_FRAME_HEAD_BYTES: Final = 9
_WINDOW_BYTES: Final = 65_535  # the least that grpclib takes, and all that a connection may send unread
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))  # watchers may die


class Serving(IntEnum):
    """HealthCheckResponse.ServingStatus."""

    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3


class Truth(Protocol):
    """Who knows what serves."""

    def serves(self, service: str) -> bool | None:
        """Return whether *service* serves, None if there is none of this name."""
        ...

    def services(self) -> Mapping[str, bool]:
        """Return every service, and whether it serves."""
        ...


class _Bytes(CodecBase):
    """Messages as they are on the wire."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> bytes:
        return data


_Call = Stream[bytes, bytes]


class Health:
    """The service."""

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._n_watchers = 0
        self._ending = asyncio.Event()
        self._unwatched = asyncio.Event()
        self._unwatched.set()

    async def end(self) -> None:
        """Tell those who watch how it stands and end their calls, if they take it within `END_S`."""
        self._ending.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await self._unwatched.wait()

    def __mapping__(self) -> dict[str, Handler]:
        """Return the methods, for grpclib."""
        calls = {
            "Check": (self._check, Cardinality.UNARY_UNARY),
            "List": (self._list, Cardinality.UNARY_UNARY),
            "Watch": (self._watch, Cardinality.UNARY_STREAM),
        }
        return {_SERVICE + name: Handler(_guarded(call), kind, bytes, bytes) for name, (call, kind) in calls.items()}

    async def _check(self, call: _Call) -> None:
        service = service_of(await _request(call))
        serving = self._look(service)
        if serving is Serving.SERVICE_UNKNOWN:
            raise GRPCError(Status.NOT_FOUND, f"no Gateway {service!r}; name one as namespace/name, or none")
        await call.send_message(_answer(serving))

    async def _list(self, call: _Call) -> None:
        await _request(call)
        services = self._truth.services()
        if len(services) > MAX_LISTED:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, f"more than {MAX_LISTED} services; ask /status")
        answer = b""
        for name, serves in services.items():
            entry = _field(1, name.encode()) + _field(2, _answer(_serving(serves)))
            answer += _field(1, entry)
        await call.send_message(answer)

    async def _watch(self, call: _Call) -> None:
        service = service_of(await _request(call))
        if self._n_watchers >= MAX_WATCHERS:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, f"{MAX_WATCHERS} watch already; use Check")
        self._n_watchers += 1
        self._unwatched.clear()
        try:
            told: Serving | None = None
            while True:
                serving = self._look(service)
                if serving is not told:
                    await call.send_message(_answer(serving))
                    told = serving
                if self._ending.is_set():
                    raise GRPCError(Status.UNAVAILABLE, "the gateway stops")
                # Readiness has many causes (a reload, a worker's death, a signal): looking misses none.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(WATCH_INTERVAL_S):
                        await self._ending.wait()
        finally:
            self._n_watchers -= 1
            if not self._n_watchers:
                self._unwatched.set()

    def _look(self, service: str) -> Serving:
        return _serving(self._truth.serves(service))


def _serving(serves: bool | None) -> Serving:
    if serves is None:
        return Serving.SERVICE_UNKNOWN
    return Serving.SERVING if serves else Serving.NOT_SERVING


def _guarded(call: Callable[[_Call], Awaitable[None]]) -> Callable[[_Call], Awaitable[None]]:
    """Return *call* with a log of its own faults; those of the client are its own."""

    async def guarded(stream: _Call) -> None:
        try:
            await call(stream)
        except (GRPCError, OSError, AssertionError):  # grpclib asserts that a message is whole
            raise
        except Exception as error:
            if not error.__class__.__module__.startswith(("grpclib.", "h2.")):
                log.error("admin_failed", exc_info=error, extra=logs.fields(path=_SERVICE))
            raise

    return guarded


async def _request(call: _Call) -> bytes:
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            message = await call.recv_message()
    except TimeoutError:
        raise GRPCError(Status.DEADLINE_EXCEEDED, f"no whole request within {REQUEST_TIMEOUT_S:g} s") from None
    except NotImplementedError:
        raise GRPCError(Status.UNIMPLEMENTED, "messages are not compressed here") from None
    if message is None:
        raise GRPCError(Status.INVALID_ARGUMENT, "a request has a message")
    return message


# --- the messages, in protobuf


def service_of(message: bytes) -> str:
    """Return `service` of a HealthCheckRequest; GRPCError (INVALID_ARGUMENT) if it is none."""
    service, at = b"", 0
    try:
        while at < len(message):
            tag, at = _varint_at(message, at)
            begun_at, at = _value_at(message, at, tag & 7)
            if tag == 0x0A:  # field 1, length-delimited; the last one counts
                service = message[begun_at:at]
        return service.decode()
    except (ValueError, IndexError):
        raise GRPCError(Status.INVALID_ARGUMENT, "not a grpc.health.v1.HealthCheckRequest") from None


def _varint_at(message: bytes, at: int) -> tuple[int, int]:
    """Return the number at *at*, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")


def _value_at(message: bytes, at: int, wire_type: int) -> tuple[int, int]:
    """Return where the value of a field begins and ends."""
    match wire_type:
        case 0:
            return at, _varint_at(message, at)[1]
        case 1 | 5:
            end = at + (8 if wire_type == 1 else 4)
        case 2:
            size, at = _varint_at(message, at)
            end = at + size
        case _:
            raise ValueError("an unknown type of field")
    if end > len(message):
        raise ValueError("a field beyond the end")
    return at, end


def _answer(serving: Serving) -> bytes:
    return bytes((0x08, serving))  # field 1, a number


def _field(number: int, value: bytes) -> bytes:
    """Return a length-delimited field."""
    size, length = len(value), b""
    while size > 0x7F:
        length += bytes((size & 0x7F | 0x80,))
        size >>= 7
    return bytes((number << 3 | 2,)) + length + bytes((size,)) + value


# --- connections


class HealthServer:
    """Speaks gRPC on connections that somebody else accepted."""

    def __init__(self, truth: Truth) -> None:
        config = Configuration(http2_connection_window_size=_WINDOW_BYTES, http2_stream_window_size=_WINDOW_BYTES)
        self._health = Health(truth)
        self._server = Server([self._health], codec=_Bytes(), config=config)
        self._sessions: dict[HealthSession, None] = {}  # in the order in which they came

    async def converse(self, transport: asyncio.BaseTransport, data: bytes) -> None:
        """Serve the client behind *transport*, whose first bytes are *data*, until the connection ends."""
        if len(self._sessions) >= MAX_SESSIONS and not self._make_room():
            return
        # PRIVATE: grpclib would accept connections only by itself; its version is bounded in pyproject.toml.
        session = HealthSession(self._server._protocol_factory())
        self._sessions[session] = None
        try:
            transport.set_protocol(session)
            session.connection_made(transport)
            session.data_received(data)
            await session.lost
        finally:
            del self._sessions[session]

    async def end(self) -> None:
        """Tell those who watch that it is over; their connections stay open."""
        await self._health.end()

    def _make_room(self) -> bool:
        idle = next((session for session in self._sessions if session.idle), None)
        if idle is not None:
            idle.abort()
        return idle is not None


class HealthSession(asyncio.Protocol):
    """A client's connection: grpclib's protocol, with the bounds that it lacks."""

    def __init__(self, inner: Any) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._inner = inner  # grpclib.protocol.H2Protocol
        self._transport: asyncio.Transport
        self._frame_head = b""  # as much as there is of the next one
        self._skip = len(PREFACE)  # bytes until it begins

    @property
    def idle(self) -> bool:
        """Whether no call is under way."""
        return not self._inner.processor.streams

    def abort(self) -> None:
        """End it at once."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Let grpclib read *data*; abort the connection where it cannot, or where a frame or a stream is too long."""
        if self._is_overlong(data):
            self.abort()
            return
        try:
            self._inner.data_received(data)
            streams = self._inner.processor.streams.values()
            if any(stream.data_received > MAX_REQUEST_BYTES for stream in streams):
                self.abort()
        except Exception as error:
            # Frames in an order that grpclib did not expect: the client's fault, and the end of this connection only.
            log.debug("health_client_refused", exc_info=error)
            self.abort()

    def _is_overlong(self, data: bytes) -> bool:
        """Return whether a frame is announced that is longer than any may be; the h2 library would first await it."""
        at = 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                continue
            taken = data[at : at + _FRAME_HEAD_BYTES - len(self._frame_head)]
            self._frame_head += taken
            at += len(taken)
            if len(self._frame_head) == _FRAME_HEAD_BYTES:
                self._skip = int.from_bytes(self._frame_head[:3])
                self._frame_head = b""
                if self._skip > FRAME_BYTES:
                    return True
        return False

    def pause_writing(self) -> None:
        """Read no more of a client that does not read: it could make us answer PINGs without end."""
        if not self._transport.is_closing():
            self._transport.pause_reading()
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Go on."""
        self._inner.resume_writing()
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is under way."""
        self._inner.connection_lost(exc)
        if not self.lost.done():
            self.lost.set_result(None)
