"""HTTP/2 endpoints: few connections, their limits, refusals, GOAWAY, age, silence and windows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import pytest

from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import Cluster
from gatewayproxy.model.protocols import AppProtocol
from gatewayproxy.routing.table import HostIndex
from tests.support import h2peer
from tests.support.backend import backend, client, until
from tests.support.h2backend import Behaviour, H2Backend, H2Call, h2_backend
from tests.support.h2client import h2_session
from tests.support.worker import Served, cluster, forward, serve, vhost

MIB = 1 << 20
REFUSED_STREAM, CANCEL, NO_ERROR = 7, 8, 0
GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody"


def h2c(*ports: int) -> Cluster:
    return replace(cluster(*ports), protocol=AppProtocol.H2C)


@contextmanager
def gateway(*ports: int, limits: Limits | None = None) -> Iterator[Served]:
    """Serve a.test with one backend of h2c endpoints."""
    index = HostIndex(exact={b"a.test": vhost({b"": forward(h2c(*ports))})})
    with serve(index, limits=limits) as served:
        yield served


@asynccontextmanager
async def endpoint(
    behaviour: Behaviour, limits: Limits | None = None, *, settings: dict[str, int] | None = None, silent: bool = False
) -> AsyncIterator[tuple[H2Backend, Served]]:
    async with h2_backend(behaviour, settings=settings, silent=silent) as up:
        with gateway(up.number, limits=limits) as served:
            yield up, served


async def ok(call: H2Call) -> None:
    """Answer 200 "ok" behind the whole request."""
    await call.whole()
    call.head(200, ("content-length", "2"))
    await call.send(b"ok")


def counts(served: Served, number: int) -> list[int]:
    """Return [active, idle, opened, failed] of an endpoint."""
    served.context.registry.collect()
    return served.context.stats.upstream[f"127.0.0.1:{number}"]


# Heads


async def test_fields_arrive_as_http2_has_them() -> None:
    async with endpoint(ok) as (up, served):
        async with client(served.number) as c:
            request = (
                b"GET /x?y=1 HTTP/1.1\r\nHost: a.test\r\nX-Upper: Case\r\n"
                b"Connection: keep-alive, x-hop, te\r\nX-Hop: 1\r\n"
                b"TE: trailers\r\nCookie: a=b\r\nKeep-Alive: 3\r\nUpgrade: foo\r\nProxy-Connection: x\r\n\r\n"
            )
            assert (await c.ask(request))[0] == 200
    names = [name for name, _ in up.calls[0].fields]
    assert names[:5] == [b":method", b":scheme", b":authority", b":path", b"x-upper"]
    assert up.calls[0][b":authority"] == b"a.test"
    assert up.calls[0].get(b"te") == [b"trailers"]
    assert not {b"host", b"connection", b"x-hop", b"keep-alive", b"upgrade", b"proxy-connection"} & set(names)
    assert all(name == name.lower() for name in names)


async def test_te_is_not_invented() -> None:
    async with endpoint(ok) as (up, served):
        async with client(served.number) as c:
            await c.ask(GET.replace(b"\r\n\r\n", b"\r\nTE: gzip\r\n\r\n"))
            await c.ask(GET)
    assert [call.get(b"te") for call in up.calls] == [[], []]


async def test_crumbs_of_a_cookie_arrive_as_one_value() -> None:
    async with endpoint(ok) as (up, served):
        async with h2_session(served.number) as session:
            await session.ask("/", fields=[("cookie", "a=b"), ("cookie", "c=d")])
    assert up.calls[0].get(b"cookie") == [b"a=b; c=d"]


async def test_trailers_without_a_body_stay_a_head_alone_in_http2_and_get_a_length_in_http1() -> None:
    async def head_alone(call: H2Call) -> None:
        call.head(200, ("grpc-status", "12"), end=True)

    async with endpoint(head_alone) as (_, served):
        async with h2_session(served.number) as session:
            answer = await session.ask("/")
            assert answer.fields == [(b":status", b"200"), (b"grpc-status", b"12")]
            assert (answer.trailers, answer.ended) == ([], True)
        async with client(served.number) as c:
            for _ in range(2):
                _, head, body = await c.ask(GET)
                assert head == b"HTTP/1.1 200 OK\r\ngrpc-status: 12\r\ncontent-length: 0\r\n\r\n"
                assert body == b""
            _, head, _ = await c.ask(b"GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n")
            assert b"\r\ncontent-length: 0\r\n" in head


async def test_trailers_behind_a_body_of_known_length_pass() -> None:
    async def answer(call: H2Call) -> None:
        call.head(200, ("content-length", "2"))
        await call.send(b"ok", end=False)
        call.trail(("x-sum", "1"))

    async with endpoint(answer) as (_, served):
        async with h2_session(served.number) as session:
            got = await session.ask("/")
    assert (bytes(got.body), got.trailers) == (b"ok", [(b"x-sum", b"1")])


@pytest.mark.parametrize(
    "head",
    [
        pytest.param([(b":status", b"200"), (b"connection", b"close")], id="a connection field"),
        pytest.param([(b":status", b"101")], id="101"),
        pytest.param([(b":status", b"200"), (b"a b", b"c")], id="a name that is no token"),
        pytest.param([(b":status", b"200"), (b"a", b"b\r\nc: d")], id="a line end in a value"),
        pytest.param([(b"a", b"b")], id="no status"),
        pytest.param([(b":status", b"200"), (b"content-length", b"5")], id="a body that is missing"),
    ],
)
async def test_a_malformed_answer_is_502_and_costs_its_stream_alone(head: list[tuple[bytes, bytes]]) -> None:
    async def serve_raw(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(h2peer.settings_frame())
        answers = [h2peer.headers(1, head), h2peer.headers(3, ((b":status", b"204"),))]
        seen = b""
        while answers and (data := await reader.read(65_536)):
            seen += data
            if b"GET" in seen or b"\x82" in seen:  # a request is there: its method is one octet
                writer.write(answers.pop(0))
                seen = b""
                await asyncio.sleep(0)
        await reader.read()

    async with backend(raw=serve_raw) as up:
        with gateway(up.number) as served:
            async with h2_session(served.number) as session:
                answer = await session.ask("/")
                assert answer.status == 502
            await until(lambda: served.records)
            assert served.records[0].reason == "bad_response"


async def test_an_endpoint_that_speaks_http1_is_told_from_one_that_does_not() -> None:
    async with backend() as up:
        with gateway(up.number) as served:
            async with client(served.number) as c:
                assert (await c.ask(GET))[0] == 502
            await until(lambda: served.records)
            assert served.records[0].reason in ("bad_response", "upstream_closed")


# Connections


async def test_requests_side_by_side_share_a_connection() -> None:
    release = asyncio.Event()

    async def wait(call: H2Call) -> None:
        await release.wait()
        await ok(call)

    async with endpoint(wait) as (up, served):
        async with h2_session(served.number) as session:
            ids = [session.request("/") for _ in range(50)]
            await until(lambda: len(up.calls) == 50)
            assert counts(served, up.number) == [50, 0, 1, 0]
            release.set()
            assert [(await session.answer(each)).status for each in ids] == [200] * 50
        assert len(up.peers) == 1
        assert counts(served, up.number) == [0, 1, 1, 0]


async def test_a_further_connection_is_made_only_when_the_endpoint_allows_no_more_streams() -> None:
    release = asyncio.Event()

    async def wait(call: H2Call) -> None:
        await release.wait()
        await ok(call)

    async with endpoint(wait, settings={"MAX_CONCURRENT_STREAMS": 2}) as (up, served):
        async with h2_session(served.number) as session:
            ids = [session.request("/")]
            await until(lambda: len(up.calls) == 1)
            ids += [session.request("/")]
            await until(lambda: len(up.calls) == 2)
            assert len(up.peers) == 1
            ids += [session.request("/") for _ in range(3)]
            await until(lambda: len(up.calls) == 5)
            assert [len(peer.calls) for peer in up.peers] == [2, 2, 1]
            release.set()
            assert [(await session.answer(each)).status for each in ids] == [200] * 5
            assert [(await session.ask("/")).status for _ in range(3)] == [200] * 3
            assert len(up.peers) == 3


async def test_beyond_all_connections_requests_wait_and_then_are_refused() -> None:
    release = asyncio.Event()

    async def wait(call: H2Call) -> None:
        await release.wait()
        await ok(call)

    limits = Limits(upstream_connections=1, upstream_h2_streams=1, upstream_queue=1)
    async with endpoint(wait, limits) as (up, served):
        async with h2_session(served.number) as session:
            first = session.request("/")
            await until(lambda: up.calls)
            second = session.request("/")
            third = await session.ask("/")
            assert third.status == 503
            release.set()
            assert [(await session.answer(each)).status for each in (first, second)] == [200, 200]
        assert [record.reason for record in served.records if record.status == 503] == ["upstream_overflow"]
        assert len(up.peers) == 1


async def test_a_connection_takes_as_many_requests_as_the_limit_says() -> None:
    async with endpoint(ok, Limits(upstream_h2_requests=3)) as (up, served):
        async with client(served.number) as c:
            for _ in range(7):
                assert (await c.ask(POST))[0] == 200
        assert [len(peer.calls) for peer in up.peers] == [3, 3, 1]
        await until(lambda: up.n_open == 1)
        assert up.peers[0].last_id == 0  # GOAWAY before the end


async def test_an_old_connection_is_left_behind_its_last_stream() -> None:
    release = asyncio.Event()

    async def wait(call: H2Call) -> None:
        if call[b":path"] == b"/slow":
            await release.wait()
        await ok(call)

    async with endpoint(wait, Limits(upstream_h2_age_s=0.2)) as (up, served):
        async with h2_session(served.number) as session:
            slow = session.request("/slow")
            await until(lambda: up.calls)
            await until(lambda: not _open_connections(served))
            assert (await session.ask("/")).status == 200
            assert len(up.peers) == 2
            assert not up.peers[0].closed
            release.set()
            assert (await session.answer(slow)).status == 200
            await until(lambda: up.peers[0].closed)


def _open_connections(served: Served) -> list[object]:
    return [each for pool in served.context.registry._pools.values() for each in pool._open]  # type: ignore[attr-defined]


async def test_an_idle_connection_is_closed() -> None:
    async with endpoint(ok, Limits(upstream_idle_s=0.1)) as (up, served):
        async with client(served.number) as c:
            assert (await c.ask(GET))[0] == 200
            await until(lambda: up.peers[0].closed)
            assert up.peers[0].last_id == 0
            assert (await c.ask(GET))[0] == 200


async def test_a_table_that_names_an_endpoint_no_more_closes_it_behind_its_streams() -> None:
    release = asyncio.Event()

    async def wait(call: H2Call) -> None:
        await release.wait()
        await ok(call)

    async with endpoint(wait) as (up, served), h2_backend() as other:
        async with h2_session(served.number) as session:
            slow = session.request("/")
            await until(lambda: up.calls)
            served.apply(HostIndex(exact={b"a.test": vhost({b"": forward(h2c(other.number))})}))
            assert (await session.ask("/")).status == 200
            assert len(other.calls) == 1
            assert not up.peers[0].closed
            release.set()
            assert (await session.answer(slow)).status == 200
            await until(lambda: up.peers[0].closed)


async def test_a_table_that_still_names_it_keeps_the_connection() -> None:
    async with endpoint(ok) as (up, served):
        async with h2_session(served.number) as session:
            assert (await session.ask("/")).status == 200
            served.apply(HostIndex(exact={b"a.test": vhost({b"": forward(h2c(up.number))})}))
            assert (await session.ask("/")).status == 200
        assert len(up.peers) == 1


async def test_an_endpoint_may_be_spoken_to_in_both_ways() -> None:
    async with backend() as up:
        paths = {b"": forward(cluster(up.number)), b"/h2": forward(h2c(up.number))}
        with serve(HostIndex(exact={b"a.test": vhost(paths)})) as served:
            async with client(served.number) as c:
                assert (await c.ask(GET))[0] == 200
                assert (await c.ask(GET.replace(b" / ", b" /h2 ")))[0] == 502
                assert (await c.ask(GET))[0] == 200
            assert counts(served, up.number)[2] == 2


# Refusals


@pytest.mark.parametrize("request_bytes", [GET, POST], ids=["GET", "POST"])
async def test_a_refused_request_is_sent_again(request_bytes: bytes) -> None:
    n_refused = 0

    async def refuse_twice(call: H2Call) -> None:
        nonlocal n_refused
        if n_refused < 2:
            n_refused += 1
            call.refuse(REFUSED_STREAM)
        else:
            await ok(call)

    async with endpoint(refuse_twice) as (up, served):
        async with client(served.number) as c:
            assert (await c.ask(request_bytes))[0] == 200
        assert bytes(up.calls[-1].body) == (b"body" if request_bytes is POST else b"")
        await until(lambda: served.records)
        assert (served.records[0].attempts, served.records[0].reason) == (3, "")


async def test_a_refused_request_goes_to_another_endpoint() -> None:
    async def refuse(call: H2Call) -> None:
        call.refuse(REFUSED_STREAM)

    async with h2_backend(refuse) as bad, h2_backend() as good:
        with gateway(bad.number, good.number) as served:
            async with h2_session(served.number) as session:
                assert [(await session.ask("/", body=b"x")).status for _ in range(4)] == [200] * 4
        assert len(bad.calls) >= 2
        assert len(good.calls) == 4


async def test_endless_refusals_are_answered_503() -> None:
    async def refuse(call: H2Call) -> None:
        call.refuse(REFUSED_STREAM)

    async with endpoint(refuse) as (up, served):
        async with client(served.number) as c:
            assert (await c.ask(GET))[0] == 503
        await until(lambda: served.records)
        assert (served.records[0].reason, served.records[0].attempts) == ("upstream_refused", 4)
        assert len(up.calls) == 4


@pytest.mark.parametrize(
    ("kept_bytes", "status"), [pytest.param(65_536, 200, id="kept"), pytest.param(100, 503, id="not kept")]
)
async def test_a_request_whose_body_is_on_its_way_is_sent_again_while_it_is_kept(kept_bytes: int, status: int) -> None:
    async def refuse_once(call: H2Call) -> None:
        if len(up.calls) == 1:
            await call.until(lambda: len(call.body) >= 1000)
            call.refuse(REFUSED_STREAM)
        else:
            await ok(call)

    async with endpoint(refuse_once, Limits(upstream_retry_bytes=kept_bytes)) as (up, served):
        async with h2_session(served.number) as session:
            stream_id = session.request("/", method="POST", end=False)
            await session.send(stream_id, b"a" * 1000, end=False)
            if status == 200:
                await until(lambda: len(up.calls) == 2)
                await session.send(stream_id, b"b" * 1000)
            assert (await session.answer(stream_id)).status == status
    if status == 200:
        assert bytes(up.calls[1].body) == b"a" * 1000 + b"b" * 1000


async def test_more_streams_than_a_new_connection_allows_are_not_lost() -> None:
    async with endpoint(ok, settings={"MAX_CONCURRENT_STREAMS": 5}) as (_, served):
        async with h2_session(served.number) as session:
            ids = [session.request("/", method="POST") for _ in range(60)]
            assert [(await session.answer(each)).status for each in ids] == [200] * 60


async def test_streams_above_the_last_of_a_goaway_are_sent_again_and_others_finish() -> None:
    release = asyncio.Event()

    async def leave(call: H2Call) -> None:
        if call.peer is up.peers[0] and call.stream_id == 1:
            await release.wait()
        elif call.peer is up.peers[0]:
            if call.stream_id == 5:
                call.peer.writer.write(h2peer.frame(h2peer.GOAWAY, 0, 0, h2peer.number(1) + h2peer.number(0)))
            return
        await ok(call)

    async with endpoint(leave) as (up, served):
        async with h2_session(served.number) as session:
            first = session.request("/", method="POST")
            await until(lambda: up.calls)
            above = [session.request("/", method="POST") for _ in range(2)]
            assert [(await session.answer(each)).status for each in above] == [200, 200]
            assert len(up.peers) == 2
            release.set()
            assert (await session.answer(first)).status == 200
            await until(lambda: up.peers[0].closed)
    assert [record.reason for record in served.records] == ["", "", ""]


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("POST", 502)])
async def test_a_connection_that_ends_before_an_answer_is_tried_again_where_that_is_safe(
    method: str, status: int
) -> None:
    async def die(call: H2Call) -> None:
        if call.peer is up.peers[0] and call.stream_id > 1:
            call.peer.writer.transport.abort()
        else:
            await ok(call)

    async with endpoint(die) as (up, served):
        async with h2_session(served.number) as session:
            assert (await session.ask("/")).status == 200
            assert (await session.ask("/", method=method)).status == status


async def test_a_reset_is_502_and_costs_its_stream_alone() -> None:
    async def reset(call: H2Call) -> None:
        if call[b":path"] == b"/bad":
            call.refuse(2)
        else:
            await ok(call)

    async with endpoint(reset) as (up, served):
        async with h2_session(served.number) as session:
            assert (await session.ask("/bad")).status == 502
            assert (await session.ask("/")).status == 200
        assert len(up.peers) == 1
        assert served.reasons() == {"upstream_reset": 1}


async def test_no_error_behind_a_complete_answer_stops_the_upload() -> None:
    async def early(call: H2Call) -> None:
        call.head(403, ("content-length", "2"))
        await call.send(b"no")
        call.refuse(NO_ERROR)

    async with endpoint(early) as (_, served):
        async with h2_session(served.number) as session:
            stream_id = session.request("/", method="PUT", end=False)
            answer = session.answers[stream_id]
            await session.until(lambda: answer.reset is not None)
            assert (answer.status, bytes(answer.body), answer.ended, answer.reset) == (403, b"no", True, NO_ERROR)


async def test_a_fatal_error_of_the_endpoint_fails_its_streams_and_the_next_request_gets_a_new_connection() -> None:
    async def broken(call: H2Call) -> None:
        if call.peer is up.peers[0]:
            call.peer.writer.write(h2peer.frame(h2peer.DATA, 0, 0, b"of no stream"))
        else:
            await ok(call)

    async with endpoint(broken) as (up, served):
        async with h2_session(served.number) as session:
            answer = await session.ask("/")
            assert answer.status == 502
            assert (await session.ask("/")).status == 200
        await until(lambda: served.records)
        assert served.records[0].reason == "bad_response"


# Silence


async def test_a_silent_endpoint_is_asked_by_a_ping_and_waited_for_while_it_answers() -> None:
    release = asyncio.Event()

    async def slow(call: H2Call) -> None:
        await release.wait()
        await ok(call)

    async with endpoint(slow, Limits(upstream_ping_s=0.1, upstream_pong_s=0.1)) as (up, served):
        async with h2_session(served.number) as session:
            stream_id = session.request("/")
            await until(lambda: up.peers and up.peers[0].pings)
            heard = asyncio.get_running_loop().time()
            await until(lambda: asyncio.get_running_loop().time() > heard + 1.5)  # two sweeps behind its time
            assert up.peers[0].pings == 1  # gRPC servers take more for abuse
            release.set()
            assert (await session.answer(stream_id)).status == 200


@pytest.mark.parametrize(("answered_before", "status"), [(True, 200), (False, 502)])
async def test_an_endpoint_that_answers_no_ping_is_given_up(answered_before: bool, status: int) -> None:
    async def hang(call: H2Call) -> None:
        if call.peer is not up.peers[0] or call[b":path"] == b"/first":
            await ok(call)

    limits = Limits(upstream_ping_s=0.1, upstream_pong_s=0.1)
    async with endpoint(hang, limits, silent=True) as (up, served):
        async with h2_session(served.number) as session:
            if answered_before:
                assert (await session.ask("/first")).status == 200
            assert (await session.ask("/")).status == status
        await until(lambda: up.peers[0].closed)


# Windows


async def test_clients_that_do_not_read_stop_their_streams_and_no_others() -> None:
    sent = 0

    async def pour(call: H2Call) -> None:
        nonlocal sent
        if call[b":path"] == b"/q":
            await ok(call)
            return
        call.head(200)
        for _ in range(16):
            await call.send(bytes(MIB), end=False)
            sent += MIB

    async with endpoint(pour) as (up, served):
        async with h2_session(served.number, INITIAL_WINDOW_SIZE=65_535) as session:
            session.reads = False
            ids = [session.request("/") for _ in range(40)]
            session.h2.increment_flow_control_window(64 * MIB)  # of the connection
            session.flush()
            await session.until(lambda: all(len(session.answers[each].body) == 65_535 for each in ids))
            session.reads = True
            for _ in range(5):
                assert bytes((await session.ask("/q")).body) == b"ok"
            assert sent < MIB  # no more than a stream's window each
            assert len(up.peers) == 1
            for each in ids:
                session.give_back(each)
            session.flush()
            await session.until(lambda: all(len(session.answers[each].body) > 65_535 for each in ids))


async def test_an_endpoint_that_does_not_read_stops_its_clients_and_no_others() -> None:
    async def stuck(call: H2Call) -> None:
        if call[b":path"] == b"/q":
            call.peer.served.reads = True
            await call.whole()
            await ok(call)
            call.peer.served.reads = False
        else:
            await call.until(lambda: call.reset is not None)

    async with endpoint(stuck, settings={"INITIAL_WINDOW_SIZE": 10_000}) as (up, served):
        async with h2_session(served.number) as session:
            await session.ask("/q")  # SETTINGS are known behind it
            up.reads = False
            stream_id = session.request("/", method="PUT", end=False)
            sent = 0
            stalled = False
            while not stalled:
                while n := session.can_send(stream_id):
                    session.h2.send_data(stream_id, bytes(n))
                    sent += n
                session.flush()
                for _ in range(3):
                    assert bytes((await session.ask("/q", method="POST", body=b"x")).body) == b"ok"
                stalled = session.can_send(stream_id) == 0
            assert sent < MIB
            assert len(up.calls[1].body) == 10_000


async def test_a_body_waits_for_a_window_that_opens_late() -> None:
    async def late(call: H2Call) -> None:
        if call[b":method"] == b"POST":
            call.peer.h2.ping(b"01234567")
            call.peer.flush()
            await call.until(lambda: call.peer.pongs)  # what was on its way has come
            assert not call.body
            call.peer.h2.increment_flow_control_window(100_000, call.stream_id)
            call.peer.flush()
        await ok(call)

    async with endpoint(late, settings={"INITIAL_WINDOW_SIZE": 0}) as (up, served):
        async with client(served.number) as c:
            assert (await c.ask(GET))[0] == 200
            body = b"x" * 50_000
            c.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            assert (await c.response())[0] == 200
    assert bytes(up.calls[1].body) == body


async def test_a_slow_http1_client_stops_the_endpoint() -> None:
    sent = 0

    async def pour(call: H2Call) -> None:
        nonlocal sent
        call.head(200)
        for _ in range(64):
            await call.send(bytes(MIB), end=False)
            sent += MIB
        await call.send(b"")

    async with endpoint(pour) as (up, served):
        async with client(served.number) as c:
            c.send(GET)
            await until(lambda: up.calls and sent)
            before = -1
            while before != sent:  # until it moves no more, for as long as a window's worth takes many times over
                before = sent
                for _ in range(50):
                    await asyncio.sleep(0.002)
            assert sent < 32 * MIB
            total = 0
            while data := await c.reader.read(MIB):
                total += len(data)
                if data.endswith(b"0\r\n\r\n"):
                    break
            assert total > 64 * MIB
