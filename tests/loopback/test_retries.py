"""Retries over real sockets: after which answers, of what, how often, how soon, and where to."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from typing import Any

import pytest

from gatewayproxy.dataplane.protocols import retries
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import Cluster, Endpoint
from gatewayproxy.model.protocols import AppProtocol
from gatewayproxy.model.traffic import Retry, RetryBudget
from gatewayproxy.routing.table import BackendChoice, HostIndex, Mirror, RouteEntry
from tests.support.backend import Backend, Script, backend, client, until
from tests.support.h2backend import H2Call, h2_backend
from tests.support.h2client import h2_session
from tests.support.ports import closed_port
from tests.support.worker import Served, cluster, entry, serve, vhost

GET = b"GET /p HTTP/1.1\r\nHost: a.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
AT_ONCE = Retry(attempts=2, codes=(500, 503), backoff_s=0.0)


def failing(status: int = 503, body: bytes = b"sorry") -> bytes:
    return b"HTTP/1.1 %d Failed\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def post(body: bytes) -> bytes:
    return b"POST /p HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer nothing until the gateway gives up."""
    await reader.read()


def break_off(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reset the connection instead of an answer."""
    break_off(writer)


async def shut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End the connection instead of an answer."""


def route(target: Cluster, retry: Retry | None = AT_ONCE, mirrors: tuple[Mirror, ...] = (), **rest: Any) -> RouteEntry:
    return entry(BackendChoice(name=target.name, cluster=target, mirrors=mirrors), retry=retry, **rest)


@contextmanager
def serving(target: Cluster, limits: Limits | None = None, **rest: Any) -> Iterator[Served]:
    with serve(HostIndex(default=vhost({b"": route(target, **rest)})), limits=limits) as served:
        yield served


@asynccontextmanager
async def gateway(
    *answers: bytes | Script, keep: bytes = OK, limits: Limits | None = None, **rest: Any
) -> AsyncIterator[tuple[Served, Backend]]:
    async with backend(*answers, keep=keep) as app:
        with serving(cluster(app.number), limits, **rest) as served:
            yield served, app


@pytest.mark.parametrize("answers", [(failing(503),), (failing(503), failing(500))], ids=["once", "twice"])
async def test_an_answer_of_a_listed_code_is_followed_by_another_try(answers: tuple[bytes, ...]) -> None:
    async with gateway(*answers) as (served, app), client(served.number) as peer:
        assert (await peer.ask(GET))[::2] == (200, b"ok")
        assert len(app.heads) == len(answers) + 1
        assert len(set(app.heads)) == 1  # the same request, its id too
        assert served.records[0].attempts == len(answers) + 1
        row = next(iter(served.context.stats.rows.values()))
        assert (row.retries, row.active, sum(row.classes)) == (len(answers), 0, 1)


async def test_the_last_answer_is_passed_on_as_it_is() -> None:
    async with gateway(keep=failing(503, b"still")) as (served, app), client(served.number) as peer:
        assert (await peer.ask(GET))[::2] == (503, b"still")
        assert len(app.heads) == 3
        assert served.reasons() == {}
        assert (await peer.ask(GET))[0] == 503  # the connection goes on


@pytest.mark.parametrize("status", [200, 404, 502, 504])
async def test_other_codes_are_answers(status: int) -> None:
    async with gateway(failing(status)) as (served, app), client(served.number) as peer:
        assert (await peer.ask(GET))[0] == status
        assert len(app.heads) == 1


async def test_a_rule_without_retries_has_none() -> None:
    async with gateway(failing(503), retry=None) as (served, app), client(served.number) as peer:
        assert (await peer.ask(GET))[0] == 503
        assert len(app.heads) == 1


@pytest.mark.parametrize("breaks", [reset, shut], ids=["reset", "end"])
@pytest.mark.parametrize("request_", [GET, post(b"x" * 1000)], ids=["GET", "POST"])
async def test_a_connection_that_breaks_before_the_answer_is_followed_by_another_try(
    breaks: Script, request_: bytes
) -> None:
    async with gateway(breaks, breaks) as (served, app), client(served.number) as peer:
        assert (await peer.ask(request_))[::2] == (200, b"ok")
        assert len(app.heads) == 3
        assert len(set(app.bodies)) == 1


async def test_connections_that_all_break_come_to_503() -> None:
    async with gateway(*[reset] * 9) as (served, app), client(served.number) as peer:
        assert (await peer.ask(GET))[0] == 503
        assert len(app.heads) == 3
        assert served.reasons() == {"retries_failed": 1}


async def test_a_backend_that_refuses_connections_is_tried_as_often() -> None:
    _, number = closed_port()
    with serving(cluster(number)) as served:
        async with client(served.number) as peer:
            assert (await peer.ask(GET))[0] == 503
        assert served.reasons() == {"connect_failed": 1}
        served.context.registry.collect()
        assert served.context.stats.upstream[f"127.0.0.1:{number}"][3] == 3


async def test_a_backend_that_comes_up_during_the_wait_answers() -> None:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))  # and refuses until it listens
    with serving(cluster(bound.getsockname()[1]), retry=Retry(attempts=200, backoff_s=0.01)) as served:
        async with client(served.number) as peer:
            peer.send(GET)
            registry = served.context.registry
            await until(lambda: any(pool.n_failed for pool in registry._pools.values()))

            async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(OK)
                await reader.read()
                writer.close()
                ended.append(True)

            ended: list[bool] = []
            server = await asyncio.start_server(answer, sock=bound)
            try:
                assert (await peer.response())[0] == 200
                served.context.registry.close()
                await until(lambda: ended)
            finally:
                server.close()


