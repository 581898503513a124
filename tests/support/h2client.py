"""An HTTP/2 client on the `h2` library: it says what a test wants, and notes what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.settings

__all__ = ["Answer", "H2Session", "h2_session"]

DEADLINE_S = 60.0
Fields = list[tuple[bytes, bytes]]


@dataclass
class Answer:
    """What came on one stream."""

    status: int = 0
    fields: Fields = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    trailers: Fields = field(default_factory=list)
    interim: list[int] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None  # error code
    unread: int = 0  # bytes that count against our windows


class H2Session:
    """One connection; reading happens only within `until` and what calls it. *reads*: windows are given back."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding=None, validate_outbound_headers=False)
        )
        self.answers: dict[int, Answer] = {}
        self.goaways: list[int] = []  # last stream ids
        self.n_pings = 0  # that we were sent, and have answered
        self.reads = True
        self.closed = False
        self._agreed = 0  # frames of our settings that are in force

    async def start(self, **settings: int) -> None:
        """Send the preface and our SETTINGS; wait until they are in force."""
        values = {getattr(h2.settings.SettingCodes, name): value for name, value in settings.items()}
        self.h2.initiate_connection()
        if values:
            self.h2.update_settings(values)
        self.flush()
        await self.until(lambda: self._agreed == 1 + bool(values))

    def flush(self) -> None:
        """Send what the library has queued."""
        self.writer.write(self.h2.data_to_send())

    async def until(self, condition: Callable[[], object]) -> None:
        """Read until *condition* holds; fail at a deadline or where the connection ends before."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                data = await self.reader.read(65_536)
                if not data:
                    self.closed = True
                    assert condition(), "the connection ended"
                    return
                for event in self.h2.receive_data(data):
                    self._note(event)
                self.flush()

    def _note(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaways.append(event.last_stream_id or 0)
            return
        self.n_pings += isinstance(event, h2.events.PingReceived)
        if isinstance(event, h2.events.SettingsAcknowledged):
            self._agreed += 1
        answer = self.answers.get(getattr(event, "stream_id", None) or 0)
        if answer is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            answer.fields = [(bytes(name), bytes(value)) for name, value in event.headers]
            answer.status = int(dict(answer.fields)[b":status"])
        elif isinstance(event, h2.events.InformationalResponseReceived):
            answer.interim.append(int(dict(event.headers)[b":status"]))
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
            answer.unread += event.flow_controlled_length
            if self.reads:
                self.give_back(event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, h2.events.StreamEnded):
            answer.ended = True
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = event.error_code

    def give_back(self, stream_id: int) -> None:
        """Open the windows again for what has been read on a stream."""
        answer = self.answers[stream_id]
        if answer.unread:
            self.h2.acknowledge_received_data(answer.unread, stream_id)
            answer.unread = 0

    def request(
        self, path: str, *, method: str = "GET", host: str = "a.test", scheme: str = "http", end: bool = True,
        fields: Iterable[tuple[str, str]] = (),
    ) -> int:  # fmt: skip
        """Open a stream and return its id."""
        stream_id: int = self.h2.get_next_available_stream_id()
        self.answers[stream_id] = Answer()
        head = [(":method", method), (":scheme", scheme), (":authority", host), (":path", path), *fields]
        self.h2.send_headers(stream_id, head, end_stream=end)
        self.flush()
        return stream_id

    def can_send(self, stream_id: int) -> int:
        """Return how many body bytes the gateway's windows take now."""
        return min(self.h2.local_flow_control_window(stream_id), self.h2.max_outbound_frame_size)

    async def send(self, stream_id: int, body: bytes, *, end: bool = True) -> None:
        """Send a body as the gateway's windows open."""
        at = 0
        while at < len(body):
            await self.until(lambda: self.can_send(stream_id) or self.answers[stream_id].reset is not None)
            n = min(self.can_send(stream_id), len(body) - at)
            self.h2.send_data(stream_id, body[at : at + n])
            self.flush()
            await self.writer.drain()
            at += n
        if end:
            self.h2.end_stream(stream_id)
            self.flush()

    async def answer(self, stream_id: int) -> Answer:
        """Return the whole answer on a stream."""
        answer = self.answers[stream_id]
        await self.until(lambda: answer.ended or answer.reset is not None)
        return answer

    async def ask(self, path: str, *, body: bytes = b"", **rest: object) -> Answer:
        """Send a request and return its answer."""
        stream_id = self.request(path, end=not body, **rest)  # type: ignore[arg-type]
        if body:
            await self.send(stream_id, body)
        return await self.answer(stream_id)


@asynccontextmanager
async def h2_session(
    number: int, *, at: str = "127.0.0.1", tls: ssl.SSLContext | None = None, name: str | None = None, **settings: int
) -> AsyncIterator[H2Session]:
    """Connect to port *number*, with prior knowledge or inside TLS; *settings* are ours, by their names."""
    reader, writer = await asyncio.open_connection(at, number, ssl=tls, server_hostname=name, limit=1 << 20)
    session = H2Session(reader, writer)
    try:
        await session.start(**settings)
        yield session
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
