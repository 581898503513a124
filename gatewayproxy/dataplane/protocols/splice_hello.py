"""PendingHello: a client of a passthrough port, until it is known which server it asks for.

The ClientHello is looked at where it lies (MSG_PEEK): whatever the outcome, no byte is consumed, and the backend gets
the stream as it came. SO_RCVLOWAT is set to what is missing, so that a client that sends byte by byte wakes us a few
times, not for every byte.
"""

from __future__ import annotations

import ctypes
import select
import socket
from collections.abc import Callable
from typing import Final

from gatewayproxy.dataplane.protocols.splice_reactor import ARRIVALS, Reactor
from gatewayproxy.dataplane.protocols.splice_record import Client, Cutoff
from gatewayproxy.dataplane.protocols.splice_socket import peek, set_option
from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.wire.client_hello import WIRE_BYTES, server_name

__all__ = ["PendingHello"]

_OVER: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_BUFFER: Final = ctypes.create_string_buffer(WIRE_BYTES)  # one event loop a process: never in use across a call
_DECIDED: Final = Cutoff()
_VIEW: Final = memoryview(_BUFFER).cast("B")


class PendingHello:
    """Calls *decide*(client, name, cutoff) once: with the name (None: no SNI), or with why there is none to be had."""

    __slots__ = ("_client", "_decide", "_done_with", "_patient", "_reactor")

    def __init__(
        self, reactor: Reactor, client: Client, decide: Callable[[PendingHello, Client, bytes | None, Cutoff], None]
    ) -> None:
        self._reactor = reactor
        self._client = client
        self._decide = decide
        self._patient = False  # SO_RCVLOWAT is above 1
        self._done_with = False

    def begin(self) -> None:
        """Look at what is there already, then wait for the rest."""
        self.ready(0)
        if not self._done_with:
            self._reactor.hellos.add(self)
            self._reactor.watch(self._client.fd, self, ARRIVALS)

    def ready(self, events: int) -> None:
        """Look at what has arrived."""
        try:
            n = peek(self._client.fd, _BUFFER)
            if n < 0:
                return
            found = server_name(_VIEW[:n])
        except OSError as error:
            self._done(None, Cutoff("client_closed", error.strerror or ""))
            return
        except RemoteProtocolError as error:
            self._done(None, Cutoff(error.reason, str(error)))
            return
        if not isinstance(found, int):
            self._done(found, _DECIDED)
        elif events & _OVER:
            self._done(None, Cutoff("client_closed", f"after {n} bytes of the ClientHello"))
        else:
            self._wait_for(found)

    def expire(self) -> None:
        """Give up: the ClientHello took too long."""
        self._done(None, Cutoff("hello_timeout"))

    def give_way(self) -> None:
        """Give up: others wait, and this client has had its time (`HandshakeGate`)."""
        self._done(None, Cutoff("handshake_evicted"))

    def crashed(self) -> None:
        """Close the connection."""
        self._done(None, Cutoff("internal_error"))

    def cut(self, reason: str) -> None:
        """Close the connection for *reason*."""
        self._done(None, Cutoff(reason))

    def _wait_for(self, n_bytes: int) -> None:
        self._patient = True
        set_option(self._client.fd, socket.SOL_SOCKET, socket.SO_RCVLOWAT, n_bytes)

    def _done(self, name: bytes | None, cutoff: Cutoff) -> None:
        self._done_with = True
        self._reactor.hellos.drop(self)
        self._reactor.unwatch(self._client.fd)
        if self._patient:
            set_option(self._client.fd, socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        self._decide(self, self._client, name, cutoff)
