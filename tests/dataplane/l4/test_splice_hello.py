"""Passthrough: routed by the server name, untouched; refused without a byte, with a reason."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator

import pytest

from gatewayproxy.model.limits import Limits
from gatewayproxy.routing.table import Port
from tests.support.hellos import extension, hello, record, records, sni
from tests.support.l4 import L4, choice, entry, open_l4, refused, sni_port, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")

HELLO = record(hello(sni(b"a.test"), extension(16, b"\0\3\2h2")))


class Recorder:
    """A backend that keeps what it gets, and answers its name at the end."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.address = ("", 0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = bytearray()
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65_536):
                data += chunk
        self.got.append(bytes(data))
        writer.write(b"bye")
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def recorder() -> AsyncIterator[Recorder]:
    backend = Recorder()
    server = await asyncio.start_server(backend.serve, "127.0.0.1", 0)
    backend.address = server.sockets[0].getsockname()
    try:
        yield backend
    finally:
        server.close()


async def talk(l4: L4, chunks: list[bytes], *, end: bool = True, paced: bool = False) -> bytes:
    """Send *chunks*, end, and return the answer; a reset is an empty one."""
    reader, writer = await asyncio.open_connection(*l4.address)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
            if paced:
                await asyncio.sleep(0.0005)
        if end:
            writer.write_eof()
        return await asyncio.wait_for(reader.read(), 60)
    except TimeoutError:
        raise
    except OSError:
        return b""
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def one_name(backend: Recorder) -> Port:
    return sni_port({b"a.test": entry(choice("a", backend.address), kind="TLSRoute")})


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(HELLO, id="one record"),
        pytest.param(HELLO + b"\x14\3\3\0\1\1\x17\3\3\0\x20" + bytes(32), id="more records in the same segment"),
        pytest.param(records(HELLO[5:], 7), id="records of seven bytes"),
        pytest.param(records(hello(extension(21, bytes(60_000)), sni(b"a.test")), 16_384), id="60 kB"),
        pytest.param(HELLO + random.Random(3).randbytes(3_000_000), id="3 MB after it"),
    ],
)
async def test_the_backend_gets_every_byte_as_it_came(data: bytes) -> None:
    async with recorder() as backend, open_l4(one_name(backend)) as l4:
        assert await talk(l4, [data]) == b"bye"
        log = await l4.record()
        assert backend.got == [data]
        assert (log.protocol, log.host, log.route, log.bytes_in) == (
            "tls",
            b"a.test",
            "TLSRoute default/route-0",
            len(data),
        )


@pytest.mark.parametrize("size", [1, 5, 50])
async def test_a_hello_may_come_in_segments_of_any_size(size: int) -> None:
    async with recorder() as backend, open_l4(one_name(backend)) as l4:
        data = records(HELLO[5:], 40)
        assert await talk(l4, [data[i : i + size] for i in range(0, len(data), size)], paced=True) == b"bye"
        assert backend.got == [data]


async def test_names_lead_to_exact_then_longest_wildcard_then_default() -> None:
    async with recorder() as exact, recorder() as deep, recorder() as wide, recorder() as rest:
        port = sni_port(
            {b"a.b.test": entry(choice("exact", exact.address), index=1)},
            wildcard={
                b".b.test": entry(choice("deep", deep.address), index=2),
                b".test": entry(choice("wide", wide.address), index=3),
            },
            default=entry(choice("rest", rest.address), index=4),
        )
        async with open_l4(port) as l4:
            for name in (b"A.b.TEST", b"x.b.test", b"y.x.b.test", b"c.test", b"other", None):
                assert await talk(l4, [record(hello(sni(name)) if name else hello())]) == b"bye"
            await l4.record(6)
    assert [len(each.got) for each in (exact, deep, wide, rest)] == [1, 2, 1, 2]


