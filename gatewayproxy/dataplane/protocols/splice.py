"""Half: moves the bytes of one direction of a stream between two sockets.

Theory of operation. Small traffic is copied through one buffer that all streams of a worker share: an idle stream holds
no memory of ours. Two full buffers in a row mean bulk: then the kernel moves the bytes (splice through a borrowed
pipe), and SO_RCVLOWAT lets a wake-up wait until it is worth something. A sweep of the Reactor returns a direction to
copying when less than that came for a while; raising no edge, the rest would otherwise never be told.

Backpressure is the kernel's: a sink that takes no more leaves at most one buffer's rest (`_tail`) or one pipe's content
with us, and its source is not read again until the sink has room. All descriptors are edge-triggered: a direction reads
until it is told that nothing is left, or knows it from a short read. Where the event told of the peer's end, nothing
can have come behind that read: then the end itself need not be read.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from typing import Final, Protocol

from gatewayproxy.dataplane.protocols.splice_pipes import PIPE_BYTES, Pipe
from gatewayproxy.dataplane.protocols.splice_reactor import EDGES, Reactor
from gatewayproxy.dataplane.protocols.splice_socket import set_option, shutdown

__all__ = ["Half", "HalfOwner"]

_COPY_BYTES: Final = 16_384
_COPY_ROUNDS: Final = 64  # per event, then others come first: 1 MiB
_SPLICE_ROUNDS: Final = 8
_LOWAT_BYTES: Final = 524_288  # PERF: benchmarks/l4 bulk, without 0.271 -> 0.230 CPU-s/GB
_FULL_READS: Final = 2  # as many full buffers in a row begin a bulk transfer
_REFRAIN: Final = -4_096  # full reads to wait before trying splice again: 64 MiB
_NO_SPLICE: Final = (errno.EINVAL, errno.ENOSYS)
_FLAGS: Final = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK

_OUT: Final = select.EPOLLOUT
_ERR: Final = select.EPOLLERR
_END: Final = select.EPOLLRDHUP
_SHORT: Final = select.EPOLLPRI | _ERR  # a read stops short at urgent data, though more is there
_READABLE: Final = select.EPOLLIN | select.EPOLLHUP | _END | _SHORT

_BUFFER: Final = memoryview(bytearray(_COPY_BYTES))  # one event loop a process: never in use across a call
_BUFFERS: Final = (_BUFFER,)


class HalfOwner(Protocol):
    """The stream that two halves make."""

    closed: bool

    def ended(self) -> None:
        """Both directions have come to their end."""

    def broken(self, culprit: int, error: OSError | None) -> None:
        """The connection of the descriptor *culprit* failed with *error* (None: ask its SO_ERROR)."""

    def crashed(self) -> None:
        """A half raised: our bug."""


class Half:
    """Bytes from *source* to *sink*. *moved* counts what was taken from the source, *done* that its end went on.

    *events*: what is watched of the sink. *exact*: a short read of the source leaves nothing; so it is with TCP only.
    """

    __slots__ = (
        "_ending", "_events", "_exact", "_full", "_owner", "_pipe", "_piped", "_reactor", "_seen", "_tail", "done",
        "moved", "peer", "sink", "source",
    )  # fmt: skip

    peer: Half  # the other direction

    # PERF: benchmarks/l4 connections: keywords to a constructor cost a dict.
    def __init__(self, reactor: Reactor, owner: HalfOwner, source: int, sink: int, events: int, exact: bool) -> None:
        self._reactor = reactor
        self._owner = owner
        self.source = source
        self.sink = sink
        self._events = events
        self._exact = exact  # else read on until EAGAIN or the end
        self._ending = False  # the source's end has arrived
        self._tail: memoryview | None = None  # copied bytes that the sink has not taken yet
        self._pipe: Pipe | None = None
        self._piped = 0  # bytes in the pipe
        self._full = 0  # full reads in a row; _FULL_READS = bulk
        self._seen = False  # spliced since the last sweep
        self.moved = 0
        self.done = False

    def ready(self, events: int) -> None:
        """Act on the events of the source: it may also be writable again for the other direction."""
        if events & _OUT:
            peer = self.peer
            if peer._tail is not None or peer._piped:
                peer.move()
        if events & _READABLE and not self.done:
            if events & _SHORT:
                self._exact = False
            if events & _END:
                self._ending = True
            self.move()
        # What came before a reset has gone on as far as the sink took it; the reset itself does not wait.
        if events & _ERR and not self._owner.closed:
            self._owner.broken(self.source, None)

    def move(self) -> None:
        """Move until the source is drained, the sink is full or it is another's turn."""
        if self.done:
            return
        if self._tail is not None and not self._flush():
            return
        try:
            if self._full >= _FULL_READS:
                self._splice()
            else:
                self._copy()
        except BlockingIOError:
            pass  # the source is drained: the next edge continues
        except OSError as error:
            self._owner.broken(self.source, error)

    def settle(self) -> bool:
        """Leave bulk mode if nothing came since the last sweep; return whether sweeps are over for now."""
        if self.done or self._tail is not None or self._piped:
            return True  # the sink is full: its edge brings us back
        if self._seen:
            self._seen = False
            return False
        self._full = 0
        self._lowat(1)  # tells what waits below the old mark: a new edge
        return True

    def crashed(self) -> None:
        """Close the stream."""
        self._owner.crashed()

    def release(self) -> None:
        """Hold nothing any more: the stream is over."""
        self.done = True
        del self.peer  # no cycle is left for the garbage collector
        if self._reactor.bulk:
            self._reactor.bulk.pop(self, None)
        if self._pipe is not None:
            self._give_back()

    def _copy(self) -> None:
        source, sink = self.source, self.sink
        for _ in range(_COPY_ROUNDS):
            n = os.readv(source, _BUFFERS)
            if not n:
                self._finish()
                return
            self.moved += n
            try:
                written = os.write(sink, _BUFFER[:n])
            except BlockingIOError:
                written = 0
            except OSError as error:
                self._owner.broken(self.sink, error)
                return
            if written < n:
                self._tail = memoryview(bytes(_BUFFER[written:n]))
                self._await_room()
                return
            if n == _COPY_BYTES:
                self._full += 1
                if self._full >= _FULL_READS:
                    self._lowat(_LOWAT_BYTES)
                    self._splice()
                    return
            else:
                self._full = min(self._full, 0)
                if self._exact:
                    if self._ending:
                        self._finish()
                    return
        self._reactor.call_again(self)

    def _flush(self) -> bool:
        """Write what the sink did not take; return whether it is gone."""
        assert self._tail is not None
        try:
            written = os.write(self.sink, self._tail)
        except BlockingIOError:
            written = 0
        except OSError as error:
            self._owner.broken(self.sink, error)
            return False
        if written == len(self._tail):
            self._tail = None
            return True
        self._tail = self._tail[written:]
        self._await_room()
        return False

    def _splice(self) -> None:
        if self._pipe is None:
            self._pipe = self._reactor.pipes.take()
        pipe = self._pipe
        if pipe is None:
            self._copy_instead()
            return
        self._seen = True
        self._reactor.look_after(self)
        try:
            self._splice_through(pipe)
        finally:
            if self._pipe is not None and not self._piped:
                self._give_back()

    def _splice_through(self, pipe: Pipe) -> None:
        for _ in range(_SPLICE_ROUNDS):
            if not self._piped and not self._fill(pipe):
                return
            if not self._empty(pipe):
                return
        self._reactor.call_again(self)

    def _fill(self, pipe: Pipe) -> bool:
        """Take from the source; False where it has come to its end or cannot be spliced: it was copied then."""
        try:
            n = os.splice(self.source, pipe.write, PIPE_BYTES, flags=_FLAGS)
        except OSError as error:
            if error.errno not in _NO_SPLICE:
                raise
            self._copy_instead()
            return False
        if not n:
            # The end, or urgent data before the end, which splice does not pass: only a read can tell.
            self._full = 0
            self._lowat(1)
            self.move()
            return False
        self._piped = n
        self.moved += n
        return True

    def _empty(self, pipe: Pipe) -> bool:
        """Give the pipe's bytes to the sink; return whether it took them all."""
        try:
            while self._piped:
                self._piped -= os.splice(pipe.read, self.sink, self._piped, flags=_FLAGS)
        except BlockingIOError:
            self._await_room()
            return False
        except OSError as error:
            if error.errno not in _NO_SPLICE:
                self._owner.broken(self.sink, error)
                return False
            self._tail = memoryview(os.read(pipe.read, self._piped))
            self._piped = 0
            self._copy_instead()
            return False
        return True

    def _copy_instead(self) -> None:
        """Go on without splice for a while: no pipe to be had, or not between these sockets."""
        self._full = _REFRAIN
        self._lowat(1)
        self.move()

    def _finish(self) -> None:
        """Pass the source's end on. Nothing is left in between: a source is read only when the sink took all."""
        self.done = True
        if self.peer.done:
            self._owner.ended()
            return
        try:
            shutdown(self.sink, socket.SHUT_WR)
        except OSError as error:
            self._owner.broken(self.sink, error)

    def _await_room(self) -> None:
        """Have the sink's next edge bring us back."""
        if self._events != EDGES:
            self._events = EDGES
            self._reactor.watch_room(self.sink)

    def _lowat(self, n: int) -> None:
        set_option(self.source, socket.SOL_SOCKET, socket.SO_RCVLOWAT, n)

    def _give_back(self) -> None:
        assert self._pipe is not None
        self._reactor.pipes.give_back(self._pipe, empty=not self._piped)
        self._pipe = None
        self._piped = 0
