"""Real clients and servers of datagram protocols, through a UDP listener: DNS and DTLS."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

from tests.support.certs import certificate
from tests.support.l4 import choice, entry, wait_until
from tests.support.peers import require, run, serving, tls_files
from tests.support.ports import free_port
from tests.support.udp import open_udp, peer, udp_port


def _answer(query: bytes) -> list[bytes]:
    """Answer a DNS query (RFC 1035 §4) for an A record with 127.0.0.1, for anything else with no records."""
    end = query.index(b"\0", 12) + 5
    kind = struct.unpack_from("!H", query, end - 4)[0]
    record = struct.pack("!HHHIH4B", 0xC00C, 1, 1, 5, 4, 127, 0, 0, 1) if kind == 1 else b""
    return [query[:2] + struct.pack("!HHHHH", 0x8180, 1, bool(record), 0, 0) + query[12:end] + record]


async def test_nginx_resolves_a_name_through_a_udp_listener(tmp_path: Path) -> None:
    nginx = require("nginx")
    port = free_port()

    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nfound")
        writer.close()

    backend = await asyncio.start_server(page, "127.0.0.1", 0)
    target = backend.sockets[0].getsockname()[1]
    async with peer(_answer) as dns, open_udp(udp_port(entry(choice("dns", dns.address)))) as udp:
        config = tmp_path / "nginx.conf"
        config.write_text(
            f"daemon off; pid {tmp_path}/pid; error_log stderr; events {{}}\n"
            f"http {{ access_log off; resolver 127.0.0.1:{udp.address[1]} valid=1s;\n"
            f"  client_body_temp_path {tmp_path}/b;\n"
            f"  proxy_temp_path {tmp_path}/p; fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u;\n"
            f"  scgi_temp_path {tmp_path}/s;\n"
            f"  server {{ listen 127.0.0.1:{port};\n"
            f"    location / {{ set $name app.example; proxy_pass http://$name:{target}; }} }} }}\n"
        )
        async with serving([nginx, "-c", config, "-p", tmp_path], ("127.0.0.1", port), tmp_path / "nginx.log"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (await asyncio.wait_for(reader.read(), 60)).endswith(b"found")
            writer.close()
            await writer.wait_closed()
        assert b"\x03app\x07example\x00" in dns.received[0]
        assert udp.datagrams[0] == udp.datagrams[1] >= 1
    backend.close()
    await backend.wait_closed()


async def test_a_dtls_handshake_and_its_session_pass(tmp_path: Path) -> None:
    openssl = require("openssl")
    chain, key = tls_files(certificate("dtls.example"), tmp_path)
    server = free_port()
    process = await asyncio.create_subprocess_exec(
        openssl, "s_server", "-dtls1_2", "-port", str(server), "-cert", chain, "-key", key, "-quiet", "-mtu", "1400",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        await wait_until(lambda: _is_bound(server), "the server to listen")
        async with open_udp(udp_port(entry(choice("dtls", ("127.0.0.1", server))))) as udp:
            address = f"127.0.0.1:{udp.address[1]}"
            command = [openssl, "s_client", "-dtls1_2", "-connect", address, "-quiet", "-verify_quiet", "-no_ign_eof"]
            client = asyncio.create_task(run(*command, stdin=b"from the client\n"))
            assert b"from the client\n" == await asyncio.wait_for(process.stdout.readline(), 60)
            code, _ = await client
            assert code == 0
            assert udp.listener.connections == 1
            assert udp.datagrams[0] >= 4  # ClientHello, the one with the cookie or key exchange, Finished, data
            assert udp.datagrams[1] >= 2
            assert udp.reasons == {}
    finally:
        process.terminate()
        await process.wait()


def _is_bound(port: int) -> bool:
    rows = Path("/proc/net/udp").read_text().splitlines() + Path("/proc/net/udp6").read_text().splitlines()
    return any(row.split()[1].endswith(f":{port:04X}") for row in rows if ":" in row.split()[1])
