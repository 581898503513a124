"""The RoutingTable: what a worker runs. Plain, picklable, immutable; nothing left to decide but the request.

    RoutingTable ─ Port (one bound address:port)
                    ├─ http: HostIndex ─ VirtualHost ─ layers: PathIndex ─ Candidate ─ RouteEntry ─ BackendGroup
                    ├─ sni:  SniIndex ─ SniTarget (certificates, or a RouteEntry, or both)
                    ├─ tcp:  RouteEntry
                    └─ udp:  RouteEntry

Hosts: `exact` by name, `wildcard` by suffix (".example.com"), `default`. Every key belongs to the most specific
listener that covers it (listener isolation is thus done when compiling). A VirtualHost's layers are tried in order:
own hostname first, then wider ones of the same listener.
All names are lower-case bytes. Objects are shared between hosts; `eq` is identity.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from gatewayproxy.model.headops import HeadEdit, Respond
from gatewayproxy.model.names import BindKey
from gatewayproxy.model.plan import (
    Certificate,
    ClientValidation,
    Cluster,
    ExternalAuth,
    HeaderTest,
    QueryTest,
    Refusal,
)
from gatewayproxy.model.traffic import Cors, Retry, Session

__all__ = [
    "Auth", "BackendChoice", "BackendGroup", "CallTest", "Candidate", "HostIndex", "ListenerLabel", "Mirror",
    "PathIndex", "Port", "PortKind", "RouteEntry", "RoutingTable", "RuleLabel", "SniAction", "SniIndex", "SniTarget",
    "VirtualHost",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class ListenerLabel:
    """A listener as logs and metrics name it; *index* is dense within the table."""

    index: int
    name: str  # "namespace/gateway/listener"
    scope: str = ""  # the name, and what clients were validated by: what a connection may be used for

    def __post_init__(self) -> None:
        if not self.scope:
            object.__setattr__(self, "scope", self.name)


@dataclass(frozen=True, slots=True)
class RuleLabel:
    """A rule as logs and metrics name it."""

    listener: str  # "namespace/gateway/listener"
    kind: str  # "HTTPRoute"
    route: str  # "namespace/name"
    rule: int
    rule_name: str = ""

    @property
    def route_text(self) -> str:
        """Kind and name: "HTTPRoute shop/api"."""
        return f"{self.kind} {self.route}"

    @property
    def rule_text(self) -> str:
        """Index and name: "2", or "2 (checkout)"."""
        return f"{self.rule} ({self.rule_name})" if self.rule_name else str(self.rule)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mirror:
    """A copy of numerator/denominator of the requests, sent to *cluster* with the rule's own edits."""

    cluster: Cluster
    numerator: int
    denominator: int
    request: HeadEdit | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Auth:
    """An external authorization server that requests need the consent of; *before*: edits of what it sees."""

    server: ExternalAuth
    before: HeadEdit | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BackendChoice:
    """One weighted outcome: forward to *cluster*, or answer (*refusal*, *respond*). Edits are rule's + backendRef's."""

    name: str  # "namespace/name:port"
    cluster: Cluster | None = None
    refusal: Refusal | None = None
    respond: Respond | None = None
    request: HeadEdit | None = None
    response: HeadEdit | None = None
    mirrors: tuple[Mirror, ...] = ()  # rule's and backendRef's


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BackendGroup:
    """Weighted choices; see `routing.pick`. Weight-0 choices are left out."""

    index: int  # dense within the table: the caller keeps one turn counter per group
    choices: tuple[BackendChoice, ...]
    bounds: tuple[int, ...]  # cumulative weights, bounds[-1] == total
    step: int  # coprime to the total, near 0.618 of it


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RouteEntry:
    """What to do with a request (or a connection) that matched. Exactly one of group, respond, refusal is set."""

    index: int  # dense within the table: per-rule counters
    label: RuleLabel
    fingerprint: bytes  # 16 bytes; equal in two tables iff label and behaviour are equal
    group: BackendGroup | None = None
    respond: Respond | None = None
    refusal: Refusal | None = None
    response: HeadEdit | None = None  # edits of a `respond` answer
    request_timeout_s: float = 0.0  # 0 = no limit
    backend_timeout_s: float = 0.0
    grpc: bool = False  # a GRPCRoute's: grpc-timeout counts, and gRPC-Web is translated
    auths: tuple[Auth, ...] = ()  # asked one after another, before group or respond
    cors: Cors | None = None
    retry: Retry | None = None
    session: Session | None = None
    resting: tuple[BackendChoice, ...] = ()  # of weight 0: persistent sessions with them go on


