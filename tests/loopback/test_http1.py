"""HTTP/1.1 through real sockets: what a client and a backend see of the gateway."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from gatewayproxy.model.headops import HeadEdit, Respond
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import Cluster, Endpoint, Refusal
from gatewayproxy.routing.table import BackendChoice, HostIndex, Mirror, RouteEntry
from tests.support.backend import Client, backend, client, until
from tests.support.ports import closed_port
from tests.support.worker import cluster, entry, forward, serve, vhost

GET = b"GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def everything(to: RouteEntry) -> HostIndex:
    return HostIndex(default=vhost({b"": to}))


async def test_a_request_reaches_the_backend_with_our_fields_and_the_connection_is_kept() -> None:
    async with backend() as app:
        with serve(everything(forward(cluster(app.number)))) as gateway:
            async with client(gateway.number) as c:
                for _ in range(3):
                    assert await c.ask(GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")) == (
                        200, OK[:-2], b"ok",
                    )  # fmt: skip
    assert app.n_connections == 1
    head = app.heads[0]
    assert head.startswith(b"GET /a HTTP/1.1\r\nHost: a.test\r\n")
    for line in (
        b"x-forwarded-for: 127.0.0.1",
        b"x-forwarded-proto: http",
        b"x-forwarded-port: 80",
        b"x-forwarded-host: a.test",
    ):
        assert line + b"\r\n" in head
    assert b"via: 1.1 gatewayproxy\r\n" in head
    assert b"6.6.6.6" not in head
    assert len({h.partition(b"x-request-id: ")[2][:32] for h in app.heads}) == 3
    record = gateway.records[0]
    assert (record.status, record.reason, record.bytes_out, record.attempts) == (200, "", 2, 1)
    assert record.request_id in head


async def test_a_trusted_proxy_is_believed() -> None:
    async with backend() as app:
        with serve(everything(forward(cluster(app.number))), limits=Limits(trusted_hops=2)) as gateway:
            async with client(gateway.number) as c:
                await c.ask(
                    b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3\r\n"
                    b"X-Forwarded-Proto: https\r\nX-Request-Id: abc\r\n\r\n"
                )
    assert b"x-forwarded-for: 1.1.1.1, 2.2.2.2, 3.3.3.3, 127.0.0.1\r\n" in app.heads[0]
    assert b"x-forwarded-proto: https\r\n" in app.heads[0]
    assert b"x-request-id: abc\r\n" in app.heads[0]
    assert gateway.records[0].client == "2.2.2.2"


@pytest.mark.parametrize(
    ("framing", "body", "sent"),
    [
        pytest.param(b"Content-Length: 300000\r\n", b"x" * 300_000, b"x" * 300_000, id="length"),
        pytest.param(
            b"Transfer-Encoding: chunked\r\n",
            b"5;ext=1\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
            b"5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
            id="chunked",
        ),
    ],
)
@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
async def test_request_bodies_are_streamed(framing: bytes, body: bytes, sent: bytes, split: bool) -> None:
    async with backend() as app:
        with serve(everything(forward(cluster(app.number)))) as gateway:
            async with client(gateway.number) as c:
                head = b"POST /up HTTP/1.1\r\nHost: a.test\r\n" + framing + b"\r\n"
                if split:
                    c.send(head)
                    await until(lambda: gateway.plane.connections == 1)
                    c.send(body[:3])
                    await c.writer.drain()
                    c.send(body[3:])
                else:
                    c.send(head + body)
                assert (await c.response())[0] == 200
                assert (await c.ask(GET))[0] == 200
    received = app.bodies[0]
    if split and b"chunked" in framing:
        assert received.endswith(b"0\r\nX-T: 1\r\n\r\n")
    else:
        assert received == sent
    assert app.n_connections == 1


@pytest.mark.parametrize(
    ("answer", "body", "closed"),
    [
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n" + b"y" * 500_000, b"y" * 500_000, False, id="length"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            b"2\r\nok\r\n0\r\n\r\n",
            False,
            id="chunked",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\nokCLOSE", b"ok", True, id="until close"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK, b"", False, id="interim"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", b"", False, id="204"),
    ],
)
async def test_responses_are_streamed(answer: bytes, body: bytes, closed: bool) -> None:
    async with backend(answer) as app:
        with serve(everything(forward(cluster(app.number)))) as gateway:
            async with client(gateway.number) as c:
                status, head, got = await c.ask(GET)
                assert got == body
                assert (b"connection: close" in head) == closed
                if status == 103:
                    assert (await c.response())[2] == b"ok"
                if not closed:
                    assert (await c.ask(GET))[0] == 200


async def test_a_1_0_client_gets_no_chunks_and_no_interim_responses() -> None:
    answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    async with backend(answer) as app:
        with serve(everything(forward(cluster(app.number)))) as gateway:
            async with client(gateway.number) as c:
                status, head, body = await c.ask(b"GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n")
    assert (status, body) == (200, b"ok")
    assert b"chunked" not in head
    assert b"via: 1.0 gatewayproxy" in app.heads[0]


async def test_a_head_request_has_no_body_whatever_its_length_says() -> None:
    async with backend(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n") as app:
        with serve(everything(forward(cluster(app.number)))) as gateway:
            async with client(gateway.number) as c:
                assert (await c.ask(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", head_only=True))[0] == 200
                assert (await c.ask(GET))[2] == b"ok"


async def test_pipelined_requests_are_answered_in_order_and_bounded_in_memory() -> None:
    with serve(
        everything(entry(BackendChoice(name="x", respond=Respond(status=302, scheme=b"http", host=None, port=b""))))
    ) as gateway:
        async with client(gateway.number) as c:
            c.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(5000)))
            for n in range(5000):
                assert b"location: http://a/%d\r\n" % n in (await c.response())[1]


@pytest.mark.parametrize(
    ("request_head", "status", "reason"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: other\r\n\r\n", 404, "no_route", id="host"),
        pytest.param(b"GET /nope HTTP/1.1\r\nHost: a.test\r\n\r\n", 404, "no_rule", id="path"),
        pytest.param(
            b"GET /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\n",
            500,
            "backend_not_found",
            id="refusal, body to come",
        ),
        pytest.param(b"GET /%61 HTTP/1.1\r\nHost: a.test\r\n\r\n", 400, "ambiguous_path", id="two readings"),
        pytest.param(b"OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n", 200, "options_answered", id="OPTIONS *"),
        pytest.param(b"GET https://a.test/a HTTP/1.1\r\nHost: a.test\r\n\r\n", 421, "misdirected", id="scheme"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, "bad_host", id="malformed"),
    ],
)
async def test_what_has_no_backend_is_answered_with_its_reason(request_head: bytes, status: int, reason: str) -> None:
    refused = entry(BackendChoice(name="gone", refusal=Refusal(500, "backend_not_found")))
    with serve(HostIndex(exact={b"a.test": vhost({b"/a": refused})})) as gateway:
        async with client(gateway.number) as c:
            got, head, body = await c.ask(request_head)
            assert (got, gateway.reasons()) == (status, {reason: 1})
            assert reason.encode() in body
            if b"connection: close" in head:
                assert await c.rest() == b""
            else:
                assert (await c.ask(request_head))[0] == status
    assert gateway.records[0].reason == reason


async def test_edits_and_redirects_apply() -> None:
    async with backend() as app:
        edited = entry(
            BackendChoice(
                name="e",
                cluster=cluster(app.number),
                request=HeadEdit(prefix=(4, b"/new"), host=b"b.test", append=b"X-A: 1\r\n"),
                response=HeadEdit(append=b"X-Served-By: gw\r\n"),
            )
        )
        moved = entry(
            respond=Respond(status=308, scheme=b"https", host=None, port=b""), response=HeadEdit(append=b"X-R: 1\r\n")
        )
        with serve(HostIndex(default=vhost({b"/old": edited, b"/moved": moved}))) as gateway:
            async with client(gateway.number) as c:
                assert b"X-Served-By: gw\r\n" in (await c.ask(b"GET /old/x?y HTTP/1.1\r\nHost: a:81\r\n\r\n"))[1]
                _, head, body = await c.ask(b"GET /moved?z HTTP/1.1\r\nHost: a:81\r\n\r\n")
    assert app.heads[0].startswith(b"GET /new/x?y HTTP/1.1\r\n")
    assert b"host: b.test\r\n" in app.heads[0]
    assert b"Host: a" not in app.heads[0]
    assert b"location: https://a/moved?z\r\nX-R: 1\r\n" in head
    assert body == b""


async def test_weights_are_kept_exactly() -> None:
    async with backend() as one, backend() as two:
        split = entry(
            (BackendChoice(name="1", cluster=cluster(one.number)), 3),
            (BackendChoice(name="2", cluster=cluster(two.number)), 1),
        )
        with serve(everything(split)) as gateway:
            async with client(gateway.number) as c:
                for _ in range(40):
                    await c.ask(GET)
    assert (len(one.heads), len(two.heads)) == (30, 10)


async def test_a_dead_endpoint_is_passed_over() -> None:
    async with backend() as app:
        both = cluster(closed_port()[1], app.number)
        with serve(everything(forward(both))) as gateway:
            async with client(gateway.number) as c:
                assert [(await c.ask(GET))[0] for _ in range(6)] == [200] * 6
    assert gateway.reasons() == {}


async def test_no_endpoint_that_accepts_is_a_503() -> None:
    with serve(everything(forward(cluster(closed_port()[1])))) as gateway:
        async with client(gateway.number) as c:
            assert (await c.ask(GET))[0] == 503
    assert gateway.reasons() == {"connect_failed": 1}


async def test_a_stale_pooled_connection_is_retried_once_where_that_is_safe() -> None:
    dies = [OK, b"CLOSE"]
    async with backend(*dies) as app:
        with serve(everything(forward(cluster(app.number)))) as gateway:
            async with client(gateway.number) as c:
                assert (await c.ask(GET))[0] == 200
                assert (await c.ask(GET))[0] == 200
    assert app.n_connections == 2
    assert gateway.records[1].attempts == 2


async def test_a_post_is_not_sent_twice() -> None:
    async with backend(OK, b"CLOSE") as app:
        with serve(everything(forward(cluster(app.number)))) as gateway:
            async with client(gateway.number) as c:
                assert (await c.ask(GET))[0] == 200
                assert (await c.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"))[0] == 502
    assert len(app.heads) == 2
    assert gateway.reasons() == {"upstream_closed": 1}


@pytest.mark.parametrize(
    ("rest", "reason"),
    [({"request_timeout_s": 0.5}, "request_timeout"), ({"backend_timeout_s": 0.5}, "upstream_timeout")],
    ids=["request", "backendRequest"],
)
async def test_timeouts_of_a_rule_are_a_504(rest: dict[str, float], reason: str) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with backend(hang) as app:
        slow = entry(BackendChoice(name="s", cluster=cluster(app.number)), **rest)
        with serve(everything(slow)) as gateway:
            async with client(gateway.number) as c:
                assert (await c.ask(GET))[0] == 504
                assert (await c.ask(GET))[0] == 200
    assert gateway.reasons() == {reason: 1}


@pytest.mark.parametrize(
    ("limits", "sent", "status"),
    [
        pytest.param(Limits(head_timeout_s=0.5), b"GET / HT", 408, id="head"),
        pytest.param(
            Limits(body_timeout_s=0.5), b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab", 408, id="body"
        ),
        pytest.param(Limits(idle_timeout_s=0.1), b"", 0, id="idle"),
        pytest.param(
            Limits(body_bytes=3),
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n",
            413,
            id="size",
        ),
    ],
)
async def test_limits_end_slow_or_large_requests(limits: Limits, sent: bytes, status: int) -> None:
    async with backend() as app:
        with serve(everything(forward(cluster(app.number))), limits=limits) as gateway:
            async with client(gateway.number) as c:
                c.send(sent)
                answer = await c.rest()
    assert answer[9:12] == (b"%d" % status if status else b"")


async def test_an_unfinished_answer_does_not_look_finished() -> None:
    go = asyncio.Event()

    async def breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        await go.wait()
        writer.write(b"ZZ\r\n")
        await reader.read()

    async with backend(breaks) as app:
        with serve(everything(forward(cluster(app.number)))) as gateway:
            async with client(gateway.number) as c:
                c.send(GET)
                assert b"\r\n\r\n" in await c.reader.readuntil(b"ok\r\n")
                go.set()
                assert await c.rest() == b""
    assert gateway.reasons() == {"bad_response": 1}


async def test_an_early_answer_closes_and_the_rest_of_the_body_is_no_request() -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head)
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    heads: list[bytes] = []
    async with backend(raw=early) as app:
        with serve(everything(forward(cluster(app.number)))) as gateway:
            async with client(gateway.number) as c:
                status, head, _ = await c.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
                c.send(GET)
                assert (status, await c.rest()) == (401, b"")
                assert b"connection: close\r\n" in head
    assert len(heads) == 1


async def test_a_slow_reader_holds_the_backend_back() -> None:
    sent = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n")
        for _ in range(200):
            writer.write(b"z" * 1_000_000)
            await writer.drain()
            sent += 1_000_000

    async with backend(pour) as app:
        with serve(everything(forward(cluster(app.number))), limits=Limits(buffer_bytes=65_536)) as gateway:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, ("127.0.0.1", gateway.number))
            await loop.sock_sendall(sock, GET)
            before = -1
            while sent != before:  # until nothing moves any more
                before = sent
                await asyncio.sleep(0.3)
            assert sent < 100_000_000  # the kernel's buffers may take some 40 MB
            got = 0
            while got < 5_000_000:
                got += len(await loop.sock_recv(sock, 1 << 20))
            assert got >= 5_000_000
            sock.close()
            await until(lambda: gateway.plane.connections == 0)


async def test_a_slow_backend_holds_the_client_back() -> None:
    go = asyncio.Event()
    got = 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # a receive buffer grows while it is read from
        await go.wait()
        writer.transport.resume_reading()
        while got < 50_000_000:
            got += len(await reader.read(1 << 20))
        writer.write(OK)

    async with backend(raw=slow) as app:
        with serve(everything(forward(cluster(app.number))), limits=Limits(buffer_bytes=65_536)) as gateway:
            async with client(gateway.number) as c:
                c.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n")
                c.send(b"q" * 50_000_000)
                before = -1
                while (held := c.writer.transport.get_write_buffer_size()) != before:
                    before = held
                    await asyncio.sleep(0.3)
                assert held > 20_000_000
                go.set()
                assert (await c.response())[0] == 200


async def test_a_mirror_gets_a_copy_and_never_slows_the_primary() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with backend() as app, backend(hang, hang) as copy:
        both = BackendChoice(
            name="m",
            cluster=cluster(app.number),
            mirrors=(Mirror(cluster=cluster(copy.number), numerator=1, denominator=2),),
        )
        with serve(everything(entry(both))) as gateway:
            async with client(gateway.number) as c:
                post = b"POST /m HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
                for _ in range(4):
                    c.send(post)
                    assert (await c.ask(b"hello"))[0] == 200
                await until(lambda: len(copy.bodies) == 2)
    assert copy.bodies == [b"hello"] * 2
    assert copy.heads[0].startswith(b"POST /m HTTP/1.1\r\n")


@pytest.mark.parametrize("how", ["reset", "end"])
async def test_a_client_that_leaves_takes_its_upstream_request_along(how: str) -> None:
    """A reset tells at once; an end may be a half-close, so it gets `idle_timeout_s` for its answer."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with backend(hang) as app:
        limits = Limits(idle_timeout_s=0.2 if how == "end" else 60.0)
        with serve(everything(forward(cluster(app.number))), limits=limits) as gateway:
            async with client(gateway.number) as c:
                c.send(GET)
                await until(lambda: app.heads)
                if how == "reset":
                    linger = struct.pack("ii", 1, 0)
                    c.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            await until(lambda: not app.n_open)
    assert gateway.records[0].reason == "client_closed"


