"""One line of the access log for an exchange. Only called when there is a log."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Protocol

from gatewayproxy.dataplane.protocols.answers import meaning
from gatewayproxy.dataplane.protocols.forwarded import client_of
from gatewayproxy.dataplane.stats import AccessRecord

if TYPE_CHECKING:
    from gatewayproxy.dataplane.protocols.exchange import Exchange
    from gatewayproxy.dataplane.protocols.site import Site
    from gatewayproxy.errors import RemoteProtocolError

__all__ = ["access_record", "refusal_record"]


def access_record(exchange: Exchange, now: float) -> AccessRecord:
    """Return the record of an exchange that ended *now*."""
    head, site = exchange.head, exchange.connection.site
    label = exchange.target.entry.label if exchange.target is not None else None
    return AccessRecord(
        protocol=f"{site.scheme.decode()}/{exchange.version}",
        listener=exchange.vhost.listener.name if exchange.vhost is not None else site.label,
        route=label.route_text if label is not None else "",
        rule=label.rule_text if label is not None else "",
        backend=exchange.target.choice.name if exchange.target is not None else "",
        endpoint=exchange.pool.name if exchange.pool is not None and exchange.attempts else "",
        client=client_of(head, exchange.connection.peer, site.limits.trusted_hops).decode("ascii", "backslashreplace"),
        method=head.method,
        host=head.authority,
        target=head.target,
        status=exchange.status,
        reason=exchange.reason,
        detail=exchange.detail or (meaning(exchange.reason) if exchange.reason else ""),
        bytes_in=exchange.bytes_in,
        bytes_out=exchange.bytes_out,
        started_at=exchange.started_at,
        duration_s=now - exchange.started_at,
        connect_s=exchange.connect_s,
        upstream_s=exchange.first_at - exchange.started_at - exchange.connect_s if exchange.first_at else 0.0,
        generation=exchange.generation,
        request_id=exchange.request_id,
        attempts=exchange.attempts,
        grpc_status=exchange.grpc_status,
    )


class Refusing(Protocol):
    """A connection whose client has sent something unreadable."""

    site: Site
    listener_name: str
    peer: bytes


def refusal_record(
    connection: Refusing, error: RemoteProtocolError, version: str = "1.1", *, bytes_out: int = 0
) -> AccessRecord:
    """Return the record of a request whose head could not be read; *version* is HTTP's, *bytes_out* the answer's."""
    site = connection.site
    return AccessRecord(
        protocol=f"{site.scheme.decode()}/{version}",
        listener=connection.listener_name,
        client=connection.peer.decode("ascii", "backslashreplace"),
        started_at=monotonic(),
        generation=site.context.generation,
        status=error.status,
        reason=error.reason,
        detail=str(error),
        bytes_out=bytes_out,
    )
