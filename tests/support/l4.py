"""An L4 listener of ours in this process, on an ephemeral loopback port, with a hand-made routing table behind it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.listeners import LISTENERS
from gatewayproxy.dataplane.protocols.splice_accept import StreamListener
from gatewayproxy.dataplane.stats import AccessRecord
from gatewayproxy.dataplane.upstream.registry import Registry
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import Cluster, Endpoint, Refusal
from gatewayproxy.routing.pick import step_for
from gatewayproxy.routing.table import (
    BackendChoice,
    BackendGroup,
    ListenerLabel,
    Port,
    PortKind,
    RouteEntry,
    RuleLabel,
    SniAction,
    SniIndex,
    SniTarget,
)

__all__ = [
    "L4", "choice", "entry", "open_fds", "open_l4", "refused", "sni_port", "tcp_port", "wait_until",
]  # fmt: skip

LISTENER = ListenerLabel(0, "default/gw/l4")


def choice(name: str, *endpoints: tuple[str, int]) -> BackendChoice:
    """Return a choice that forwards to *endpoints*."""
    return BackendChoice(name=name, cluster=Cluster(name=name, endpoints=tuple(Endpoint(*e) for e in endpoints)))


def refused(name: str, reason: str) -> BackendChoice:
    """Return a choice whose share is refused."""
    return BackendChoice(name=name, refusal=Refusal(500, reason))


def entry(*choices: BackendChoice, weights: Sequence[int] = (), kind: str = "TCPRoute", index: int = 0) -> RouteEntry:
    """Return an entry over *choices*, equally weighted unless *weights* says otherwise."""
    weights = weights or [1] * len(choices)
    bounds = tuple(sum(weights[: i + 1]) for i in range(len(weights)))
    group = BackendGroup(index=index, choices=choices, bounds=bounds, step=step_for(bounds[-1]))
    label = RuleLabel(LISTENER.name, kind, f"default/route-{index}", 0)
    return RouteEntry(index=index, label=label, fingerprint=bytes([index]) * 16, group=group)


def tcp_port(route: RouteEntry | None) -> Port:
    """Return a TCP port."""
    return Port(kind=PortKind.TCP, address="127.0.0.1", bind_port=0, port=0, listeners=(LISTENER,), tcp=route)


def sni_port(
    exact: dict[bytes, RouteEntry | None] | None = None,
    *,
    wildcard: dict[bytes, RouteEntry] | None = None,
    default: RouteEntry | None = None,
) -> Port:
    """Return a passthrough port with these server names."""

    def target(route: RouteEntry | None) -> SniTarget:
        return SniTarget(listener=LISTENER, action=SniAction.PASSTHROUGH, entry=route)

    index = SniIndex(
        exact={name: target(route) for name, route in (exact or {}).items()},
        wildcard={name: target(route) for name, route in (wildcard or {}).items()},
        default=target(default) if default else None,
    )
    return Port(kind=PortKind.TLS, address="127.0.0.1", bind_port=0, port=0, listeners=(LISTENER,), sni=index)


class L4:
    """A listener at work."""

    def __init__(self, listener: StreamListener, context: Context, address: tuple[str, int]) -> None:
        self.listener = listener
        self.context = context
        self.address = address
        self.records: list[AccessRecord] = []
        context.access = self.records.append

    @property
    def reasons(self) -> dict[str, int]:
        """Return how often each reason was counted."""
        return {reason: n for (_, reason), n in self.context.stats.reasons.items()}

    async def record(self, n: int = 1) -> AccessRecord:
        """Wait for the n-th access record."""
        await wait_until(lambda: len(self.records) >= n, f"{n} access records")
        return self.records[n - 1]


@contextlib.asynccontextmanager
async def open_l4(port: Port, *, limits: Limits | None = None, host: str = "127.0.0.1") -> AsyncIterator[L4]:
    """Serve *port* on an ephemeral port of *host*; at exit everything is closed and counted out."""
    sock = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024)
    context = Context(registry=Registry(), limits=limits or Limits())
    context.registry.attach(context.limits, context.stats)
    listener = LISTENERS[port.kind](port, [sock], context)
    assert isinstance(listener, StreamListener)
    l4 = L4(listener, context, sock.getsockname()[:2])
    try:
        yield l4
    finally:
        listener.stop()
        listener.abort()
        await wait_until(lambda: listener.connections == 0, "the listener to empty")
        assert context.connections.count == 0
        assert context.handshakes.count == 0
        assert all(row.active == 0 for row in context.stats.rows.values())
        context.registry.collect()
        assert all(row[0] == 0 for row in context.stats.upstream.values())
        context.registry.close()
        assert listener.reactor.pipes.lent == 0


async def wait_until(condition: Callable[[], bool], what: str, *, deadline_s: float = 60.0) -> None:
    """Wait until *condition* holds, looking every few milliseconds; fail with *what* at the deadline."""
    loop = asyncio.get_running_loop()
    deadline_at = loop.time() + deadline_s
    while not condition():
        assert loop.time() < deadline_at, f"waited {deadline_s} s for {what}"
        await asyncio.sleep(0.003)


@contextlib.asynccontextmanager
async def open_fds() -> AsyncIterator[None]:
    """Assert that the block leaves no descriptor open, a few turns of the loop later."""
    warm = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)  # what a loop keeps
    async with warm:
        _, writer = await asyncio.open_connection(*warm.sockets[0].getsockname())
        writer.close()
        await writer.wait_closed()
    await asyncio.sleep(0)
    before = _descriptors()
    yield
    left: Counter[str] = Counter()

    def none_left() -> bool:
        nonlocal left
        left = _descriptors() - before
        return not left

    with contextlib.suppress(AssertionError):
        await wait_until(none_left, "descriptors to close", deadline_s=20)
    assert not left, f"descriptors left open: {left}"


def _descriptors() -> Counter[str]:
    """Return how many descriptors of each type are open: "socket", "pipe", "anon_inode:[eventpoll]", a path ..."""
    found: Counter[str] = Counter()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{fd}")
            found[target.partition(":[")[0] if target.startswith(("socket", "pipe")) else target] += 1
    return found
