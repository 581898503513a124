"""Clients that show certificates, or ought to: who is let in, and what a session and a connection are good for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

import pytest
import trustme

from gatewayproxy.dataplane.protocols import openssl
from gatewayproxy.model.plan import ClientValidation
from gatewayproxy.routing.table import HostIndex, Port
from tests.support.backend import backend
from tests.support.certs import client_context
from tests.support.h2client import h2_session
from tests.support.l4 import choice, entry, open_l4
from tests.support.tls_client import TlsClient
from tests.support.tls_ports import clients_of, https, terminated, tls_port
from tests.support.worker import Served, cluster, forward, serve_port, table, vhost

VERSIONS = [
    pytest.param(ssl.TLSVersion.TLSv1_2, id="TLS 1.2"),
    pytest.param(ssl.TLSVersion.TLSv1_3, id="TLS 1.3"),
]
GET = b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n"


@cache
def ca(name: str) -> trustme.CA:
    return trustme.CA(organization_name=name)


@cache
def middle() -> trustme.CA:
    return ca("ours").create_child_ca()


@cache
def leaf(name: str) -> trustme.LeafCert | None:
    if name == "expired":
        return ca("ours").issue_cert("client.test", not_after=datetime(2020, 1, 1, tzinfo=UTC))
    if name == "below the middle":
        return middle().issue_cert("client.test")
    return ca(name).issue_cert("client.test") if name != "none" else None


def context_of(client: str, **rest: object) -> ssl.SSLContext:
    """Return the context of a client with a certificate of *client*'s authority ("none": without)."""
    context = client_context(**rest)  # type: ignore[arg-type]
    if (found := leaf(client)) is not None:
        found.configure_cert(context)
    return context


def port(number: int, backend: int, validation: ClientValidation | None, *names: str) -> Port:
    """Return a port of HTTPS listeners called *names*, all of which validate alike."""
    targets = {name.encode(): https(name, validation=validation) for name in names or ("a.test",)}
    route = forward(cluster(backend))
    hosts = {name: vhost({b"": route}, target.listener) for name, target in targets.items()}
    made = tls_port(targets, http=HostIndex(exact=hosts))
    return replace(made, bind_port=number)


@contextlib.asynccontextmanager
async def serving(validation: ClientValidation | None) -> AsyncIterator[tuple[Served, int]]:
    """Serve HTTPS for a.test, and give the backend's port for further tables."""
    async with backend() as upstream:
        with serve_port(lambda number: port(number, upstream.number, validation), secret=b"s" * 32) as served:
            yield served, upstream.number


def ask(served: Served, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> tuple[bytes, bool]:
    """Return the status line of an answer, and whether the session was resumed; raise OSError."""
    with socket.create_connection(("127.0.0.1", served.number), timeout=60) as raw:
        with context.wrap_socket(raw, server_hostname="a.test", session=session) as tls:
            tls.sendall(GET % b"a.test")
            answer = tls.recv(65_536)
            if not answer:
                raise ConnectionError("closed")
            ask.session = tls.session  # type: ignore[attr-defined]
            return answer.split(b"\r\n", 1)[0], bool(tls.session_reused)


async def reason(served: Served) -> tuple[str, str]:
    """Return reason and detail of the first connection that was refused, once it is recorded."""
    async with asyncio.timeout(60):
        while not (refused := [record for record in served.records if record.reason]):
            await asyncio.sleep(0.003)
    return refused[0].reason, refused[0].detail


OURS = clients_of(ca("ours"))
ANYONE = clients_of(ca("ours"), insecure_fallback=True)
OK = b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_client_with_a_certificate_of_a_trusted_authority_is_let_in(version: ssl.TLSVersion) -> None:
    async with serving(OURS) as (served, _):
        status, _ = await asyncio.to_thread(ask, served, context_of("ours", version=version))
        assert status == OK


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("client", "detail"),
    [
        pytest.param("none", "none was sent", id="none"),
        pytest.param("stranger", "unable to get local issuer certificate", id="of another authority"),
        pytest.param("expired", "certificate has expired", id="expired"),
    ],
)
async def test_any_other_client_is_refused(version: ssl.TLSVersion, client: str, detail: str) -> None:
    async with serving(OURS) as (served, _):
        with pytest.raises(OSError):
            await asyncio.to_thread(ask, served, context_of(client, version=version))
        assert await reason(served) == ("bad_client_certificate", detail)
        (record,) = served.records
        assert (record.listener, record.host) == ("a.test", b"a.test")
        assert served.context.connections.count == 0


