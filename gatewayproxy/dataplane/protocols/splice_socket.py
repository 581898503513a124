"""Sockets as descriptors: what every connection needs, straight from the C library.

PERF: benchmarks/l4 connections. A socket object asks two more system calls of an accepted descriptor (getsockname,
FIONBIO) and a wrapper for every call; together a tenth of what a short connection costs.

SAFETY: descriptors are plain integers here. Each has one owner (a PendingHello or a Stream), is closed by
`Reactor.discard` alone, and is not used afterwards. The library is loaded as PyDLL: no call can wait, so none gives the
interpreter's lock away. Buffers are this module's, and their lengths are passed with them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from typing import Final

__all__ = [
    "accept", "connect", "error_of", "ip_of", "peek", "reset_at_close", "set_option", "shutdown",
]  # fmt: skip

_libc: Final = ctypes.PyDLL(None, use_errno=True)
_accept4: Final = _libc.accept4
_connect: Final = _libc.connect
_getsockopt: Final = _libc.getsockopt
_recv: Final = _libc.recv
_setsockopt: Final = _libc.setsockopt
_shutdown: Final = _libc.shutdown
_socket: Final = _libc.socket

# PERF: plain integers; the socket module's are enums.
_AF_UNIX: Final = int(socket.AF_UNIX)
_TCP: Final = int(socket.IPPROTO_TCP)
_NODELAY: Final = int(socket.TCP_NODELAY)
_SOCKET: Final = int(socket.SOL_SOCKET)
_OOBINLINE: Final = int(socket.SO_OOBINLINE)
_EAGAIN: Final = errno.EAGAIN
_EINPROGRESS: Final = errno.EINPROGRESS

_ON: Final = struct.pack("i", 1)
_NO_WAIT: Final = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_STREAM: Final = socket.SOCK_STREAM | _NO_WAIT
_RESET: Final = struct.pack("ii", 1, 0)  # struct linger: on, 0 s
_INT_BYTES: Final = ctypes.sizeof(ctypes.c_int)

_ADDRESS_BYTES: Final = 28  # struct sockaddr_in6; a unix client has no address worth keeping
_address: Final = ctypes.create_string_buffer(_ADDRESS_BYTES)
_family: Final = struct.Struct("=H").unpack_from
_address_size: Final = ctypes.c_int()
_address_size_ref: Final = ctypes.byref(_address_size)
_value: Final = ctypes.c_int()
_value_ref: Final = ctypes.byref(_value)
_value_size: Final = ctypes.c_int(_INT_BYTES)
_value_size_ref: Final = ctypes.byref(_value_size)


def accept(listening: int) -> tuple[int, bytes] | None:
    """Return a new non-blocking descriptor and its peer's sockaddr, None where none waits. Raises OSError."""
    _address_size.value = _ADDRESS_BYTES
    fd: int = _accept4(listening, _address, _address_size_ref, _NO_WAIT)
    if fd >= 0:
        return fd, _address.raw
    code = ctypes.get_errno()
    if code == _EAGAIN:
        return None
    raise _failure(code)


def connect(family: int, address: bytes) -> int:
    """Return a non-blocking descriptor that connects to the sockaddr *address*. Raises OSError: it failed at once.

    Small writes are not held back (TCP_NODELAY), and urgent data stays in its place (SO_OOBINLINE).
    """
    fd: int = _socket(family, _STREAM, 0)
    if fd < 0:
        raise _failure(ctypes.get_errno())
    if family != _AF_UNIX:
        _setsockopt(fd, _TCP, _NODELAY, _ON, _INT_BYTES)
        _setsockopt(fd, _SOCKET, _OOBINLINE, _ON, _INT_BYTES)
    if _connect(fd, address, len(address)) < 0:
        code = ctypes.get_errno()
        if code != _EINPROGRESS:  # EAGAIN: the backlog of a unix socket is full, no event will tell
            os.close(fd)
            raise _failure(code)
    return fd


def peek(fd: int, buffer: ctypes.Array[ctypes.c_char]) -> int:
    """Copy what *fd* has received, without taking it; return how many bytes that is, -1 = none yet. Raises OSError."""
    n: int = _recv(fd, buffer, len(buffer), socket.MSG_PEEK)
    if n < 0:
        code = ctypes.get_errno()
        if code != _EAGAIN:
            raise _failure(code)
    return n


def set_option(fd: int, level: int, option: int, value: int) -> None:
    """Set an integer option; one that the socket does not have (of TCP, on a unix socket) is passed over."""
    _value.value = value
    _setsockopt(fd, level, option, _value_ref, _INT_BYTES)


def reset_at_close(fd: int) -> None:
    """Have close(2) reset the connection."""
    _setsockopt(fd, socket.SOL_SOCKET, socket.SO_LINGER, _RESET, len(_RESET))


def error_of(fd: int) -> int:
    """Return and clear the pending error of *fd*; 0 = none."""
    _value_size.value = _INT_BYTES
    if _getsockopt(fd, socket.SOL_SOCKET, socket.SO_ERROR, _value_ref, _value_size_ref) < 0:
        return ctypes.get_errno()
    return _value.value


def shutdown(fd: int, how: int) -> None:
    """Send the end. Raises OSError where there is no connection any more."""
    if _shutdown(fd, how) < 0:
        raise _failure(ctypes.get_errno())


def ip_of(address: bytes) -> str:
    """Return the IP of a sockaddr as `accept` gave it, IPv4 also where it was mapped into IPv6; "" of a unix socket."""
    (family,) = _family(address)
    if family == socket.AF_INET:
        return socket.inet_ntop(family, address[4:8])
    if family == socket.AF_INET6:
        return socket.inet_ntop(family, address[8:24]).removeprefix("::ffff:")
    return ""


def _failure(code: int) -> OSError:
    return OSError(code, os.strerror(code))
