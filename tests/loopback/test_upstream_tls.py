"""Endpoints that speak TLS: who is believed, what is presented, what is resumed, and what never becomes plain text."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import pytest

from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import BackendTls, Certificate, Cluster
from gatewayproxy.model.protocols import AppProtocol
from gatewayproxy.routing.table import HostIndex, Mirror
from tests.support.backend import Backend, Script, backend, client, until
from tests.support.backend_tls import HOST, backend_tls, server_context, signer, tls_cluster
from tests.support.h2backend import H2Backend, H2Call, h2_backend
from tests.support.worker import Served, cluster, forward, serve, vhost

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody"
FAILED = "upstream_tls_failed"
STRANGE = signer("stranger").leaf("gateway.example.com")
SPIFFE = "spiffe://example.com/backend"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def index_of(target: Cluster) -> HostIndex:
    return HostIndex(exact={b"a.test": vhost({b"": forward(target)})})


@contextmanager
def gateway(target: Cluster, limits: Limits | None = None) -> Iterator[Served]:
    with serve(index_of(target), limits=limits) as served:
        yield served


@asynccontextmanager
async def endpoint(
    context: ssl.SSLContext, tls: BackendTls | None = None, *, limits: Limits | None = None, raw: Script | None = None
) -> AsyncIterator[tuple[Backend, Served]]:
    """Serve a.test with one endpoint that speaks TLS."""
    async with backend(tls=context, raw=raw) as up:
        with gateway(tls_cluster(up.number, tls=tls), limits) as served:
            yield up, served


async def ask(served: Served, request: bytes = GET) -> tuple[int, bytes]:
    """Return status and body of one answer, on a connection of its own."""
    async with client(served.number) as peer:
        peer.send(request)
        status, _, body = await peer.response()
        return status, body


# Who is believed


@pytest.mark.parametrize("version", VERSIONS, ids=str)
async def test_requests_reach_an_endpoint_over_tls(version: ssl.TLSVersion) -> None:
    async with endpoint(server_context(version=version, alpn=("http/1.1",))) as (up, served):
        assert await ask(served) == (200, b"ok")
        assert await ask(served, POST) == (200, b"ok")
        assert (up.n_connections, up.bodies) == (1, [b"", b"body"])
        session = up.sessions[0]
        assert session is not None
        assert session.version() == version.name.replace("_", ".")
        assert session.selected_alpn_protocol() == "http/1.1"


async def test_the_server_name_is_the_one_of_the_policy_whatever_the_request_says() -> None:
    names: list[str | None] = []
    context = server_context()
    context.sni_callback = lambda _, name, __: names.append(name)
    tls = backend_tls(server_name="sni.example.com", names=(HOST,))
    async with endpoint(context, tls) as (_, served):
        assert await ask(served) == (200, b"ok")
    assert names == ["sni.example.com"]


@pytest.mark.parametrize(
    "tls",
    [
        pytest.param(backend_tls(names=("no.test", "*.example.com")), id="a wildcard of ours"),
        pytest.param(backend_tls(names=(), uris=("spiffe://no", SPIFFE)), id="a URI"),
        pytest.param(backend_tls(names=("no.test",), uris=(SPIFFE,)), id="any of both"),
    ],
)
async def test_one_name_of_several_is_enough(tls: BackendTls) -> None:
    context = server_context(signer().leaf(HOST, "else.test", uris=[SPIFFE]))
    async with endpoint(context, tls) as (_, served):
        assert await ask(served) == (200, b"ok")


@pytest.mark.parametrize(
    ("context", "tls", "why"),
    [
        pytest.param(server_context(signer().leaf("else.test")), backend_tls(),
                     "its certificate is for else.test, not backend.example.com", id="another name"),
        pytest.param(server_context(signer().leaf(common_name=HOST)), backend_tls(),
                     "its certificate is for no name, not backend.example.com", id="a common name is none"),
        pytest.param(server_context(), backend_tls(names=("no.test",), uris=(SPIFFE,)),
                     "its certificate is for backend.example.com, not no.test, spiffe://example.com/backend",
                     id="the server name is no name to verify where others are given"),
        pytest.param(server_context(signer("stranger").leaf(HOST)), backend_tls(),
                     "unable to get local issuer certificate", id="an unknown authority"),
        pytest.param(server_context(signer().leaf(HOST, days=(-9, -1))), backend_tls(), "certificate has expired",
                     id="expired"),
        pytest.param(server_context(signer().leaf(HOST, days=(1, 9))), backend_tls(), "certificate is not yet valid",
                     id="not valid yet"),
        pytest.param(server_context(), backend_tls(trust=None), "unable to get local issuer certificate",
                     id="not of the system's authorities"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("version", VERSIONS, ids=str)
async def test_who_is_not_believed_gets_no_request(
    version: ssl.TLSVersion, context: ssl.SSLContext, tls: BackendTls, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_2, version
    with caplog.at_level(logging.WARNING):
        async with endpoint(context, tls) as (up, served):
            assert await ask(served, POST) == (502, b"502 Bad Gateway: upstream_tls_failed\n")
            assert served.reasons() == {FAILED: 1}
            assert not up.heads
    assert why in caplog.text
    assert caplog.text.count(FAILED) == 1


async def test_what_fails_again_and_again_is_told_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    async with endpoint(server_context(signer().leaf("else.test"))) as (_, served):
        for _ in range(3):
            assert (await ask(served))[0] == 502
    assert caplog.text.count(f"{FAILED} endpoint=") == 1


# What we present


@pytest.mark.parametrize("version", VERSIONS, ids=str)
async def test_an_endpoint_that_asks_gets_our_certificate(version: ssl.TLSVersion) -> None:
    context = server_context(version=version, clients=signer("clients"))
    ours = signer("clients").leaf("gateway.example.com")
    async with endpoint(context, backend_tls(certificate=ours)) as (up, served):
        assert await ask(served) == (200, b"ok")
        assert up.sessions[0] is not None
        shown = up.sessions[0].getpeercert() or {}
        assert shown["subjectAltName"] == (("DNS", "gateway.example.com"),)


@pytest.mark.parametrize(
    ("version", "ours", "why"),
    [
        pytest.param(ssl.TLSVersion.TLSv1_2, None, "handshake failed: SSLV3_ALERT_HANDSHAKE_FAILURE", id="1.2, none"),
        pytest.param(ssl.TLSVersion.TLSv1_2, STRANGE, "does not know the authority of our client", id="1.2, strange"),
        pytest.param(ssl.TLSVersion.TLSv1_3, None, "asks for a client certificate, and there is none", id="1.3, none"),
        pytest.param(ssl.TLSVersion.TLSv1_3, STRANGE, "does not know the authority of our client", id="1.3, strange"),
    ],
)
async def test_an_endpoint_that_refuses_our_certificate_is_told_of(
    version: ssl.TLSVersion, ours: Certificate | None, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    context = server_context(version=version, clients=signer("clients"))
    with refusing_server(context) as number, gateway(tls_cluster(number, tls=backend_tls(certificate=ours))) as served:
        assert (await ask(served))[0] == 502
        assert served.reasons() == {FAILED: 1}
    assert why in caplog.text


@contextmanager
def refusing_server(context: ssl.SSLContext) -> Iterator[int]:
    """Run an endpoint whose handshakes fail, and which says why: the event loop's own TLS drops its alerts."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve_one() -> None:
        sock, _ = listening.accept()
        with sock:
            with pytest.raises(ssl.SSLError):
                context.wrap_socket(sock.dup(), server_side=True)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65_536):  # closed with bytes unread, the kernel would send a reset over the alert
                pass

    thread = threading.Thread(target=serve_one)
    thread.start()
    with listening:
        yield listening.getsockname()[1]
        thread.join(60)


