"""Batches of datagrams: whole, in order, with where they came from and the way back."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gatewayproxy.dataplane.protocols.splice_socket import ip_of
from gatewayproxy.dataplane.protocols.udp_socket import (
    BATCH_SIZE,
    Batch,
    Return,
    key_reader,
    open_datagram,
    queue_drops,
)
from tests.support.udp import bound_socket


@contextmanager
def pair(host: str = "127.0.0.1", to: str = "") -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield a listening socket on *host* and a client connected to it."""
    listening = bound_socket(host)
    client = socket.socket(listening.family, socket.SOCK_DGRAM)
    client.connect((to or host, listening.getsockname()[1]))
    client.settimeout(60)
    with listening, client:
        yield listening, client


def test_a_batch_takes_what_waits_and_no_more_than_it_holds() -> None:
    batch = Batch()
    with pair() as (listening, client):
        for n in range(BATCH_SIZE + 3):
            client.send(bytes(n))
        assert batch.receive_from(listening.fileno()) == BATCH_SIZE
        assert [batch.size(n, n + 1) for n in range(BATCH_SIZE)] == list(range(BATCH_SIZE))
        assert batch.size(2, 5) == 2 + 3 + 4
        assert batch.receive_from(listening.fileno()) == 3
        assert batch.receive_from(listening.fileno()) == -1
        assert ctypes.get_errno() == errno.EAGAIN


@pytest.mark.parametrize(
    ("host", "to"),
    [("0.0.0.0", "127.0.0.3"), ("::", "::1"), ("127.0.0.1", "127.0.0.1"), ("::1", "::1")],
    ids=["any IPv4", "any IPv6", "IPv4", "IPv6"],
)
def test_the_key_is_the_client_and_the_way_back_leads_to_it(host: str, to: str) -> None:
    batch = Batch()
    with pair(host, to) as (listening, client):
        client.send(b"a")
        client.send(b"bc")
        assert batch.receive_from(listening.fileno()) == 2
        any_address = host in ("0.0.0.0", "::")
        read = key_reader(listening.family, any_address=any_address).unpack_from
        keys = [read(batch.origins, at) for at in batch.origin_at[:2]]
        assert keys[0] == keys[1]
        name = keys[0][-1]
        assert ip_of(name.ljust(28, b"\0")) == client.getsockname()[0]
        assert struct.unpack_from("!H", name, 2)[0] == client.getsockname()[1]
        here = keys[0][0] if any_address else b""
        if any_address:
            assert socket.inet_ntop(listening.family, here) == to
        assert batch.send_back(listening.fileno(), 2, Return(name, here)) == 0
        assert (client.recv(9), client.recv(9)) == (b"a", b"bc")


def test_what_was_read_goes_on_from_the_same_slots() -> None:
    batch = Batch()
    with pair() as (listening, client), pair() as (backend, _):
        for data in (b"first", b"", b"x" * 65_507):
            client.send(data)
        assert batch.receive_from(listening.fileno()) == 3
        port = backend.getsockname()[1]
        address = struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, socket.inet_aton("127.0.0.1"))
        upstream = socket.socket(fileno=open_datagram(socket.AF_INET, address))
        with upstream:
            assert not os.get_blocking(upstream.fileno())
            assert batch.send(upstream.fileno(), 1, 3) == 2
            assert batch.send(upstream.fileno(), 0, 1) == 1
            received = [backend.recv(70_000) for _ in range(3)]
            assert received == [b"", b"x" * 65_507, b"first"]
            backend.sendto(b"reply", upstream.getsockname())
            assert batch.receive(upstream.fileno()) == 1
            assert batch.size(0, 1) == 5


def test_a_reply_that_cannot_be_sent_does_not_stop_the_next() -> None:
    batch = Batch()
    with pair() as (listening, client):
        client.send(b"x")
        assert batch.receive_from(listening.fileno()) == 1
        nobody = struct.pack("=H", socket.AF_INET) + bytes(14)  # port 0 of 0.0.0.0: a forged source
        assert batch.send_back(listening.fileno(), 1, Return(nobody)) == 1
        (name,) = key_reader(socket.AF_INET, any_address=False).unpack_from(batch.origins, 0)
        assert batch.send_back(listening.fileno(), 1, Return(name)) == 0
        assert client.recv(9) == b"x"


def test_what_the_kernel_dropped_can_be_asked() -> None:
    with pair() as (listening, client):
        assert queue_drops(listening.fileno()) == 0
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        for _ in range(100):
            client.send(b"x" * 1_000)
        assert queue_drops(listening.fileno()) > 50


def test_no_descriptor_is_left_where_connecting_fails() -> None:
    with pytest.raises(OSError, match="No such file"):
        open_datagram(socket.AF_UNIX, struct.pack("=H", socket.AF_UNIX) + b"/nowhere/to/go\0")