async def test_a_client_that_ends_its_direction_still_gets_its_answer() -> None:
    go = asyncio.Event()

    async def later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        writer.write(OK)

    async with backend(later) as app:
        with serve(everything(forward(cluster(app.number)))) as gateway:
            async with client(gateway.number) as c:
                c.send(GET)
                c.writer.write_eof()
                await until(lambda: app.heads)
                go.set()
                assert (await c.rest()).endswith(b"connection: close\r\n\r\nok")


async def test_new_requests_on_old_connections_use_the_new_table_and_pools_live_on() -> None:
    async with backend() as app:
        target = cluster(app.number)
        with serve(everything(forward(target))) as gateway:
            async with client(gateway.number) as c:
                assert (await c.ask(GET))[0] == 200
                gateway.apply(HostIndex(exact={b"a.test": vhost({b"/b": forward(cluster(app.number))})}))
                assert (await c.ask(GET))[0] == 404
                assert (await c.ask(GET.replace(b"/a", b"/b")))[0] == 200
                assert app.n_connections == 1
                gateway.apply(HostIndex())
                await until(lambda: not app.n_open)


async def test_draining_closes_idle_connections_and_ends_the_others_after_their_answer() -> None:
    go = asyncio.Event()

    async def later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        writer.write(OK)

    async with backend(later) as app:
        with serve(everything(forward(cluster(app.number)))) as gateway:
            async with client(gateway.number) as idle, client(gateway.number) as busy:
                busy.send(GET)
                await until(lambda: app.heads and gateway.plane.connections == 2)
                drained: list[object] = []
                gateway.plane.drain(drained.append)
                assert await idle.rest() == b""
                go.set()
                status, head, _ = await busy.response()
                assert (status, b"connection: close\r\n" in head) == (200, True)
                await until(lambda: drained)


