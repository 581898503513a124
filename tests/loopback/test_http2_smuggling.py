"""Requests of HTTP/2 that would be two in HTTP/1.1, or another one: nothing of them reaches a backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import hpack
import pytest

from gatewayproxy.routing.table import HostIndex
from tests.support.backend import DEADLINE_S, backend, until
from tests.support.h2peer import (
    CONTINUATION,
    DATA,
    END_STREAM,
    GET,
    GOAWAY,
    HEADERS,
    POST,
    RST_STREAM,
    Pairs,
    block,
    data,
    frame,
    goaways,
    headers,
    literal,
    resets,
)
from tests.support.h2wire import Wire, connected
from tests.support.worker import Served, cluster, forward, serve, vhost

SMUGGLED = b"GET /smug HTTP/1.1\r\nHost: a.test\r\n\r\n"
HONEST = headers(2001, (*GET[:3], (b":path", b"/honest")))


@dataclass
class Recorder:
    """Every byte that came to a backend, by connection."""

    said: list[bytearray] = field(default_factory=list)
    n_closed: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Note all; answer each head that has no body."""
        mine = bytearray()
        self.said.append(mine)
        while got := await reader.read(65_536):
            mine += got
            if mine.endswith(b"\r\n\r\n") and b"chunked" not in mine and b"content-length" not in mine:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.n_closed += 1


@asynccontextmanager
async def recorded() -> AsyncIterator[tuple[Recorder, Served, Wire]]:
    recorder = Recorder()
    async with backend(raw=recorder.serve) as upstream:
        with serve(HostIndex(default=vhost({b"": forward(cluster(upstream.number))}))) as served:
            async with connected(served.number) as wire:
                yield recorder, served, wire


def put(name: bytes, value: bytes) -> Pairs:
    return [(key, value if key == name else old) for key, old in GET]


def more(*pairs: tuple[bytes, bytes]) -> Pairs:
    return (*GET, *pairs)


HEADS = [
    *[
        pytest.param(more((b"x-a", value)), id=f"value {value!r}")
        for value in (
            b"b\r\nx-smug: 1", b"b\nx-smug: 1", b"b\rx-smug: 1", b"smug\0b", b" smug", b"smug ", b"\tsmug",
            b"b\r\n\r\n" + SMUGGLED, b"b\n\n" + SMUGGLED, b"b\r\n\tsmug",
        )
    ],
    *[
        pytest.param(more((name, b"1")), id=f"name {name!r}")
        for name in (
            b"X-Smug", b"", b"x smug", b"smug:1", b"x: smug\r\ny", b"smug\n", b"smug\0", b"smug\xe4", b":smug",
            b"smug ", b"x: 1\r\n\r\n" + SMUGGLED,
        )
    ],
    *[
        pytest.param(put(b":path", value), id=f":path {value!r}")
        for value in (
            b"/smug HTTP/1.1\r\nHost: b.test\r\n\r\n", b"/smug\n", b"/smug x", b"/smug\t", b"/smug\0", b"/smug\x7f",
            b"smug", b"", b"*", b"//smug@b.test#x", b"http://b.test/smug", b"/smug#x", b"/sm\xc3\xbcg", b"?smug",
        )
    ],
    *[
        pytest.param(put(b":method", value), id=f":method {value!r}")
        for value in (
            b"", b"GET /smug HTTP/1.1\r\nx: ", b"GET smug", b"G\tsmug", b"smug\0", b"smug:", b"smug\xff", b"smug/",
        )
    ],
    *[
        pytest.param(put(b":authority", value), id=f":authority {value!r}")
        for value in (
            b"", b"a.test\r\nx-smug: 1", b"u:smug@a.test", b"a.test/smug", b"a.test smug", b"a.test:smug",
            b"a.test:99999", b"[::smug]", b"a.test\0smug", b"a.test,smug", b"smug\\a.test",
            b"a.test?smug", b"a.test#smug",
        )
    ],
    *[
        pytest.param(put(b":scheme", value), id=f":scheme {value!r}")
        for value in (
            b"", b"http://b.test/smug?", b"http\r\nx-smug: 1", b"HTTP", b"smug:", b"http smug", b"smug\0", b"1smug",
        )
    ],
    *[
        pytest.param(more((name, value)), id=f"{name.decode()}: {value.decode()}")
        for name, value in (
            (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"identity"), (b"connection", b"x-smug"),
            (b"connection", b"close"), (b"keep-alive", b"smug"), (b"proxy-connection", b"smug"), (b"upgrade", b"smug"),
            (b"te", b"smug"), (b"te", b"trailers, smug"), (b"host", b"smug.test"), (b"host", b""),
            (b"host", b"a.test, smug"), (b"content-length", b"5"), (b"content-length", b"+0"),
            (b"content-length", b"0, 5"), (b"content-length", b"0x0"), (b"content-length", b" 0"),
            (b"content-length", b""),
        )
    ],
    pytest.param(more((b"host", b"a.test"), (b"host", b"smug.test")), id="two hosts"),
    pytest.param(more((b"content-length", b"0"), (b"content-length", b"5")), id="two lengths"),
    pytest.param(more((b":path", b"/smug")), id="two paths"),
    pytest.param((*GET[:3], (b"x-a", b"1"), (b":path", b"/smug")), id=":path behind a field"),
    pytest.param(((b":method", b"CONNECT"), *GET[1:3], (b":path", b"/smug")), id="CONNECT with a path"),
    pytest.param((*GET, (b":status", b"200")), id=":status in a request"),
]  # fmt: skip


