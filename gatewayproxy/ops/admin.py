"""The admin server: the pages of `ops.pages` over HTTP/1.1 by h11, and gRPC health.

For operators, load balancers and scrapers; loopback by default. A client that opens with the preface of HTTP/2 speaks
gRPC (`ops.health`). It runs in the supervisor, so it answers while workers drain, die or hang, and everything a client
can make it hold is bounded.

Most pages only tell how the gateway is. A `Desk` may do more, and asks who asks: what is private is answered only on a
loopback address, unless the operator has allowed others, and what acts takes nothing but a POST that no page of the web
can have a browser send.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import h11

from gatewayproxy.model.names import BindKey
from gatewayproxy.ops import logs
from gatewayproxy.wire.h2frames import PREFACE

if TYPE_CHECKING:
    from gatewayproxy.ops.health import HealthServer

__all__ = ["AdminServer", "Asked", "Desk", "Page", "Reply"]

log = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 64  # more are closed at once
MAX_HEAD_BYTES: Final = 16_384  # request line and fields; more is 431
HEAD_TIMEOUT_S: Final = 10.0  # for a whole request, and between two
CLOSE_S: Final = 1.0  # for what is open to end when the gateway does
SEND_TIMEOUT_S: Final = 30.0  # for a client to take an answer
_READ_BYTES: Final = 16_384
_ALL_BYTES: Final = 1 << 20  # more than a reader buffers


class Reply(NamedTuple):
    """An answer."""

    status: int
    content_type: str
    body: bytes


Page = Callable[[], Awaitable[Reply]]


class Asked(NamedTuple):
    """What a Desk is asked, percent-encoded as it came."""

    rest: str  # of the path, behind the Desk's own
    query: str  # behind "?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A page with a say in who is answered; under a path that ends in "/", for all that lies below it."""

    answer: Callable[[Asked], Awaitable[Reply]]
    acts: bool = False  # POST alone
    private: bool = False  # on a loopback address alone, unless the operator allows others


