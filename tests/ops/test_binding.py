"""Listening sockets by slot: shared among slots, with nobody else, on every family an address means."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from gatewayproxy.model.names import BindKey
from gatewayproxy.ops.binding import IP_PKTINFO, ListeningSockets, hint_for
from tests.support.ports import free_port
from tests.support.process import loopback_address


@pytest.fixture
def sockets() -> Iterator[ListeningSockets]:
    listening = ListeningSockets(3)
    yield listening
    listening.keep(())


def test_every_slot_gets_a_socket_of_its_own_on_the_same_port(sockets: ListeningSockets) -> None:
    key = BindKey(loopback_address(), 8080)
    assert sockets.bind([key]) == {}
    fds = {sock.fileno() for slot in range(3) for sock in sockets.of_slot(slot)[key]}
    assert len(fds) == 3
    for slot in range(3):
        (sock,) = sockets.of_slot(slot)[key]
        assert sock.getsockname() == key[:2]
        assert not sock.getblocking()
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


def test_no_address_means_ipv4_and_ipv6(sockets: ListeningSockets) -> None:
    port = free_port()
    assert sockets.bind([BindKey("", port)]) == {}
    assert [sock.family for sock in sockets.of_slot(0)[BindKey("", port)]] == [socket.AF_INET, socket.AF_INET6]
    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, port), timeout=60).close()


def test_a_specific_address_beside_all_of_them(sockets: ListeningSockets) -> None:
    port = free_port()
    assert sockets.bind([BindKey("", port), BindKey("127.0.0.1", port)]) == {}
    assert sockets.keys == {BindKey("", port), BindKey("127.0.0.1", port)}


def test_a_port_that_another_process_shares_by_reuseport_is_refused(sockets: ListeningSockets) -> None:
    host = loopback_address()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind((host, 8080))
        other.listen()
        assert sockets.bind([BindKey(host, 8080), BindKey(host, 8081)]) == {
            BindKey(host, 8080): "Address already in use"
        }
        assert sockets.keys == {BindKey(host, 8081)}
    assert sockets.bind([BindKey(host, 8080)]) == {}


def test_an_address_nobody_has_fails_alone(sockets: ListeningSockets) -> None:
    host = loopback_address()
    failures = sockets.bind([BindKey("192.0.2.1", 8080), BindKey(host, 8080)])
    assert failures == {BindKey("192.0.2.1", 8080): "Cannot assign requested address"}
    assert sockets.keys == {BindKey(host, 8080)}


def test_what_is_not_kept_is_closed(sockets: ListeningSockets) -> None:
    host = loopback_address()
    sockets.bind([BindKey(host, 8080), BindKey(host, 8081)])
    sockets.keep([BindKey(host, 8081)])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, 8080), timeout=60)
    socket.create_connection((host, 8081), timeout=60).close()


@pytest.mark.parametrize(
    ("number", "word"),
    [(errno.EACCES, "--map-port 80=8080"), (errno.EADDRINUSE, "ss -ltnp"), (errno.EADDRNOTAVAIL, "spec.addresses")],
    ids=["privileged", "taken", "absent"],
)
def test_a_failed_bind_says_what_to_do(number: int, word: str) -> None:
    assert word in hint_for(OSError(number, ""), BindKey("", 80))


def test_datagram_sockets_share_a_port_and_tell_which_address_was_meant(sockets: ListeningSockets) -> None:
    port = free_port()
    key = BindKey("", port, udp=True)
    assert sockets.bind([key, BindKey("", port)]) == {}  # beside TCP on the same number
    for slot in range(3):
        v4, v6 = sockets.of_slot(slot)[key]
        assert (v4.type, v4.family, v6.family) == (socket.SOCK_DGRAM, socket.AF_INET, socket.AF_INET6)
        assert v4.getsockopt(socket.IPPROTO_IP, IP_PKTINFO) == 1
        assert v6.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO) == 1
        assert not v4.getblocking()


def test_a_udp_port_that_another_process_shares_is_refused(sockets: ListeningSockets) -> None:
    key = BindKey(loopback_address(), 5300, udp=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(key[:2])
        assert sockets.bind([key]) == {key: "Address already in use"}
        assert "ss -lunp" in hint_for(OSError(errno.EADDRINUSE, ""), key)
    assert sockets.bind([key]) == {}


def test_udp_sockets_linger_and_a_port_that_comes_back_finds_them() -> None:
    sockets = ListeningSockets(2, linger_s=30.0)
    key, other = BindKey(loopback_address(), 5300, udp=True), BindKey(loopback_address(), 5300)
    sockets.bind([key, other])
    (first,) = sockets.of_slot(0)[key]
    assert sockets.keep([]) is True
    assert (sockets.keys, sockets.of_slot(0)) == (frozenset(), {})
    sockets.part()
    assert first.fileno() != -1  # not yet
    assert sockets.bind([key]) == {}
    assert sockets.of_slot(0)[key] == [first]
    sockets.keep([])
    sockets.part(at_once=True)
    assert first.fileno() == -1
    assert sockets.keep([]) is False
