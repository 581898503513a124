"""A transport in memory: what was written, and what the protocol asked of it."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

__all__ = ["MemoryTransport"]


class MemoryTransport(asyncio.Transport):
    """Collects writes; never calls its protocol."""

    def __init__(self, sock: socket.socket | None = None) -> None:
        super().__init__()
        self._sock = sock  # a quiet one, for those who look whether it has something to say
        self._written: list[bytes] = []
        self.closed = self.aborted = self.paused = self.ended = False
        self.n_unsent = 0  # bytes that it says the peer has not taken

    def take(self) -> bytes:
        """Return what was written since the last call."""
        data = b"".join(self._written)
        self._written.clear()
        return data

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return self.n_unsent

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("10.0.0.9", 5), "socket": self._sock}.get(name, default)
