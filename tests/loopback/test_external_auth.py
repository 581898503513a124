"""ExternalAuth over real sockets: who may pass, what the backend gets, what a client is told."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import ExternalAuth
from gatewayproxy.model.traffic import Cors, Retry
from gatewayproxy.routing.table import BackendChoice, HostIndex, Mirror
from tests.support.backend import Backend, backend, client, until
from tests.support.backend_tls import server_context, signer, tls_cluster
from tests.support.external_auth import auth_cluster, guarded
from tests.support.h2client import h2_session
from tests.support.ports import closed_port
from tests.support.worker import Served, cluster, entry, serve, vhost

YES = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-User: ada\r\n\r\n"
NO = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\nWWW-Authenticate: Basic\r\n\r\nnope"
GET = b"GET /p?q=1 HTTP/1.1\r\nHost: a.test\r\n%b\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: a.test\r\n%b\r\n"
ORIGIN = b"Origin: https://app.test\r\n"
STRANGE = signer("stranger").leaf("backend.example.com")
CORS = Cors(origins=(b"https://app.test",))


@asynccontextmanager
async def gateway(
    *answers: Any, limits: Limits | None = None, app: Any = (), rule: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[tuple[Served, Backend, Backend]]:
    """Run an auth server with *answers*, a backend that answers *app* first, and a gateway between.

    *options* are those of the filter, *rule* those of its entry.
    """
    async with backend(*answers, keep=YES) as auth, backend(*app) as behind:
        server = ExternalAuth(cluster=auth_cluster(auth.number), **options)
        with serve(guarded(behind.number, server, **(rule or {})), limits=limits) as served:
            yield served, auth, behind


class Silence:
    """A server that takes a question and is silent; it notes when it was asked and when its caller went."""

    def __init__(self) -> None:
        self.asked = self.left = False
        self.answer = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked = True
        end = asyncio.create_task(reader.read(), name="end")
        answer = asyncio.create_task(self.answer.wait(), name="answer")
        await asyncio.wait((end, answer), return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            writer.write(YES)
            await writer.drain()
        self.left = end.done()
        for task in (end, answer):
            task.cancel()
        await asyncio.gather(end, answer, return_exceptions=True)


# What the server is asked


async def test_a_request_that_the_server_allows_goes_on_with_what_it_says() -> None:
    async with gateway() as (served, auth, app), client(served.number) as peer:
        status, _, body = await peer.ask(GET % b"X-User: mallory\r\nX_user: mallory\r\nX-Other: 1\r\n")
        assert (status, body) == (200, b"ok")
        head = app.heads[0].lower()
        assert head.count(b"user:") == 1
        assert b"\r\nx-user: ada\r\n" in head
        assert b"\r\nx-other: 1\r\n" in head
        assert auth.heads == [b"GET /p?q=1 HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\n\r\n"]


async def test_the_server_sees_authorization_and_the_fields_that_are_named() -> None:
    names = (b"cookie", b"x-forwarded-for", b"connection", b"transfer-encoding", b"x-absent")
    lines = b"Authorization: Bearer 1\r\nCookie: a=1\r\nCookie: b=2\r\nX-Secret: 1\r\nX-Forwarded-For: 6.6.6.6\r\n"
    async with gateway(request_headers=names, path=b"/check") as (served, auth, _), client(served.number) as peer:
        await peer.ask(
            b"DELETE /p HTTP/1.1\r\nHost: a.test:8080\r\nConnection: x-hop\r\nX-Hop: 1\r\n" + lines + b"\r\n"
        )
        assert auth.heads == [
            b"DELETE /check/p HTTP/1.1\r\nhost: a.test:8080\r\ncontent-length: 0\r\n"
            b"Authorization: Bearer 1\r\nCookie: a=1\r\nCookie: b=2\r\nx-forwarded-for: 127.0.0.1\r\n\r\n"
        ]


async def test_fields_that_a_connection_nominates_are_not_shown() -> None:
    async with gateway(request_headers=(b"x-hop",)) as (served, auth, _), client(served.number) as peer:
        await peer.ask(GET % b"Connection: x-hop\r\nX-Hop: 1\r\n")
        assert auth.heads == [b"GET /p?q=1 HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\n\r\n"]


async def test_several_servers_are_asked_in_turn_and_see_what_those_before_said() -> None:
    async with backend(keep=YES) as first, backend(YES, NO) as second, backend() as app:
        servers = [
            ExternalAuth(cluster=auth_cluster(each.number), request_headers=(b"x-user",)) for each in (first, second)
        ]
        with serve(guarded(app.number, *servers)) as served:
            async with client(served.number) as peer:
                assert (await peer.ask(GET % b""))[0] == 200
                assert (await peer.ask(GET % b""))[0] == 401
        assert b"x-user" not in first.heads[0]
        assert b"\r\nx-user: ada\r\n" in second.heads[0]
        assert len(app.heads) == 1


async def test_a_server_that_refuses_is_the_last_one_asked() -> None:
    async with backend(NO) as first, backend(YES) as second, backend() as app:
        servers = [ExternalAuth(cluster=auth_cluster(each.number)) for each in (first, second)]
        with serve(guarded(app.number, *servers)) as served:
            async with client(served.number) as peer:
                assert (await peer.ask(GET % b""))[0] == 401
        assert second.heads == app.heads == []


# What it says


@pytest.mark.parametrize(
    ("answer", "status", "kept", "body"),
    [
        pytest.param(NO, 401, b"WWW-Authenticate: Basic", b"nope", id="challenge"),
        pytest.param(
            b"HTTP/1.1 302 Found\r\nLocation: https://login.test/?to=1\r\nSet-Cookie: a\r\nContent-Length: 0\r\n\r\n",
            302, b"Location: https://login.test/?to=1\r\nSet-Cookie: a", b"", id="redirect",
        ),
        pytest.param(
            b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\nContent-Type: text/html\r\n\r\n2\r\nno\r\n0\r\n\r\n",
            403, b"Content-Type: text/html", b"no", id="a body in chunks",
        ),
        pytest.param(b"HTTP/1.1 403 No\r\n\r\nnoCLOSE", 403, b"", b"no", id="a body to the end"),
        pytest.param(b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\noh", 500, b"", b"oh", id="its own failure"),
        pytest.param(b"HTTP/1.1 204 Fine\r\n\r\n", 403, b"", b"", id="204 is no consent, nor told as success"),
        pytest.param(b"HTTP/1.1 201 Fine\r\nContent-Length: 2\r\n\r\nhi", 403, b"", b"", id="nor 201"),
        pytest.param(b"HTTP/1.1 304 Same\r\n\r\n", 403, b"", b"", id="304 is of a cache that nobody has"),
    ],
)  # fmt: skip
async def test_what_the_server_refuses_never_reaches_the_backend(
    answer: bytes, status: int, kept: bytes, body: bytes
) -> None:
    async with gateway(answer) as (served, _, app), client(served.number) as peer:
        found, head, content = await peer.ask(GET % b"")
        assert (found, content) == (status, body)
        assert kept in head
        assert head.lower().count(b"content-length:") == 1
        assert b"chunked" not in head
        assert app.heads == []
        assert served.reasons() == {"auth_denied": 1}
        status, _, _ = await peer.ask(GET % b"")  # the connection goes on
        assert status == 200


async def test_a_refusal_of_head_has_no_body() -> None:
    no = b"HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\n"
    async with gateway(no) as (served, auth, _), client(served.number) as peer:
        status, _, _ = await peer.ask(b"HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n", head_only=True)
        assert status == 403
        assert auth.heads[0].startswith(b"HEAD / ")
        assert (await peer.ask(GET % b""))[2] == b"ok"


async def test_only_the_response_fields_that_are_named_go_on_and_never_those_of_the_client() -> None:
    yes = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-User: ada\r\nX-Other: 1\r\nX-User: bob\r\n\r\n"
    async with gateway(yes, response_headers=(b"x-user", b"x-role")) as (served, _, app), client(served.number) as peer:
        await peer.ask(GET % b"X-Role: admin\r\nX-Other: mine\r\n")
        head = app.heads[0].lower()
        assert b"x-role" not in head
        assert b"x-other: mine\r\n" in head
        assert b"x-other: 1" not in head
        assert b"x-user: ada\r\nx-user: bob\r\n" in head


async def test_without_a_list_what_describes_the_servers_own_answer_stays_behind() -> None:
    yes = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\nDate: now\r\nServer: s\r\nHost: evil\r\n"
        b"Connection: x-hop\r\nX-Hop: 1\r\nX-Any: 1\r\nAuthorization: Bearer 2\r\n\r\nhi"
    )
    async with gateway(yes) as (served, _, app), client(served.number) as peer:
        await peer.ask(POST % b"Content-Type: application/json\r\nContent-Length: 2\r\nAuthorization: 1\r\n" + b"{}")
        head = app.heads[0].lower()
        assert b"content-type: application/json\r\n" in head
        assert b"authorization: bearer 2\r\n" in head
        assert head.count(b"authorization") == head.count(b"host: ") - 1 == head.count(b"content-length") == 1
        assert b"x-any: 1\r\n" in head
        for gone in (b"evil", b"date", b"server", b"x-hop"):
            assert gone not in head
        assert app.bodies == [b"{}"]


# The body


@pytest.mark.parametrize(
    ("lines", "sent", "content"),
    [
        pytest.param(b"Content-Length: 5\r\n", b"hello", b"hello", id="with a length"),
        pytest.param(
            b"Transfer-Encoding: chunked\r\n", b"5;x=1\r\nhello\r\n0\r\nT: 1\r\n\r\n", b"hello", id="in chunks"
        ),
        pytest.param(b"Content-Length: 0\r\n", b"", b"", id="empty"),
    ],
)
async def test_a_body_that_is_forwarded_is_seen_whole_and_goes_on_as_it_came(
    lines: bytes, sent: bytes, content: bytes
) -> None:
    async with gateway(body_bytes=5) as (served, auth, app), client(served.number) as peer:
        peer.send(POST % lines + sent[:2])
        await until(lambda: sum(served.context.stats.connections.values()))
        peer.send(sent[2:])
        status, _, _ = await peer.response()
        assert status == 200
        assert auth.bodies == [content]
        assert b"content-length: %d\r\n" % len(content) in auth.heads[0]
        assert app.bodies == [sent.replace(b";x=1", b"")]


@pytest.mark.parametrize(
    ("lines", "sent"),
    [
        pytest.param(b"Content-Length: 6\r\n", b"", id="told by its length"),
        pytest.param(b"Content-Length: 6\r\nExpect: 100-continue\r\n", b"", id="and not asked to send it"),
        pytest.param(b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n3\r\ndef\r\n", id="in chunks"),
    ],
)
async def test_a_body_that_is_too_large_for_the_server_is_refused(lines: bytes, sent: bytes) -> None:
    async with gateway(body_bytes=5) as (served, auth, app), client(served.number) as peer:
        status, _, _ = await peer.ask(POST % lines + sent)
        assert status == 413
        assert auth.heads == app.heads == []
        assert served.reasons() == {"auth_body_too_large": 1}


async def test_bodies_have_a_bound_whatever_the_filter_allows() -> None:
    async with gateway(body_bytes=1 << 30, limits=Limits(ext_auth_body_bytes=4)) as (served, auth, _):
        async with client(served.number) as peer:
            assert (await peer.ask(POST % b"Content-Length: 4\r\n" + b"1234"))[0] == 200
            assert (await peer.ask(POST % b"Content-Length: 5\r\n" + b"12345"))[0] == 413
        assert auth.bodies == [b"1234"]


async def test_of_bodies_that_are_too_many_in_all_the_oldest_gives_way() -> None:
    limits = Limits(ext_auth_bodies_bytes=1000)
    async with gateway(body_bytes=800, limits=limits) as (served, auth, app), client(served.number) as slow:
        slow.send(POST % b"Content-Length: 600\r\n" + bytes(599))
        await until(lambda: served.context.judged.n_bytes == 599)
        async with client(served.number) as quick:
            assert (await quick.ask(POST % b"Content-Length: 600\r\n" + bytes(600)))[0] == 200
        status, head, _ = await slow.response()
        assert status == 503
        assert b"connection: close\r\n" in head.lower()
        assert served.reasons() == {"auth_overflow": 1}
        assert auth.bodies == app.bodies == [bytes(600)]
        assert served.context.judged.n_bytes == 0


async def test_a_body_that_waits_for_the_verdict_gives_way_with_its_question() -> None:
    silence = Silence()
    limits = Limits(ext_auth_bodies_bytes=1000)
    async with gateway(silence, body_bytes=800, limits=limits) as (served, _, app), client(served.number) as first:
        first.send(POST % b"Content-Length: 600\r\n" + bytes(600))
        await until(lambda: silence.asked)
        async with client(served.number) as second:
            assert (await second.ask(POST % b"Content-Length: 600\r\n" + bytes(600)))[0] == 200
        assert (await first.response())[0] == 503
        await until(lambda: silence.left)
        assert app.bodies == [bytes(600)]


async def test_streams_of_one_connection_keep_no_more_bodies_than_all_may() -> None:
    limits = Limits(ext_auth_bodies_bytes=10_000)
    async with gateway(body_bytes=100_000, limits=limits) as (served, _, _), h2_session(served.number) as session:
        for _ in range(20):
            stream = session.request("/p", method="POST", end=False)
            session.h2.send_data(stream, bytes(2_000))
        session.flush()
        await until(lambda: served.reasons().get("auth_overflow") == 15)
        assert served.context.judged.n_bytes == 10_000
    await until(lambda: served.context.judged.n_bytes == 0)


@pytest.mark.parametrize("how", ["refused", "silent", "broken", "left"])
async def test_what_was_kept_is_let_go_however_the_wait_ends(how: str) -> None:
    silence = Silence()
    answer = {"refused": NO, "broken": b"HTTP/1.1 200", "silent": silence, "left": silence}[how]
    limits = Limits(ext_auth_timeout_s=1.0 if how in ("silent", "broken") else 60.0)
    async with gateway(answer, body_bytes=800, limits=limits) as (served, auth, _):
        async with client(served.number) as peer:
            peer.send(POST % b"Content-Length: 600\r\n" + bytes(600))
            await until(lambda: auth.heads)
            if how != "left":
                assert (await peer.response())[0] in (401, 503, 504)
            else:
                assert served.context.judged.n_bytes == 600
                linger = struct.pack("ii", 1, 0)
                peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        await until(lambda: served.context.judged.n_bytes == 0)


async def test_a_client_that_waits_for_100_is_told_by_us_where_the_body_is_to_be_seen() -> None:
    async with gateway(body_bytes=5) as (served, auth, app), client(served.number) as peer:
        status, _, _ = await peer.ask(POST % b"Content-Length: 2\r\nExpect: 100-continue\r\n")
        assert status == 100
        status, _, _ = await peer.ask(b"hi")
        assert status == 200
        assert auth.bodies == app.bodies == [b"hi"]
        assert b"expect" not in app.heads[0].lower()


async def test_no_verdict_touches_the_framing_of_the_request_under_a_name_that_looks_alike() -> None:
    yes = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent_Length: 0\r\nTransfer_Encoding: chunked\r\nHost: x\r\n\r\n"
    async with gateway(yes) as (served, _, app), client(served.number) as peer:
        status, _, _ = await peer.ask(POST % b"Content-Length: 2\r\n" + b"{}")
        assert status == 200
        assert app.bodies == [b"{}"]
        head = app.heads[0].lower()
        assert head.count(b"content-length: 2\r\n") == 1
        assert b"_" not in head


async def test_a_body_that_nobody_asks_for_streams_behind_the_consent() -> None:
    silence = Silence()
    async with gateway(silence) as (served, auth, app), client(served.number) as peer:
        size = 8 << 20
        peer.send(POST % (b"Content-Length: %d\r\n" % size))
        sending = asyncio.create_task(_send(peer.writer, bytes(size)), name="body")
        await until(lambda: silence.asked)
        assert app.n_connections == 0
        silence.answer.set()
        status, _, _ = await peer.response()
        await sending
        assert status == 200
        assert [len(body) for body in app.bodies] == [size]
        assert auth.bodies == [b""]


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def test_an_upload_that_is_refused_is_not_read_to_its_end() -> None:
    async with gateway(NO) as (served, _, app), client(served.number) as peer:
        status, head, _ = await peer.ask(POST % b"Content-Length: 1000000\r\n" + b"part")
        assert status == 401
        assert b"connection: close\r\n" in head.lower()
        assert app.n_connections == 0


# It fails closed


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-what\r\n\r\n")


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


BIG = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000)
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nCLOSE"


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        pytest.param(garbage, 503, "auth_failed", id="no HTTP"),
        pytest.param(hang_up, 503, "auth_failed", id="no answer"),
        pytest.param(CUT, 503, "auth_failed", id="half an answer"),
        pytest.param(BIG, 503, "auth_failed", id="too large an answer"),
        pytest.param(b"HTTP/1.1 101 Sure\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", 503, "auth_failed", id="101"),
        pytest.param(Silence, 504, "auth_timeout", id="silence"),
    ],
)
async def test_without_a_whole_answer_no_request_passes(answer: Any, status: int, reason: str) -> None:
    answer = answer() if isinstance(answer, type) else answer
    limits = Limits(ext_auth_timeout_s=1.0 if reason == "auth_timeout" else 60.0, ext_auth_answer_bytes=1000)
    async with gateway(*[answer] * 6, limits=limits) as (served, _, app), client(served.number) as peer:
        found, head, body = await peer.ask(GET % b"")
        assert found == status, (head, body)
        assert served.reasons() == {reason: 1}
        assert served.records[0].detail.startswith("default/auth:80: ")
        assert app.heads == []


async def test_a_server_that_is_not_there_lets_no_request_pass() -> None:
    async with backend() as app:
        with serve(guarded(app.number, ExternalAuth(cluster=auth_cluster(closed_port()[1])))) as served:
            async with client(served.number) as peer:
                assert (await peer.ask(GET % b""))[0] == 503
            assert served.reasons() == {"auth_failed": 1}
        assert app.heads == []


async def test_an_endpoint_that_is_down_is_passed_over() -> None:
    async with backend(keep=YES) as auth, backend() as app:
        with serve(guarded(app.number, ExternalAuth(cluster=auth_cluster(closed_port()[1], auth.number)))) as served:
            async with client(served.number) as peer:
                assert [(await peer.ask(GET % b""))[0] for _ in range(4)] == [200] * 4
        assert len(auth.heads) == 4


async def test_the_time_of_asking_is_of_the_requests_own() -> None:
    silence = Silence()
    async with gateway(silence, rule={"request_timeout_s": 1.0}) as (served, _, app), client(served.number) as peer:
        assert (await peer.ask(GET % b""))[0] == 504
        assert served.reasons() == {"request_timeout": 1}
        await until(lambda: silence.left)
        assert app.heads == []


# Connections


async def test_questions_reuse_connections_and_replace_stale_ones() -> None:
    async with gateway(YES, YES, YES + b"CLOSE") as (served, auth, _), client(served.number) as peer:
        for _ in range(5):
            assert (await peer.ask(GET % b""))[0] == 200
        assert len(auth.heads) == 5
        assert auth.n_connections == 2


async def test_pipelined_requests_are_judged_one_by_one() -> None:
    async with gateway(YES, NO, YES) as (served, auth, app), client(served.number) as peer:
        peer.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a.test\r\n\r\n" % n for n in range(3)))
        assert [(await peer.response())[0] for _ in range(3)] == [200, 401, 200]
        assert [head[:6] for head in auth.heads] == [b"GET /0", b"GET /1", b"GET /2"]
        assert [head[:6] for head in app.heads] == [b"GET /0", b"GET /2"]


async def test_a_client_that_leaves_takes_its_question_along() -> None:
    silence = Silence()
    async with gateway(silence) as (served, _, app):
        async with client(served.number) as peer:
            peer.send(GET % b"")
            await until(lambda: silence.asked)
            sock = peer.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it resets
        await until(lambda: silence.left)
        assert app.heads == []
        assert [record.reason for record in served.records] == ["client_closed"]


async def test_a_reload_meanwhile_does_not_change_what_the_request_is_for() -> None:
    silence = Silence()
    async with gateway(silence) as (served, _, app), backend() as other, client(served.number) as peer:
        peer.send(GET % b"")
        await until(lambda: silence.asked)
        served.apply(HostIndex(default=vhost({b"": entry(BackendChoice(name="n", cluster=cluster(other.number)))})))
        silence.answer.set()
        assert (await peer.response())[0] == 200
        assert (await peer.ask(GET % b""))[0] == 200
        assert (len(app.heads), len(other.heads)) == (1, 1)


async def test_an_http10_client_is_judged_too() -> None:
    async with gateway(NO) as (served, auth, _), client(served.number) as peer:
        peer.send(b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n")
        assert (await peer.rest()).startswith(b"HTTP/1.1 401 ")
        assert auth.heads[0].startswith(b"GET / HTTP/1.1\r\n")


# HTTP/2


async def test_streams_are_judged_side_by_side() -> None:
    silence = Silence()
    async with gateway(silence, NO, YES) as (served, _, app), h2_session(served.number) as session:
        first = session.request("/slow")
        await until(lambda: silence.asked)
        refused = await session.ask("/refused")
        assert (refused.status, bytes(refused.body)) == (401, b"nope")
        assert (b"www-authenticate", b"Basic") in refused.fields
        assert (await session.ask("/passes")).status == 200
        silence.answer.set()
        assert (await session.answer(first)).status == 200
        assert [head.split(b" ")[1] for head in app.heads] == [b"/passes", b"/slow"]
        assert b"x-user: ada\r\n" in app.heads[0]


async def test_clients_whose_requests_repeat_are_asked_for_each_time() -> None:
    async with gateway(YES, NO, YES, NO) as (served, auth, app), h2_session(served.number) as session:
        statuses = [(await session.ask("/", fields=[("x-user", "mallory")])).status for _ in range(4)]
        assert statuses == [200, 401, 200, 401]
        assert [head.count(b"x-user") for head in app.heads] == [1, 1]
        assert b"mallory" not in b"".join(app.heads)
        assert len(auth.heads) == 4


@pytest.mark.parametrize("seen", [0, 1 << 20], ids=["unseen", "seen"])
@pytest.mark.parametrize("length", [True, False], ids=["with a length", "without"])
async def test_bodies_of_streams_go_on_behind_the_consent(seen: int, length: bool) -> None:
    body = bytes(300_000)
    fields = [("content-length", str(len(body)))] if length else []
    async with gateway(body_bytes=seen) as (served, auth, app), h2_session(served.number) as session:
        answer = await session.ask("/", method="POST", body=body, fields=fields)
        assert answer.status == 200
        assert auth.bodies == [body if seen else b""]
        content = app.bodies[0] if length else b"".join(app.bodies[0].split(b"\r\n")[1::2])
        assert content == body


async def test_a_stream_that_is_reset_takes_its_question_along() -> None:
    silence = Silence()
    async with gateway(silence) as (served, _, app), h2_session(served.number) as session:
        stream = session.request("/")
        await until(lambda: silence.asked)
        session.h2.reset_stream(stream, 8)
        session.flush()
        await until(lambda: silence.left)
        assert app.heads == []


async def test_a_stream_whose_body_is_too_large_is_answered() -> None:
    async with gateway(body_bytes=5) as (served, auth, _), h2_session(served.number) as session:
        assert (await session.ask("/", method="POST", body=b"123456")).status == 413
        assert (await session.ask("/", method="POST", body=b"12345")).status == 200
        assert auth.bodies == [b"12345"]


# Beside other filters


async def test_a_mirror_gets_nothing_that_was_refused() -> None:
    async with backend() as copy:
        mirror = Mirror(cluster=cluster(copy.number, name="default/copy:80"), numerator=1, denominator=1)
        async with gateway(NO, YES, rule={"mirrors": (mirror,)}) as (served, _, app), client(served.number) as peer:
            assert (await peer.ask(GET % b""))[0] == 401
            assert (await peer.ask(GET % b""))[0] == 200
            await until(lambda: copy.heads)
            assert len(copy.heads) == len(app.heads) == 1
            assert b"x-user: ada\r\n" in copy.heads[0]


async def test_preflights_are_not_asked_about_and_refusals_can_be_read_by_scripts() -> None:
    no = NO.replace(b"\r\n\r\n", b"\r\nAccess-Control-Allow-Origin: *\r\n\r\n")
    async with gateway(no, rule={"cors": CORS}) as (served, auth, _), client(served.number) as peer:
        status, _, _ = await peer.ask(
            b"OPTIONS / HTTP/1.1\r\nHost: a.test\r\nAccess-Control-Request-Method: GET\r\n" + ORIGIN + b"\r\n"
        )
        assert (status, auth.heads) == (200, [])
        status, head, _ = await peer.ask(GET % ORIGIN)
        assert status == 401
        assert head.lower().count(b"access-control-allow-origin") == 1
        assert b"access-control-allow-origin: https://app.test\r\n" in head


async def test_a_request_that_is_retried_is_asked_about_once() -> None:
    bad = b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"
    rule = {"retry": Retry(codes=(500,), attempts=2, backoff_s=0.0)}
    async with gateway(app=(bad, bad), rule=rule) as (served, auth, app), client(served.number) as peer:
        assert (await peer.ask(GET % b""))[0] == 200
        assert (len(auth.heads), len(app.heads)) == (1, 3)
        assert all(b"x-user: ada\r\n" in head for head in app.heads)


async def test_an_upgrade_is_judged_before_it_is_a_tunnel() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        while data := await reader.read(100):
            writer.write(data)

    ask = GET % b"Connection: upgrade\r\nUpgrade: websocket\r\n"
    async with gateway(NO, app=(echo,)) as (served, auth, _), client(served.number) as peer:
        assert (await peer.ask(ask))[0] == 401
        assert (await peer.ask(ask))[0] == 101
        peer.send(b"ping")
        assert await peer.reader.readexactly(4) == b"ping"
        assert b"upgrade" not in b"".join(auth.heads).lower()


@pytest.mark.parametrize(("status", "code"), [(401, b"16"), (403, b"7"), (500, b"2"), (503, b"14")])
async def test_a_call_that_is_refused_ends_as_calls_do(status: int, code: bytes) -> None:
    no = b"HTTP/1.1 %d No\r\nX-Why: told\r\nContent-Length: 4\r\n\r\nnope" % status
    async with gateway(no) as (served, _, app), h2_session(served.number) as session:
        fields = [("content-type", "application/grpc"), ("te", "trailers")]
        answer = await session.ask("/s/m", method="POST", body=b"\0\0\0\0\0", fields=fields)
        told = dict(answer.fields)
        assert (answer.status, told[b"grpc-status"], bytes(answer.body)) == (200, code, b"")
        assert told[b"grpc-message"].startswith(b"auth_denied")
        assert told[b"x-why"] == b"told"
        assert app.heads == []


@pytest.mark.parametrize(("trusted", "status"), [(True, 200), (False, 503)], ids=["believed", "a stranger"])
async def test_a_server_over_tls_is_believed_or_lets_nobody_pass(trusted: bool, status: int) -> None:
    context = server_context() if trusted else server_context(STRANGE)
    async with backend(keep=YES, tls=context) as auth, backend() as app:
        asked = tls_cluster(auth.number)
        with serve(guarded(app.number, ExternalAuth(cluster=asked))) as served:
            async with client(served.number) as peer:
                assert (await peer.ask(GET % b"X-User: mallory\r\n"))[0] == status
        assert len(auth.heads) == len(app.heads) == trusted
