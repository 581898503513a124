"""The address of this host that others reach it by."""

from __future__ import annotations

import socket
from typing import Final

__all__ = ["host_address"]

# Addresses for documentation (RFC 5737, RFC 3849): a datagram socket that is connected sends nothing.
_ELSEWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def host_address() -> str:
    """Return the address that connections to the outside start from; of a host without such a route, 127.0.0.1."""
    for family, address in _ELSEWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((address, 9))
                return str(probe.getsockname()[0])
        except OSError:  # no such family, or no route
            continue
    return "127.0.0.1"
