"""Accepting: bounds, exhausted descriptors, the queue at the end."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Callable

import pytest

from gatewayproxy.dataplane.gates import Gate
from gatewayproxy.dataplane.listeners.accept import Acceptor


class Greeter(asyncio.Protocol):
    """Says hello, and counts itself out when it is lost."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(b"hello")  # type: ignore[attr-defined]

    def connection_lost(self, exc: Exception | None) -> None:
        self.gate.leave()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=128)


def dial(sock: socket.socket) -> socket.socket:
    return socket.create_connection(sock.getsockname(), timeout=60)


class Watched(Gate):
    """Remembers the most it held."""

    most = 0

    def enter(self) -> None:
        super().enter()
        self.most = max(self.most, self.count)


def greeted(client: socket.socket) -> bytes:
    with client:
        return client.recv(5)


async def test_one_gate_bounds_several_listeners_and_all_are_served() -> None:
    gate = Watched(2)
    listeners = [listener(), listener()]
    acceptors = [Acceptor([sock], lambda: Greeter(gate), [gate]) for sock in listeners]
    clients = [dial(listeners[i % 2]) for i in range(8)]
    async with asyncio.timeout(60):
        answers = await asyncio.gather(*(asyncio.to_thread(greeted, client) for client in clients))
    assert answers == [b"hello"] * 8
    assert gate.most == 2
    await until(lambda: gate.count == 0)
    for acceptor in acceptors:
        acceptor.stop()


async def test_without_descriptors_connections_wait_and_are_served_later(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate(100)
    sock = listener()
    clients = [dial(sock) for _ in range(4)]  # the loop has accepted none of them yet
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.dup(0)
    os.close(spare)
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
    try:
        acceptor = Acceptor([sock], lambda: Greeter(gate), [gate])
        await until(lambda: "accept_paused" in caplog.text)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for client in clients:
        assert await asyncio.to_thread(client.recv, 5) == b"hello"
        client.close()
    acceptor.stop()
    await until(lambda: gate.count == 0)


async def test_stop_takes_what_the_queue_holds_beyond_the_bound_and_closes_the_descriptor() -> None:
    gate = Gate(1)
    sock = listener()
    held = sock.dup()  # the supervisor's
    acceptor = Acceptor([sock], lambda: Greeter(gate), [gate])
    clients = [dial(held) for _ in range(5)]
    await until(lambda: gate.count == 1)
    acceptor.stop()
    acceptor.stop()  # once more does no harm
    for client in clients:
        assert await asyncio.to_thread(client.recv, 5) == b"hello"
        client.close()
    await until(lambda: gate.count == 0)
    assert sock.fileno() == -1
    late = dial(held)  # waits for whoever accepts on the socket next
    held.setblocking(True)
    accepted, _ = held.accept()
    for each in (late, accepted, held):
        each.close()


def test_a_gate_wakes_those_who_wait_once() -> None:
    gate = Gate(1)
    woken: list[str] = []
    gate.enter()
    gate.when_room(lambda: woken.append("one"))
    gate.enter()  # beyond the bound: what a stopping listener takes
    gate.leave()
    assert woken == []
    gate.leave()
    gate.enter()
    gate.leave()
    assert woken == ["one"]


async def test_the_kernel_finds_out_that_a_silent_client_is_gone() -> None:
    accepted: list[asyncio.BaseTransport] = []

    class Kept(Greeter):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.append(transport)

    gate, sock = Gate(1), listener()
    acceptor = Acceptor([sock], lambda: Kept(gate), [gate])
    with dial(sock):
        await until(lambda: bool(accepted))
        kept = accepted[0].get_extra_info("socket")
        assert kept.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert kept.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 120
    accepted[0].abort()  # type: ignore[attr-defined]
    await until(lambda: not gate.count)
    acceptor.stop()
