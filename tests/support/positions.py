"""Bytes that know their place: a stream of them shows at once what is missing, doubled or out of order."""

from __future__ import annotations

import asyncio
import random

__all__ = ["piece", "receive", "receive_end", "send"]

_PERIOD = 65_521  # prime: no buffer size divides it
_BLOCK = random.Random(7).randbytes(_PERIOD) * 18  # longer than any piece


def piece(seed: int, offset: int, n: int) -> bytes:
    """Return bytes *offset* to *offset* + *n* of stream *seed*; n <= 1 MiB."""
    start = (seed * 7919 + offset) % _PERIOD
    return _BLOCK[start : start + n]


async def send(writer: asyncio.StreamWriter, seed: int, n: int, *, chunk: int = 100_000) -> None:
    """Write *n* bytes of stream *seed* in pieces of up to *chunk*."""
    sizes = random.Random(seed)
    offset = 0
    while offset < n:
        size = min(n - offset, sizes.randint(1, chunk))
        writer.write(piece(seed, offset, size))
        offset += size
        await writer.drain()


async def receive(reader: asyncio.StreamReader, seed: int, n: int, *, chunk: int = 65_536) -> None:
    """Read *n* bytes and check each against its place in stream *seed*."""
    offset = 0
    while offset < n:
        data = await reader.read(min(chunk, n - offset))
        assert data, f"end of stream at {offset} of {n}"
        assert data == piece(seed, offset, len(data)), f"wrong bytes in {offset}..{offset + len(data)} of {n}"
        offset += len(data)


async def receive_end(reader: asyncio.StreamReader) -> None:
    """Check that the stream ends here."""
    assert await reader.read(1) == b"", "bytes after the end"
