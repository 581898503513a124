"""A backend for tests of the real process: one thread, one loop, HTTP/1.1 with a few manners of answering.

    GET /anything       200, JSON: who answers, method, path, headers
    GET /hold           answers after `release()`
    Upgrade: (any)      101, then every byte is echoed
A connection whose first byte is not a letter is a plain echo stream (for TCP routes).
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Backend", "backend"]


class Backend:
    """A running backend; *host* and *port* are where."""

    def __init__(self, name: str, host: str = "127.0.0.1") -> None:
        self.name = name
        self.host = host
        self.port = 0
        self.held = threading.Semaphore(0)  # one release per request that waits in /hold
        self.n_requests = 0
        self._started = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),), daemon=True)
        self._thread.start()
        self._started.wait(60)

    @property
    def endpoint(self) -> str:
        """As the annotation gatewayproxy.io/endpoints wants it."""
        return f"{self.host}:{self.port}"

    def release(self) -> None:
        """Let every request in /hold be answered, now and later."""
        self._loop.call_soon_threadsafe(self._released.set)

    def close(self) -> None:
        """Stop; connections are cut."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(60)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._released = asyncio.Event()
        self._ended = asyncio.Event()
        self._talks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        server = await asyncio.start_server(self._connected, self.host, 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._ended.wait()
        server.close()
        for task, writer in self._talks.items():
            writer.transport.abort()  # whatever waits to be written
            task.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._talk(reader, writer))
        self._talks[task] = writer
        task.add_done_callback(self._talks.pop)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.read(1)
            if first and not first.isalpha():
                writer.write(first)
                await _echo(reader, writer)
            while first:
                head = first + await reader.readuntil(b"\r\n\r\n")
                if not await self._answer(head, reader, writer):
                    break
                first = await reader.read(1)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the other side is gone, or we are
        finally:
            writer.close()

    async def _answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        line, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = line.split(" ")
        fields = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines if each)}
        self.n_requests += 1
        if "upgrade" in fields:
            switched = f"Connection: Upgrade\r\nUpgrade: {fields['upgrade']}\r\n\r\n"
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\n" + switched.encode())
            await _echo(reader, writer)
            return False
        await reader.readexactly(int(fields.get("content-length", "0")))
        if path.startswith("/hold"):
            self.held.release()
            await self._released.wait()
        body = json.dumps({"backend": self.name, "method": method, "path": path, "headers": fields}).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        await writer.drain()
        return True


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


@contextmanager
def backend(name: str = "app", host: str = "127.0.0.1") -> Iterator[Backend]:
    """Run a backend."""
    running = Backend(name, host)
    try:
        yield running
    finally:
        running.close()
