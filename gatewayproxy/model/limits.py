"""Named bounds of the data plane, with defaults. `docs/reference.md` lists them, with what a client sees at each."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import NamedTuple, TypeVar

__all__ = ["LIMITS", "Limit", "Limits"]

T = TypeVar("T", int, float)


def _limit(default: T, meaning: str) -> T:
    """Declare a bound: its default, what it bounds, and what happens at it (status or close)."""
    declared: T = field(default=default, metadata={"meaning": meaning})
    return declared


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes, times in seconds; 0 = no limit where a field says so."""

    head_bytes: int = _limit(65_536, "request or response head; 431, or 502 towards a backend")
    head_fields: int = _limit(128, "field lines of a head; 431, or 502")
    target_bytes: int = _limit(16_384, "request target; 414")
    body_bytes: int = _limit(0, "request body, 0 = no limit; 413")
    head_timeout_s: float = _limit(5.0, "first byte of a head to its end; 408")
    body_timeout_s: float = _limit(60.0, "silence within a request body; 408")
    idle_timeout_s: float = _limit(75.0, "silence between requests; close")
    tunnel_idle_timeout_s: float = _limit(0.0, "silence on an upgraded connection, 0 = no limit; close")
    tcp_idle_timeout_s: float = _limit(0.0, "silence on a TCP or passthrough stream, 0 = no limit; close")
    udp_idle_timeout_s: float = _limit(60.0, "silence of a UDP client and its backend, 0 = no limit; its flow ends")
    udp_flows: int = _limit(10_000, "clients of UDP ports per worker; the flow that is silent longest gives way")
    handshake_timeout_s: float = _limit(10.0, "TLS handshake, a whole ClientHello, a first byte in clear text; close")
    handshakes: int = _limit(1_000, "TLS handshakes under way per worker; more wait, the oldest gives way")
    connections: int = _limit(20_000, "downstream connections per worker; more wait in the accept queue")
    ext_auth_timeout_s: float = _limit(5.0, "an external authorization server's answer; 504")
    ext_auth_body_bytes: int = _limit(
        1_048_576, "request body kept for an external authorization server, whatever forwardBody allows; 413"
    )
    ext_auth_bodies_bytes: int = _limit(
        67_108_864, "all these bodies of a worker; the one that has waited longest gives way, 503"
    )
    ext_auth_answer_bytes: int = _limit(262_144, "body of an external authorization server's answer; 503")
    mirror_bytes: int = _limit(
        67_108_864, "copies of a worker that wait for a connection to their mirror; the oldest is dropped"
    )
    connect_timeout_s: float = _limit(5.0, "TCP connect to an endpoint; 503")
    upstream_connections: int = _limit(1_024, "per endpoint and worker")
    upstream_queue: int = _limit(1_024, "requests waiting for a connection per endpoint and worker; 503")
    upstream_queue_s: float = _limit(5.0, "longest wait there; 503")
    upstream_idle_s: float = _limit(60.0, "an unused pooled connection is closed")
    buffer_bytes: int = _limit(262_144, "per direction and connection before reading pauses")
    h2_streams: int = _limit(100, "HTTP/2: streams open at once on a connection; REFUSED_STREAM")
    h2_stream_window_bytes: int = _limit(
        262_144, "HTTP/2: body bytes of a stream that may wait in us, at first 65,535; the peer pauses"
    )
    h2_connection_window_bytes: int = _limit(
        8_388_608,
        "HTTP/2: the same of all streams of a connection, at least 65,535 for each; their windows grow no more",
    )
    h2_ping_s: float = _limit(30.0, "HTTP/2: silence of a client with streams open, 0 = no limit; PING")
    h2_pong_s: float = _limit(20.0, "HTTP/2: a client's silence behind a PING; close")
    h2_age_s: float = _limit(3_600.0, "HTTP/2: age of a connection, less up to a tenth, 0 = no limit; GOAWAY")
    h2_continuations: int = _limit(16, "HTTP/2: CONTINUATION frames of a header block; ENHANCE_YOUR_CALM")
    h2_control_frames: int = _limit(
        1_000, "HTTP/2: frames at once that move no body and open no stream, a tenth a second; ENHANCE_YOUR_CALM"
    )
    h2_resets: int = _limit(
        200, "HTTP/2: streams at once cancelled or broken by a client, a tenth a second; ENHANCE_YOUR_CALM"
    )
    upstream_retry_bytes: int = _limit(
        65_536, "request bytes kept until a backend that speaks HTTP/2 answers, to be sent again if refused; 503"
    )
    upstream_h2_streams: int = _limit(100, "HTTP/2: streams open at once on a connection to an endpoint; another one")
    upstream_h2_requests: int = _limit(0, "HTTP/2: streams of a connection to an endpoint, 0 = no limit; another one")
    upstream_h2_age_s: float = _limit(3_600.0, "HTTP/2: age of a connection to an endpoint, 0 = no limit; another one")
    upstream_ping_s: float = _limit(30.0, "HTTP/2: silence of an endpoint with streams open; PING")
    upstream_pong_s: float = _limit(10.0, "HTTP/2: an endpoint's silence behind a PING; 502, or another connection")
    drain_s: float = _limit(30.0, "SIGTERM or a removed listener: how long exchanges and streams may finish")
    trusted_hops: int = _limit(0, "proxies in front whose X-Forwarded-* we believe")


class Limit(NamedTuple):
    """One bound, for command lines and manuals."""

    name: str
    default: int | float
    meaning: str  # "what it bounds; what happens at it"


LIMITS = tuple(Limit(each.name, getattr(Limits(), each.name), each.metadata["meaning"]) for each in fields(Limits))
