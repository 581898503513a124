"""The chunked coding: strict in, ours out."""

from __future__ import annotations

import pytest

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.model.limits import Limits
from gatewayproxy.wire.chunked import ChunkedReader
from tests.support.calls import cpu_s

LIMITS = Limits(head_bytes=2048, head_fields=10)


def read(data: bytes, size: int = 1 << 20, *, payload_only: bool = False) -> tuple[bytes, bytes, bool]:
    reader = ChunkedReader(LIMITS, payload_only=payload_only)
    out, rest = b"", b""
    for at in range(0, len(data), size):
        piece, rest = reader.feed(data[at : at + size])
        out += piece
        if reader.done:
            rest += data[at + size :]
            break
    return out, rest, reader.done


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("data", "payload"),
    [
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (
            b'5;a="x;y";b\r\nhello\r\n000A\r\n0123456789\r\n0;z=1\r\nX-T: 1\r\nContent-Length: 9\r\n\r\n',
            b"hello0123456789",
        ),
        (b"0\r\n\r\n", b""),
    ],
)
def test_any_split_gives_the_same_payload_and_rest(data: bytes, payload: bytes, size: int) -> None:
    assert read(data + b"NEXT", size, payload_only=True) == (payload, b"NEXT", True)
    framed, rest, done = read(data + b"NEXT", size)
    assert (rest, done) == (b"NEXT", True)
    assert read(framed, payload_only=True) == (payload, b"", True)
    assert b";" not in framed.replace(payload, b"")


def test_trailers_pass_but_not_those_that_frame_or_route() -> None:
    out, _, _ = read(b"0\r\nX-T: 1\r\nHost: b\r\nX-Forwarded-For: 6\r\nAuthorization: x\r\nX-U: 2\r\n\r\n")
    assert out == b"0\r\nX-T: 1\r\nX-U: 2\r\n\r\n"


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    "data",
    [
        b"0x5\r\n", b"+5\r\n", b"-0\r\n", b" 5\r\n", b"5 \r\n", b"\r\n", b"G\r\n", b"5\n", b"5\rhello", b"5;a=\x00\r\n",
        b"5;a=b\rXX\r\n", b"5;\r\n", b'5;a="\n"\r\n', b"10000000000000005\r\n", b"FFFFFFFFFFFFFFFF\r\n", b"0" * 2000,
        b"5;a=" + b"x" * 2000, b"5\r\nhelloXX", b"5\r\nhello\n0\r\n\r\n", b"0\r\nGET / HTTP/1.1\r\n", b"0\r\nX : 1\r\n",
        b"0\r\nX: 1\n\n", b"0\r\nX: " + b"y" * 3000, b"0\r\n" + b"X: 1\r\n" * 12,
    ],
)  # fmt: skip
def test_broken_coding_is_refused_at_once(data: bytes, size: int) -> None:
    with pytest.raises(RemoteProtocolError):
        read(data, size)


def test_a_trailer_cannot_pass_for_a_field_by_an_underscore() -> None:
    out, _, _ = read(b"0\r\nContent_Length: 9\r\nX_Forwarded_For: 6\r\nSet_Cookie: a\r\nx-t_u: 1\r\n\r\n")
    assert out == b"0\r\nx-t_u: 1\r\n\r\n"


def test_bytes_that_come_one_by_one_are_looked_at_once() -> None:
    """Looking at the whole section again for every byte took 39 s for one of 60 kB."""
    reader = ChunkedReader(Limits())
    reader.feed(b"0\r\n")
    section = (b"x-field: " + b"v" * 500 + b"\r\n") * 120

    def feed() -> None:
        for at in range(len(section)):
            reader.feed(section[at : at + 1])

    assert cpu_s(feed) < 10.0
    assert reader.feed(b"\r\n") == (b"0\r\n" + section + b"\r\n", b"")


def test_small_chunks_go_on_as_one() -> None:
    reader = ChunkedReader(LIMITS)
    assert reader.feed(b"1\r\na\r\n" * 20 + b"2\r\nb") == (b"15\r\n" + b"a" * 20 + b"b\r\n", b"")
    assert reader.payload_bytes == 21
    assert reader.feed(b"c\r\n0\r\n\r\nNEXT") == (b"1\r\nc\r\n0\r\n\r\n", b"NEXT")
