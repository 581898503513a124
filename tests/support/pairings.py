"""Every pairing of HTTP/1.1 and HTTP/2: clients, and endpoints that do as a script says, with the gateway between.

@pairings
async def test_...(pair: Pairing) -> None:
    async with pair.run(Script(body=b"abc")) as (front, seen, served): ...
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import pytest

from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import Cluster
from gatewayproxy.model.protocols import AppProtocol
from gatewayproxy.routing.table import HostIndex, RouteEntry
from tests.support.backend import Client, backend, client
from tests.support.h2backend import H2Call, h2_backend
from tests.support.h2client import Answer, H2Session, h2_session
from tests.support.worker import Served, cluster, forward, serve, vhost

__all__ = ["ENDPOINTS", "FRONTS", "Fields", "Pairing", "Script", "Seen", "pairings"]

DEADLINE_S = 60.0
Fields = tuple[tuple[str, str], ...]


# Clients


class Front(Protocol):
    """A client with one request under way."""

    async def open(self, method: str, path: str, fields: Fields, *, length: int | None) -> None: ...
    async def send(self, data: bytes) -> None: ...
    async def end(self, trailers: Fields = ()) -> None: ...
    async def head(self) -> tuple[int, dict[str, str]]: ...
    async def body(self, n: int) -> bytes:
        """Return the first *n* bytes of the answer's body."""

    async def rest(self) -> tuple[bytes, dict[str, str]]:
        """Return the whole body and the trailers."""

    async def broken(self) -> bool:
        """Wait for the end; return whether the answer was cut."""

    def cancel(self) -> None: ...


