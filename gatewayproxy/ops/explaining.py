"""/explain: what becomes of a request under the table in force, and why; asked of a child of its own.

    /explain?request=-X+POST+https://shop.example/cart&format=text

*request*: the words behind `gatewayproxy explain CONFIG --`, quoted as for a shell; *format*: json, text or svg; *all*:
all misses in the text; *with*: text, svg or both, beside the JSON. It is private: see `ops.admin.Desk`.

The supervisor decodes no table, and the compiler must be free for the next reload, so the first question starts an
`explain_child`, with the texts in force. It lives until a reload puts another table in force, or nobody has asked for
IDLE_S. Questions are answered one after the other; each bound below ends in 503 and a word of what to do.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs

from gatewayproxy.errors import GatewayProxyError
from gatewayproxy.model.names import BindKey
from gatewayproxy.ops.admin import Asked, Reply
from gatewayproxy.ops.channel import OUT_OF_MEMORY, Kind
from gatewayproxy.ops.child import Child, describe_exit
from gatewayproxy.ops.options import RunOptions

__all__ = ["Explainer", "InForce"]

MAX_WAITING: Final = 8  # questions that wait for others; more are refused
READY_S: Final = 20.0  # how long a question waits for the child to compile what is in force
ANSWER_S: Final = 5.0  # for one answer; a child that takes longer is ended
IDLE_S: Final = 60.0  # without a question, the child and its memory are given back
MAX_WORDS: Final = 256  # of a request
_FORMATS: Final = ("json", "text", "svg")
_MODULE: Final = "gatewayproxy.ops.explain_child"
_HOW: Final = "write /explain?request=https://shop.example/cart&format=text; words are those of `gatewayproxy explain`"


class InForce(NamedTuple):
    """What serves: the table's generation and digest, ports that could not be bound, and the texts (`ops.memory`)."""

    generation: int
    digest: str
    unbound: Mapping[BindKey, str]
    memory: bytes


class _Unanswered(GatewayProxyError):
    """There is no answer, for the reason that the client is told."""


class _Died(_Unanswered):
    """The child that was asked ended without an answer."""

    def __init__(self, child: Child, status: int) -> None:
        super().__init__(f"explaining failed: {describe_exit(status)}")
        self.child = child


