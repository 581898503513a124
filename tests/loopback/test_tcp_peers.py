"""Real clients and servers of stateful protocols, through a TCP listener."""

from __future__ import annotations

import asyncio

from tests.support.l4 import choice, entry, open_l4, tcp_port, wait_until
from tests.support.peers import postgresql, require, run


async def test_psql_works_through_a_tcp_listener() -> None:
    psql = require("psql")
    async with postgresql() as address, open_l4(tcp_port(entry(choice("db", address)))) as l4:
        base = [psql, "-h", l4.address[0], "-p", str(l4.address[1]), "-U", "postgres", "-At", "-v", "ON_ERROR_STOP=1"]
        code, out = await run(*base, "-c", "select 6*7")
        assert (code, out.strip()) == (0, "42")
        # A bulk COPY both ways: rows sent up, the same rows read back.
        rows = "".join(f"{n}\t{'x' * 200}\n" for n in range(20_000))
        script = (
            "create table t(n int, s text);\ncopy t from stdin;\n"
            + rows
            + "\\.\nselect sum(n), sum(length(s)) from t;\n"
        )
        code, out = await run(*base, "-q", stdin=script.encode())
        assert (code, out.strip().splitlines()[-1]) == (0, "199990000|4000000")
        code, out = await run(*base, "-c", "copy (select n, s from t order by n) to stdout")
        assert (code, out) == (0, rows)
        await wait_until(lambda: l4.listener.connections == 0, "sessions to end")
        assert l4.reasons == {}


async def test_a_client_waits_for_the_banner_of_a_server_that_speaks_first() -> None:
    async def nats(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"X","version":"2.10","max_payload":1048576}\r\n')
        while line := await reader.readline():
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
        writer.close()

    server = await asyncio.start_server(nats, "127.0.0.1", 0)
    async with open_l4(tcp_port(entry(choice("nats", server.sockets[0].getsockname())))) as l4:
        reader, writer = await asyncio.open_connection(*l4.address)
        assert (await asyncio.wait_for(reader.readline(), 60)).startswith(b"INFO {")
        for _ in range(100):
            writer.write(b"PING\r\n")
            assert await reader.readline() == b"PONG\r\n"
        writer.close()
        await writer.wait_closed()
    server.close()
