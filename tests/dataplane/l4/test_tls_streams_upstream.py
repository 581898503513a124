"""Streams whose TLS ends here and begins anew towards the backend."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace

import pytest

from gatewayproxy.model.plan import BackendTls, Cluster, Endpoint
from gatewayproxy.model.protocols import AppProtocol
from gatewayproxy.routing.table import BackendChoice
from tests.support.backend import backend
from tests.support.backend_tls import backend_tls, server_context, signer
from tests.support.certs import client_context
from tests.support.l4 import entry, open_l4
from tests.support.tls_client import TlsClient
from tests.support.tls_ports import terminated, tls_port

pytestmark = pytest.mark.usefixtures("no_leaks")


def encrypted(port: int, tls: BackendTls | None = None) -> BackendChoice:
    endpoints = (Endpoint("127.0.0.1", port),)
    cluster = Cluster(name="b", protocol=AppProtocol.OPAQUE, endpoints=endpoints, tls=tls or backend_tls())
    return BackendChoice(name="b", cluster=cluster)


def connect(address: tuple[str, int], data: bytes = b"") -> TlsClient:
    return TlsClient(address[1], client_context(alpn=()), "a.test").handshake(data=data)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=str)
async def test_bytes_pass_from_tls_to_tls_and_alpn_offers_nothing(version: ssl.TLSVersion) -> None:
    async with backend(raw=echo, tls=server_context(version=version, alpn=("http/1.1", "h2"))) as up:
        async with open_l4(tls_port({b"a.test": terminated(entry(encrypted(up.number)))})) as l4:

            def talk() -> bytes:
                with connect(l4.address) as tls:
                    tls.send(b"ping")
                    return tls.receive(4)

            assert await asyncio.to_thread(talk) == b"ping"
        session = up.sessions[0]
        assert session is not None
        assert session.selected_alpn_protocol() is None


@pytest.mark.parametrize(
    "wrong",
    [replace(backend_tls(), names=("else.test",)), backend_tls(trust=signer("stranger").trust)],
    ids=["a name", "an authority"],
)
async def test_an_endpoint_that_is_not_believed_gets_no_byte(wrong: BackendTls) -> None:
    got: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read(65_536))

    async with backend(raw=hear, tls=server_context()) as up:
        async with open_l4(tls_port({b"a.test": terminated(entry(encrypted(up.number, wrong)))})) as l4:

            def talk() -> str:
                with connect(l4.address, b"secret") as tls:  # there before the gateway can give up
                    return tls.end()

            assert await asyncio.to_thread(talk) in ("reset", "fin")
            assert (await l4.record()).reason == "upstream_tls_failed"
    assert b"".join(got) == b""
