"""An HTTPS listener in this process, with a protocol of the test's own inside."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.listeners.https import HttpsListener
from gatewayproxy.dataplane.stats import AccessRecord
from gatewayproxy.dataplane.upstream.registry import Registry
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import Certificate
from gatewayproxy.routing.table import ListenerLabel, Port, PortKind, SniIndex, SniTarget

Certificates = tuple[Certificate, ...]


class Echo(asyncio.Protocol):
    """Sends back what it gets; stops reading while the peer does not read."""

    def __init__(self, label: ListenerLabel) -> None:
        self.label = label
        self.transport: asyncio.Transport
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.got = 0
        self.half_close = False
        self.paused = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.got += len(data)
        self.transport.write(data)

    def eof_received(self) -> bool:
        return self.half_close

    def pause_writing(self) -> None:
        self.paused += 1
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


class EchoSpeaker:
    """Speaks `Echo`."""

    def __init__(self) -> None:
        self.inner: list[Echo] = []

    def speak(self, target: SniTarget, alpn: str | None, server_name: bytes) -> Echo:
        self.inner.append(Echo(target.listener))
        return self.inner[-1]

    def update(self, port: Port) -> None:
        pass

    def drain(self) -> None:
        for inner in self.inner:
            inner.transport.close()


def https_port(
    bind_port: int,
    exact: Mapping[bytes, Certificates] | None = None,
    wildcard: Mapping[bytes, Certificates] | None = None,
    default: Certificates | None = None,
) -> Port:
    """Return an HTTPS port with one listener per name; each listener is called by its name."""
    labels: list[ListenerLabel] = []

    def target(name: str, certificates: Certificates) -> SniTarget:
        labels.append(ListenerLabel(len(labels), name))
        return SniTarget(listener=labels[-1], certificates=certificates)

    sni = SniIndex(
        exact={name: target(name.decode(), c) for name, c in (exact or {}).items()},
        wildcard={name: target("*" + name.decode(), c) for name, c in (wildcard or {}).items()},
        default=target("default", default) if default is not None else None,
    )
    return Port(
        kind=PortKind.HTTPS, address="127.0.0.1", bind_port=bind_port, port=443, listeners=tuple(labels), sni=sni
    )


@dataclass
class Running:
    """A listener at work, and what has come of its connections."""

    listener: HttpsListener
    context: Context
    number: int  # of the bound port
    inner: list[Echo]
    records: list[AccessRecord] = field(default_factory=list)

    def reasons(self) -> list[str]:
        """Return the reason codes counted so far."""
        return sorted(reason for _, reason in self.context.stats.reasons)


@contextmanager
def echo_listener(
    make_port: Callable[[int], Port],
    *,
    limits: Limits | None = None,
    secret: bytes = b"",
    sock: socket.socket | None = None,
) -> Iterator[Running]:
    """Run an HTTPS listener with an `Echo` inside each connection, on an ephemeral port or on *sock*."""
    if sock is None:
        sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    number = sock.getsockname()[1]
    context = Context(registry=Registry(), limits=limits or Limits(), ticket_secret=secret)
    speaker = EchoSpeaker()
    listener = HttpsListener(make_port(number), [sock], context, speaker)
    running = Running(listener, context, number, speaker.inner)
    context.access = running.records.append
    try:
        yield running
    finally:
        listener.stop()
        listener.abort()