REFUSED = [
    pytest.param([record(hello(sni(b"evil.test")))], True, "unknown_sni", id="unknown name"),
    pytest.param([record(hello())], True, "no_sni", id="no name"),
    pytest.param([b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"], True, "not_tls", id="HTTP"),
    pytest.param([HELLO[:60]], False, "hello_timeout", id="half a hello, then silence"),
    pytest.param([], False, "hello_timeout", id="silence"),
    pytest.param([HELLO[:60]], True, "client_closed", id="half a hello, then the end"),
    pytest.param([], True, "client_closed", id="nothing but the end"),
    pytest.param([record(hello(sni(b"a.test"), sni(b"b.test")))], True, "bad_hello", id="two names"),
    pytest.param([record(hello(sni(b"none.test")))], True, "no_route", id="a listener without routes"),
    pytest.param([record(hello(sni(b"gone.test")))], True, "backend_not_found", id="a backend that is not there"),
]


@pytest.mark.parametrize(("chunks", "end", "reason"), REFUSED)
async def test_a_refused_client_gets_no_byte_and_the_log_a_reason(chunks: list[bytes], end: bool, reason: str) -> None:
    async with recorder() as backend:
        port = sni_port({
            b"a.test": entry(choice("a", backend.address)),
            b"none.test": None,
            b"gone.test": entry(refused("gone", "backend_not_found"), index=1),
        })  # fmt: skip
        async with open_l4(port, limits=Limits(handshake_timeout_s=1.0)) as l4:
            assert await talk(l4, chunks, end=end) == b""
            assert (await l4.record()).reason == reason
            assert l4.reasons == {reason: 1}
        assert backend.got == []


async def test_pending_hellos_are_bounded_and_the_others_wait_in_the_accept_queue() -> None:
    limits = Limits(handshakes=3, handshake_timeout_s=0.5)
    async with recorder() as backend, open_l4(one_name(backend), limits=limits) as l4:
        silent = [await asyncio.open_connection(*l4.address) for _ in range(8)]
        await wait_until(lambda: l4.context.handshakes.full, "the bound")
        assert l4.listener.connections == 3
        assert await talk(l4, [HELLO]) == b"bye"  # once the silent ones before it are given up
        assert l4.reasons["hello_timeout"] >= 6
        for _, writer in silent:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@pytest.mark.parametrize("sent", [b"", HELLO[:60]], ids=["silence", "half a hello"])
async def test_a_client_that_does_not_say_whom_it_wants_gives_way_to_a_new_one(sent: bytes) -> None:
    limits = Limits(handshakes=10, handshake_timeout_s=60)
    async with recorder() as backend, open_l4(one_name(backend), limits=limits) as l4:
        stalled = [await asyncio.open_connection(*l4.address) for _ in range(10)]
        for _, writer in stalled:
            writer.write(sent)
        await wait_until(lambda: l4.context.handshakes.full, "the bound")
        assert [await talk(l4, [HELLO]) for _ in range(3)] == [b"bye"] * 3  # `talk` waits for 20 s at most
        assert l4.reasons == {"handshake_evicted": 1}
        assert l4.context.handshakes.count == 9
        for _, writer in stalled:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def test_a_dribbling_client_wakes_us_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from gatewayproxy.dataplane.protocols import splice_hello

    looks = 0
    real = splice_hello.server_name

    def counted(data: memoryview) -> bytes | int | None:
        nonlocal looks
        looks += 1
        return real(data)

    monkeypatch.setattr(splice_hello, "server_name", counted)
    async with recorder() as backend, open_l4(one_name(backend)) as l4:
        assert await talk(l4, [HELLO[i : i + 1] for i in range(len(HELLO))], paced=True) == b"bye"
        assert backend.got == [HELLO]
    assert looks <= 5


async def test_abort_closes_clients_that_have_not_said_whom_they_want() -> None:
    async with recorder() as backend, open_l4(one_name(backend)) as l4:
        reader, writer = await asyncio.open_connection(*l4.address)
        await wait_until(lambda: l4.listener.connections == 1, "the accept")
        l4.listener.abort()
        assert await reader.read() == b""
        assert l4.reasons == {"drain_timeout": 1}
        writer.close()
        await writer.wait_closed()
