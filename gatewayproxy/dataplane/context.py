"""What every connection of a worker may reach: limits, counters, the current generation, the access log."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from gatewayproxy.dataplane.gates import ByteGate, Gate, HandshakeGate
from gatewayproxy.dataplane.misses import Misses
from gatewayproxy.dataplane.shadow import Shadow
from gatewayproxy.dataplane.stats import AccessRecord, Stats
from gatewayproxy.dataplane.upstream.registry import Registry
from gatewayproxy.model.limits import Limits

__all__ = ["Context"]


@dataclass(slots=True, kw_only=True)
class Context:
    """Shared by all listeners of one worker; *generation* moves at each applied table."""

    registry: Registry
    limits: Limits = field(default_factory=Limits)
    stats: Stats = field(default_factory=Stats)
    misses: Misses = field(default_factory=Misses)
    access: Callable[[AccessRecord], None] | None = None  # None: no access log, build no record
    generation: int = 0
    draining: bool = False  # answer "Connection: close" from now on
    ticket_secret: bytes = b""  # TLS session tickets: equal in all workers; b"" = tickets good in one worker only
    session_secret: bytes = field(default_factory=lambda: os.urandom(32))  # signs persistent sessions: equal in all
    explain_from: tuple[IPv4Network | IPv6Network, ...] = ()  # whose answers say what took them: protocols.disclosure
    reactor: object | None = None  # the worker's one Reactor; protocols.splice_reactor keeps it here
    flows: object | None = None  # the worker's one FlowGate; protocols.udp_gate keeps it here
    shadow: Shadow | None = None  # another table, on which requests are decided as well
    connections: Gate = field(init=False)  # downstream connections of this worker, Limits.connections
    handshakes: HandshakeGate = field(init=False)  # TLS handshakes under way, Limits.handshakes
    judged: ByteGate = field(init=False)  # bodies that wait for a verdict, Limits.ext_auth_bodies_bytes
    copies: ByteGate = field(init=False)  # for mirrors without a connection, Limits.mirror_bytes

    def __post_init__(self) -> None:
        self.connections = Gate(self.limits.connections)
        self.handshakes = HandshakeGate(self.limits.handshakes)
        self.judged = ByteGate(self.limits.ext_auth_bodies_bytes)
        self.copies = ByteGate(self.limits.mirror_bytes)
        self.registry.attach(self.limits, self.stats)