@pytest.mark.parametrize("fields", HEADS)
@pytest.mark.parametrize("end", [True, False], ids=["alone", "with a body"])
async def test_a_head_that_http1_could_not_say_is_reset(fields: Pairs, end: bool) -> None:
    async with recorded() as (recorder, served, wire):
        body = b"" if end else data(1, b"0\r\n\r\n" + SMUGGLED, end=True)
        wire.raw.send(headers(1, fields, end=end) + body + HONEST)
        assert await wire.until(DATA, 2001, END_STREAM) == b"ok"
        assert {reset for reset in resets(wire.heard) if reset[0] == 1} == {(1, 1)}
        assert HEADERS not in [kind for kind, _, stream_id, _ in wire.heard if stream_id == 1]
        assert goaways(wire.heard) == []
        assert served.reasons() == {"malformed_message": 1}
    (said,) = recorder.said
    assert said.count(b"HTTP/1.1\r\n") == 1
    assert said.startswith(b"GET /honest HTTP/1.1\r\nHost: a.test\r\n")
    assert b"smug" not in said


ANSWERED = [
    pytest.param(more((b"x-smug", b"v" * 65_400)), 431, id="a field of 65 kB"),
    pytest.param(more(*[(b"x-smug-%d" % n, b"") for n in range(1500)]), 431, id="1500 fields"),
    pytest.param(put(b":path", b"/smug" + b"x" * 60_000), 414, id="a path of 60 kB"),
    pytest.param(put(b":method", b"SMUG" * 20), 501, id="a long method"),
    pytest.param(put(b":path", b"/smug/../admin"), 400, id="a dot segment"),
    pytest.param(put(b":path", b"/smug/%2e%2e/admin"), 400, id="an encoded dot segment"),
    pytest.param(put(b":path", b"/smug%zz"), 400, id="a broken percent-encoding"),
    pytest.param(put(b":path", b"/smug%00"), 400, id="an encoded NUL"),
    pytest.param(put(b":scheme", b"https"), 421, id="a scheme that is not the connection's"),
    pytest.param(put(b":scheme", b"smug"), 421, id="a scheme that nobody serves"),
    pytest.param(((b":method", b"CONNECT"), (b":authority", b"smug.test:443")), 405, id="CONNECT"),
    pytest.param(((b":method", b"TRACE"), *GET[1:]), 405, id="TRACE"),
]


def in_frames(stream_id: int, fields: Pairs) -> bytes:
    """Return HEADERS, with CONTINUATION where the block needs it."""
    raw = block(fields)
    first, *rest = [raw[at : at + 16_384] for at in range(0, len(raw), 16_384)]
    if not rest:
        return frame(HEADERS, 5, stream_id, first)
    parts = [frame(HEADERS, 1, stream_id, first), *(frame(CONTINUATION, 0, stream_id, each) for each in rest[:-1])]
    return b"".join([*parts, frame(CONTINUATION, 4, stream_id, rest[-1])])