class Explainer:
    """Keeps one explaining child while it is asked."""

    def __init__(self, options: RunOptions, in_force: Callable[[], InForce | None]) -> None:
        self._options = options
        self._in_force = in_force
        self._child: Child | None = None
        self._holds: InForce | None = None  # of the child
        self._started_at = 0.0
        self._ready: asyncio.Future[None] | None = None
        self._reply: asyncio.Future[bytes] | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._idle: asyncio.TimerHandle | None = None

    async def answer(self, asked: Asked) -> Reply:
        """Return the page."""
        try:
            question = _question(asked.query)
        except ValueError as error:
            return _error(400, f"{error}; {_HOW}")
        if self._waiting > MAX_WAITING:
            return _error(503, "too many questions at once; ask again in a while")
        self._waiting += 1
        try:
            async with self._turn:
                return _page(await self._ask_again(question))
        except _Unanswered as error:
            return _error(503, str(error))
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """End the child."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._child is not None:
            child, self._child = self._child, None
            await child.end()

    async def _ask_again(self, question: dict[str, Any]) -> bytes:
        """Ask; once more where the child of earlier questions is gone, which is not this question's doing."""
        kept = self._child
        try:
            return await self._ask(question)
        except _Died as error:
            if error.child is not kept:
                raise
            return await self._ask(question)

    async def _ask(self, question: dict[str, Any]) -> bytes:
        loop = asyncio.get_running_loop()
        child = await self._begin()
        try:
            await self._wait_ready()
            self._reply = loop.create_future()
            child.send(Kind.EXPLAIN, question)
            async with asyncio.timeout(ANSWER_S):
                return await self._reply
        except TimeoutError:
            await self.close()
            raise _Unanswered(f"the answer took longer than {ANSWER_S:g} s: ask of a smaller request") from None
        finally:
            self._reply = None
            if self._child is not None:
                self._idle = loop.call_later(IDLE_S, self._rest)

    async def _begin(self) -> Child:
        """Return a child that holds what is in force, or soon will."""
        force = self._in_force()
        if force is None:
            raise _Unanswered("no configuration serves yet; /status/reload says why")
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._child is not None and self._holds == force:
            return self._child
        await self.close()
        return self._start(force)

    async def _wait_ready(self) -> None:
        assert self._ready is not None
        try:
            async with asyncio.timeout(READY_S):
                await asyncio.shield(self._ready)
        except TimeoutError:
            late = asyncio.get_running_loop().time() - self._started_at
            if late < self._options.compile_deadline_s:
                raise _Unanswered("what is in force is still being compiled for this; ask again in a while") from None
            await self.close()
            raise _Unanswered(f"compiling what is in force took longer than {late:.0f} s") from None

    def _start(self, force: InForce) -> Child:
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        self._ready.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be waiting
        self._started_at = loop.time()
        self._holds = force
        self._child = child = Child(
            _MODULE,
            on_frame=lambda _, payload: self._on_frame(child, payload),
            on_exit=lambda status: self._on_exit(child, status),
        )
        options = self._options
        settings = {
            "controller_name": options.controller_name,
            "cluster_domain": options.cluster_domain,
            "port_map": list(options.port_map.items()),
            "address_pool": list(options.address_pool),
            "memory_bytes": options.compile_memory_bytes,
            "trusted_hops": options.limits.trusted_hops,
            "generation": force.generation,
            "digest": force.digest,
            "unbound": [[key, why] for key, why in force.unbound.items()],
        }
        child.send(Kind.CONFIGURE, settings)
        child.send_bytes(Kind.MEMORY, force.memory)
        return child

    def _rest(self) -> None:
        """Give the child's memory back."""
        child, self._child, self._idle = self._child, None, None
        if child is not None:
            child.kill()

    def _on_frame(self, child: Child, payload: bytes) -> None:
        if self._child is not child:
            return
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)
        elif self._reply is not None and not self._reply.done():
            self._reply.set_result(payload)

    def _on_exit(self, child: Child, status: int) -> None:
        if self._child is not child:
            return
        self._child = None
        error: _Unanswered = _Died(child, status)
        if status == OUT_OF_MEMORY:
            error = _Unanswered(f"explaining needs more than {self._options.compile_memory_bytes >> 20} MiB")
        for future in (self._ready, self._reply):
            if future is not None and not future.done():
                future.set_exception(error)


def _question(query: str) -> dict[str, Any]:
    """Return what the child is asked; raise ValueError, which says what is wrong."""
    fields = parse_qs(query, keep_blank_values=True, max_num_fields=8)
    unknown = fields.keys() - {"request", "format", "all", "with"}
    if unknown:
        raise ValueError(f"unknown parameter {min(unknown)[:40]!r}")
    words = shlex.split(fields.get("request", [""])[-1])
    if not words or len(words) > MAX_WORDS:
        raise ValueError("no request" if not words else f"a request of more than {MAX_WORDS} words")
    form = fields.get("format", ["json"])[-1]
    if form not in _FORMATS:
        raise ValueError(f"format is one of {', '.join(_FORMATS)}")
    wanted = fields.get("with", [""])[-1].split(",")
    return {"words": words, "format": form, "all": "all" in fields, "with": wanted}


def _page(payload: bytes) -> Reply:
    told, _, body = payload.partition(b"\n")
    status, _, content_type = told.decode("ascii").partition(" ")
    return Reply(int(status), content_type, body)


def _error(status: int, message: str) -> Reply:
    return Reply(status, "text/plain; charset=utf-8", f"{message}\n".encode())
