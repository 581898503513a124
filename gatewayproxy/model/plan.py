"""The Plan: what the manifests mean, after all Gateway API semantics. Plain, frozen, printable data.

A frontend (Gateway API, later xDS) makes it; `compiler.lower` turns it into a RoutingTable. It holds only what
serves: rejected objects are in the StatusReport. Names are str; what will meet the wire is bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from gatewayproxy.model.headops import HeadOp, Redirect
from gatewayproxy.model.names import ListenerKey, ResourceKey
from gatewayproxy.model.protocols import AppProtocol, Protocol, TlsMode
from gatewayproxy.model.traffic import Cors, Retry, RetryBudget, Session

__all__ = [
    "Attachment", "Backend", "BackendTls", "Certificate", "ClientValidation", "Cluster", "Endpoint", "ExternalAuth",
    "FilterChain", "GRPCMatch", "HeaderTest", "Listener", "Match", "MirrorTo", "PathKind", "Plan", "QueryTest",
    "Refusal", "Route", "Rule", "TrustBundle",
]  # fmt: skip


class PathKind(Enum):
    """How a path match compares."""

    EXACT = "Exact"
    REGEX = "RegularExpression"
    PREFIX = "PathPrefix"


class Endpoint(NamedTuple):
    """Where to connect: an IP literal or DNS name and a port, or ("unix:/run/app.sock", 0)."""

    host: str
    port: int

    @property
    def address(self) -> str:
        """Return "10.0.0.7:8080", "[::1]:8080" or "unix:/run/app.sock": as it is written, logged and counted."""
        if self.host.startswith("unix:"):
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Refusal(NamedTuple):
    """An answer the gateway gives itself in place of a backend."""

    status: int  # HTTP status
    reason: str  # stable reason code of the access log: backend_not_found, ref_not_permitted, no_endpoints ...
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """One backend port and the endpoints behind it. Equal values share pools, health and balancing across reloads."""

    name: str  # "namespace/name:port"
    protocol: AppProtocol = AppProtocol.HTTP
    endpoints: tuple[Endpoint, ...] = ()
    dns: Endpoint | None = None  # resolve this name instead; endpoints is () then
    tls: BackendTls | None = None  # None: plain text
    retry_budget: RetryBudget | None = None  # None: rules alone say how often requests are retried


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorTo:
    """RequestMirror: send a copy of numerator/denominator of the requests to *cluster*."""

    cluster: Cluster
    numerator: int = 1
    denominator: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalAuth:
    """HTTPExternalAuthFilter: *cluster* is asked whether a request may pass. Names of fields are lower-case."""

    cluster: Cluster
    grpc: bool = False  # Envoy's ext_authz v3; else a request like the client's, and 200 means yes
    authority: bytes = b""  # gRPC: of the server
    path: bytes = b""  # HTTP: goes before the client's path
    request_headers: tuple[bytes, ...] = ()  # of the client, that the server sees; gRPC: () is all
    response_headers: tuple[bytes, ...] = ()  # HTTP: of the server, that the backend sees; () is all
    body_bytes: int = 0  # most of the body that the server sees; larger ones are refused. 0: it sees none
    before: tuple[HeadOp, ...] = ()  # Set, Add, Remove of the filters before it


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterChain:
    """What the filters of a rule or of a backendRef come to."""

    request: tuple[HeadOp, ...] = ()
    response: tuple[HeadOp, ...] = ()  # Set, Add, Remove
    auths: tuple[ExternalAuth, ...] = ()  # asked one after another; *request* is what comes behind them
    redirect: Redirect | None = None
    mirrors: tuple[MirrorTo, ...] = ()
    cors: Cors | None = None
    refusal: Refusal | None = None  # a filter that cannot be honoured: requests fail, it is never skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A backendRef: its share of requests goes to *cluster*, or gets *refusal* (exactly one of the two)."""

    name: str  # "namespace/name:port", for logs and metrics
    weight: int = 1
    cluster: Cluster | None = None
    refusal: Refusal | None = None
    filters: FilterChain = field(default_factory=FilterChain)


class HeaderTest(NamedTuple):
    """HTTPHeaderMatch, GRPCHeaderMatch: *name* lower-case; *value* exact, or an RE2 pattern that must match in full."""

    name: bytes
    value: bytes
    regex: bool = False