async def test_at_most_so_many_connections_and_waiters() -> None:
    go = asyncio.Event()

    async def later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        writer.write(OK)

    limits = Limits(upstream_connections=1, upstream_queue=1)
    async with backend(later) as app:
        with serve(everything(forward(cluster(app.number))), limits=limits) as gateway:
            async with client(gateway.number) as one, client(gateway.number) as two, client(gateway.number) as three:
                one.send(GET)
                await until(lambda: app.heads)
                two.send(GET)
                await until(lambda: gateway.plane.connections == 3)
                assert (await three.ask(GET))[0] == 503
                go.set()
                assert (await one.response())[0] == 200
                assert (await two.response())[0] == 200
    assert gateway.reasons() == {"upstream_overflow": 1}


async def test_a_unix_socket_and_a_name_are_endpoints_too(tmp_path: object) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.read()
        writer.close()
        closed.set()

    closed = asyncio.Event()
    path = f"{tmp_path}/s"
    server = await asyncio.start_unix_server(answer, path)
    async with backend() as app:
        named = Cluster(name="n", dns=Endpoint("localhost", app.number))
        lost = Cluster(name="l", dns=Endpoint("no-such-name.invalid", 1))
        index = HostIndex(
            default=vhost(
                {
                    b"/u": forward(Cluster(name="u", endpoints=(Endpoint(f"unix:{path}", 0),))),
                    b"/n": forward(named),
                    b"/l": forward(lost),
                }
            )
        )
        with serve(index) as gateway:
            async with client(gateway.number) as c:
                assert [(await c.ask(GET.replace(b"/a", each)))[0] for each in (b"/u", b"/n", b"/n", b"/l")] == [
                    200,
                    200,
                    200,
                    503,
                ]
        await closed.wait()
    server.close()
    assert gateway.reasons() == {"dns_failed": 1}