class CallTest(NamedTuple):
    """A gRPC call by names that no index finds: "/service/method", where the service ends at the second "/"."""

    service: bytes  # b"": any
    method: bytes
    regex: bool = False  # both are RE2 patterns, each of which must match in full


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """A match behind a path: predicates left to check, and the entry."""

    entry: RouteEntry
    method: bytes | None = None
    headers: tuple[HeaderTest, ...] = ()
    query: tuple[QueryTest, ...] = ()
    regex: bytes | None = None  # RE2 pattern over the whole path; this or `call` for PathIndex.regexes
    call: CallTest | None = None
    bare: bool = False  # set only where no predicate is left: the path decides


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PathIndex:
    """Matches of one (listener, hostname), by path; every tuple in precedence order."""

    exact: dict[bytes, tuple[Candidate, ...]] = field(default_factory=dict)
    regexes: tuple[Candidate, ...] = ()  # tested one after another
    prefix: dict[bytes, tuple[Candidate, ...]] = field(default_factory=dict)  # without trailing "/"; b"" is "/"
    depth: int = 0  # most segments of any prefix


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VirtualHost:
    """A host key: its listener, and the layers to try."""

    listener: ListenerLabel
    layers: tuple[PathIndex, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HostIndex:
    """Host to VirtualHost for one port."""

    exact: dict[bytes, VirtualHost] = field(default_factory=dict)
    wildcard: dict[bytes, VirtualHost] = field(default_factory=dict)  # b".example.com"
    default: VirtualHost | None = None


class SniAction(Enum):
    """What becomes of a connection that asks for a server name."""

    HTTP = "HTTP"  # TLS ends here, and HTTP is inside
    STREAM = "stream"  # TLS ends here, and what is inside goes to a backend
    PASSTHROUGH = "passthrough"
    REFUSE = "refuse"  # the listener that has the name cannot serve: mostly, it has no certificate


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SniTarget:
    """What a server name leads to. HTTP has no *entry*; of the others, one without is refused."""

    listener: ListenerLabel
    action: SniAction = SniAction.HTTP
    certificates: tuple[Certificate, ...] = ()
    validation: ClientValidation | None = None
    entry: RouteEntry | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SniIndex:
    """Server name to SniTarget; *default* also serves clients without SNI."""

    exact: dict[bytes, SniTarget] = field(default_factory=dict)
    wildcard: dict[bytes, SniTarget] = field(default_factory=dict)
    default: SniTarget | None = None


class PortKind(Enum):
    """How a port's bytes are read."""

    HTTP = "HTTP"
    HTTPS = "HTTPS"
    TLS = "TLS"  # the server name tells whether TLS ends here, and what is inside
    TCP = "TCP"
    UDP = "UDP"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Port:
    """One bound address and port."""

    kind: PortKind
    address: str  # IP literal; "" = all interfaces, IPv4 and IPv6
    bind_port: int
    port: int  # what clients see
    listeners: tuple[ListenerLabel, ...]
    http: HostIndex | None = None
    sni: SniIndex | None = None
    tcp: RouteEntry | None = None
    udp: RouteEntry | None = None

    @property
    def bound(self) -> BindKey:
        """What its sockets are bound to."""
        return BindKey(self.address, self.bind_port, self.kind is PortKind.UDP)

    @property
    def label(self) -> str:
        """What counts for no listener in particular is counted as: its only listener, else where it is bound."""
        return self.listeners[0].name if len(self.listeners) == 1 else str(self.bound)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoutingTable:
    """One generation of everything."""

    generation: int
    digest: str  # hex, over the content; equal tables route equally
    ports: tuple[Port, ...]
    n_entries: int
    n_groups: int
