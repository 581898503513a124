"""decide(): all there is to say about one request: who takes it, what becomes of it, and why nobody else does. Pure.

In: a routing table, a Request, and the Plan and the status of the compilation that made the table, if they are at hand:
a table alone knows neither the matches that can never win, nor what filters were written, nor routes that nobody has.
Out: a Decision, for `insight.explain` to print and for tests, diffs and pictures to look into. For the entry alone, and
fast, there is `insight.ports.decide_entry`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from typing import Final

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.insight.misses import Asked, Contender, Miss, misses
from gatewayproxy.insight.outcomes import Answer, Outcome, answer_for, is_stream, outcomes_of, told_to
from gatewayproxy.insight.ports import UNMET, PortTable, Routed, decide_entry, read_head
from gatewayproxy.insight.requests import Kind, Request
from gatewayproxy.insight.stream_misses import connection_of, stream_kinds, stream_misses
from gatewayproxy.insight.unaccepted import Unaccepted, Unserving, unaccepted, unserving
from gatewayproxy.model.names import widening
from gatewayproxy.model.plan import Certificate, Listener, Plan, Rule
from gatewayproxy.model.protocols import PROTOCOLS
from gatewayproxy.model.status import StatusReport
from gatewayproxy.routing.dispatch import PREFLIGHT
from gatewayproxy.routing.match import host_key
from gatewayproxy.routing.server_names import certificates_for
from gatewayproxy.routing.table import Port, PortKind, RouteEntry
from gatewayproxy.wire.head import RequestHead
from gatewayproxy.wire.origins import preflight_lines

__all__ = ["Decision", "ListenerVerdict", "decide"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerVerdict:
    """A listener: whether the request is its own, and why not."""

    name: str  # "namespace/gateway/listener"
    protocol: str
    port: int
    hostname: str  # "" = any
    chosen: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of *request*. Exactly one of *answer* and *outcomes* is there."""

    request: Request
    routed: Routed
    head: RequestHead | None = None  # as the data plane reads it; None for streams, and for what it refuses to read
    assumed: str = ""  # what the request did not say, and was taken for granted
    listeners: tuple[ListenerVerdict, ...] = ()  # needs a plan
    certificates: tuple[Certificate, ...] = ()  # of those the client's kind of key chooses
    winner: Contender | None = None  # needs a plan
    outcomes: tuple[Outcome, ...] = ()
    answer: Answer | None = None
    missed: tuple[Miss, ...] = ()  # needs a plan
    unaccepted: tuple[Unaccepted, ...] = ()  # needs the status
    unserving: tuple[Unserving, ...] = ()  # needs the status

    @property
    def entry(self) -> RouteEntry | None:
        """Return the entry that takes the request, or answers it."""
        return self.routed.entry

    @property
    def port(self) -> Port | None:
        """Return the port that it comes to."""
        return self.routed.port

    @property
    def listener(self) -> str:
        """Return the name of the listener, "" where there is none."""
        return self.routed.listener.name if self.routed.listener is not None else ""

    @property
    def rule(self) -> Rule | None:
        """Return the rule as the manifests mean it; it needs a plan."""
        return self.winner.rule if self.winner is not None else None

    @property
    def unnamed(self) -> str:
        """Return the host that clients will miss in every certificate they may be shown, "" where there is none."""
        host = (self.request.server_name or host_key(self.request.authority)).decode("latin-1")
        covering = {host, "*" + host[host.find(".") :]}
        named = any(covering.intersection(each.names) for each in self.certificates)
        return host if self.certificates and not named else ""


