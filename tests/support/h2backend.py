"""An HTTP/2 endpoint on the `h2` library, with prior knowledge: it answers as a test says, and notes what came."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

__all__ = ["H2Backend", "H2Call", "H2Peer", "h2_backend"]

Fields = list[tuple[bytes, bytes]]
Behaviour = Callable[["H2Call"], Awaitable[None]]
_DEADLINE_S = 60.0


@dataclass(eq=False)
class H2Call:
    """One request that has come, and the means to answer it."""

    peer: H2Peer
    stream_id: int
    fields: Fields
    body: bytearray = field(default_factory=bytearray)
    trailers: Fields = field(default_factory=list)
    ended: bool = False
    reset: int | None = None  # error code
    unread: int = 0

    def __getitem__(self, name: bytes) -> bytes:
        return dict(self.fields)[name]

    def get(self, name: bytes) -> list[bytes]:
        """Return every value of a field."""
        return [value for key, value in self.fields if key == name]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until *condition* holds; something must come from the gateway for it."""
        await self.peer.until(condition)

    async def whole(self) -> None:
        """Wait for the end of the request."""
        await self.until(lambda: self.ended or self.reset is not None)

    def head(self, status: int = 200, *fields: tuple[str, str], end: bool = False) -> None:
        """Send a head."""
        self.peer.h2.send_headers(self.stream_id, [(":status", str(status)), *fields], end_stream=end)
        self.peer.flush()

    async def send(self, body: bytes, *, end: bool = True) -> None:
        """Send a body as the gateway's windows open."""
        codec = self.peer.h2
        at = 0
        while at < len(body):
            await self.until(lambda: codec.local_flow_control_window(self.stream_id) > 0)
            n = min(codec.local_flow_control_window(self.stream_id), codec.max_outbound_frame_size, len(body) - at)
            codec.send_data(self.stream_id, body[at : at + n])
            self.peer.flush()
            at += n
        if end:
            codec.end_stream(self.stream_id)
            self.peer.flush()

    def trail(self, *fields: tuple[str, str]) -> None:
        """End with trailers."""
        self.peer.h2.send_headers(self.stream_id, list(fields), end_stream=True)
        self.peer.flush()

    def refuse(self, code: int) -> None:
        """Send RST_STREAM."""
        self.peer.h2.reset_stream(self.stream_id, code)
        self.peer.flush()


class H2Peer:
    """One connection of the endpoint. *reads*: windows are given back as bytes come."""

    def __init__(self, served: H2Backend, writer: asyncio.StreamWriter) -> None:
        self.served = served
        self.writer = writer
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding=None, validate_outbound_headers=False)
        )
        self.calls: dict[int, H2Call] = {}
        self.pings = 0
        self.pongs = 0
        self.last_id: int | None = None  # of a GOAWAY that came
        self.answers_pings = True
        self.news = asyncio.Condition()
        self.closed = False

    def flush(self) -> None:
        """Send what the library has queued."""
        self.writer.write(self.h2.data_to_send())

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until *condition* holds; fail at a deadline or where the connection ends before."""
        async with asyncio.timeout(_DEADLINE_S), self.news:
            await self.news.wait_for(lambda: condition() or self.closed)
        if not condition():
            raise ConnectionResetError("the gateway closed the connection")

    def give_back(self, call: H2Call) -> None:
        """Open the windows again for what has been read."""
        if call.unread and not call.reset:
            self.h2.acknowledge_received_data(call.unread, call.stream_id)
            call.unread = 0

    def note(self, event: h2.events.Event) -> H2Call | None:
        """Note what came; return a call that begins."""
        if isinstance(event, h2.events.RequestReceived):
            call = H2Call(self, event.stream_id, [(bytes(name), bytes(value)) for name, value in event.headers])
            self.calls[event.stream_id] = call
            self.served.calls.append(call)
            return call
        if isinstance(event, h2.events.PingReceived):
            self.pings += 1
        elif isinstance(event, h2.events.PingAckReceived):
            self.pongs += 1
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.last_id = event.last_stream_id
        call_ = self.calls.get(getattr(event, "stream_id", None) or 0)
        if call_ is not None:
            self._note_of(call_, event)
        return None

    def _note_of(self, call: H2Call, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.DataReceived):
            call.body += event.data
            call.unread += event.flow_controlled_length
            if self.served.reads:
                self.give_back(call)
        elif isinstance(event, h2.events.TrailersReceived):
            call.trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, h2.events.StreamEnded):
            call.ended = True
        elif isinstance(event, h2.events.StreamReset):
            call.reset = event.error_code


@dataclass
class H2Backend:
    """What reached it."""

    number: int = 0
    reads: bool = True
    calls: list[H2Call] = field(default_factory=list)
    peers: list[H2Peer] = field(default_factory=list)
    n_open: int = 0


async def _ok(call: H2Call) -> None:
    await call.whole()
    call.head(200, ("content-length", "2"))
    await call.send(b"ok")


@asynccontextmanager
async def h2_backend(
    behaviour: Behaviour = _ok, *, settings: dict[str, int] | None = None, silent: bool = False,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[H2Backend]:  # fmt: skip
    """Run an endpoint whose requests *behaviour* answers; *settings* are its own, by their names.

    *silent*: it answers no PING. With *tls* it speaks TLS.
    """
    served = H2Backend()
    tasks: set[asyncio.Task[None]] = set()
    values = {getattr(h2.settings.SettingCodes, name): value for name, value in (settings or {}).items()}

    async def answer(call: H2Call) -> None:
        try:
            await behaviour(call)
        except (ConnectionError, h2.exceptions.ProtocolError):
            pass

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = H2Peer(served, writer)
        served.peers.append(peer)
        served.n_open += 1
        peer.h2.initiate_connection()
        if values:
            peer.h2.update_settings(values)
        peer.flush()
        try:
            while data := await reader.read(65_536):
                if silent:
                    data = _without_pings(data)
                for event in peer.h2.receive_data(data):
                    call = peer.note(event)
                    if call is not None:
                        task = asyncio.get_running_loop().create_task(answer(call), name="h2 backend")
                        tasks.add(task)
                        task.add_done_callback(tasks.discard)
                peer.flush()
                async with peer.news:
                    peer.news.notify_all()
        except (ConnectionError, h2.exceptions.ProtocolError):
            pass
        finally:
            served.n_open -= 1
            peer.closed = True
            async with peer.news:
                peer.news.notify_all()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20, ssl=tls)
    served.number = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        for peer in served.peers:
            peer.writer.transport.abort()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        server.close()
        await server.wait_closed()


def _without_pings(data: bytes) -> bytes:
    """Return whole frames without PINGs: they come in reads of their own size from us."""
    out = b""
    if data.startswith(b"PRI "):
        out, data = data[:24], data[24:]
    while data:
        size = 9 + int.from_bytes(data[:3], "big")
        if data[3] != 6:
            out += data[:size]
        data = data[size:]
    return out