async def test_an_answer_that_has_begun_is_never_begun_again() -> None:
    async def partial(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")

    async with gateway(partial) as (served, app), client(served.number) as peer:
        peer.send(GET)
        raw = await peer.rest()
        assert raw.startswith(b"HTTP/1.1 200")
        assert raw.endswith(b"part")
        assert len(app.heads) == 1


async def test_an_interim_answer_does_not_end_the_trying() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    async with gateway(hints + failing(503)) as (served, app), client(served.number) as peer:
        peer.send(GET)
        assert (await peer.response())[0] == 103
        assert (await peer.response())[0] == 200
        assert len(app.heads) == 2


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_body_is_sent_again_whole(framing: str) -> None:
    body = bytes(range(256)) * 100
    async with gateway(failing(503), limits=Limits(upstream_retry_bytes=65_536)) as (served, app):
        async with client(served.number) as peer:
            if framing == "length":
                head, rest = post(body)[:-20_000], body[-20_000:]
            else:
                head = b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
                rest = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            peer.send(head)
            await until(lambda: app.n_connections)
            peer.send(rest)
            assert (await peer.response())[0] == 200
            assert len(app.bodies) == 2
            assert app.bodies[0] == app.bodies[1]
            assert body in app.bodies[1].replace(b"\r\n", b"") if framing == "chunked" else app.bodies[1] == body


async def test_a_body_beyond_the_bound_is_sent_once() -> None:
    body = b"x" * 9000
    async with gateway(failing(503), limits=Limits(upstream_retry_bytes=4096)) as (served, app):
        async with client(served.number) as peer:
            peer.send(post(body)[:-100])
            await until(lambda: app.n_connections)
            peer.send(body[-100:])
            assert (await peer.response())[0] == 503
            assert len(app.bodies) == 1


async def test_an_answer_before_the_end_of_the_body_is_tried_again_too() -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 8" in head.lower()
        if len(tries) < 1:
            tries.append(head)
            writer.write(failing(503))
            await reader.read()
            return
        tries.append(head + await reader.readexactly(8))
        writer.write(OK)

    tries: list[bytes] = []
    async with backend(raw=early) as app:
        with serving(cluster(app.number)) as served:
            async with client(served.number) as peer:
                peer.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 8\r\n\r\nhalf")
                await until(lambda: len(tries) == 1 and app.n_connections == 2)
                peer.send(b"rest")
                assert (await peer.response())[0] == 200
                assert tries[1].endswith(b"halfrest")


async def test_a_retry_goes_to_another_endpoint() -> None:
    async with backend(keep=failing(503)) as bad, backend() as good:
        with serving(cluster(bad.number, good.number), retry=Retry(attempts=1, codes=(503,), backoff_s=0.0)) as served:
            async with client(served.number) as peer:
                for _ in range(20):
                    assert (await peer.ask(GET))[0] == 200
            assert len(bad.heads) == 10
            assert len(good.heads) == 20


async def test_once_all_endpoints_were_tried_they_are_tried_again() -> None:
    async with backend(failing(503)) as one, backend(failing(503)) as two:
        with serving(cluster(one.number, two.number)) as served:
            async with client(served.number) as peer:
                assert (await peer.ask(GET))[0] == 200
            assert len(one.heads) + len(two.heads) == 3


async def test_a_retry_waits_for_the_backoff_at_least_and_longer_each_time() -> None:
    came: list[float] = []
    loop = asyncio.get_running_loop()

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            came.append(loop.time())
            writer.write(failing(503))

    async with backend(raw=note) as app:
        with serving(cluster(app.number), retry=Retry(attempts=3, codes=(503,), backoff_s=0.03)) as served:
            async with client(served.number) as peer:
                assert (await peer.ask(GET))[0] == 503
    waits = [later - earlier for earlier, later in pairwise(came)]
    assert len(waits) == 3
    assert all(wait >= least - 0.002 for wait, least in zip(waits, (0.03, 0.06, 0.12), strict=True))


async def test_a_try_that_runs_out_of_time_is_followed_by_another() -> None:
    async with gateway(hang, backend_timeout_s=0.5) as (served, app), client(served.number) as peer:
        assert (await peer.ask(GET))[::2] == (200, b"ok")
        await until(lambda: app.n_open == 1)  # the first was given up


async def test_tries_that_all_run_out_of_time_come_to_504() -> None:
    async with gateway(*[hang] * 9, backend_timeout_s=0.5) as (served, app), client(served.number) as peer:
        assert (await peer.ask(GET))[0] == 504
        assert len(app.heads) == 3
        assert served.reasons() == {"upstream_timeout": 1}


async def test_the_timeout_of_the_request_bounds_all_tries() -> None:
    retry = Retry(attempts=1000, codes=(503,), backoff_s=0.01)
    rest = {"retry": retry, "request_timeout_s": 1.5}
    async with gateway(keep=failing(503), **rest) as (served, app), client(served.number) as peer:
        assert (await peer.ask(GET))[0] == 504
        assert served.reasons() == {"request_timeout": 1}
        assert 1 < len(app.heads) < 30


async def test_the_timeout_of_the_request_ends_a_wait_for_a_retry() -> None:
    rest = {"retry": Retry(attempts=1, codes=(503,), backoff_s=60.0), "request_timeout_s": 1.0}
    async with gateway(keep=failing(503), **rest) as (served, app), client(served.number) as peer:
        assert (await peer.ask(GET))[0] == 504
        assert len(app.heads) == 1


async def test_a_client_that_leaves_during_the_wait_ends_it() -> None:
    retry = Retry(attempts=1, codes=(503,), backoff_s=2.0)
    async with gateway(keep=failing(503), retry=retry) as (served, app):
        async with client(served.number) as peer:
            peer.send(GET)
            await until(lambda: app.heads)
            break_off(peer.writer)
            await until(lambda: served.records)
        assert served.records[0].reason == "client_closed"
        timer = asyncio.get_running_loop().time() + 3.0  # a half more than the backoff at most
        await until(lambda: asyncio.get_running_loop().time() > timer)
        assert len(app.heads) == 1


async def test_an_answer_that_nobody_wants_is_not_read_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_DROP_S", 0.05)

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 503 Failed\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    async with gateway(endless) as (served, app), client(served.number) as peer:
        assert (await peer.ask(GET))[::2] == (200, b"ok")
        await until(lambda: app.n_open == 1)


async def test_the_connection_of_a_dropped_answer_is_used_again() -> None:
    async with gateway(failing(503), retry=Retry(attempts=1, codes=(503,), backoff_s=0.01)) as (served, app):
        async with client(served.number) as peer:
            assert (await peer.ask(GET))[0] == 200
            assert app.n_connections == 1


async def test_a_mirror_gets_one_copy_whatever_becomes_of_the_tries() -> None:
    async with backend() as other:
        mirrors = (Mirror(cluster=cluster(other.number, name="default/copy:80"), numerator=1, denominator=1),)
        async with gateway(failing(503), failing(503), mirrors=mirrors) as (served, app):
            async with client(served.number) as peer:
                assert (await peer.ask(GET))[0] == 200
                assert (await peer.ask(GET))[0] == 200
            await until(lambda: len(other.heads) == 2)
            assert len(app.heads) == 4


def budgeted(number: int, percent: int, least: int) -> Cluster:
    bounds = RetryBudget(
        service="default/app", percent=percent, interval_s=3600.0, least=least, least_interval_s=3600.0
    )
    endpoints = (Endpoint("127.0.0.1", number),)
    return Cluster(name="default/app:80", endpoints=endpoints, retry_budget=bounds)


async def test_retries_beyond_the_budget_are_not_sent_but_503_is() -> None:
    async with backend(keep=failing(500)) as app:
        with serving(budgeted(app.number, 0, 3)) as served:
            async with client(served.number) as peer:
                statuses = [(await peer.ask(GET))[0] for _ in range(4)]
            assert statuses == [500, 503, 503, 503]  # 2 retries, 1, none, none
            assert len(app.heads) == 4 + 3
            assert served.reasons() == {"retry_budget": 3}


async def test_requests_without_retries_make_room_in_the_budget() -> None:
    async with backend(*[OK] * 50, keep=failing(503)) as app:
        target = budgeted(app.number, 20, 1)
        prefixes = {b"": route(target, None), b"/again": route(target, Retry(attempts=100, codes=(503,), backoff_s=0))}
        with serve(HostIndex(default=vhost(prefixes))) as served:
            async with client(served.number) as peer:
                for _ in range(50):
                    assert (await peer.ask(GET))[0] == 200
                assert (await peer.ask(GET.replace(b"/p", b"/again")))[0] == 503
            # 51 requests are 80 %: 12 retries are the most that are 20 of 100
            assert len(app.heads) == 51 + 12
            assert served.reasons() == {"retry_budget": 1}


async def test_a_reload_that_leaves_the_budget_alone_keeps_its_counts() -> None:
    async with backend(keep=failing(503)) as app:
        target = budgeted(app.number, 0, 2)
        with serving(target) as served:
            async with client(served.number) as peer:
                assert (await peer.ask(GET))[0] == 503
                served.apply(HostIndex(default=vhost({b"": route(target)})))
                assert (await peer.ask(GET))[0] == 503
            assert len(app.heads) == 3 + 1


def h2_cluster(*numbers: int) -> Cluster:
    endpoints = tuple(Endpoint("127.0.0.1", number) for number in numbers)
    return Cluster(name="default/app:80", protocol=AppProtocol.H2C, endpoints=endpoints)


@pytest.mark.parametrize("how", ["code", "reset"])
@pytest.mark.parametrize("body", [b"", b"y" * 3000], ids=["GET", "POST"])
async def test_retries_work_between_http2_and_http2(how: str, body: bytes) -> None:
    async def behave(call: H2Call) -> None:
        await call.whole()
        calls.append(bytes(call.body))
        if len(calls) < 3 and how == "code":
            call.head(503)
            await call.send(b"sorry")
        elif len(calls) < 3:
            call.refuse(2)  # INTERNAL_ERROR
        else:
            call.head(200)
            await call.send(b"done")

    calls: list[bytes] = []
    async with h2_backend(behave) as app:
        with serving(h2_cluster(app.number)) as served:
            async with h2_session(served.number) as session:
                answer = await session.ask("/p", method="POST" if body else "GET", body=body)
                assert (answer.status, bytes(answer.body)) == (200, b"done")
        assert calls == [body] * 3


async def test_an_http2_client_gets_the_last_answer_of_http1() -> None:
    async with gateway(keep=failing(503, b"still")) as (served, app):
        async with h2_session(served.number) as session:
            answers = [await session.answer(session.request("/p")) for _ in range(2)]
            assert [(each.status, bytes(each.body)) for each in answers] == [(503, b"still")] * 2
        assert len(app.heads) == 6


async def test_calls_of_a_grpc_route_count_towards_the_budget_and_are_not_retried() -> None:
    async def unavailable(call: H2Call) -> None:
        await call.whole()
        call.head(200, ("content-type", "application/grpc"), ("grpc-status", "14"), end=True)
        calls.append(call)

    calls: list[H2Call] = []
    async with h2_backend(unavailable) as app:
        bounds = RetryBudget(service="default/app")
        endpoints = (Endpoint("127.0.0.1", app.number),)
        target = Cluster(name="default/app:80", protocol=AppProtocol.H2C, endpoints=endpoints, retry_budget=bounds)
        with serving(target, retry=None, grpc=True) as served:
            async with h2_session(served.number) as session:
                kind = ("content-type", "application/grpc")
                answer = await session.ask("/s/m", method="POST", fields=[kind, ("te", "trailers")])
                assert dict(answer.fields)[b"grpc-status"] == b"14"
            assert len(calls) == 1
            assert served.context.registry.budget(bounds)._requests.total(asyncio.get_running_loop().time()) == 1