class AdminServer:
    """Serves *pages* by path, and what *make_health* returns, on one address.

    *remote*: desks that are private, or act, serve whoever reaches an address that is no loopback address.
    """

    def __init__(
        self, pages: Mapping[str, Page | Desk], make_health: Callable[[], HealthServer], *, remote: bool = False
    ) -> None:
        self._pages = pages
        self._make_health = make_health
        self._remote = remote
        self._health: HealthServer | None = None  # made for the first client that asks
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._local = False  # bound to a loopback address

    async def open(self, host: str, port: int) -> BindKey:
        """Listen; return the bound address and port. Raise OSError where that fails."""
        self._server = await asyncio.start_server(self._connected, host, port, backlog=MAX_CONNECTIONS)
        bound_host, bound_port = self._server.sockets[0].getsockname()[:2]
        self._local = _is_address(bound_host) and ipaddress.ip_address(bound_host).is_loopback
        return BindKey(bound_host, bound_port)

    async def close(self) -> None:
        """Stop listening, tell those who watch the health, end every connection."""
        if self._server is not None:
            self._server.close()
        if self._health is not None:
            await self._health.end()
        for writer in self._open.values():
            writer.close()
        if self._open:
            await asyncio.wait(self._open, timeout=CLOSE_S)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._open[task] = writer
        try:
            if len(self._open) <= MAX_CONNECTIONS:
                await self._welcome(reader, writer)
        except (OSError, TimeoutError, h11.LocalProtocolError):
            pass  # the client went away, or was too slow: nothing to tell it
        finally:
            del self._open[task]
            writer.close()

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun = b""
        async with asyncio.timeout(HEAD_TIMEOUT_S):
            while PREFACE.startswith(begun) and begun != PREFACE and (data := await reader.read(_ALL_BYTES)):
                begun += data
        if begun.startswith(PREFACE):
            self._health = self._health or self._make_health()
            await self._health.converse(writer.transport, begun)
        elif begun:
            await self._converse(reader, writer, begun)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begun: bytes) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        connection.receive_data(begun)
        while True:
            try:
                request = await _read_request(connection, reader)
            except h11.RemoteProtocolError as error:
                reply = _error(error.error_status_hint, str(error))
                await _send(connection, writer, reply, head_only=False)
                return
            if request is None:
                return
            reply = await self._answer(request)
            await _send(connection, writer, reply, head_only=request.method == b"HEAD")
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()

    async def _answer(self, request: h11.Request) -> Reply:
        fields = dict(request.headers)
        if self._local and not _is_direct(fields.get(b"host", b"")):
            # A name that a page of the web made to point here: its script would read what is meant for this machine.
            return _error(421, "the admin server is asked by address, or as localhost")
        path, _, query = request.target.decode("latin-1").partition("?")
        name, page = self._find(path)
        if page is None:
            return _error(404, "no such page; / lists them")
        desk = page if isinstance(page, Desk) else None
        refusal = self._refusal(desk, request.method, fields)
        if refusal is not None:
            return refusal
        try:
            return await (page() if not isinstance(page, Desk) else page.answer(Asked(path[len(name) :], query)))
        except Exception as error:
            log.error("admin_failed", exc_info=error, extra=logs.fields(path=path))
            return _error(500, "see the log")

    def _find(self, path: str) -> tuple[str, Page | Desk | None]:
        """Return what serves *path*, and the part of it that is its name."""
        if path in self._pages:
            return path, self._pages[path]
        name = path[: path.find("/", 1) + 1]
        return name, self._pages.get(name) if name != "/" else None

    def _refusal(self, desk: Desk | None, method: bytes, fields: Mapping[bytes, bytes]) -> Reply | None:
        """Return why a request is refused, None if it is not."""
        acts = desk is not None and desk.acts
        if acts and method != b"POST":
            return _error(405, "only POST")
        if not acts and method not in (b"GET", b"HEAD"):
            return _error(405, "only GET and HEAD")
        if desk is not None and (acts or desk.private) and not (self._local or self._remote):
            return _error(403, "only where --admin is a loopback address; --admin-allow-remote on run allows others")
        # A browser lets any page of the web POST here, but not with this type, and it says where the page is from.
        if acts and (b"origin" in fields or fields.get(b"content-type", b"").lower() != b"application/json"):
            return _error(403, "a POST needs Content-Type: application/json, and no Origin")
        return None


async def _read_request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """Return the next request with its body read and dropped, None at the end of the connection."""
    request: h11.Request | None = None
    async with asyncio.timeout(HEAD_TIMEOUT_S):
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(_READ_BYTES))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.EndOfMessage):
                return request
            elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                return None


async def _send(connection: h11.Connection, writer: asyncio.StreamWriter, reply: Reply, *, head_only: bool) -> None:
    if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    fields = [
        ("content-type", reply.content_type),
        ("content-length", str(len(reply.body))),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ]
    if reply.status == 405:
        fields.append(("allow", "POST" if reply.body.startswith(b"only POST") else "GET, HEAD"))
    parts = [
        connection.send(
            h11.Response(status_code=reply.status, reason=HTTPStatus(reply.status).phrase.encode(), headers=fields)
        )
    ]
    if not head_only:
        parts.append(connection.send(h11.Data(data=reply.body)))
    parts.append(connection.send(h11.EndOfMessage()))
    writer.write(b"".join(part for part in parts if part))
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await writer.drain()


def _is_direct(host: bytes) -> bool:
    """Return whether Host value *host* is none that a stranger's zone can hold: absent, an address, one label."""
    name = host.decode("latin-1").lower()
    name = name[1 : name.find("]")] if name[:1] == "[" else name.partition(":")[0]
    return "." not in name or name.endswith(".localhost") or _is_address(name)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _error(status: int, message: str) -> Reply:
    return Reply(status, "text/plain; charset=utf-8", f"{message}\n".encode())
