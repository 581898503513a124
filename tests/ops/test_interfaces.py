"""The address of this host: one that a socket can be bound to."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from gatewayproxy.ops.interfaces import host_address


def test_the_address_is_one_of_this_host() -> None:
    found = ip_address(host_address())
    assert not found.is_unspecified
    family = socket.AF_INET if found.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as ours:
        ours.bind((str(found), 0))


def test_a_host_without_a_route_to_others_has_its_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "socket", unreachable)
    assert host_address() == "127.0.0.1"
