"""The access record of an L4 connection, and the values it is made of."""

from __future__ import annotations

from typing import NamedTuple

from gatewayproxy.dataplane.protocols.splice_socket import ip_of
from gatewayproxy.dataplane.stats import AccessRecord
from gatewayproxy.routing.table import RuleLabel

__all__ = ["Client", "Cutoff", "record"]


class Client(NamedTuple):
    """An accepted connection."""

    fd: int
    address: bytes  # as accept(2) gave it
    accepted_at: float  # monotonic: the loop's own clock is whole milliseconds
    host: bytes = b""  # the server name it asked for


class Cutoff(NamedTuple):
    """Why a stream ended other than by both sides closing; reason "" = it did not."""

    reason: str = ""
    detail: str = ""


def record(
    client: Client,
    cutoff: Cutoff,
    *,
    protocol: str,
    listener: str,
    label: RuleLabel | None,
    generation: int,
    duration_s: float,
    backend: str = "",
    endpoint: str = "",
    bytes_in: int = 0,
    bytes_out: int = 0,
    connect_s: float = 0.0,
    attempts: int = 0,
) -> AccessRecord:
    """Return the record of a stream, or of a connection refused before it became one."""
    rule = ""
    if label is not None:
        rule = f"{label.rule} ({label.rule_name})" if label.rule_name else str(label.rule)
    return AccessRecord(
        protocol=protocol,
        listener=listener,
        route=f"{label.kind} {label.route}" if label is not None else "",
        rule=rule,
        backend=backend,
        endpoint=endpoint,
        client=ip_of(client.address),
        method=b"",
        host=client.host,
        target=b"",
        status=0,
        reason=cutoff.reason,
        detail=cutoff.detail,
        bytes_in=bytes_in,
        bytes_out=bytes_out,
        started_at=client.accepted_at,
        duration_s=duration_s,
        connect_s=connect_s,
        upstream_s=0.0,
        generation=generation,
        request_id=b"",
        attempts=attempts,
    )
