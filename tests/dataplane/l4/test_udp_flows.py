"""Flows of a UDP port: who gets what, in which order, and what happens at every bound."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections import Counter
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest

from gatewayproxy.dataplane.listeners.udp import UdpListener
from gatewayproxy.dataplane.protocols import udp_flow, udp_flows, udp_gate
from gatewayproxy.dataplane.protocols.udp_gate import gate_of
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import Cluster, Endpoint, Refusal
from gatewayproxy.routing.table import BackendChoice, RouteEntry
from tests.support.l4 import choice, entry, refused, wait_until
from tests.support.ports import free_port
from tests.support.udp import Answer, Peer, Udp, bound_socket, open_udp, peer, udp_port

pytestmark = pytest.mark.usefixtures("no_leaks")


def echo(data: bytes) -> list[bytes]:
    return [data]


def named(name: bytes) -> Answer:
    return lambda data: [name + b":" + data]


NO_BACKENDS = replace(entry(choice("x")), group=None, refusal=Refusal(500, "no_backends"))


async def test_a_client_keeps_its_flow_and_gets_its_replies() -> None:
    async with peer(echo) as backend, open_udp(udp_port(entry(choice("dns", backend.address)))) as udp:
        async with peer() as one, peer() as two:
            for n in range(20):
                assert await one.ask(b"one %d" % n, udp.address) == b"one %d" % n
                assert await two.ask(b"two %d" % n, udp.address) == b"two %d" % n
        assert len(set(backend.senders)) == 2
        assert udp.listener.connections == 2
        assert udp.datagrams == [40, 40]
        assert udp.context.stats.connections_total == {"default/gw/l4": 2}


async def test_replies_come_from_the_address_the_client_wrote_to() -> None:
    async with peer(echo) as backend:
        port = udp_port(entry(choice("dns", backend.address)), "")
        async with open_udp(port, host="0.0.0.0") as udp, peer() as client:
            for host in ("127.0.0.1", "127.0.0.2", "127.3.2.1"):
                to = (host, udp.address[1])
                assert await client.ask(host.encode(), to) == host.encode()
                assert client.senders[-1] == to
            assert udp.listener.connections == 3  # one client address, three conversations


@pytest.mark.parametrize("host", ["::", "::1"])
async def test_ipv6_clients_and_ipv4_backends(host: str) -> None:
    async with peer(echo) as backend:
        async with open_udp(udp_port(entry(choice("dns", backend.address))), host=host) as udp:
            async with peer(host="::1") as client:
                to = ("::1", udp.address[1])
                assert await client.ask(b"six", to) == b"six"
                assert client.senders == [to]


async def test_ipv4_clients_and_ipv6_backends() -> None:
    async with peer(echo, "::1") as backend, open_udp(udp_port(entry(choice("dns", backend.address)))) as udp:
        async with peer() as client:
            assert await client.ask(b"four", udp.address) == b"four"


async def test_a_backend_on_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "backend")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        loop.add_reader(sock, lambda: sock.sendto(*sock.recvfrom(100)))
        async with open_udp(udp_port(entry(choice("dns", (f"unix:{path}", 0))))) as udp, peer() as client:
            assert await client.ask(b"local", udp.address) == b"local"
        loop.remove_reader(sock)


@pytest.mark.parametrize("size", [0, 1, 1_472, 9_000, 65_507])
async def test_datagrams_of_any_size_pass_whole(size: int) -> None:
    async with peer(echo) as backend, open_udp(udp_port(entry(choice("dns", backend.address)))) as udp:
        async with peer() as client:
            data = bytes(n % 251 for n in range(size))
            assert await client.ask(data, udp.address) == data
            assert backend.received == [data]
            assert udp.context.stats.rows.popitem()[1].bytes_in == size


async def test_a_batch_keeps_the_order_of_each_client() -> None:
    async with peer(echo) as backend, open_udp(udp_port(entry(choice("dns", backend.address)))) as udp:
        async with peer() as one, peer() as two:
            for n in range(150):  # more than a batch, waiting before the loop turns
                one.sock.sendto(b"one %d" % n, udp.address)
                if n % 3 == 0:
                    two.sock.sendto(b"two %d" % n, udp.address)
            await one.get(150)
            await two.get(50)
            assert one.received == [b"one %d" % n for n in range(150)]
            assert two.received == [b"two %d" % n for n in range(0, 150, 3)]


async def test_one_request_may_have_many_replies_and_none() -> None:
    async with peer(lambda data: [data] * int(data)) as backend:
        async with open_udp(udp_port(entry(choice("dns", backend.address)))) as udp, peer() as client:
            client.sock.sendto(b"0", udp.address)
            client.sock.sendto(b"130", udp.address)
            await client.get(130)
            assert udp.datagrams == [2, 130]


async def test_weights_count_per_client() -> None:
    async with contextlib.AsyncExitStack() as stack:
        a = await stack.enter_async_context(peer(lambda _: [b"a"]))
        b = await stack.enter_async_context(peer(lambda _: [b"b"]))
        route = entry(choice("a", a.address), choice("b", b.address), weights=(7, 3))
        udp = await stack.enter_async_context(open_udp(udp_port(route)))
        answers: Counter[bytes] = Counter()
        for _ in range(500):
            client = await stack.enter_async_context(peer())
            first = await client.ask(b"x", udp.address)
            assert await client.ask(b"x", udp.address) == first
            answers[first] += 1
        assert answers == {b"a": 350, b"b": 150}


async def test_a_refused_share_is_refused_by_client_and_logged_once() -> None:
    async with peer(echo) as backend:
        route = entry(refused("gone", "backend_not_found"), choice("dns", backend.address))
        async with open_udp(udp_port(route)) as udp, contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(peer()) for _ in range(10)]
            for _ in range(3):
                for client in clients:
                    client.sock.sendto(b"x", udp.address)
            await udp.dropped("backend_not_found", 15)
            await wait_until(lambda: len(backend.received) == 15, "the other half")
            told = [(record.reason, record.backend, record.protocol) for record in udp.records]
            assert told == [("backend_not_found", "gone", "udp")] * 5


@pytest.mark.parametrize(
    ("route", "reason"),
    [
        pytest.param(None, "no_route", id="no route"),
        pytest.param(NO_BACKENDS, "no_backends", id="no backends"),
        pytest.param(entry(choice("x")), "no_endpoints", id="no endpoints"),
    ],
)
async def test_what_leads_nowhere_is_dropped(route: RouteEntry | None, reason: str) -> None:
    async with open_udp(udp_port(route)) as udp, peer() as client:
        for _ in range(3):
            client.sock.sendto(b"x", udp.address)
        await udp.dropped(reason, 3)
        assert client.received == []


async def test_an_endpoint_that_refuses_is_left_for_another_at_the_next_datagram() -> None:
    dead = "127.0.0.1", free_port()
    async with peer(echo) as backend:
        route = entry(choice("dns", dead, backend.address))
        async with open_udp(udp_port(route)) as udp, contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(peer()) for _ in range(4)]
            for client in clients:
                await _ask_until_answered(client, udp.address)
            udp.context.registry.collect()
            assert udp.context.stats.upstream[f"127.0.0.1:{dead[1]}"][3] >= 1
            assert udp.context.stats.upstream[f"127.0.0.1:{backend.address[1]}"][0] == 4


async def test_a_lone_endpoint_that_comes_back_is_used_again() -> None:
    dead = "127.0.0.1", free_port()
    async with open_udp(udp_port(entry(choice("dns", dead)))) as udp, peer() as client:
        client.sock.sendto(b"lost", udp.address)
        await wait_until(lambda: _n_failed(udp, dead) == 1, "the refusal to arrive")
        async with peer(echo, *dead):
            assert await client.ask(b"back", udp.address) == b"back"
        assert udp.listener.connections == 1


def _n_failed(udp: Udp, address: tuple[str, int]) -> int:
    udp.context.registry.collect()
    return udp.context.stats.upstream.get(f"{address[0]}:{address[1]}", [0] * 4)[3]


async def _ask_until_answered(client: Peer, to: tuple[str, int]) -> None:
    for _ in range(100):
        client.sock.sendto(b"again", to)
        with contextlib.suppress(AssertionError):
            await wait_until(lambda: bool(client.received), "an answer", deadline_s=0.2)
            return
    raise AssertionError("never answered")


async def test_silence_ends_a_flow_with_a_record() -> None:
    async with peer(echo) as backend:
        limits = Limits(udp_idle_timeout_s=1.0)
        async with open_udp(udp_port(entry(choice("dns", backend.address))), limits=limits) as udp, peer() as client:
            for _ in range(4):
                await client.ask(b"ping", udp.address)
            record = await udp.record()
            assert udp.listener.connections == 0
            assert (record.protocol, record.listener) == ("udp", "default/gw/l4")
            assert (record.route, record.rule, record.backend) == ("TCPRoute default/route-0", "0", "dns")
            assert record.endpoint == f"127.0.0.1:{backend.address[1]}"
            assert (record.client, record.reason) == ("127.0.0.1", "")
            assert (record.bytes_in, record.bytes_out, record.attempts) == (16, 16, 1)
            await client.ask(b"new", udp.address)
            assert len(set(backend.senders)) == 2


async def test_a_flow_that_is_used_outlives_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    now = monotonic()
    for module in (udp_gate, udp_flow, udp_flows):
        monkeypatch.setattr(module, "monotonic", lambda: now)
    async with peer(echo) as backend:
        async with open_udp(udp_port(entry(choice("dns", backend.address)))) as udp, peer() as client:
            gate = gate_of(udp.context)
            for _ in range(4):
                await client.ask(b"x", udp.address)
                now += udp.context.limits.udp_idle_timeout_s - 1
                gate.close()
                gate._look()
            assert udp.records == []
            assert len(set(backend.senders)) == 1
            now += 2
            gate.close()
            gate._look()
            assert len(udp.records) == 1


async def test_at_the_bound_the_longest_silent_flow_that_nobody_answers_gives_way() -> None:
    async with peer(lambda data: [data] if data == b"answer" else []) as backend:
        limits = Limits(udp_flows=3)
        async with open_udp(udp_port(entry(choice("dns", backend.address))), limits=limits) as udp:
            async with contextlib.AsyncExitStack() as stack:
                clients = [await stack.enter_async_context(peer()) for _ in range(5)]
                await clients[0].ask(b"answer", udp.address)
                for client in clients[1:]:
                    client.sock.sendto(b"?", udp.address)
                await udp.dropped("flow_limit", 2)
                assert udp.listener.connections == 3
                await clients[0].ask(b"answer", udp.address)
                assert backend.senders[0] == backend.senders[-1]
                assert [record.reason for record in udp.records] == ["flow_limit"] * 2


async def test_a_flood_of_client_ports_stays_bounded() -> None:
    async with peer(lambda data: [data] if data == b"keep" else []) as backend:
        limits = Limits(udp_flows=500)
        async with open_udp(udp_port(entry(choice("dns", backend.address))), limits=limits) as udp, peer() as friend:
            await friend.ask(b"keep", udp.address)
            for n in range(20_000):  # an address of its own for each: 127.a.b.c, whatever the port
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.bind((f"127.{n >> 14 & 63 | 64}.{n >> 7 & 127}.{n & 127 | 1}", 0))
                    sock.sendto(b"x", udp.address)
                if n % 50 == 0:
                    await asyncio.sleep(0)
                    assert udp.listener.connections <= 500
            await wait_until(lambda: udp.datagrams[0] + udp.reasons.get("queue_full", 0) >= 20_001, "the flood to pass")
            assert udp.reasons["flow_limit"] > 10_000
            await friend.ask(b"keep", udp.address)
            keeps = [sender for data, sender in zip(backend.received, backend.senders, strict=True) if data == b"keep"]
            assert keeps[0] == keeps[1]


async def test_a_new_table_keeps_flows_whose_endpoint_it_still_names() -> None:
    async with peer(named(b"a")) as a, peer(named(b"b")) as b:
        route = entry(choice("a", a.address))
        async with open_udp(udp_port(route)) as udp, peer() as client:
            assert await client.ask(b"1", udp.address) == b"a:1"
            udp.listener.update(udp_port(entry(choice("b", b.address), choice("both", b.address, a.address))))
            assert await client.ask(b"2", udp.address) == b"a:2"
            assert len(set(a.senders)) == 1
            udp.listener.update(udp_port(entry(choice("b", b.address), index=1)))
            assert await client.ask(b"3", udp.address) == b"b:3"
            assert udp.records == []
            rows = {key.backend: row.active for key, row in udp.context.stats.rows.items()}
            assert rows == {"a": 0, "both": 0, "b": 1} or rows.get("b") == 1
            udp.listener.update(udp_port(None))
            client.sock.sendto(b"4", udp.address)
            record = await udp.record()
            assert (record.reason, record.bytes_in, record.bytes_out) == ("no_route", 3, 9)
            await udp.dropped("no_route")


async def test_a_removed_port_serves_the_flows_it_has_until_they_fall_silent() -> None:
    async with peer(echo) as backend, open_udp(udp_port(entry(choice("dns", backend.address)))) as udp:
        async with peer() as old, peer() as new, peer() as queued:
            await old.ask(b"1", udp.address)
            queued.sock.sendto(b"waits in the socket", udp.address)
            udp.listener.stop()
            await queued.get()
            new.sock.sendto(b"late", udp.address)
            await udp.dropped("draining")
            for _ in range(3):
                assert await old.ask(b"2", udp.address) == b"2"
            await wait_until(lambda: udp.listener.connections == 0, "the flows to fall silent")
            assert new.received == []
            assert {record.reason for record in udp.records} == {""}
        udp.shared.close()
        bound_socket(*udp.address).close()  # free again


async def test_what_waits_to_be_read_is_no_silence() -> None:
    async with peer(echo) as backend, open_udp(udp_port(entry(choice("dns", backend.address)))) as udp:
        async with peer() as client:
            await client.ask(b"1", udp.address)
            udp.listener.stop()
            flows = udp.listener._flows
            (flow,) = flows._flows.values()
            flow.active_at -= 60  # the loop was held up for so long
            client.sock.sendto(b"2", udp.address)
            flows._end_silent()
            assert udp.listener.connections == 1
            await client.get(2)
            flow.active_at -= 60
            flows._end_silent()
            assert udp.listener.connections == 0


async def test_a_port_that_comes_back_while_it_drains_keeps_its_flows() -> None:
    async with peer(echo) as backend:
        port = udp_port(entry(choice("dns", backend.address)))
        async with open_udp(port) as udp, peer() as client, peer() as new:
            await client.ask(b"1", udp.address)
            udp.listener.stop()
            back = UdpListener(port, [udp.shared.dup()], udp.context)
            assert (udp.listener.connections, back.connections) == (0, 1)
            await client.ask(b"2", udp.address)
            await new.ask(b"3", udp.address)
            assert len(set(backend.senders)) == 2
            assert back.connections == 2
            udp.listener.abort()
            assert back.connections == 2
            back.stop()
            back.abort()
            assert gate_of(udp.context).leaving == {}


async def test_flows_that_do_not_end_are_cut_at_the_deadline() -> None:
    async with peer(echo) as backend, open_udp(udp_port(entry(choice("dns", backend.address)))) as udp:
        async with peer() as client:
            await client.ask(b"1", udp.address)
            udp.listener.stop()
            udp.listener.abort()
            assert (await udp.record()).reason == "drain_timeout"
            assert udp.reasons == {"drain_timeout": 1}


async def test_strangers_cannot_answer_for_the_endpoint() -> None:
    async with peer() as backend, peer() as stranger, open_udp(udp_port(entry(choice("dns", backend.address)))) as udp:
        async with peer() as client:
            client.sock.sendto(b"query", udp.address)
            await backend.get()
            flow = backend.senders[0]
            stranger.sock.sendto(b"forged", flow)
            backend.sock.sendto(b"true", flow)
            await client.get()
            assert client.received == [b"true"]


async def test_a_backend_by_name_is_resolved_before_anybody_asks() -> None:
    async with peer(echo) as backend:
        named = BackendChoice(name="dns", cluster=Cluster(name="dns", dns=Endpoint("localhost", backend.address[1])))
        async with open_udp(udp_port(entry(named))) as udp, peer() as client:
            await _ask_until_answered(client, udp.address)
            assert set(udp.reasons) <= {"dns_failed", "connect_failed"}  # before the answer; ::1, where nobody listens


async def test_a_bound_of_no_flows_is_one_of_one() -> None:
    async with peer(echo) as backend:
        port = udp_port(entry(choice("dns", backend.address)))
        async with open_udp(port, limits=Limits(udp_flows=0)) as udp, peer() as one, peer() as two:
            for client in (one, two, one):
                assert await client.ask(b"x", udp.address) == b"x"
            assert udp.listener.connections == 1


async def test_without_descriptors_the_endpoint_is_not_blamed() -> None:
    async with peer(echo) as backend, open_udp(udp_port(entry(choice("dns", backend.address)))) as udp:
        async with peer() as client:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (backend.sock.fileno(), hard))  # whoever opens one more, fails
            try:
                client.sock.sendto(b"lost", udp.address)
                await udp.dropped("connect_failed")
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert _n_failed(udp, backend.address) == 0
            assert await client.ask(b"now", udp.address) == b"now"
            assert udp.listener.connections == 1


async def test_what_a_backend_has_no_room_for_is_dropped_and_counted(tmp_path: Path) -> None:
    path = str(tmp_path / "backend")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unread:
        unread.bind(path)
        async with open_udp(udp_port(entry(choice("dns", (f"unix:{path}", 0))))) as udp, peer() as client:
            for _ in range(2_000):
                client.sock.sendto(b"x", udp.address)
                if udp.reasons:
                    break
                await asyncio.sleep(0)
            await udp.dropped("upstream_full")
            assert udp.listener.connections == 1  # the flow goes on
