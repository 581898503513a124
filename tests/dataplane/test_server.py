"""DataPlane: listeners follow the table; what retires has its time and no more."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from collections.abc import Sequence

import pytest

from gatewayproxy.dataplane import server
from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.server import DataPlane, Drained
from gatewayproxy.dataplane.upstream.registry import Registry
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.names import BindKey
from gatewayproxy.routing.table import HostIndex, ListenerLabel, Port, PortKind, RoutingTable, VirtualHost


class _Listener:
    """A listener with as many connections as the test says."""

    def __init__(self, port: Port, sockets: Sequence[socket.socket]) -> None:
        self.port = port
        self.sockets = sockets
        self.connections = 0
        self.calls: list[str] = []

    def update(self, port: Port) -> None:
        self.port = port

    def stop(self) -> None:
        self.calls.append("stop")
        for sock in self.sockets:
            sock.close()

    def drain(self) -> None:
        self.calls.append("drain")

    def abort(self) -> None:
        self.calls.append("abort")
        self.connections = 0


class _World:
    """A DataPlane whose listeners are `_Listener`s, and sockets for any port."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, drain_s: float) -> None:
        self.opened: list[_Listener] = []
        self.drained: list[Drained] = []
        opener = {kind: self._open for kind in PortKind}
        opener[PortKind.TCP] = self._refuse
        monkeypatch.setattr(server, "LISTENERS", opener)
        self.plane = DataPlane(Context(registry=Registry(), limits=Limits(drain_s=drain_s)))
        self.sockets: dict[BindKey, list[socket.socket]] = {}

    def _open(self, port: Port, sockets: Sequence[socket.socket], context: Context) -> _Listener:
        self.opened.append(_Listener(port, sockets))
        return self.opened[-1]

    def _refuse(self, port: Port, sockets: Sequence[socket.socket], context: Context) -> _Listener:
        for sock in sockets:
            sock.close()
        raise ValueError("no")

    def apply(self, generation: int, *ports: Port) -> server.Applied:
        for port in ports:
            key = BindKey(port.address, port.bind_port)
            if key not in self.sockets:
                self.sockets[key] = [socket.create_server(("127.0.0.1", 0))]
        table = RoutingTable(generation=generation, digest=str(generation), ports=ports, n_entries=0, n_groups=0)
        return self.plane.apply(table, self.sockets, on_drained=self.drained.append)

    async def wait_drained(self, n: int) -> None:
        async with asyncio.timeout(60):
            while len(self.drained) < n:
                await asyncio.sleep(0.01)

    def close(self) -> None:
        self.plane.abort()
        for sockets in self.sockets.values():
            for sock in sockets:
                sock.close()


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> object:
    made = _World(monkeypatch, getattr(request, "param", 30.0))
    yield made
    made.close()


def _port(number: int, kind: PortKind = PortKind.HTTP) -> Port:
    return Port(kind=kind, address="", bind_port=number, port=number, listeners=(), http=HostIndex())


async def test_a_port_that_stays_is_updated_in_place(world: _World) -> None:
    world.apply(1, _port(1))
    fresh = _port(1)
    applied = world.apply(2, fresh)
    assert (applied.opened, applied.updated, applied.retired) == (0, 1, 0)
    assert [each.port for each in world.opened] == [fresh]
    assert world.plane.context.generation == 2


async def test_a_port_that_goes_stops_then_drains_and_is_told_when_empty(world: _World) -> None:
    world.apply(1, _port(1), _port(2))
    gone = world.opened[1]
    gone.connections = 3
    applied = world.apply(2, _port(1))
    assert (applied.retired, applied.draining) == (1, 3)
    assert gone.calls == ["stop", "drain"]
    assert world.plane.connections == 3
    gone.connections = 0
    await world.wait_drained(2)
    assert world.drained[-1] == Drained(finished=3, cut=0)
    assert world.plane.connections == 0


@pytest.mark.parametrize("world", [0.1], indirect=True, ids=["0.1 s"])
async def test_what_outlives_its_time_is_aborted(world: _World) -> None:
    world.apply(1, _port(1), _port(2))
    gone = world.opened[1]
    gone.connections = 2
    world.apply(2, _port(1))
    await world.wait_drained(2)
    assert gone.calls == ["stop", "drain", "abort"]
    assert world.drained[-1] == Drained(finished=0, cut=2)


async def test_a_port_of_another_kind_is_opened_anew_on_the_same_sockets(world: _World) -> None:
    world.apply(1, _port(1))
    applied = world.apply(2, _port(1, PortKind.HTTPS))
    assert (applied.opened, applied.updated, applied.retired) == (1, 0, 1)
    assert world.opened[0].calls == ["stop", "drain"]
    assert world.opened[1].sockets[0].fileno() >= 0


async def test_a_port_that_fails_to_open_is_told_and_the_others_serve(world: _World) -> None:
    applied = world.apply(1, _port(1), _port(2, PortKind.TCP))
    assert applied.opened == 1
    assert applied.failed == ((BindKey("", 2), "ValueError: no"),)


async def test_a_port_without_sockets_is_passed_over(world: _World) -> None:
    table = RoutingTable(generation=1, digest="", ports=(_port(1),), n_entries=0, n_groups=0)
    assert world.plane.apply(table, {}).opened == 0


async def test_the_old_table_is_taken_apart_only_when_nothing_routes_by_it(world: _World) -> None:
    hosts = {b"%d" % n: VirtualHost(listener=ListenerLabel(0, "ns/gw/http")) for n in range(1000)}
    old = dataclasses.replace(_port(2), http=HostIndex(exact=hosts))
    world.apply(1, _port(1), old)
    assert old.http is not None
    world.opened[1].connections = 1
    world.apply(2, _port(1))
    await asyncio.sleep(0)
    assert len(old.http.exact) == 1000  # a draining connection may still route by it
    world.opened[1].connections = 0
    await world.wait_drained(2)
    async with asyncio.timeout(60):
        while old.http.exact:
            await asyncio.sleep(0)


async def test_draining_the_plane_ends_every_listener(world: _World) -> None:
    world.apply(1, _port(1), _port(2))
    world.opened[0].connections = 1
    done: list[Drained] = []
    world.plane.drain(done.append)
    assert world.plane.context.draining
    assert [each.calls for each in world.opened] == [["stop", "drain"]] * 2
    world.opened[0].connections = 0
    async with asyncio.timeout(60):
        while not done:
            await asyncio.sleep(0.01)
    assert done == [Drained(finished=1, cut=0)]
