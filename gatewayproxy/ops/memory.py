"""What a compiling child that starts anew must know of its predecessor: the texts in force, and the objects it held.

The supervisor keeps it as opaque bytes, those of the outcome it adopted last, and hands them to the next child. So one
that was killed for its time or memory takes no accepted version along.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from typing import Final, NamedTuple

from gatewayproxy.model.source import HeldObject, Source

__all__ = ["Memory", "pack", "unpack"]

_LEVEL: Final = 1


class Memory(NamedTuple):
    """What was read for request *number*."""

    number: int
    sources: tuple[Source, ...]
    held: tuple[HeldObject, ...]


def pack(number: int, sources: Iterable[Source], held: Iterable[HeldObject]) -> bytes:
    """Return a Memory as bytes, about a tenth of its texts."""
    # As Latin-1 a byte is a character: a text need not be UTF-8 to be kept.
    texts = [(source.file, source.text.decode("latin-1")) for source in sources]
    return zlib.compress(json.dumps([number, texts, list(held)]).encode(), _LEVEL)


def unpack(payload: bytes) -> Memory:
    """Return what `pack` was given."""
    number, texts, held = json.loads(zlib.decompress(payload))
    return Memory(
        number=number,
        sources=tuple(Source(file, text.encode("latin-1")) for file, text in texts),
        held=tuple(HeldObject(*fields) for fields in held),
    )