async def upgraded(c: Client) -> None:
    c.send(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    status, head, _ = await c.response()
    assert status == 101
    assert b"upgrade: websocket" in head.lower()


async def test_a_websocket_becomes_a_tunnel_with_half_close_and_outlives_a_reload() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi")
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.write(b"bye")

    async with backend(echo) as app:
        with serve(everything(forward(cluster(app.number)))) as gateway:
            async with client(gateway.number) as c:
                await upgraded(c)
                assert await c.reader.readexactly(2) == b"hi"
                gateway.apply(HostIndex())
                c.send(b"x" * 1_000_000)
                assert await c.reader.readexactly(1_000_000) == b"x" * 1_000_000
                c.writer.write_eof()
                assert await c.rest() == b"bye"
    assert gateway.records[0].status == 101
    assert gateway.records[0].bytes_in == 1_000_000
    assert gateway.records[0].reason == ""


@pytest.mark.parametrize(("who", "reason"), [("client", "client_closed"), ("backend", "upstream_reset")])
async def test_a_tunnel_that_is_cut_says_by_whom(who: str, reason: str) -> None:
    cut = asyncio.Event()

    async def switch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await cut.wait()
        reset(writer)

    def reset(writer: asyncio.StreamWriter) -> None:
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async with backend(switch) as app:
        with serve(everything(forward(cluster(app.number)))) as gateway:
            async with client(gateway.number) as c:
                await upgraded(c)
                if who == "client":
                    reset(c.writer)
                else:
                    cut.set()
                await until(lambda: gateway.records)
                cut.set()
    assert gateway.records[0].reason == reason


async def test_a_silent_tunnel_ends() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await reader.read()

    async with backend(silent) as app:
        with serve(everything(forward(cluster(app.number))), limits=Limits(tunnel_idle_timeout_s=0.1)) as gateway:
            async with client(gateway.number) as c:
                await upgraded(c)
                assert await c.rest() == b""
