"""A scripted backend and a raw client for tests over real sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

__all__ = ["Backend", "Client", "backend", "client", "until"]

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
DEADLINE_S = 60.0
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def until(condition: Callable[[], object]) -> None:
    """Wait until *condition* holds; fail at a deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


@dataclass
class Backend:
    """What reached it, and how many connections were made."""

    number: int
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    n_connections: int = 0
    n_open: int = 0
    sessions: list[ssl.SSLObject | None] = field(default_factory=list)  # of each connection; None = plain text


async def read_chunked(reader: asyncio.StreamReader) -> bytes:
    """Return one chunked body as it came, trailers included."""
    raw = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        raw += line
        size = int(line, 16)
        if not size:
            break
        raw += await reader.readexactly(size + 2)
    while line != b"\r\n":
        line = await reader.readuntil(b"\r\n")
        raw += line
    return raw


async def read_request(reader: asyncio.StreamReader, served: Backend) -> bytes:
    """Read and note one request with Content-Length or chunked body; b"" at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    body = b""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            body = await reader.readexactly(int(line.partition(b":")[2]))
        elif line.startswith(b"transfer-encoding:"):
            body = await read_chunked(reader)
    served.heads.append(head)
    served.bodies.append(body)
    return head


@asynccontextmanager
async def backend(
    *answers: bytes | Script, raw: Script | None = None, keep: bytes = _OK,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Backend]:  # fmt: skip
    """Run a backend: request n of all gets answers[n], or *keep* when there are no more.

    An answer that ends with b"CLOSE" closes after it; a callable takes the connection over, *raw* each one from its
    first byte. With *tls* it speaks TLS.
    """
    served = Backend(0)
    turn = iter(answers)
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.n_connections += 1
        served.n_open += 1
        served.sessions.append(writer.get_extra_info("ssl_object"))
        writers.add(writer)
        try:
            if raw is not None:
                await raw(reader, writer)
                return
            while await read_request(reader, served):
                answer = next(turn, keep)
                if not isinstance(answer, bytes):
                    await answer(reader, writer)
                    return
                writer.write(answer.removesuffix(b"CLOSE"))
                await writer.drain()
                if answer.endswith(b"CLOSE"):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            served.n_open -= 1
            writers.discard(writer)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 22, ssl=tls)
    served.number = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        for writer in list(writers):
            writer.transport.abort()
        await until(lambda: not served.n_open)


@dataclass
class Client:
    """A raw connection to the gateway."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        """Write *data*."""
        self.writer.write(data)

    async def response(self, *, head_only: bool = False) -> tuple[int, bytes, bytes]:
        """Read one response; return (status, head, body). A body without framing goes to the end."""
        async with asyncio.timeout(DEADLINE_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status = int(head[9:12])
            lower = head.lower()
            if head_only or status in (204, 304) or status < 200:
                return status, head, b""
            if b"transfer-encoding: chunked" in lower:
                return status, head, await read_chunked(self.reader)
            for line in lower.split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    return status, head, await self.reader.readexactly(int(line.partition(b":")[2]))
            return status, head, await self.reader.read()

    async def ask(self, data: bytes, *, head_only: bool = False) -> tuple[int, bytes, bytes]:
        """Send *data* and read one response."""
        self.send(data)
        return await self.response(head_only=head_only)

    async def rest(self) -> bytes:
        """Read to the end of the connection."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.read()


@asynccontextmanager
async def client(number: int) -> AsyncIterator[Client]:
    """Connect to port *number*."""
    reader, writer = await asyncio.open_connection("127.0.0.1", number, limit=1 << 22)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()
