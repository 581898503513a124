"""The states of a downstream HTTP/1.1 connection: whatever happens in any of them, only changes of the table follow."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from gatewayproxy.dataplane.protocols.state import BODY, CLOSED, IDLE, LINGER, NEXT, RESPONSE, TUNNEL, State
from tests.support.states import watch_states
from tests.support.trace import Trace, trace

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab"
CHUNKS = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"
SOCKET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

FROM_CLIENT = frozenset(("a request", "a request with a body", "two bytes", "nonsense"))
FROM_BACKEND = frozenset(("an answer", "the head of an answer", "a switch"))

Step = Callable[[Trace], object]


def client(data: bytes) -> Step:
    return lambda t: t.downstream.data_received(data)


def backend(data: bytes) -> Step:
    return lambda t: t.upstream.data_received(data)


REACH: Mapping[str, tuple[State, tuple[Step, ...]]] = {
    "idle": (IDLE, ()),
    "idle, within a head": (IDLE, (client(GET[:9]),)),
    "idle, after an exchange": (IDLE, (client(GET), backend(OK))),
    "body": (BODY, (client(POST),)),
    "body, chunked": (BODY, (client(CHUNKS),)),
    "body, being answered": (BODY, (client(POST), backend(OK[:-1]))),
    "response": (RESPONSE, (client(GET),)),
    "response, under way": (RESPONSE, (client(GET), backend(OK[:-1]))),
    "response, more behind": (RESPONSE, (client(GET + GET),)),
    "response, the last, more behind": (RESPONSE, (client(GET + GET), lambda t: t.downstream.drain())),
    "response, client ended": (RESPONSE, (client(GET), lambda t: t.downstream.eof_received())),
    "response, client stalled": (RESPONSE, (client(GET), lambda t: t.downstream.pause_writing())),
    "tunnel": (TUNNEL, (client(SOCKET), backend(SWITCH))),
    "tunnel, half closed": (TUNNEL, (client(SOCKET), backend(SWITCH), lambda t: t.downstream.eof_received())),
    "linger": (LINGER, (client(b"nonsense\r\n\r\n"),)),
    "closed": (CLOSED, (lambda t: t.downstream.close(),)),
    "lost": (CLOSED, (client(GET), lambda t: t.downstream.connection_lost(None))),
}
EVENTS: Mapping[str, Step] = {
    "a request": client(GET),
    "a request with a body": client(POST),
    "two bytes": client(b"cd"),
    "nonsense": client(b"\0\r\n\r\n"),
    "an answer": backend(OK),
    "the head of an answer": backend(OK[:-2]),
    "a switch": backend(SWITCH),
    "the backend lost": lambda t: t.upstream.connection_lost(None),
    "the backend reset": lambda t: t.upstream.connection_lost(ConnectionResetError()),
    "the backend full and ready": lambda t: (t.upstream.pause_writing(), t.upstream.resume_writing()),
    "the client's end": lambda t: t.downstream.eof_received(),
    "the client lost": lambda t: t.downstream.connection_lost(None),
    "the client stalled": lambda t: t.downstream.pause_writing(),
    "the client stalled and read on": lambda t: (t.downstream.pause_writing(), t.downstream.resume_writing()),
    "the deadline": lambda t: t.downstream.on_deadline(),
    "a drain": lambda t: t.downstream.drain(),
    "the end of time": lambda t: t.downstream.abort(),
}


def happen(t: Trace, name: str) -> None:
    """Let event *name* happen, unless a transport would not tell of it: closed, it says only that it is lost, once."""
    over = t.downstream not in t.downstream.site.connections
    from_client = name in FROM_CLIENT or "client" in name
    if from_client and (over or (t.client.closed and name != "the client lost")):
        return
    if not (name in FROM_BACKEND and t.backend.closed):
        EVENTS[name](t)


async def turns(n: int = 3) -> None:
    """Let the loop do what it was told to do soon."""
    for _ in range(n):
        await asyncio.sleep(0)


@pytest.mark.parametrize("where", REACH)
async def test_a_state_is_reached(where: str) -> None:
    state, steps = REACH[where]
    with trace() as t:
        for step in steps:
            step(t)
        assert t.downstream.state is state
        if where == "lost":
            t.client.closed = True


@pytest.mark.parametrize("where", REACH)
async def test_whatever_happens_twice_only_changes_of_the_table_follow(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = watch_states(monkeypatch)
    for first, second in itertools.product(EVENTS, repeat=2):
        with trace() as t:
            for step in REACH[where][1]:
                step(t)
            for name in (first, second):
                happen(t, name)
                await turns()
            if t.downstream not in t.downstream.site.connections:
                t.client.closed = True
        assert not watched.illegal, (where, first, second)


async def test_the_table_has_no_change_that_never_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = watch_states(monkeypatch)
    for (_, steps), name in itertools.product(REACH.values(), EVENTS):
        with trace() as t:
            for step in steps:
                step(t)
            happen(t, name)
            t.client.closed = t.downstream not in t.downstream.site.connections
    assert watched.seen == {(state, following) for state in NEXT for following in NEXT[state]}


def test_the_picture_in_the_manual_is_that_of_the_table() -> None:
    page = Path("docs/architecture.md").read_text(encoding="utf-8")
    drawn = {(one, other) for one, other in re.findall(r"^ +(\w+) --> (\w+)", page, re.MULTILINE)}
    assert drawn == {(state.name, following.name) for state in NEXT for following in NEXT[state]}