class Http1Front:
    def __init__(self, raw: Client) -> None:
        self.raw = raw
        self.got = b""
        self.interim: list[int] = []
        self.chunked = self.whole = False
        self.left = 0

    async def open(self, method: str, path: str, fields: Fields, *, length: int | None) -> None:
        framing = ("Transfer-Encoding", "chunked") if length is None else ("Content-Length", str(length))
        lines = [("Host", "a.test"), framing, *fields]
        text = "".join(f"{name}: {value}\r\n" for name, value in lines)
        self.chunked_request = length is None
        self.method = method
        self.raw.send(f"{method} {path} HTTP/1.1\r\n{text}\r\n".encode())

    async def send(self, data: bytes) -> None:
        self.raw.send(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked_request else data)
        await self.raw.writer.drain()

    async def end(self, trailers: Fields = ()) -> None:
        if self.chunked_request:
            self.raw.send(("0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in trailers) + "\r\n").encode())

    async def head(self) -> tuple[int, dict[str, str]]:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                raw = await self.raw.reader.readuntil(b"\r\n\r\n")
                status = int(raw[9:12])
                if status >= 200:
                    break
                self.interim.append(status)
        lines = raw.decode().split("\r\n")[1:-2]
        fields = dict(line.lower().split(": ", 1) for line in lines)
        self.chunked = "transfer-encoding" in fields
        self.left = int(fields.get("content-length", 0))
        if status in (204, 304) or self.method == "HEAD":
            self.left = 0
        self.whole = not self.chunked and not self.left
        return status, fields

    async def _more(self) -> dict[str, str]:
        reader = self.raw.reader
        if not self.chunked:
            data = await reader.read(min(self.left, 65_536))
            if not data:
                raise ConnectionResetError
            self.left -= len(data)
            self.got += data
            self.whole = not self.left
            return {}
        size = int(await reader.readuntil(b"\r\n"), 16)
        if size:
            self.got += (await reader.readexactly(size + 2))[:-2]
            return {}
        self.whole = True
        lines = []
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            lines.append(line.decode().strip().split(": ", 1))
        return dict(lines)

    async def body(self, n: int) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            while len(self.got) < n:
                await self._more()
        return self.got

    async def rest(self) -> tuple[bytes, dict[str, str]]:
        trailers: dict[str, str] = {}
        async with asyncio.timeout(DEADLINE_S):
            while not self.whole:
                trailers = await self._more()
        return self.got, trailers

    async def broken(self) -> bool:
        try:
            await self.rest()
        except (ConnectionResetError, asyncio.IncompleteReadError):
            return True
        return False

    def cancel(self) -> None:
        """Reset the connection: an end alone might be half of one."""
        sock = self.raw.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.raw.writer.transport.abort()


class Http2Front:
    def __init__(self, session: H2Session) -> None:
        self.session = session
        self.answer = Answer()

    async def open(self, method: str, path: str, fields: Fields, *, length: int | None) -> None:
        extra = () if not length else (("content-length", str(length)),)
        self.ended = length == 0
        self.id = self.session.request(
            path, method=method, end=self.ended, fields=[(name.lower(), value) for name, value in (*extra, *fields)]
        )
        self.answer = self.session.answers[self.id]

    async def send(self, data: bytes) -> None:
        await self.session.send(self.id, data, end=False)

    async def end(self, trailers: Fields = ()) -> None:
        if self.ended:
            return
        if trailers:
            self.session.h2.send_headers(self.id, list(trailers), end_stream=True)
        else:
            self.session.h2.end_stream(self.id)
        self.session.flush()

    async def head(self) -> tuple[int, dict[str, str]]:
        await self.session.until(lambda: self.answer.status or self.answer.reset is not None)
        return self.answer.status, {name.decode(): value.decode() for name, value in self.answer.fields}

    async def body(self, n: int) -> bytes:
        await self.session.until(lambda: len(self.answer.body) >= n)
        return bytes(self.answer.body)

    async def rest(self) -> tuple[bytes, dict[str, str]]:
        answer = await self.session.answer(self.id)
        assert answer.ended
        return bytes(answer.body), {name.decode(): value.decode() for name, value in answer.trailers}

    async def broken(self) -> bool:
        answer = await self.session.answer(self.id)
        return answer.reset is not None and not answer.ended

    @property
    def interim(self) -> list[int]:
        return self.answer.interim

    def cancel(self) -> None:
        self.session.h2.reset_stream(self.id, 8)
        self.session.flush()


@asynccontextmanager
async def http1_front(number: int) -> AsyncIterator[Http1Front]:
    async with client(number) as raw:
        yield Http1Front(raw)


@asynccontextmanager
async def http2_front(number: int) -> AsyncIterator[Http2Front]:
    async with h2_session(number) as session:
        yield Http2Front(session)


# Endpoints


@dataclass(kw_only=True)
class Script:
    """What an endpoint does with a request."""

    interim: tuple[int, ...] = ()
    status: int = 200
    fields: Fields = ()
    body: bytes = b""
    trailers: Fields = ()
    known_length: bool = True
    waits: bool = True  # for the whole request
    echoes: bool = False  # what it gets, as it comes, and then the trailers
    breaks_off: bool = False  # behind the body
    hangs: bool = False  # never answers
    bodiless: bool = False


@dataclass
class Seen:
    """What an endpoint got."""

    number: int = 0
    method: str = ""
    path: str = ""
    host: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    cancelled: bool = False


def _lines(fields: Fields) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode()


async def _chunks(reader: asyncio.StreamReader, seen: Seen) -> AsyncIterator[bytes]:
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield (await reader.readexactly(size + 2))[:-2]
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        name, value = line.decode().strip().split(": ", 1)
        seen.trailers[name] = value


@asynccontextmanager
async def http1_endpoint(script: Script) -> AsyncIterator[Seen]:
    seen = Seen()

    async def body_of(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        if seen.fields.get("transfer-encoding") == "chunked":
            async for piece in _chunks(reader, seen):
                yield piece
            return
        left = int(seen.fields.get("content-length", 0))
        while left:
            piece = await reader.read(min(left, 65_536))
            if not piece:
                raise ConnectionResetError
            left -= len(piece)
            yield piece

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")[:-2]
        seen.method, seen.path, _ = first.split(" ")
        seen.fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        seen.host = seen.fields["host"]
        if script.hangs:
            try:
                seen.cancelled = not await reader.read()
            except ConnectionError:
                seen.cancelled = True
            return
        for status in script.interim:
            writer.write(b"HTTP/1.1 %d Interim\r\nlink: </a>\r\n\r\n" % status)
        if script.echoes:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            async for piece in body_of(reader):
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
            writer.write(b"0\r\n%b\r\n" % _lines(tuple(seen.trailers.items())))
            return
        if script.waits:
            seen.body = b"".join([piece async for piece in body_of(reader)])
        chunked = not script.known_length and not script.bodiless
        framing = b"Transfer-Encoding: chunked\r\n" if chunked else b""
        writer.write(b"HTTP/1.1 %d OK\r\n%b%b\r\n" % (script.status, _lines(script.fields), framing))
        body = b"%x\r\n%b\r\n" % (len(script.body), script.body) if chunked and script.body else script.body
        writer.write(body)
        if script.breaks_off:
            writer.close()
        elif chunked:
            writer.write(b"0\r\n%b\r\n" % _lines(script.trailers))
        if not script.waits:
            await reader.read()

    async def serve_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.transport.is_closing():
            await serve_one(reader, writer)

    async with backend(raw=serve_all) as served:
        seen.number = served.number
        yield seen


@asynccontextmanager
async def http2_endpoint(script: Script) -> AsyncIterator[Seen]:
    seen = Seen()

    async def answer(call: H2Call) -> None:
        fields = [(name.decode(), value.decode()) for name, value in call.fields]
        seen.fields = dict(fields)
        seen.method, seen.path, seen.host = (seen.fields[name] for name in (":method", ":path", ":authority"))
        if script.hangs:
            await call.until(lambda: call.reset is not None)
            seen.cancelled = call.reset == 8
            return
        for status in script.interim:
            call.head(status, ("link", "</a>"))
        if script.echoes:
            await echo(call)
            return
        if script.waits:
            await call.whole()
            seen.body = bytes(call.body)
            seen.trailers = {name.decode(): value.decode() for name, value in call.trailers}
        over = not script.body and not script.trailers and not script.breaks_off
        call.head(script.status, *script.fields, end=over)
        if script.body:
            await call.send(script.body, end=not script.trailers and not script.breaks_off)
        if script.breaks_off:
            call.refuse(2)
        elif script.trailers:
            call.trail(*script.trailers)

    async def echo(call: H2Call) -> None:
        call.head(200)
        at = 0
        while True:
            await call.until(lambda at=at: len(call.body) > at or call.ended)  # type: ignore[misc]
            piece = bytes(call.body[at:])
            at += len(piece)
            if piece:
                await call.send(piece, end=False)
            elif call.ended:
                break
        seen.trailers = {name.decode(): value.decode() for name, value in call.trailers}
        call.trail(*seen.trailers.items()) if seen.trailers else call.peer.h2.end_stream(call.stream_id)
        call.peer.flush()

    async with h2_backend(answer) as served:
        seen.number = served.number
        yield seen


@dataclass(frozen=True)
class Pairing:
    """A kind of client and a kind of endpoint."""

    front: Callable[[int], AbstractAsyncContextManager[Front]]
    endpoint: Callable[[Script], AbstractAsyncContextManager[Seen]]
    protocol: AppProtocol

    @asynccontextmanager
    async def run(
        self, script: Script, limits: Limits | None = None, entry: Callable[[Cluster], RouteEntry] = forward
    ) -> AsyncIterator[tuple[Front, Seen, Served]]:
        """Run an endpoint, the data plane, which serves an *entry* that leads there, and a client."""
        async with self.endpoint(script) as seen:
            target = replace(cluster(seen.number), protocol=self.protocol)
            with serve(HostIndex(exact={b"a.test": vhost({b"": entry(target)})}), limits=limits) as served:
                async with self.front(served.number) as front:
                    yield front, seen, served


FRONTS = {"h1": http1_front, "h2": http2_front}
ENDPOINTS = {"h1": (http1_endpoint, AppProtocol.HTTP), "h2": (http2_endpoint, AppProtocol.H2C)}
pairings = pytest.mark.parametrize(
    "pair",
    [
        pytest.param(Pairing(FRONTS[front], *ENDPOINTS[back]), id=f"{front} to {back}")  # type: ignore[arg-type]
        for front in FRONTS
        for back in ENDPOINTS
    ],
)