async def test_clusters_that_present_different_certificates_share_no_connection() -> None:
    context = server_context(clients=signer("clients"))
    targets = [backend_tls(certificate=signer("clients").leaf(name)) for name in ("one.test", "two.test")]
    async with backend(tls=context) as up:
        routes = {b"/1": forward(tls_cluster(up.number, tls=targets[0])),
                  b"/2": forward(tls_cluster(up.number, tls=targets[1]))}  # fmt: skip
        with serve(HostIndex(exact={b"a.test": vhost(routes)})) as served:
            for path in (b"/1", b"/2", b"/1"):
                assert (await ask(served, GET.replace(b"/ ", path + b" ")))[0] == 200
        shown = [(session.getpeercert() or {})["subjectAltName"] for session in up.sessions if session]
        assert shown == [(("DNS", "one.test"),), (("DNS", "two.test"),)]


# Sessions and reloads


@pytest.mark.parametrize("version", VERSIONS, ids=str)
async def test_a_new_connection_resumes_the_session_of_the_last(version: ssl.TLSVersion) -> None:
    close = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nokCLOSE"
    async with backend(close, close, tls=server_context(version=version)) as up:
        with gateway(tls_cluster(up.number)) as served:
            for _ in range(3):
                assert await ask(served) == (200, b"ok")
        assert [session.session_reused for session in up.sessions if session] == [False, True, True]


