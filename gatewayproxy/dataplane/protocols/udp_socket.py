"""Datagrams in batches, straight from the C library: recvmmsg(2) and sendmmsg(2).

A batch is read into slots and sent on from the same slots: payloads never become Python objects. There are two sets of
headers over one set of slots: plain ones for connected sockets, which know their peer, and addressed ones for the
socket clients send to, which carry each client's address and the address of ours that it wrote to.

SAFETY: descriptors are plain integers, as in `splice_socket`. The slots, names and control blocks are this module's and
live as long as it does; headers that point to a client's `Return` are used only within the call that is given it. The
library is loaded as PyDLL: sockets are non-blocking, so no call can wait, and none gives the interpreter's lock away.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct
from typing import Final

__all__ = [
    "BATCH", "BATCH_SIZE", "FULL", "SLOT_BYTES", "Batch", "Key", "Return", "key_reader", "open_datagram", "queue_drops",
]  # fmt: skip

BATCH_SIZE: Final = 64  # datagrams of a system call
SLOT_BYTES: Final = 65_536  # the largest datagram is 65,507 bytes over IPv4, 65,527 over IPv6
FULL: Final = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM})  # no room now

Key = tuple[bytes, ...]  # a client: its sockaddr, behind the address of ours it wrote to where that is not fixed

_libc: Final = ctypes.PyDLL(None, use_errno=True)
_bind: Final = _libc.bind
_connect: Final = _libc.connect
_recvmmsg: Final = _libc.recvmmsg
_sendmmsg: Final = _libc.sendmmsg
_socket: Final = _libc.socket
_getsockopt: Final = _libc.getsockopt

_DATAGRAMS: Final = int(socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
_NO_WAIT: Final = int(socket.MSG_DONTWAIT)
_UNIX: Final = int(socket.AF_UNIX)
_AUTOBIND: Final = struct.pack("=H", socket.AF_UNIX)  # unix(7): an abstract name, for replies to come to
_SO_MEMINFO: Final = 55
_MEMINFO_WORDS: Final = 9  # enum SK_MEMINFO_* of <linux/sock_diag.h>; the last one counts drops


class _Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("n_vectors", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Header(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("message", _Message), ("size", ctypes.c_uint))


_HEADER_BYTES: Final = ctypes.sizeof(_Header)
_VECTOR_BYTES: Final = ctypes.sizeof(_Vector)
_pack_header: Final = struct.Struct("@PIPNPN").pack_into  # all but what a call writes

# Where an addressed datagram came from: its control block (one cmsghdr with a pktinfo), then its sockaddr.
_CMSG: Final = struct.Struct("@Nii")
_INFO4: Final = struct.Struct("=i4s4s")  # struct in_pktinfo: interface, our address, the one in the packet
_INFO6: Final = struct.Struct("=16si")  # struct in6_pktinfo: our address, interface
_CONTROL_BYTES: Final = 40  # CMSG_SPACE of the larger one
_NAME_BYTES: Final = {socket.AF_INET: 16, socket.AF_INET6: 28}
_ORIGIN_BYTES: Final = 72
_IP_PKTINFO: Final = 8
_HERE_AT: Final = {socket.AF_INET: _CMSG.size + 4, socket.AF_INET6: _CMSG.size}
_HERE_BYTES: Final = {socket.AF_INET: 4, socket.AF_INET6: 16}


class Return:
    """The way back to a client: from the address of ours that it wrote to (b"": the socket has but one)."""

    __slots__ = ("_control", "_name", "fields", "name")

    def __init__(self, name: bytes, here: bytes = b"") -> None:
        self.name = name  # the client's sockaddr
        self._name = ctypes.create_string_buffer(name, len(name))
        self._control = ctypes.create_string_buffer(control := _control_of(here), len(control))
        self.fields = (
            ctypes.addressof(self._name),
            len(name),
            ctypes.addressof(self._control) if control else 0,
            len(control),
        )


def _control_of(here: bytes) -> bytes:
    """Return the control block that has a datagram leave from *here*; the route picks the interface."""
    if not any(here):
        return b""
    if len(here) == _HERE_BYTES[socket.AF_INET]:
        info, level, kind = _INFO4.pack(0, here, bytes(4)), socket.IPPROTO_IP, _IP_PKTINFO
    else:
        info, level, kind = _INFO6.pack(here, 0), socket.IPPROTO_IPV6, socket.IPV6_PKTINFO
    block = _CMSG.pack(_CMSG.size + len(info), level, kind) + info
    return block.ljust(-(-len(block) // _CMSG.size) * _CMSG.size, b"\0")


def key_reader(family: int, *, any_address: bool) -> struct.Struct:
    """Return what reads the `Key` of a datagram from its place in `Batch.origins`."""
    name = _NAME_BYTES[socket.AddressFamily(family)]
    if not any_address:
        return struct.Struct(f"={_CONTROL_BYTES}x{name}s")
    at, size = _HERE_AT[socket.AddressFamily(family)], _HERE_BYTES[socket.AddressFamily(family)]
    return struct.Struct(f"={at}x{size}s{_CONTROL_BYTES - at - size}x{name}s")


class Batch:
    """Slots for `BATCH_SIZE` datagrams. A worker has one: it is never in use across a call of the loop."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, BATCH_SIZE * SLOT_BYTES)  # pages that were never written take no memory
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._vectors = (_Vector * BATCH_SIZE)(*(_Vector(base + i * SLOT_BYTES, SLOT_BYTES) for i in range(BATCH_SIZE)))
        vectors = ctypes.addressof(self._vectors)
        self._at = [vectors + i * _VECTOR_BYTES for i in range(BATCH_SIZE)]
        self.origins = bytearray(BATCH_SIZE * _ORIGIN_BYTES)
        self.origin_at = range(0, BATCH_SIZE * _ORIGIN_BYTES, _ORIGIN_BYTES)
        origins = ctypes.addressof(ctypes.c_char.from_buffer(self.origins))
        self._plain = (_Header * BATCH_SIZE)()
        self._addressed = (_Header * BATCH_SIZE)()
        for i, at in enumerate(self._at):
            origin = origins + i * _ORIGIN_BYTES
            _pack_header(self._plain, i * _HEADER_BYTES, 0, 0, at, 1, 0, 0)
            _pack_header(self._addressed, i * _HEADER_BYTES, origin + _CONTROL_BYTES, 28, at, 1, origin, _CONTROL_BYTES)
        # Views of what a datagram changes, and what puts it back.
        self._sizes = memoryview(self._vectors).cast("B").cast("P")[1::2]  # a size_t is as wide as a pointer
        self._addressed_bytes = memoryview(self._addressed).cast("B")
        self._fresh_headers = bytes(self._addressed_bytes)
        self._vector_bytes = memoryview(self._vectors).cast("B")
        self._fresh_vectors = bytes(self._vector_bytes)
        first, step = _Header.size.offset // 4, _HEADER_BYTES // 4
        self._plain_sizes = memoryview(self._plain).cast("B").cast("I")[first::step]
        self._addressed_sizes = memoryview(self._addressed).cast("B").cast("I")[first::step]
        # PERF: a reference made once spares a call half of what ctypes costs.
        self._plain_at = [ctypes.byref(self._plain, i * _HEADER_BYTES) for i in range(BATCH_SIZE)]
        self._addressed_at = [ctypes.byref(self._addressed, i * _HEADER_BYTES) for i in range(BATCH_SIZE)]

    def receive_from(self, fd: int) -> int:
        """Read what clients sent to *fd*, with `origins`; return how many, -1 = see `ctypes.get_errno`."""
        self._addressed_bytes[:] = self._fresh_headers
        self._vector_bytes[:] = self._fresh_vectors
        n: int = _recvmmsg(fd, self._addressed_at[0], BATCH_SIZE, _NO_WAIT, None)
        for i in range(n):
            self._sizes[i] = self._addressed_sizes[i]
        return n

    def receive(self, fd: int) -> int:
        """Read what the peer of the connected *fd* sent; return how many, -1 = see `ctypes.get_errno`."""
        self._vector_bytes[:] = self._fresh_vectors
        n: int = _recvmmsg(fd, self._plain_at[0], BATCH_SIZE, _NO_WAIT, None)
        for i in range(n):
            self._sizes[i] = self._plain_sizes[i]
        return n

    def size(self, start: int, end: int) -> int:
        """Return how many bytes the datagrams from *start* up to *end* have."""
        return self._sizes[start] if end - start == 1 else sum(self._sizes[start:end])

    def send(self, fd: int, start: int, end: int) -> int:
        """Send datagrams *start* up to *end* to the peer of the connected *fd*.

        Return how many went; -1: none, see `ctypes.get_errno`.
        """
        n: int = _sendmmsg(fd, self._plain_at[start], end - start, _NO_WAIT)
        return n

    def send_back(self, fd: int, n: int, to: Return) -> int:
        """Send the first *n* datagrams from the listening *fd* to a client; return how many did not go."""
        name, name_size, control, control_size = to.fields
        headers, at = self._addressed, self._at
        for i in range(n):
            _pack_header(headers, i * _HEADER_BYTES, name, name_size, at[i], 1, control, control_size)
        n_lost = start = 0
        while start < n:
            sent: int = _sendmmsg(fd, self._addressed_at[start], n - start, _NO_WAIT)
            if sent < 0:
                if ctypes.get_errno() in FULL:
                    return n_lost + n - start
                n_lost += 1  # this one: the next may be smaller
                sent = 1
            start += sent
        return n_lost


BATCH: Final = Batch()


def open_datagram(family: int, address: bytes) -> int:
    """Return a non-blocking datagram descriptor connected to the sockaddr *address*. Raises OSError."""
    fd: int = _socket(family, _DATAGRAMS, 0)
    if fd < 0:
        raise _failure()
    bound = family != _UNIX or _bind(fd, _AUTOBIND, len(_AUTOBIND)) == 0
    if not bound or _connect(fd, address, len(address)) < 0:
        error = _failure()
        os.close(fd)
        raise error
    return fd


def queue_drops(fd: int) -> int:
    """Return how many datagrams the kernel has dropped at *fd*, mostly because its queue was full."""
    words = (ctypes.c_uint32 * _MEMINFO_WORDS)()
    size = ctypes.c_int(ctypes.sizeof(words))
    failed = _getsockopt(fd, socket.SOL_SOCKET, _SO_MEMINFO, words, ctypes.byref(size)) < 0
    return 0 if failed or size.value < ctypes.sizeof(words) else words[_MEMINFO_WORDS - 1]


def _failure() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))