async def test_an_anchor_need_not_be_a_root() -> None:
    async with serving(clients_of(middle())) as (served, _):
        assert (await asyncio.to_thread(ask, served, context_of("below the middle")))[0] == OK
        with pytest.raises(OSError):
            await asyncio.to_thread(ask, served, context_of("ours"))


async def test_a_bundle_may_hold_several_authorities() -> None:
    bundle = ca("ours").cert_pem.bytes() + ca("theirs").cert_pem.bytes()
    async with serving(clients_of(bundle)) as (served, _):
        for client in ("ours", "theirs"):
            assert (await asyncio.to_thread(ask, served, context_of(client)))[0] == OK
        with pytest.raises(OSError):
            await asyncio.to_thread(ask, served, context_of("stranger"))


def context_with(*pem: trustme.Blob) -> ssl.SSLContext:
    """Return the context of a client that shows exactly what is in *pem*, key first."""
    context = client_context()
    with trustme.Blob(b"".join(part.bytes() for part in pem)).tempfile() as path:
        context.load_cert_chain(path)
    return context


async def test_a_chain_reaches_its_anchor_by_the_certificates_that_the_client_sends() -> None:
    client = leaf("below the middle")
    assert client is not None
    own, between = client.cert_chain_pems[:2]
    async with serving(OURS) as (served, _):
        whole = context_with(client.private_key_pem, own, between)
        assert (await asyncio.to_thread(ask, served, whole))[0] == OK
        with pytest.raises(OSError):
            await asyncio.to_thread(ask, served, context_with(client.private_key_pem, own))
        assert await reason(served) == ("bad_client_certificate", "unable to get local issuer certificate")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("validation", ["valid only", "fallback"])
async def test_what_a_client_sends_as_its_chain_is_bounded(version: ssl.TLSVersion, validation: str) -> None:
    client = leaf("ours")
    assert client is not None
    filler = trustme.Blob(ca("filler").cert_pem.bytes() * 400)  # some 200 KiB; OpenSSL takes 100
    async with serving(OURS if validation == "valid only" else ANYONE) as (served, _):
        context = context_with(client.private_key_pem, client.cert_chain_pems[0], filler)
        context.minimum_version = context.maximum_version = version
        with pytest.raises(OSError):
            await asyncio.to_thread(ask, served, context)
        assert await reason(served) == ("handshake_failed", "EXCESSIVE_MESSAGE_SIZE")
        assert (await asyncio.to_thread(ask, served, context_of("ours", version=version)))[0] == OK


# AllowInsecureFallback


def requests_of(context: ssl.SSLContext) -> list[str]:
    """Return a list that the handshake messages of *context*'s connections will be in."""
    seen: list[str] = []
    context._msg_callback = lambda _c, way, _v, _t, message, _d: seen.append(f"{way} {getattr(message, 'name', '')}")  # type: ignore[attr-defined]
    return seen


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("client", ["none", "ours", "stranger", "expired"])
async def test_a_fallback_asks_for_a_certificate_and_takes_any_or_none(version: ssl.TLSVersion, client: str) -> None:
    async with serving(ANYONE) as (served, _):
        context = context_of(client, version=version)
        seen = requests_of(context)
        for _ in range(3):
            assert (await asyncio.to_thread(ask, served, context))[0] == OK
        assert "read CERTIFICATE_REQUEST" in seen


async def test_a_fallback_where_openssl_is_out_of_reach_asks_nobody_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(openssl, "_LIB", None)
    async with serving(ANYONE) as (served, _):
        context = context_of("stranger")
        seen = requests_of(context)
        assert (await asyncio.to_thread(ask, served, context))[0] == OK
        assert "read CERTIFICATE_REQUEST" not in seen
        assert "client_certificates_not_requested" in caplog.text