async def test_a_changed_bundle_makes_new_connections_while_old_exchanges_finish() -> None:
    release = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
        await writer.drain()

    async with backend(slow, tls=server_context()) as up:
        with gateway(tls_cluster(up.number)) as served:
            async with client(served.number) as peer:
                peer.send(GET)
                await until(lambda: up.heads)
                served.apply(index_of(tls_cluster(up.number, tls=backend_tls(trust=signer("stranger").trust))))
                assert (await ask(served))[0] == 502
                release.set()
                assert (await peer.response())[::2] == (200, b"late")
                served.apply(index_of(tls_cluster(up.number)), generation=3)
                assert await ask(served) == (200, b"ok")
        assert [session.session_reused for session in up.sessions if session and session.version()] == [False, False]


async def test_equal_clusters_keep_their_connections_across_a_reload() -> None:
    async with endpoint(server_context()) as (up, served):
        assert await ask(served) == (200, b"ok")
        served.apply(index_of(tls_cluster(up.number, tls=replace(backend_tls()))))
        assert await ask(served) == (200, b"ok")
        assert up.n_connections == 1


async def test_plain_and_encrypted_ways_to_one_endpoint_do_not_mix() -> None:
    async with backend() as up:
        routes = {b"/plain": forward(cluster(up.number)), b"/tls": forward(tls_cluster(up.number))}
        limits = Limits(connect_timeout_s=1.0)  # the endpoint waits for a request head that does not come
        with serve(HostIndex(exact={b"a.test": vhost(routes)}), limits=limits) as served:
            assert (await ask(served, GET.replace(b"/ ", b"/plain ")))[0] == 200
            assert (await ask(served, GET.replace(b"/ ", b"/tls ")))[0] == 503
        assert len(up.heads) == 1


# Other ways of speaking


@asynccontextmanager
async def h2_endpoint(alpn: tuple[str, ...]) -> AsyncIterator[tuple[H2Backend, Served]]:
    async with h2_backend(tls=server_context(alpn=alpn)) as up:
        with gateway(tls_cluster(up.number, protocol=AppProtocol.H2C)) as served:
            yield up, served


async def test_http2_is_chosen_by_alpn_and_says_https() -> None:
    async with h2_endpoint(("h2",)) as (up, served):
        assert await ask(served) == (200, b"ok")
        call: H2Call = up.calls[0]
        assert call[b":scheme"] == b"https"


async def test_an_endpoint_that_does_not_choose_h2_gets_no_http2(caplog: pytest.LogCaptureFixture) -> None:
    async with h2_endpoint(()) as (up, served):
        assert (await ask(served))[0] == 502
        assert not up.calls
    assert "did not choose h2" in caplog.text


async def test_http2_to_an_endpoint_that_refuses_our_certificate_fails_at_once() -> None:
    context = server_context(clients=signer("clients"), alpn=("h2",))
    with refusing_server(context) as number, gateway(tls_cluster(number, protocol=AppProtocol.H2C)) as served:
        assert (await ask(served))[0] == 502
        assert served.reasons() == {FAILED: 1}


async def test_mirrors_speak_tls_too() -> None:
    async with backend() as primary, backend(tls=server_context()) as copy:
        mirror = Mirror(cluster=tls_cluster(copy.number), numerator=1, denominator=1)
        index = HostIndex(exact={b"a.test": vhost({b"": forward(cluster(primary.number), mirrors=(mirror,))})})
        with serve(index) as served:
            assert await ask(served, POST) == (200, b"ok")
            await until(lambda: copy.bodies)
        assert copy.bodies == [b"body"]


