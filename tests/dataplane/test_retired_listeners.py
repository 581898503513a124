"""A listener that is over leaves nothing behind, not even until the next collection: a reload makes many of them."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from collections.abc import Iterator

import pytest

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.listeners import LISTENERS
from gatewayproxy.dataplane.upstream.registry import Registry
from gatewayproxy.model.limits import Limits
from gatewayproxy.routing.table import HostIndex, Port, PortKind, SniIndex
from tests.support.worker import LABEL


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("kind", list(LISTENERS), ids=lambda kind: kind.name)
async def test_a_listener_that_is_over_is_freed_at_once(kind: PortKind, uncollected: None) -> None:
    datagrams = kind is PortKind.UDP
    with socket.socket(type=socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM) as sock:
        sock.bind(("127.0.0.1", 0))
        if not datagrams:
            sock.listen()
        port = Port(
            kind=kind, address="127.0.0.1", bind_port=sock.getsockname()[1], port=80, listeners=(LABEL,),
            http=HostIndex(), sni=SniIndex(),
        )  # fmt: skip
        context = Context(registry=Registry(), limits=Limits())
        listener = LISTENERS[kind](port, [sock.dup()], context)
        left = weakref.ref(listener)
        listener.update(port)
        listener.stop()
        listener.drain()
        del listener, port
        for _ in range(3):
            await asyncio.sleep(0)
        assert left() is None
        context.registry.close()
