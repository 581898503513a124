"""A raw HTTP/2 connection to the gateway: any bytes one way, frames the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.backend import DEADLINE_S, Client, client
from tests.support.h2peer import ACK, PREFACE, SETTINGS, Sent, frame, settings_frame

__all__ = ["Wire", "connected"]


class Wire:
    """A connection past its greetings; *heard* are the frames that `until` has read."""

    def __init__(self, raw: Client) -> None:
        self.raw = raw
        self.heard: list[Sent] = []

    async def frame(self) -> Sent | None:
        """Return the next frame, None at the end of the connection."""
        try:
            head = await self.raw.reader.readexactly(9)
            payload = await self.raw.reader.readexactly(int.from_bytes(head[:3], "big"))
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return None
        return head[3], head[4], int.from_bytes(head[5:], "big"), payload

    async def until(self, kind: int, stream_id: int, flags: int = 0) -> bytes:
        """Return the payload of the next such frame."""
        async with asyncio.timeout(DEADLINE_S):
            while (each := await self.frame()) is not None:
                self.heard.append(each)
                if (each[0], each[2]) == (kind, stream_id) and each[1] & flags == flags:
                    return each[3]
        raise AssertionError(f"the connection ended: {self.heard}")

    async def rest(self) -> list[Sent]:
        """Return the frames up to the end of the connection."""
        found = []
        async with asyncio.timeout(DEADLINE_S):
            while (each := await self.frame()) is not None:
                found.append(each)
        return found


@asynccontextmanager
async def connected(number: int) -> AsyncIterator[Wire]:
    """Connect to port *number* and send the preface."""
    async with client(number) as raw:
        raw.send(PREFACE + settings_frame() + frame(SETTINGS, ACK, 0))
        yield Wire(raw)
