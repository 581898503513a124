"""What the supervisor and its children say to each other: frames over a socket pair, descriptors included.

A frame is a kind, a payload and up to `MAX_FDS` descriptors (SCM_RIGHTS). Small payloads are JSON; table slices and
status documents are bytes that the supervisor never decodes. `Channel` is the end with an event loop, `write_frame` and
`read_frame` the blocking one. Order is kept; nothing is lost short of a dead peer, which `on_close` reports.
"""

from __future__ import annotations

import array
import asyncio
import json
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, Final

from gatewayproxy.errors import GatewayProxyError

__all__ = [
    "MAX_FDS", "OUT_OF_MEMORY", "Channel", "ChannelError", "Kind", "from_json", "pair", "read_frame", "to_json",
    "write_frame",
]  # fmt: skip

MAX_FDS: Final = 64  # descriptors of one frame (the kernel takes 253)
MAX_FRAME_BYTES: Final = 1 << 30  # a frame larger than this is a broken peer
OUT_OF_MEMORY: Final = 12  # exit status of a compiling child at its memory bound: a frame would need memory
_READ_BYTES: Final = 16_384  # one read per loop turn: a table arrives a slice at a time
_HEADER: Final = struct.Struct("!IBB")  # payload bytes, kind, descriptors
_RIGHTS_BYTES: Final = socket.CMSG_SPACE(MAX_FDS * 4)


class Kind(IntEnum):
    """Frames, and who sends them."""

    CONFIGURE = 1  # supervisor -> child: options
    SOCKETS = 2  # supervisor -> worker: listening sockets of one (address, port)
    TABLE_BEGIN = 3  # supervisor -> worker: a table follows
    TABLE_SLICE = 4  # supervisor -> worker, compiler -> supervisor
    TABLE_END = 5  # supervisor -> worker: answer ASSEMBLED or FAILED
    COMMIT = 6  # supervisor -> worker: serve the assembled table; answer APPLIED
    DISCARD = 7  # supervisor -> worker: forget the assembled table
    STATS = 8  # supervisor -> worker: count; worker -> supervisor: a part of the counters
    REOPEN = 9  # supervisor -> worker: reopen log files
    DRAIN = 10  # supervisor -> worker: finish and exit
    ASSEMBLED = 11  # worker -> supervisor
    APPLIED = 12  # worker -> supervisor
    RETIRED = 13  # worker -> supervisor: connections of removed listeners have ended
    FAILED = 14  # child -> supervisor: could not do what was asked
    COMPILE = 15  # supervisor -> compiler; compiler -> supervisor: the outcome, after its slices
    STATUS = 16  # compiler -> supervisor: the objects as JSON, before the outcome
    MEMORY = 17  # compiler -> supervisor, before the outcome; supervisor -> compiler that starts anew: `ops.memory`
    DOCUMENTS = 18  # supervisor -> compiler: `ops.memory`, for the next COMPILE or TELL
    TELL = 19  # supervisor -> compiler: what do the documents say; compiler -> supervisor: the answer, as text
    EXPLAIN = 20  # supervisor -> explaining child: a question; back: that it is ready, then answers
    SHADOW = 21  # supervisor -> worker: decide on the table assembled for it, too, or no longer; answer APPLIED
    SHADOW_COUNTS = 22  # supervisor -> worker: what differed; worker -> supervisor: that


class ChannelError(GatewayProxyError):
    """The peer is gone, or sent what no peer of ours sends."""


def to_json(value: object) -> bytes:
    """Return *value* as a payload."""
    return json.dumps(value, separators=(",", ":")).encode()


def from_json(payload: bytes) -> Any:
    """Return the value of a payload made by `to_json`."""
    return json.loads(payload)


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a new channel; the second is for a child, by inheritance."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


def write_frame(sock: socket.socket, kind: Kind, payload: bytes = b"") -> None:
    """Send one frame without descriptors on a blocking socket; raise ChannelError when the peer is gone."""
    try:
        sock.sendall(_HEADER.pack(len(payload), kind, 0))
        sock.sendall(payload)
    except OSError as error:
        raise ChannelError("the peer is gone") from error


def read_frame(sock: socket.socket) -> tuple[Kind, bytes]:
    """Receive one frame without descriptors on a blocking socket; raise ChannelError at its end."""
    length, kind, _ = _HEADER.unpack(_read_exactly(sock, _HEADER.size))
    return Kind(kind), _read_exactly(sock, length)


def _read_exactly(sock: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = sock.recv(min(size, 1 << 20))
        if not part:
            raise ChannelError("the peer is gone")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


class Channel:
    """One end of a socket pair on the running loop. Owns the socket; all calls on the loop's thread."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        on_frame: Callable[[Kind, bytes, list[int]], None],
        on_close: Callable[[], None],
    ) -> None:
        self._sock = sock
        self._on_frame = on_frame  # owns the descriptors it is given
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._in = bytearray()
        self._fds: deque[int] = deque()
        self._out: deque[tuple[memoryview, Sequence[socket.socket]]] = deque()
        self.closed = False
        sock.setblocking(False)
        self._loop.add_reader(sock, self._readable)

    def send(self, kind: Kind, payload: bytes = b"{}", sockets: Sequence[socket.socket] = ()) -> None:
        """Queue one frame; *payload* is not copied, *sockets* must stay open until it has left. No-op once closed."""
        if self.closed:
            return
        idle = not self._out
        self._out.append((memoryview(_HEADER.pack(len(payload), kind, len(sockets))), sockets))
        if payload:
            self._out.append((memoryview(payload), ()))
        if idle:
            self._writable()

    def close(self) -> None:
        """Close at once, without `on_close`; queued frames are dropped."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        self._out.clear()
        while self._fds:
            os.close(self._fds.popleft())

    def _lost(self) -> None:
        if not self.closed:
            self.close()
            self._on_close()

    def _writable(self) -> None:
        while self._out:
            view, sockets = self._out[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [s.fileno() for s in sockets]))]
            try:
                sent = self._sock.sendmsg([view], rights if sockets else [])
            except BlockingIOError:
                self._loop.add_writer(self._sock, self._writable)
                return
            except OSError:
                # Not from inside `send`: its caller may be in the middle of a change.
                self._loop.call_soon(self._lost)
                return
            if sent == len(view):
                self._out.popleft()
            else:
                self._out[0] = (view[sent:], ())
        self._loop.remove_writer(self._sock)

    def _readable(self) -> None:
        try:
            data, ancillary, _, _ = self._sock.recvmsg(_READ_BYTES, _RIGHTS_BYTES, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        for level, kind, rights in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds = array.array("i")
                fds.frombytes(rights[: len(rights) - len(rights) % fds.itemsize])
                self._fds.extend(fds)
        if not data:
            self._lost()
            return
        self._in += data
        self._deliver()

    def _deliver(self) -> None:
        while not self.closed and len(self._in) >= _HEADER.size:
            length, kind, n_fds = _HEADER.unpack_from(self._in)
            if length > MAX_FRAME_BYTES:
                self._lost()
                return
            end = _HEADER.size + length
            if len(self._in) < end:
                return
            payload = bytes(memoryview(self._in)[_HEADER.size : end])
            del self._in[:end]
            self._on_frame(Kind(kind), payload, [self._fds.popleft() for _ in range(n_fds)])