def decide(
    ports: PortTable, request: Request, plan: Plan | None = None, status: StatusReport | None = None,
    *, trusted_hops: int = 0,
) -> Decision:  # fmt: skip
    """Return what becomes of *request*; *plan* and *status*: of the table of *ports*; *trusted_hops*: of `run`."""
    routed = decide_entry(ports, request)
    head = _head(request)
    winner, missed = _matches(plan, request, head, routed)
    nowhere, silent = _unaccepted(status, request, routed)
    if routed.port is None:
        return Decision(
            request=request,
            routed=routed,
            answer=answer_for(routed.reason, _spoken(ports, request), stream=True),
            listeners=tuple(_verdicts(plan, request, routed)),
            missed=missed,
            unaccepted=nowhere,
            unserving=silent,
        )
    outcomes = outcomes_of(routed, request, head, trusted_hops)
    return Decision(
        request=request,
        routed=routed,
        head=head,
        assumed=_assumed(ports, request, routed.port),
        listeners=tuple(_verdicts(plan, request, routed)),
        certificates=_certificates(request, routed),
        winner=winner,
        outcomes=outcomes,
        answer=None if outcomes else told_to(head, _answer(request, routed, head)),
        missed=missed,
        unaccepted=nowhere,
        unserving=silent,
    )


def _head(request: Request) -> RequestHead | None:
    if request.kind is not Kind.HTTP:
        return None
    try:
        return read_head(request)
    except RemoteProtocolError:
        return None


def _answer(request: Request, routed: Routed, head: RequestHead | None) -> Answer:
    entry = routed.entry
    if routed.reason != PREFLIGHT or entry is None or entry.cors is None or head is None:
        stream = is_stream(request) or routed.reason in UNMET
        unrouted = routed.reason == "no_route" and routed.vhost is not None and not stream
        detail = "no route that the listener has is for this host" if unrouted else routed.detail
        return answer_for(routed.reason, detail, stream=stream)
    origin, method = head.field(b"origin") or b"", head.field(b"access-control-request-method") or b""
    lines = preflight_lines(entry.cors, origin, method, head.field(b"access-control-request-headers"))
    if not lines:
        return answer_for("origin_not_allowed", f"origin {origin.decode('latin-1')}")
    told = answer_for(PREFLIGHT)
    shown = tuple(line.decode("latin-1") for line in lines.split(b"\r\n") if line)
    return Answer(status=told.status, reason=told.reason, meaning=told.meaning, lines=shown)


def _spoken(ports: PortTable, request: Request) -> str:
    """Return what the ports speak that the request could have come to."""
    found = ports.bound(request)
    spoken = ", ".join(f"{port.bound} speaks {port.kind.value}" for port in found)
    kinds = {port.kind for port in found}
    if request.kind is Kind.HTTP and request.tls is False and PortKind.HTTPS in kinds:
        return f"{spoken}: ask with https:// (wss://, grpcs://)"
    if request.kind is Kind.HTTP and request.tls and PortKind.HTTP in kinds:
        return f"{spoken}: ask with http:// (ws://, grpc://)"
    return spoken


def _assumed(ports: PortTable, request: Request, port: Port) -> str:
    others = [each for each in ports.of(request) if each is not port]
    if not others:
        return ""
    places = ", ".join(str(each.bound) for each in others)
    return f"the request may be for {places} as well; told is of {port.bound} (--resolve HOST:PORT:ADDRESS chooses)"


def _certificates(request: Request, routed: Routed) -> tuple[Certificate, ...]:
    target = routed.target
    return certificates_for(target.certificates, request.server_name) if target is not None else ()


def _matches(
    plan: Plan | None, request: Request, head: RequestHead | None, routed: Routed
) -> tuple[Contender | None, tuple[Miss, ...]]:
    """Return what took the request, and what else could have: matches of requests, and rules of connections."""
    if plan is None:
        return None, ()
    here = frozenset(label.name for label in routed.port.listeners) if routed.port is not None else frozenset()
    target = routed.target
    winner, missed = stream_misses(
        plan, connection_of(request, here, target.listener.name if target is not None else ""), routed.entry
    )
    if head is None:
        return winner, missed
    host = host_key(head.authority).decode("latin-1")
    owner = routed.vhost.listener.name if routed.vhost is not None else ""
    asked = Asked(head, host, here, owner, frozenset(widening(host)))
    own, of_requests = misses(plan, asked, routed.entry)
    return own or winner, tuple(merge(of_requests, missed, key=_nearness, reverse=True))