# Sessions


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_session_is_resumed_under_the_validation_it_began_with(version: ssl.TLSVersion) -> None:
    async with serving(OURS) as (served, upstream):
        context = context_of("ours", version=version)
        await asyncio.to_thread(ask, served, context)
        session = ask.session  # type: ignore[attr-defined]
        served.plane.apply(table(port(served.number, upstream, OURS)), {})
        assert await asyncio.to_thread(ask, served, context, session) == (OK, True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(None, OURS, id="nobody was validated before"),
        pytest.param(ANYONE, OURS, id="anyone was let in before"),
        pytest.param(clients_of(ca("stranger")), OURS, id="by another authority before"),
    ],
)
async def test_no_session_passes_by_a_validation(
    version: ssl.TLSVersion, before: ClientValidation | None, after: ClientValidation
) -> None:
    async with serving(before) as (served, upstream):
        context = context_of("stranger", version=version)
        await asyncio.to_thread(ask, served, context)
        session = ask.session  # type: ignore[attr-defined]
        served.plane.apply(table(port(served.number, upstream, after)), {})
        with pytest.raises(OSError):
            await asyncio.to_thread(ask, served, context, session)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "lenient",
    [
        pytest.param(None, id="asks nobody"),
        pytest.param(ANYONE, id="lets in anyone"),
        pytest.param(clients_of(ca("theirs")), id="other CA"),
    ],
)
async def test_a_session_of_one_port_is_of_no_use_at_another_that_validates_otherwise(
    version: ssl.TLSVersion, lenient: ClientValidation | None
) -> None:
    async with serving(lenient) as (first, _), serving(OURS) as (strict, _):
        strangers = context_of("theirs", version=version)
        assert (await asyncio.to_thread(ask, first, strangers))[0] == OK
        session = ask.session  # type: ignore[attr-defined]
        assert await asyncio.to_thread(ask, first, strangers, session) == (OK, True)  # it is a good one
        with pytest.raises(OSError):
            await asyncio.to_thread(ask, strict, strangers, session)
        assert (await reason(strict))[0] == "bad_client_certificate"


# What a connection may be used for


async def test_a_connection_of_a_client_nobody_validated_is_of_no_use_once_clients_are_validated() -> None:
    def talk(number: int) -> TlsClient:
        tls = TlsClient(number, client_context(), "a.test").handshake()
        assert say(tls) == OK
        return tls

    def say(tls: TlsClient) -> bytes:
        tls.send(GET % b"a.test")
        head = b""
        while b"\r\n\r\n" not in head:
            head += tls.receive(1)
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        tls.receive(length)
        return head.split(b"\r\n", 1)[0]

    async with serving(None) as (served, upstream):
        with await asyncio.to_thread(talk, served.number) as tls:
            served.plane.apply(table(port(served.number, upstream, OURS)), {})
            assert await asyncio.to_thread(say, tls) == b"HTTP/1.1 421 Misdirected Request"
        assert served.reasons() == {"misdirected": 1}


async def test_streams_of_such_a_connection_are_misdirected_too() -> None:
    async with serving(OURS) as (served, upstream):
        tls = context_of("ours", alpn=("h2",))
        async with h2_session(served.number, tls=tls, name="a.test") as session:
            assert (await session.ask("/", scheme="https")).status == 200
            served.plane.apply(table(port(served.number, upstream, clients_of(ca("theirs")))), {})
            assert (await session.ask("/", scheme="https")).status == 421
            served.plane.apply(table(port(served.number, upstream, OURS)), {})  # the one it was validated by
            assert (await session.ask("/", scheme="https")).status == 200


# Streams


async def test_a_stream_of_a_client_that_is_not_let_in_reaches_no_backend() -> None:
    with socket.create_server(("127.0.0.1", 0)) as backend:
        backend.settimeout(60)
        route = entry(choice("b", backend.getsockname()[:2]))
        async with open_l4(tls_port({b"a.test": terminated(route, validation=OURS)})) as l4:

            def shake(client: str) -> str:
                with TlsClient(l4.address[1], context_of(client, alpn=()), "a.test") as tls:
                    try:
                        tls.handshake()
                        tls.receive(1)
                    except (ssl.SSLError, ConnectionError) as error:
                        return str(error)
                    return "let in"

            assert "certificate" in await asyncio.to_thread(shake, "none")
            assert (await l4.record()).reason == "bad_client_certificate"
            backend.setblocking(False)
            with pytest.raises(BlockingIOError):
                backend.accept()
            backend.settimeout(60)

            def serve() -> None:
                conn, _ = backend.accept()
                with conn:
                    conn.sendall(b"x")
                    conn.recv(1)

            serving_one = asyncio.create_task(asyncio.to_thread(serve))
            assert await asyncio.to_thread(shake, "ours") == "let in"
            with contextlib.suppress(ConnectionResetError):
                await serving_one
