"""Access logs as blocks of whole lines: files of any size, gzip or not, standard input; read once, a block at a time.

Memory is that of one block. A line longer than BLOCK_BYTES is cut into lines of no form.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Final, NamedTuple

from gatewayproxy.errors import ConfigError

__all__ = ["STDIN", "Block", "blocks", "total_bytes"]

STDIN: Final = "-"
BLOCK_BYTES: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"


class Block(NamedTuple):
    """Some lines of a log; the end of the last is left out."""

    file: str  # as named, "stdin" for standard input
    first: int  # number of the first line, from 1
    text: bytes
    position: int  # bytes of all files that have been read so far, as they are on disk

    @property
    def lines(self) -> list[bytes]:
        """Return the lines without their ends."""
        return self.text.split(b"\n")

    @property
    def n_lines(self) -> int:
        """Return how many lines there are."""
        return self.text.count(b"\n") + 1


def total_bytes(paths: Sequence[str]) -> int:
    """Return the size of all files, 0 where one of them has none: a pipe, standard input."""
    sizes = [0 if path == STDIN else _size(path) for path in paths]
    return sum(sizes) if all(sizes) else 0


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0  # reading says why


def blocks(paths: Sequence[str]) -> Iterator[Block]:
    """Yield the lines of *paths*, one file after the other; raise ConfigError for one that cannot be read."""
    before = 0
    for path in paths:
        position = 0
        try:
            with _open(path) as raw:
                for block in _file_blocks("stdin" if path == STDIN else path, raw, before):
                    position = block.position - before
                    yield block
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or str(error)
            hint = "name a log, plain or gzip; - is standard input"
            raise ConfigError(f"cannot be read: {reason}", where=path, hint=hint) from error
        before += position


def _open(path: str) -> BufferedReader:
    return open(sys.stdin.fileno() if path == STDIN else path, "rb", closefd=path != STDIN)


def _file_blocks(name: str, raw: BufferedReader, before: int) -> Iterator[Block]:
    is_gzip = raw.peek(2)[:2] == _GZIP
    stream = gzip.GzipFile(fileobj=raw) if is_gzip else raw
    rest, first, read = b"", 1, 0
    while data := stream.read(BLOCK_BYTES):
        read += len(data)
        whole, end, tail = data.rpartition(b"\n")
        rest += whole if end else tail
        if not end and len(rest) <= BLOCK_BYTES:
            continue
        block = Block(name, first, rest, before + _position(raw, read))
        rest = tail if end else b""
        yield block
        first += block.n_lines
    if rest:
        yield Block(name, first, rest, before + _position(raw, read))


def _position(raw: BufferedReader, read: int) -> int:
    """Return how far *raw* has been read; of what cannot tell, how much came out."""
    return raw.tell() if raw.seekable() else read
