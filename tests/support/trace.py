"""One downstream and one upstream connection in memory, for scripts of bytes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.protocols.http1 import Http1Connection
from gatewayproxy.dataplane.protocols.site import Site
from gatewayproxy.dataplane.upstream.connection import UpstreamConnection
from gatewayproxy.dataplane.upstream.pool import EndpointPool
from gatewayproxy.dataplane.upstream.registry import Registry
from gatewayproxy.model.headops import HeadEdit
from gatewayproxy.model.limits import Limits
from gatewayproxy.routing.table import HostIndex
from tests.support.memory import MemoryTransport
from tests.support.worker import cluster, forward, http_port, vhost

__all__ = ["Trace", "trace"]


@dataclass
class Trace:
    """Both ends: what each transport got is in `client` and `backend`."""

    downstream: Http1Connection
    upstream: UpstreamConnection
    client: MemoryTransport
    backend: MemoryTransport
    pool: EndpointPool
    context: Context


@contextmanager
def trace(*, limits: Limits | None = None, request: HeadEdit | None = None) -> Iterator[Trace]:
    """Serve everything from one idle upstream connection."""
    context = Context(registry=Registry(), limits=limits or Limits())
    target = cluster(1)
    site = Site(
        http_port(1, HostIndex(default=vhost({b"": forward(target, request=request)}))), context, scheme=b"http"
    )
    pool = context.registry.cluster(target).pools[0]
    quiet, other_end = socket.socketpair()
    client, backend = MemoryTransport(), MemoryTransport(quiet)
    upstream = UpstreamConnection(pool)
    upstream.connection_made(backend)
    pool.connections.add(upstream)
    pool.put(upstream)
    downstream = Http1Connection(site)
    downstream.connection_made(client)
    try:
        yield Trace(downstream, upstream, client, backend, pool, context)
    finally:
        if not client.closed:
            downstream.connection_lost(None)
        context.registry.close()
        quiet.close()
        other_end.close()
