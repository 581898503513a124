"""Descriptors: what is accepted, dialled and peeked at, and how failures are told."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
from pathlib import Path

import pytest

from gatewayproxy.dataplane.protocols import splice_socket
from gatewayproxy.dataplane.protocols.accepting import Next, after_failure
from gatewayproxy.dataplane.protocols.splice_dial import target_of
from gatewayproxy.model.plan import Endpoint
from tests.support.ports import closed_port

LOCAL = [
    pytest.param(socket.AF_INET, "127.0.0.1", "127.0.0.1", id="IPv4"),
    pytest.param(socket.AF_INET6, "::1", "::1", id="IPv6"),
    pytest.param(socket.AF_INET6, "::ffff:127.0.0.1", "127.0.0.1", id="IPv4 in IPv6"),
]


def listening(family: socket.AddressFamily, host: str) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind((host, 0))
    sock.listen()
    sock.setblocking(False)
    return sock


@pytest.mark.parametrize(("family", "host", "ip"), LOCAL)
def test_a_dialled_and_an_accepted_descriptor_are_ends_of_one_connection(
    family: socket.AddressFamily, host: str, ip: str
) -> None:
    with listening(family, host) as server:
        assert splice_socket.accept(server.fileno()) is None
        dialled = splice_socket.connect(*target_of(Endpoint(host, server.getsockname()[1])))
        select.select([server], [], [], 10)
        accepted = splice_socket.accept(server.fileno())
        assert accepted is not None
        with socket.socket(fileno=dialled) as client, socket.socket(fileno=accepted[0]) as conn:
            assert splice_socket.ip_of(accepted[1]) == ip
            for end in (client, conn):
                assert not os.get_blocking(end.fileno())
                assert not end.get_inheritable()
            assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert client.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE)
            select.select([], [client], [], 10)
            client.send(b"hello")
            select.select([conn], [], [], 10)
            buffer = ctypes.create_string_buffer(16)
            assert splice_socket.peek(conn.fileno(), buffer) == 5
            assert conn.recv(16) == b"hello"
            assert splice_socket.peek(conn.fileno(), buffer) == -1


def test_a_unix_path_is_dialled_and_its_client_has_no_address(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        server.setblocking(False)
        dialled = splice_socket.connect(*target_of(Endpoint(f"unix:{path}", 0)))
        accepted = splice_socket.accept(server.fileno())
        assert accepted is not None
        with socket.socket(fileno=dialled), socket.socket(fileno=accepted[0]):
            assert splice_socket.ip_of(accepted[1]) == ""


@pytest.mark.parametrize(
    ("endpoint", "code"),
    [
        pytest.param(Endpoint("not-an-address.invalid", 1), errno.EADDRNOTAVAIL, id="a name"),
        pytest.param(Endpoint("unix:" + "x" * 108, 0), errno.ENAMETOOLONG, id="a path too long"),
        pytest.param(Endpoint("unix:/nonexistent/socket", 0), errno.ENOENT, id="no such path"),
    ],
)
def test_what_cannot_be_dialled_fails_at_once(endpoint: Endpoint, code: int) -> None:
    with pytest.raises(OSError, check=lambda error: error.errno == code):
        splice_socket.connect(*target_of(endpoint))


def test_a_refused_connection_has_its_error_pending_once() -> None:
    fd = splice_socket.connect(*target_of(Endpoint(*closed_port())))
    with socket.socket(fileno=fd):
        select.select([], [fd], [], 10)
        assert splice_socket.error_of(fd) == errno.ECONNREFUSED
        assert splice_socket.error_of(fd) == 0
        with pytest.raises(OSError, check=lambda error: error.errno == errno.ENOTCONN):
            splice_socket.shutdown(fd, socket.SHUT_WR)


def test_reset_at_close_is_a_reset_to_the_peer() -> None:
    ours, theirs = tcp_pair()
    splice_socket.reset_at_close(ours.fileno())
    ours.close()
    with theirs, pytest.raises(ConnectionResetError):
        theirs.recv(1)


def test_a_descriptor_that_is_no_listener_is_told() -> None:
    ours, theirs = tcp_pair()
    with ours, theirs, pytest.raises(OSError, check=lambda error: error.errno == errno.EINVAL):
        splice_socket.accept(ours.fileno())


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname(), timeout=60)
        other, _ = server.accept()
        other.settimeout(60)
        return one, other


@pytest.mark.parametrize(
    ("code", "to_do", "told", "event"),
    [
        pytest.param(errno.ECONNABORTED, Next.ANOTHER, False, "", id="the client is gone"),
        pytest.param(errno.EMFILE, Next.LATER, False, "accept_paused", id="out of descriptors"),
        pytest.param(errno.ENOMEM, Next.LATER, True, "", id="said before"),
        pytest.param(errno.EINVAL, Next.NEVER, False, "accept_failed", id="no listener any more"),
    ],
)
def test_a_failed_accept_is_judged_and_told(
    code: int, to_do: Next, told: bool, event: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert after_failure(OSError(code, "why"), "default/gw/l4", told=told) is to_do
    assert [record.msg.split()[0] for record in caplog.records] == ([event] if event else [])