async def test_websockets_run_over_tls() -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        )
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async with backend(accept, tls=server_context()) as up:
        with gateway(tls_cluster(up.number, protocol=AppProtocol.WS)) as served:
            async with client(served.number) as peer:
                peer.send(
                    b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                )
                assert b" 101 " in await peer.reader.readuntil(b"\r\n\r\n")
                payload = bytes(range(256)) * 1024
                peer.send(payload)
                async with asyncio.timeout(60):
                    assert await peer.reader.readexactly(len(payload)) == payload


async def test_large_bodies_pass_both_ways() -> None:
    body = bytes(range(256)) * 16_384

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"4194304" in head
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n" + await reader.readexactly(len(body)))
        await writer.drain()
        await reader.read()

    async with endpoint(server_context(), raw=echo) as (_, served):
        request = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4194304\r\n\r\n" + body
        assert await ask(served, request) == (200, body)


# Hostile endpoints


async def test_a_handshake_that_never_ends_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with backend(raw=silent) as up:
        with gateway(tls_cluster(up.number), Limits(connect_timeout_s=0.2)) as served:
            assert await ask(served) == (503, b"503 Service Unavailable: connect_timeout\n")
            await until(lambda: not up.n_open)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it does not speak TLS"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "handshake failed"),
        (b"\x16\x03\x03\xff\xff" + b"A" * 70_000, "handshake failed"),
        (b"", "it closed the connection during the handshake"),
    ],
    ids=["plain HTTP", "an alert", "an oversized record", "nothing"],
)
async def test_what_is_no_tls_is_told_of(said: bytes, why: str, caplog: pytest.LogCaptureFixture) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(5)
        writer.write(said)
        await writer.drain()

    async with backend(raw=say) as up:
        with gateway(tls_cluster(up.number)) as served:
            assert (await ask(served))[0] == 502
            assert served.reasons() == {FAILED: 1}
    assert why in caplog.text or "handshake:" in caplog.text


async def test_an_answer_that_ends_with_the_connection_must_end_with_close_notify() -> None:
    async def truncate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf of it")
        await writer.drain()
        writer.transport.abort()

    async with endpoint(server_context(), raw=truncate) as (_, served):
        async with client(served.number) as peer:
            peer.send(GET)
            data = await peer.reader.read()
        assert not data.endswith(b"0\r\n\r\n")  # the end of a chunked answer
        await until(lambda: served.records)
        assert served.records[0].reason == "upstream_reset"


async def test_an_idle_connection_that_the_endpoint_ended_gets_no_request() -> None:
    ended = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokCLOSE"
    async with backend(ended, tls=server_context()) as up:
        with gateway(tls_cluster(up.number)) as served:
            assert await ask(served) == (200, b"ok")
            await until(lambda: not up.n_open)
            assert await ask(served, POST) == (200, b"ok")
        assert up.bodies == [b"", b"body"]


@pytest.mark.parametrize(
    ("protocol", "offered"),
    [
        (AppProtocol.HTTP, b"\x00\x09\x08http/1.1"),
        (AppProtocol.WS, b"\x00\x09\x08http/1.1"),
        (AppProtocol.H2C, b"\x00\x03\x02h2"),
    ],
    ids=lambda given: given.name if isinstance(given, AppProtocol) else "",
)
async def test_alpn_offers_what_the_endpoint_is_spoken_to_in_and_nothing_else(
    protocol: AppProtocol, offered: bytes
) -> None:
    hellos: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hellos.append(await reader.read(65_536))

    async with backend(raw=hear) as up:
        with gateway(tls_cluster(up.number, protocol=protocol)) as served:
            assert (await ask(served))[0] == 502
    lists = [hello[at + 4 :] for hello in hellos for at in range(len(hello)) if hello[at : at + 2] == b"\x00\x10"]
    assert any(found.startswith(offered) for found in lists)


async def test_handshakes_that_never_end_take_no_more_connections_than_there_may_be() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    limits = Limits(upstream_connections=2, upstream_queue=3, connect_timeout_s=1.5)
    async with backend(raw=silent) as up:
        with gateway(tls_cluster(up.number), limits) as served:
            answers = await asyncio.gather(*(ask(served) for _ in range(8)))
            assert {status for status, _ in answers} == {503}
            reasons = served.reasons()
            assert reasons["upstream_overflow"] == 5
            assert reasons["connect_timeout"] == 3
            assert up.n_connections <= 2 + 3  # two at a time, and one for each who waited
            await until(lambda: not up.n_open)
