"""HTTP/2 downstream with prior knowledge, to HTTP/1.1 backends, through the whole data plane."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gatewayproxy.model.limits import Limits
from gatewayproxy.routing.table import HostIndex
from gatewayproxy.wire.h2 import Event, H2Client
from gatewayproxy.wire.h2events import DATA, GOAWAY
from tests.support.backend import backend, client, until
from tests.support.h2client import H2Session, h2_session
from tests.support.h2peer import GET, PING, PREFACE, frame
from tests.support.worker import Served, cluster, forward, serve, vhost

MIB = 1 << 20
PING_ASKED = frame(PING, 0, 0, b"alive?  ")


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


@contextmanager
def gateway(number: int, limits: Limits | None = None, *, quick: int = 0) -> Iterator[Served]:
    """Serve a.test with one backend; *quick*: with another one under /q."""
    prefixes = {b"": forward(cluster(number))}
    if quick:
        prefixes[b"/q"] = forward(cluster(quick, name="default/quick:80"))
    index = HostIndex(exact={b"a.test": vhost(prefixes)})
    with serve(index, limits=limits) as served:
        yield served


async def test_a_request_is_routed_and_recorded() -> None:
    async with backend() as upstream:
        with gateway(upstream.number) as served:
            async with h2_session(served.number) as session:
                answer = await session.ask("/x?y=1", fields=[("x-a", "b"), ("te", "trailers")])
            assert (answer.status, bytes(answer.body)) == (200, b"ok")
            head = upstream.heads[0]
            assert head.startswith(b"GET /x?y=1 HTTP/1.1\r\nHost: a.test\r\nx-a: b\r\n")
            assert b"\r\nvia: 2 gatewayproxy\r\n" in head
            assert b"\r\nte:" not in head
            (record,) = served.records
            assert (record.protocol, record.status, record.reason, record.bytes_out) == ("http/2", 200, "", 2)


async def test_connection_fields_of_a_backend_end_at_the_gateway() -> None:
    lines = b"X-Upper: Case\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nContent-Length: 0\r\n"
    head = b"HTTP/1.1 200 Fine\r\n%b\r\n" % lines
    async with backend(head) as upstream:
        with gateway(upstream.number) as served:
            async with h2_session(served.number) as session:
                answer = await session.ask("/")
    assert answer.fields == [(b":status", b"200"), (b"x-upper", b"Case"), (b"content-length", b"0")]


@pytest.mark.parametrize(
    ("method", "head", "status"),
    [
        pytest.param("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", 200, id="an answer to HEAD"),
        pytest.param("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, id="204"),
        pytest.param("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", 304, id="304"),
        pytest.param("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, id="an empty body"),
    ],
)
async def test_an_answer_without_body_ends_with_its_head(method: str, head: bytes, status: int) -> None:
    async with backend(head) as upstream:
        with gateway(upstream.number) as served:
            async with h2_session(served.number) as session:
                answer = await session.ask("/", method=method)
                assert (answer.status, bytes(answer.body), answer.ended) == (status, b"", True)
                assert (await session.ask("/")).status == 200  # and leaves the endpoint's connection in order
            assert upstream.n_connections == 1


async def test_trailers_pass_both_ways() -> None:
    body = b"2\r\nok\r\n0\r\ngrpc-status: 0\r\nContent-Length: 9\r\n\r\n"
    async with backend(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body) as upstream:
        with gateway(upstream.number) as served:
            async with h2_session(served.number) as session:
                stream_id = session.request("/", method="POST", end=False)
                await session.send(stream_id, b"hello", end=False)
                session.h2.send_headers(stream_id, [("x-sum", "1"), ("authorization", "no")], end_stream=True)
                session.flush()
                answer = await session.answer(stream_id)
    assert (bytes(answer.body), answer.trailers) == (b"ok", [(b"grpc-status", b"0")])
    assert upstream.bodies == [b"5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n"]


async def test_interim_answers_pass() -> None:
    hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    answers = hints + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    async with backend(answers) as upstream:
        with gateway(upstream.number) as served:
            async with h2_session(served.number) as session:
                answer = await session.ask("/", method="POST", body=b"x", fields=[("expect", "100-continue")])
    assert (answer.interim, answer.status, bytes(answer.body)) == ([100, 103], 200, b"ok")


async def test_big_bodies_pass_both_ways_on_streams_side_by_side() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while size:
            data = await reader.read(65_536)
            size -= len(data)
            writer.write(data)
            await writer.drain()

    bodies = [bytes([65 + i]) * (2 * MIB + i) for i in range(3)]
    async with backend(raw=echo) as upstream:
        with gateway(upstream.number) as served:
            async with h2_session(served.number) as session:
                ids = [
                    session.request("/", method="PUT", end=False, fields=[("content-length", str(len(body)))])
                    for body in bodies
                ]
                for stream_id, body in zip(ids, bodies, strict=True):
                    await session.send(stream_id, body)
                got = [bytes((await session.answer(stream_id)).body) for stream_id in ids]
    assert got == bodies


async def test_a_client_that_does_not_read_one_stream_pauses_its_endpoint_alone() -> None:
    sent = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
            for _ in range(64):
                writer.write(bytes(MIB))
                await writer.drain()
                sent += MIB

    async with backend(raw=pour) as slow, backend() as quick:
        with gateway(slow.number, quick=quick.number) as served:
            async with h2_session(served.number, INITIAL_WINDOW_SIZE=65_535) as session:
                session.reads = False
                stuck = session.answers[session.request("/")]
                await session.until(lambda: len(stuck.body) == 65_535)  # our window: no more comes
                session.reads = True
                session.answers[1].unread = 0
                session.h2.increment_flow_control_window(MIB)  # of the connection
                for _ in range(5):
                    answer = await session.ask("/q")
                    assert bytes(answer.body) == b"ok"
                assert len(stuck.body) == 65_535
                # What the endpoint could get rid of lies in the kernel's buffers and one read of ours.
                assert sent < 24 * MIB


async def test_an_endpoint_that_does_not_read_stops_its_stream_at_the_window() -> None:
    release = asyncio.Event()

    async def idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await release.wait()
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(64 * MIB)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with backend(raw=idle) as slow, backend() as quick:
        with gateway(slow.number, quick=quick.number) as served:
            async with h2_session(served.number) as session:
                stream_id = session.request("/", method="PUT", end=False, fields=[("content-length", str(64 * MIB))])
                await session.until(lambda: session.can_send(stream_id))
                sent = 0
                stuck = False
                while not stuck:
                    while n := min(session.can_send(stream_id), 64 * MIB - sent):
                        session.h2.send_data(stream_id, bytes(n))
                        sent += n
                    session.flush()
                    # Another stream goes on; once it is answered, any window that is to come has come.
                    answer = await session.ask("/q", method="POST", body=b"x")
                    assert answer.status == 200
                    stuck = not session.can_send(stream_id)
                assert sent < 32 * MIB
                release.set()
                await session.send(stream_id, bytes(64 * MIB - sent))
                assert bytes((await session.answer(stream_id)).body) == b"ok"


async def test_a_reset_stream_lets_go_of_its_endpoint() -> None:
    async with backend(hang) as upstream:
        with gateway(upstream.number) as served:
            async with h2_session(served.number) as session:
                stream_id = session.request("/")
                await until(lambda: upstream.n_open)
                session.h2.reset_stream(stream_id, 8)
                session.flush()
                await until(lambda: not upstream.n_open)
                assert (await session.ask("/")).status == 200
            await until(lambda: len(served.records) == 2)
            assert [record.reason for record in served.records] == ["client_closed", ""]


async def test_a_backend_that_breaks_off_resets_the_stream_alone() -> None:
    async with backend(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npartCLOSE") as upstream:
        with gateway(upstream.number) as served:
            async with h2_session(served.number) as session:
                answer = await session.ask("/")
                assert (answer.status, bytes(answer.body), answer.reset) == (200, b"part", 2)
                assert (await session.ask("/")).status == 200


async def test_an_early_answer_asks_the_client_to_stop_sending() -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await reader.read()

    async with backend(raw=early) as upstream:
        with gateway(upstream.number) as served:
            async with h2_session(served.number) as session:
                stream_id = session.request("/", method="PUT", end=False)
                answer = session.answers[stream_id]
                await session.until(lambda: answer.reset is not None)
                assert (answer.status, bytes(answer.body), answer.ended, answer.reset) == (403, b"no", True, 0)
                assert (await session.ask("/")).status == 403


@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        pytest.param({"path": "/a/../b"}, 400, "ambiguous_path", id="a dot segment"),
        pytest.param({"host": "b.test"}, 404, "no_route", id="a host nobody serves"),
        pytest.param({"scheme": "https"}, 421, "misdirected", id="https in clear text"),
        pytest.param({"fields": [("expect", "miracles")]}, 417, "bad_expectation", id="an unknown expectation"),
        pytest.param({"method": "TRACE"}, 405, "method_not_allowed", id="TRACE"),
        pytest.param({"fields": [(f"x-{i}", "") for i in range(129)]}, 431, "head_too_large", id="129 fields"),
    ],
)
async def test_a_request_that_is_not_served_is_answered_on_its_stream(
    fields: dict[str, object], status: int, reason: str
) -> None:
    async with backend() as upstream:
        with gateway(upstream.number) as served:
            async with h2_session(served.number) as session:
                answer = await session.ask(**{"path": "/", **fields})  # type: ignore[arg-type]
                assert (answer.status, answer.ended) == (status, True)
                assert (await session.ask("/")).status == 200
            assert served.reasons()[reason] == 1
            assert served.records[0].reason == reason
            assert served.records[0].protocol == "http/2"


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([("x-a", "b\r\nx-c: d")], id="CR and LF in a value"),
        pytest.param([("X-Upper", "a")], id="an upper-case name"),
        pytest.param([("transfer-encoding", "chunked")], id="Transfer-Encoding"),
        pytest.param([("connection", "close")], id="Connection"),
        pytest.param([("host", "other.test")], id="a host that is not :authority"),
        pytest.param([("content-length", "5")], id="a length that the body does not have"),
    ],
)
async def test_a_malformed_request_is_reset_and_reaches_no_backend(fields: list[tuple[str, str]]) -> None:
    async with backend() as upstream:
        with gateway(upstream.number) as served:
            async with h2_session(served.number) as session:
                session.h2.config.normalize_outbound_headers = False
                stream_id = session.request("/", fields=fields)
                assert (await session.answer(stream_id)).reset == 1
                assert (await session.ask("/")).status == 200
            assert len(upstream.heads) == 1
            assert served.reasons()["malformed_message"] == 1


async def test_a_body_beyond_the_limit_is_refused() -> None:
    async with backend() as upstream:
        with gateway(upstream.number, Limits(body_bytes=1000)) as served:
            async with h2_session(served.number) as session:
                answer = await session.ask("/", method="POST", body=bytes(1001))
                assert answer.status == 413
                assert (await session.ask("/", method="POST", body=bytes(1000))).status == 200


async def test_a_body_that_stops_arriving_is_answered_408() -> None:
    async with backend() as upstream:
        with gateway(upstream.number, Limits(body_timeout_s=0.2)) as served:
            async with h2_session(served.number) as session:
                stream_id = session.request("/", method="POST", end=False)
                answer = session.answers[stream_id]
                await session.until(lambda: answer.ended)
                assert answer.status == 408


async def test_a_window_that_stays_shut_ends_its_stream() -> None:
    async with backend(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + bytes(100)) as upstream:
        with gateway(upstream.number, Limits(idle_timeout_s=1.0)) as served:
            async with h2_session(served.number, INITIAL_WINDOW_SIZE=10) as session:
                session.reads = False
                answer = await session.answer(session.request("/"))
                assert (answer.status, len(answer.body), answer.reset) == (200, 10, 8)


async def test_an_unused_connection_is_told_to_go_and_closed() -> None:
    async with backend() as upstream:
        with gateway(upstream.number, Limits(idle_timeout_s=1.0)) as served:
            async with h2_session(served.number) as session:
                assert (await session.ask("/")).status == 200
                await session.until(lambda: session.closed)
                assert session.goaways == [1]


async def test_a_client_that_waits_in_silence_is_asked_whether_it_is_there() -> None:
    async with backend(hang) as upstream:
        with gateway(upstream.number, Limits(h2_ping_s=0.1, h2_pong_s=60)) as served:
            async with h2_session(served.number) as session:
                stream_id = session.request("/")
                await session.until(lambda: session.n_pings >= 2)  # the library answers
                assert not session.answers[stream_id].ended
            await until(lambda: served.records)
            assert [record.reason for record in served.records] == ["client_closed"]


async def test_a_client_that_does_not_answer_a_ping_is_lost() -> None:
    async with backend(hang) as upstream:
        with gateway(upstream.number, Limits(h2_ping_s=0.1, h2_pong_s=0.1)) as served:
            async with client(served.number) as raw:
                codec = H2Client(Limits(), 0.0)
                codec.request(GET, end=True)
                raw.send(codec.take_output())
                assert PING_ASKED in await raw.rest()
                await until(lambda: not upstream.n_open)
            assert [record.reason for record in served.records] == ["client_closed"]


async def test_an_unused_connection_is_not_pinged() -> None:
    async with backend() as upstream:
        with gateway(upstream.number, Limits(h2_ping_s=0.5, h2_pong_s=0.5, idle_timeout_s=2.5)) as served:
            async with h2_session(served.number) as session:
                assert (await session.ask("/")).status == 200
                await session.until(lambda: session.closed)
                assert (session.n_pings, session.goaways) == (0, [1])


async def test_a_connection_that_has_grown_old_is_drained() -> None:
    release = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()

    async with backend(wait) as upstream:
        with gateway(upstream.number, Limits(h2_age_s=2.0)) as served:
            async with client(served.number) as raw:
                codec = H2Client(Limits(), 0.0)
                codec.request(GET, end=True)
                raw.send(codec.take_output())
                events: list[Event] = []
                async with asyncio.timeout(60):
                    while data := await raw.reader.read(65_536):
                        events += codec.receive(data, 0.0)
                        raw.send(codec.take_output())
                        if sum(event[0] == GOAWAY for event in events) == 2:
                            release.set()
                assert [event[1:3] for event in events if event[0] == GOAWAY] == [((1 << 31) - 1, 0), (1, 0)]
                assert [event[2:] for event in events if event[0] == DATA] == [(b"ok", True)]
            # A new connection is as good as any.
            async with h2_session(served.number) as session:
                assert (await session.ask("/")).status == 200


@pytest.mark.parametrize(
    "said", [pytest.param(PREFACE[:10], id="half a preface"), pytest.param(PREFACE + b"\0\0", id="half a frame")]
)
async def test_a_client_that_stops_within_its_preface_or_first_frame_is_cut(said: bytes) -> None:
    async with backend() as upstream:
        with gateway(upstream.number, Limits(head_timeout_s=0.2)) as served:
            async with client(served.number) as raw:
                raw.send(said)
                await raw.rest()
                assert served.reasons()["head_timeout"] == 1


async def test_draining_serves_what_has_come_and_tells_the_client_in_two_steps() -> None:
    release = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()

    async with backend(wait) as upstream:
        with gateway(upstream.number) as served:
            async with client(served.number) as raw:
                # Not the library's client: it takes no frame behind the first GOAWAY.
                codec = H2Client(Limits(), 0.0)
                codec.request(GET, end=True)
                raw.send(codec.take_output())
                await until(lambda: upstream.heads)
                ended: asyncio.Future[object] = asyncio.get_running_loop().create_future()
                served.plane.drain(ended.set_result)
                events: list[Event] = []
                async with asyncio.timeout(60):
                    while data := await raw.reader.read(65_536):
                        events += codec.receive(data, 0.0)
                        raw.send(codec.take_output())
                        if sum(event[0] == GOAWAY for event in events) == 2:
                            release.set()
                    raw.writer.close()
                    await ended
        assert [event[1] for event in events if event[0] == GOAWAY] == [(1 << 31) - 1, 1]
        assert [event[2:] for event in events if event[0] == DATA] == [(b"ok", True)]


async def test_many_streams_share_a_connection_and_the_pool() -> None:
    async with backend() as upstream:
        with gateway(upstream.number) as served:
            async with h2_session(served.number) as session:
                for _ in range(5):
                    ids = [session.request(f"/{i}") for i in range(60)]
                    answers = [await session.answer(stream_id) for stream_id in ids]
                    assert {answer.status for answer in answers} == {200}
            assert upstream.n_connections <= 60
            await until(lambda: not served.context.stats.connections["default/gw/http"])
            assert served.context.stats.connections_total["default/gw/http"] == 1


async def test_http1_and_http2_share_a_port() -> None:
    async with backend() as upstream:
        with gateway(upstream.number) as served:
            async with client(served.number) as raw, h2_session(served.number) as session:
                assert (await raw.ask(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"))[0] == 200
                assert (await session.ask("/")).status == 200
                # A preface behind a request is none.
                assert (await raw.ask(PREFACE))[0] == 505


async def test_the_obsolete_upgrade_to_h2c_is_ignored() -> None:
    """RFC 9113 §3.1: it is deprecated; RFC 9110 §7.8: a server may ignore any upgrade."""
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    async with backend() as upstream:
        with gateway(upstream.number) as served:
            async with client(served.number) as raw:
                for _ in range(2):
                    status, head, body = await raw.ask(b"GET / HTTP/1.1\r\nHost: a.test\r\n%b\r\n" % upgrade)
                    assert (status, body) == (200, b"ok")
                    assert b"upgrade" not in head.lower()
        assert not any(b"upgrade" in head.lower() or b"http2-settings" in head.lower() for head in upstream.heads)


async def test_a_preface_that_comes_in_pieces_is_one() -> None:
    async with backend() as upstream:
        with gateway(upstream.number) as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.number)
            session = H2Session(reader, writer)
            session.h2.initiate_connection()
            stream_id = session.request("/")  # queued behind the preface, and flushed with it
            answer = await session.answer(stream_id)
            assert answer.status == 200
            writer.transport.abort()
