"""Copies that wait for a connection to their mirror: what they hold, and what that costs."""

from __future__ import annotations

import asyncio

from gatewayproxy.dataplane.gates import ByteGate
from gatewayproxy.dataplane.protocols.mirror import MirrorCall
from gatewayproxy.dataplane.upstream.pool import ClusterState, EndpointPool
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import Cluster, Endpoint
from gatewayproxy.routing.table import BackendChoice, HostIndex, Mirror
from tests.support.backend import backend, client, until
from tests.support.calls import cpu_s
from tests.support.worker import cluster, entry, serve, vhost

NUMBER = b"POST /%d HTTP/1.1\r\nHost: a.test\r\nContent-Length: 600\r\n\r\n"
TO = Endpoint("192.0.2.1", 80)


async def test_of_copies_that_are_too_many_in_all_the_oldest_is_dropped() -> None:
    answer = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer.wait()

    async with backend() as app, backend(hang) as copy:
        mirror = Mirror(cluster=cluster(copy.number, name="default/copy:80"), numerator=1, denominator=1)
        choice = BackendChoice(name="app", cluster=cluster(app.number), mirrors=(mirror,))
        limits = Limits(upstream_connections=1, mirror_bytes=2000)
        with serve(HostIndex(default=vhost({b"": entry(choice)})), limits=limits) as served:
            async with client(served.number) as peer:
                for n in range(5):
                    assert (await peer.ask(NUMBER % n + bytes(600)))[0] == 200
                    await until(lambda: copy.heads)  # the first one has the only connection
                copies = served.context.copies
                assert 1200 < copies.n_bytes <= 2000
                answer.set()
                await until(lambda: len(copy.heads) == 3)
                assert [head.split()[1] for head in copy.heads] == [b"/0", b"/3", b"/4"]
                assert copies.n_bytes == 0
            assert len(app.heads) == 5


def waiting_call(limits: Limits, gate: ByteGate) -> MirrorCall:
    """Return a copy whose mirror gives no connection."""
    pool = EndpointPool(TO, limits, lambda dial, _: dial.close())
    state = ClusterState(Cluster(name="default/copy:80", endpoints=(TO,)), (pool,))
    call = MirrorCall(b"POST / HTTP/1.1\r\n\r\n", state, limits.buffer_bytes, gate, bodiless=False, chunked=False)
    call.begin(b"", framed=False, complete=False)
    return call


def test_a_body_that_comes_byte_by_byte_is_not_copied_for_each() -> None:
    n = 250_000
    gate = ByteGate(n * 2)
    call = waiting_call(Limits(), gate)

    def send() -> None:
        for _ in range(n):
            call.on_request_body(b"x", complete=False, trailers=b"")

    assert cpu_s(send) < 2.0  # copies of all for each byte take several times that
    assert gate.n_bytes == len(b"POST / HTTP/1.1\r\n\r\n") + n


def test_a_copy_beyond_what_one_may_hold_is_let_go() -> None:
    gate = ByteGate(1 << 20)
    call = waiting_call(Limits(buffer_bytes=100), gate)
    call.on_request_body(bytes(101), complete=False, trailers=b"")
    call.on_request_body(bytes(50), complete=True, trailers=b"")
    assert gate.n_bytes == 0


def test_a_copy_that_finds_no_place_in_the_queue_is_let_go() -> None:
    gate = ByteGate(1 << 20)
    call = waiting_call(Limits(upstream_queue=0), gate)
    call.on_request_body(bytes(50), complete=False, trailers=b"")
    assert gate.n_bytes == 0