class QueryTest(NamedTuple):
    """HTTPQueryParamMatch: name and value after percent-decoding, case-sensitive; the first occurrence counts."""

    name: bytes
    value: bytes
    regex: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """HTTPRouteMatch with defaults applied."""

    path_kind: PathKind = PathKind.PREFIX
    path: bytes = b"/"  # as written; PREFIX compares by segment, a trailing "/" is ignored
    method: bytes | None = None
    headers: tuple[HeaderTest, ...] = ()
    query: tuple[QueryTest, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GRPCMatch:
    """GRPCRouteMatch with defaults applied. Of a call's path, "/service/method", the service ends at the second "/"."""

    service: bytes = b""  # b"": any
    method: bytes = b""
    regex: bool = False  # both are RE2 patterns, each of which must match in full
    headers: tuple[HeaderTest, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of a route. L4 rules use `backends` alone."""

    index: int
    name: str = ""
    matches: tuple[Match | GRPCMatch, ...] = ()  # all of one type, that of the route's kind
    filters: FilterChain = field(default_factory=FilterChain)
    backends: tuple[Backend, ...] = ()
    request_timeout_s: float = 0.0  # 0 = no limit (no hidden default)
    backend_timeout_s: float = 0.0
    retry: Retry | None = None
    session: Session | None = None
    refusal: Refusal | None = None  # the whole rule answers this (e.g. no backends and no answering filter: 500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """An accepted route: HTTPRoute, GRPCRoute, TLSRoute, TCPRoute or UDPRoute (key.kind)."""

    key: ResourceKey
    created: float = 0.0  # Unix seconds of creationTimestamp; inf where there is none: undated is youngest
    rules: tuple[Rule, ...] = ()


class Attachment(NamedTuple):
    """A route on a listener. hostnames: (effective, own) pairs; effective = own ∩ the listener's; "" = any."""

    route: Route
    hostnames: tuple[tuple[str, str], ...] = (("", ""),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate chain and its key, PEM."""

    chain_pem: bytes = field(repr=False)
    key_pem: bytes = field(repr=False)
    digest: str  # hex, over chain and key
    names: tuple[str, ...] = ()  # DNS SANs, for tools
    not_after: int = 0  # Unix seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustBundle:
    """Certificates that vouch for others: each is a trust anchor, whether it is a root or not."""

    pem: bytes = field(repr=False)  # ASCII: certificates only, each once
    digest: str  # hex, over *pem*
    not_after: int = 0  # Unix seconds: when the last of them expires


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientValidation:
    """FrontendTLSValidation: which clients a listener that terminates TLS lets in."""

    trust: TrustBundle
    insecure_fallback: bool = False  # ask for a certificate, and take whatever comes, or none

    @property
    def scope(self) -> str:
        """Return a text that is equal for equal validations only."""
        return f"{self.trust.digest}{' or none' if self.insecure_fallback else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendTls:
    """TLS to the endpoints of a cluster: the name that is asked for, and which certificates are believed."""

    server_name: str  # SNI
    names: tuple[str, ...] = ()  # DNS names; the endpoint must have one of them ("*.a": any below a) ...
    uris: tuple[str, ...] = ()  # ... or one of these URIs
    trust: TrustBundle | None = None  # None: the authorities that the system trusts
    certificate: Certificate | None = None  # of ours, for endpoints that ask for one
    of_gateway: bool = False  # ours is that of the Gateway where the traffic came in; lowering puts it in place


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A listener that serves."""

    key: ListenerKey
    protocol: Protocol
    port: int  # as the manifest says; what clients see in Location and X-Forwarded-Port
    bind_port: int  # where we bind (--map-port)
    addresses: tuple[str, ...] = ("",)  # IP literals; "" = all interfaces, IPv4 and IPv6
    hostname: str = ""
    tls_mode: TlsMode | None = None
    certificates: tuple[Certificate, ...] = ()
    client_validation: ClientValidation | None = None  # None: clients are not asked for certificates
    backend_certificate: Certificate | Refusal | None = None  # ours, for backends; Refusal: cannot be had
    attachments: tuple[Attachment, ...] = ()  # TCP, UDP: the oldest route first; only that one gets traffic

    @property
    def withheld(self) -> bool:
        """Tell whether TLS is to end here and cannot: there is no certificate."""
        return self.tls_mode is TlsMode.TERMINATE and not self.certificates


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that serves, in a stable order (Gateways by age and name, listeners as written)."""

    listeners: tuple[Listener, ...] = ()
    # They cannot serve, beside others of their ports that do: nobody gets their names. Without attachments, and without
    # certificates where they may not so much as end TLS.
    withheld: tuple[Listener, ...] = ()
