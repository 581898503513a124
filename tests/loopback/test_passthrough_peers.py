"""Real TLS clients and servers that speak with each other, through a passthrough listener that is no party to it."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from gatewayproxy.routing.table import Port
from tests.support.certs import authority, certificate, client_context
from tests.support.l4 import L4, choice, entry, open_l4, sni_port
from tests.support.peers import Address, redis_tls, require, run, serving, tls_files
from tests.support.ports import free_port

NAME = "redis.internal.example.com"


def port_for(address: Address, name: str = NAME) -> Port:
    return sni_port({name.encode(): entry(choice("b", address), kind="TLSRoute")})


def ca_file(folder: Path) -> Path:
    path = folder / "ca.crt"
    path.write_bytes(authority().cert_pem.bytes())
    return path


async def test_redis_cli_works_with_its_own_server_name_and_no_other(tmp_path: Path) -> None:
    cli = require("redis-cli")
    async with redis_tls(certificate(NAME), tmp_path) as address, open_l4(port_for(address)) as l4:
        base = [cli, "-h", l4.address[0], "-p", str(l4.address[1])]
        tls = [*base, "--tls", "--cacert", ca_file(tmp_path)]
        assert await run(*tls, "--sni", NAME, "set", "k", "v") == (0, "OK\n")
        assert await run(*tls, "--sni", NAME, "get", "k") == (0, "v\n")
        assert (await run(*tls, "--sni", "other.example.com", "ping"))[1].find("PONG") < 0
        assert (await run(*tls, "ping"))[1].find("PONG") < 0
        assert (await run(*base, "ping"))[1].find("PONG") < 0  # plain text
        assert l4.reasons.keys() >= {"unknown_sni", "no_sni", "not_tls"}  # redis-cli tries twice
        assert {log.backend for log in l4.records if log.reason in ("", "client_reset")} == {"b"}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_openssl_sees_the_backends_own_certificate(version: ssl.TLSVersion, tmp_path: Path) -> None:
    openssl = require("openssl")
    chain, key = tls_files(certificate("www.example.com"), tmp_path)
    port = free_port()
    flag = "-tls1_2" if version is ssl.TLSVersion.TLSv1_2 else "-tls1_3"
    command = [
        openssl,
        "s_server",
        "-accept",
        f"127.0.0.1:{port}",
        "-cert",
        chain,
        "-key",
        key,
        "-www",
        "-naccept",
        "9",
    ]
    async with serving(command, ("127.0.0.1", port), tmp_path / "s_server.log") as address:
        async with open_l4(port_for(address, "www.example.com")) as l4:
            code, out = await run(
                openssl, "s_client", "-connect", f"{l4.address[0]}:{l4.address[1]}", "-servername", "www.example.com",
                "-CAfile", ca_file(tmp_path), "-verify_return_error", "-ign_eof", flag,
                stdin=b"GET / HTTP/1.0\r\n\r\n",
            )  # fmt: skip
            assert code == 0, out
            assert "HTTP/1.0 200 ok" in out
            assert l4.reasons == {}


async def refusal(l4: L4, name: str | None) -> Exception:
    """Return what a TLS client makes of a connection that is refused."""
    context = client_context()
    context.check_hostname = False
    with pytest.raises((ssl.SSLError, ConnectionError)) as caught:
        await asyncio.open_connection(*l4.address, ssl=context, server_hostname=name or "")
    return caught.value


async def test_a_refused_client_is_closed_without_an_alert() -> None:
    async with open_l4(port_for(("127.0.0.1", 1))) as l4:
        error = await refusal(l4, "nobody.example.com")
        assert not isinstance(error, ssl.SSLError) or error.reason in (None, "UNEXPECTED_EOF_WHILE_READING")
        assert l4.reasons == {"unknown_sni": 1}


async def test_bulk_over_tls_crosses_whole(tmp_path: Path) -> None:
    n = 32 << 20

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got = 0
        while got < n:
            got += len(await reader.read(1 << 18))
        writer.write(b"%d" % got)
        writer.close()

    chain, key = tls_files(certificate("bulk.test"), tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with open_l4(port_for(server.sockets[0].getsockname(), "bulk.test")) as l4:
        reader, writer = await asyncio.open_connection(*l4.address, ssl=client_context(), server_hostname="bulk.test")
        for _ in range(n >> 20):
            writer.write(bytes(1 << 20))
            await writer.drain()
        assert await reader.read() == b"%d" % n
        writer.close()
    server.close()