@pytest.mark.parametrize(("fields", "status"), ANSWERED)
async def test_what_is_no_request_for_a_backend_is_answered_here(fields: Pairs, status: int) -> None:
    async with recorded() as (recorder, _, wire):
        wire.raw.send(in_frames(1, fields) + HONEST)
        assert await wire.until(DATA, 2001, END_STREAM) == b"ok"
        decoder = hpack.Decoder()
        heads = {each[2]: dict(decoder.decode(each[3])) for each in wire.heard if each[0] == HEADERS}
        assert heads[1][":status"] == str(status)
    (said,) = recorder.said
    assert said.startswith(b"GET /honest ")
    assert b"smug" not in said.lower()


async def test_a_header_block_without_end_ends_the_connection() -> None:
    async with recorded() as (recorder, served, wire):
        wire.raw.send(frame(HEADERS, 1, 1, block(GET)) + frame(CONTINUATION, 0, 1, literal(b"x", b"smug" * 4000)) * 40)
        found = await wire.rest()
        assert [int.from_bytes(each[3][4:8], "big") for each in found if each[0] == GOAWAY] == [11]
        assert served.reasons() == {"header_flood": 1}
    assert recorder.said == []


BODIES = [
    pytest.param((b"content-length", b"3"), data(1, b"ab", end=True), b"ab", id="shorter than content-length"),
    pytest.param((b"content-length", b"1"), data(1, b"a" + SMUGGLED), b"", id="longer than content-length"),
    pytest.param((b"content-length", b"1"), data(1, b"a") + data(1, SMUGGLED, end=True), b"a",
                 id="longer than content-length by a second frame"),
    pytest.param((b"content-length", b"0"), data(1, SMUGGLED, end=True), b"", id="content-length of none"),
    pytest.param((b"content-length", b"3"), data(1, b"ab") + headers(1, ((b"x-sum", b"smug"),)), b"ab",
                 id="trailers before the body is whole"),
    pytest.param((b"x-a", b"1"), data(1, b"ab") + headers(1, ((b"x-sum", b"1\r\n\r\n" + SMUGGLED),)), b"2\r\nab\r\n",
                 id="CR and LF in trailers"),
    pytest.param((b"x-a", b"1"), data(1, b"ab") + headers(1, ((b"transfer-encoding", b"smug"),)), b"2\r\nab\r\n",
                 id="Transfer-Encoding in trailers"),
    pytest.param((b"x-a", b"1"), data(1, b"ab") + headers(1, ((b":path", b"/smug"),)), b"2\r\nab\r\n",
                 id="a pseudo-header field in trailers"),
    pytest.param((b"x-a", b"1"), data(1, b"ab") + headers(1, ((b"X-Smug", b"1"),)), b"2\r\nab\r\n",
                 id="an upper-case name in trailers"),
]  # fmt: skip


@pytest.mark.parametrize("pause", [False, True], ids=["in one read", "behind a head that went on"])
@pytest.mark.parametrize(("field", "said", "most"), BODIES)
async def test_a_body_that_is_not_as_announced_never_ends_at_the_backend(
    field: tuple[bytes, bytes], said: bytes, most: bytes, pause: bool
) -> None:
    async with recorded() as (recorder, _, wire):
        wire.raw.send(headers(1, (*POST, field), end=False) + (b"" if pause else said))
        if pause:
            await until(lambda: recorder.said and b"\r\n\r\n" in recorder.said[0])
            wire.raw.send(said)
        assert int.from_bytes(await wire.until(RST_STREAM, 1), "big") == 1
        async with asyncio.timeout(DEADLINE_S):
            await until(lambda: recorder.n_closed == len(recorder.said))  # nothing else may come on it
        wire.raw.send(HONEST)
        assert await wire.until(DATA, 2001, END_STREAM) == b"ok"
    *broken, honest = recorder.said
    assert honest.count(b"HTTP/1.1\r\n") == 1
    assert b"/smug" not in honest
    assert len(broken) <= 1
    for each in broken:
        body = each.partition(b"\r\n\r\n")[2]
        assert most.startswith(body)
        assert b"smug" not in each.lower()


async def test_a_body_that_looks_like_a_request_stays_a_body() -> None:
    async with recorded() as (recorder, _, wire):
        wire.raw.send(headers(1, POST, end=False) + data(1, SMUGGLED, end=True))
        await until(lambda: recorder.said and recorder.said[0].endswith(b"\r\n0\r\n\r\n"))
    (said,) = recorder.said
    assert said.partition(b"\r\n\r\n")[2] == b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
