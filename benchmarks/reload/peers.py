"""The other ends: a backend, a bare echo, clients that count, clients that time. Each runs in its own process."""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from typing import NamedTuple, cast

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
HOLD_S = 1.0
PAUSE_S = 0.002  # between two timed requests
TELL_S = 0.1  # how often the longest wait is told
N_CONNECTIONS = 8


class Client(NamedTuple):
    """What one kind of clients saw."""

    kind: str
    n_done: int
    n_failed: int
    failures: list[str]  # the first few


class Timed(NamedTuple):
    """The longest wait within `TELL_S`."""

    name: str
    worst_ms: float


class _Backend(asyncio.Protocol):
    """200 to any request, later for /hold; an echo after an Upgrade, or where the first byte is a digit."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass
        self.echoes = False
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        if not self.buffer and data[:1].isdigit():
            self.echoes = True
        if self.echoes:
            self.transport.write(data)
            return
        self.buffer += data
        while not self.echoes and (end := self.buffer.find(b"\r\n\r\n") + 4) > 3:
            head, self.buffer = self.buffer[:end], self.buffer[end:]
            if b"pgrade: websocket" in head:
                self.echoes = True
                self.transport.write(SWITCH)
            elif head.startswith(b"GET /hold"):
                asyncio.get_running_loop().call_later(HOLD_S, self.answer)
            else:
                self.answer()

    def answer(self) -> None:
        """Answer, if the other side is still there."""
        if not self.transport.is_closing():
            self.transport.write(ANSWER)


def backend(port: int, core: int | None) -> None:
    """Serve `_Backend` on *port*, on *core* where one is named."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(port))


def echo(port: int, core: int) -> None:
    """Serve the same, for clients that ask it directly."""
    backend(port, core)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Backend, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def clients(port: int, new: bool, results: Queue[Client], ended: Event) -> None:
    """Ask without a pause until *ended*: on a connection each (*new*), or on kept ones."""
    kind = "new connections" if new else f"{N_CONNECTIONS} kept connections"
    n_done, failures = 0, []
    kept = [http.client.HTTPConnection("127.0.0.1", port, timeout=20) for _ in range(N_CONNECTIONS)]
    while not ended.is_set():
        for number, connection in enumerate(kept):
            try:
                connection.request("GET", "/", headers={"Host": f"h{number}.example.com"})
                answer = connection.getresponse()
                if (answer.status, answer.read()) != (200, b"ok"):
                    raise OSError(f"answered {answer.status}")
                n_done += 1
            except (OSError, http.client.HTTPException) as error:
                failures.append(repr(error))
                connection.close()
            if new:
                connection.close()
    results.put(Client(kind, n_done, len(failures), failures[:5]))


def timed(name: str, port: int, n_routes: int, samples: Queue[Timed]) -> None:
    """Ask once every `PAUSE_S`, for one host after the other, and tell the longest wait."""
    os.sched_setaffinity(0, {1})
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number, worst_s, told_at = 0, 0.0, time.monotonic()
        while True:
            number = (number + 1) % n_routes
            request = b"GET / HTTP/1.1\r\nHost: h%d.example.com\r\n\r\n" % number
            begun_at = time.monotonic()
            sock.sendall(request)
            answer = sock.recv(4_096)
            now = time.monotonic()
            assert answer.startswith(b"HTTP/1.1 200 "), answer
            worst_s = max(worst_s, now - begun_at)
            if now - told_at > TELL_S:
                samples.put(Timed(name, worst_s * 1e3))
                worst_s, told_at = 0.0, now
            time.sleep(PAUSE_S)