def _nearness(miss: Miss) -> tuple[int, tuple[int, ...]]:
    return miss.failed, miss.nearness


def _unaccepted(
    status: StatusReport | None, request: Request, routed: Routed
) -> tuple[tuple[Unaccepted, ...], tuple[Unserving, ...]]:
    """Return the routes that a listener lacks, and the listeners that do not serve, as far as they may be meant."""
    if status is None:
        return (), ()
    kinds = {*stream_kinds(request), *(_OF_REQUESTS if request.kind is Kind.HTTP else ())}
    name = request.authority if request.kind is Kind.HTTP else request.server_name or b""
    host = host_key(name).decode("latin-1")
    taker = (routed.entry.label.kind, routed.entry.label.route) if routed.entry is not None else None
    lacking = unaccepted(status, kinds, host)
    kept = tuple(each for each in lacking if not each.partly or (each.kind, each.name) != taker)
    return kept, unserving(status, request.port, host)


_OF_REQUESTS: Final = ("HTTPRoute", "GRPCRoute")


# --- why the other listeners lost


def _verdicts(plan: Plan | None, request: Request, routed: Routed) -> Iterator[ListenerVerdict]:
    if plan is None:
        return
    withheld = {listener.key for listener in plan.withheld}
    for listener in (*plan.listeners, *plan.withheld):
        name = str(listener.key)
        chosen = routed.listener is not None and routed.listener.name == name
        if listener.key in withheld and not chosen:
            continue  # `unserving` has it
        yield ListenerVerdict(
            name=name,
            protocol=listener.protocol.value,
            port=listener.port,
            hostname=listener.hostname,
            chosen=chosen,
            why=_why_chosen(listener, request, routed) if chosen else _why_not(listener, request, routed),
        )


def _why_chosen(listener: Listener, request: Request, routed: Routed) -> str:
    if listener.withheld:
        return f"it has {_name(request, routed) or 'clients without a server name'}, but cannot serve: see its status"
    if not PROTOCOLS[listener.protocol].has_hostname:
        return "it has the port"
    if not listener.hostname:
        return "it takes any host, and no other listener of the port names this one"
    name = _name(request, routed)
    if listener.hostname == name:
        return f"its hostname is {name}"
    return f"{listener.hostname} is the narrowest hostname that has {name}"


def _why_not(listener: Listener, request: Request, routed: Routed) -> str:
    name, port = str(listener.key), routed.port
    if port is None or all(label.name != name for label in port.listeners):
        return _why_elsewhere(listener, request, port)
    if routed.target is not None and routed.target.listener.name == name:
        return "the connection is its own, by the server name; the request names a host of another listener"
    host = _name(request, routed)
    if listener.hostname not in set(widening(host)):
        return f"its hostname does not have {host or 'clients without a server name'}"
    if routed.listener is not None:
        return f"{routed.listener.name} has a narrower hostname"
    return (
        "it has no such route" if routed.reason == "no_route" else "the request is refused before its host is asked for"
    )


def _why_elsewhere(listener: Listener, request: Request, port: Port | None) -> str:
    if request.port not in (0, listener.port, listener.bind_port):
        return f"it is on port {listener.port}"
    if request.address and not {request.address, ""}.intersection(listener.addresses):
        return f"it is on {', '.join(listener.addresses)}"
    if port is None or listener.protocol.value != port.kind.value:
        return f"it speaks {listener.protocol.value}"
    return f"{port.bound} is asked first"


def _name(request: Request, routed: Routed) -> str:
    """Return the name that listeners are chosen by: the host, or the server name where there is no more."""
    if request.kind is Kind.HTTP and (routed.vhost is not None or request.tls is False):
        return host_key(request.authority).decode("latin-1")
    return (request.server_name or b"").decode("latin-1")
