"""What an entry does with a request: its backends, each with what it would get, or the gateway's own answer. Pure.

Heads are rewritten by the machine's own code (`wire.edit`, and what the data plane says of the client), so what is
shown is what goes up. What only a running gateway knows is in angle brackets: <client>, <request id>.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from gatewayproxy.dataplane.protocols.answers import ANSWERS
from gatewayproxy.dataplane.protocols.call_answers import answer_to
from gatewayproxy.dataplane.protocols.forwarded import constant_lines, leads_back, own_lines, te_line, trusted_lines
from gatewayproxy.insight.ports import Routed
from gatewayproxy.insight.requests import Kind, Request
from gatewayproxy.model.headops import HeadEdit, Respond
from gatewayproxy.model.plan import Cluster, Refusal
from gatewayproxy.model.protocols import AppProtocol
from gatewayproxy.model.refusals import REFUSALS
from gatewayproxy.routing.table import BackendChoice, BackendGroup, RouteEntry
from gatewayproxy.wire.edit import edited_lines, location, rewrite_request
from gatewayproxy.wire.head import RequestHead

__all__ = ["Answer", "Outcome", "answer_for", "is_stream", "outcomes_of", "told_to"]

_CLIENT = b"<client>"
_REQUEST_ID = b"<request id>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer of the gateway: *status* is 0 where a connection is closed without one."""

    status: int
    reason: str
    meaning: str = ""
    detail: str = ""
    lines: tuple[str, ...] = ()  # field lines that configuration decides
    call: str = ""  # what a client of gRPC gets instead, with HTTP's status 200: "grpc-status 12 UNIMPLEMENTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One of the weighted outcomes of an entry: a backend with what it gets, or an answer."""

    name: str  # "namespace/name:port", "" where the rule itself answers
    weight: int
    share: float  # of requests, 0 to 1
    cluster: Cluster | None = None
    head: tuple[str, ...] = ()  # lines of the request that goes up, () of a stream
    response: HeadEdit | None = None  # how the answer is edited
    mirrors: tuple[str, ...] = ()
    answer: Answer | None = None


def outcomes_of(
    routed: Routed, request: Request, head: RequestHead | None, trusted_hops: int = 0
) -> tuple[Outcome, ...]:
    """Return what the entry of *routed* does; *head* is that of a request of kind HTTP; *trusted_hops*: of `Limits`."""
    entry, port = routed.entry, routed.port
    if entry is None or port is None or routed.reason:
        return ()
    own = b""
    if head is not None:
        scheme = b"https" if routed.target is not None else b"http"
        client = request.client.encode("ascii", "replace") or _CLIENT
        version = b"2" if request.version == "2" else b"1.1"
        constant = constant_lines(client, scheme, port.port, version)
        own = trusted_lines(head, constant, _REQUEST_ID)[0] if trusted_hops else own_lines(head, constant, _REQUEST_ID)
    group = entry.group or _alone(entry)
    weights = [high - low for low, high in zip((0, *group.bounds), group.bounds, strict=False)]
    shown = [
        _outcome(choice, weight, weight / group.bounds[-1], head, own, trusted=trusted_hops > 0)
        for choice, weight in zip(group.choices, weights, strict=True)
    ]
    return *shown, *(_outcome(choice, 0, 0.0, head, own, trusted=trusted_hops > 0) for choice in entry.resting)


def answer_for(reason: str, detail: str = "", *, stream: bool = False) -> Answer:
    """Return the gateway's answer for *reason*; a *stream* is closed without one."""
    status, meaning = ANSWERS.get(reason, (0, _MEANINGS.get(reason, "")))
    if stream and reason == "no_route":
        meaning = "no route of the listener takes this connection"
    return Answer(status=0 if stream else status, reason=reason, meaning=meaning, detail=detail)


def told_to(head: RequestHead | None, answer: Answer) -> Answer:
    """Return *answer* as the client of *head* gets it: one of gRPC is told in its own way."""
    told = answer_to(head, answer.status, answer.reason, b"") if head is not None and answer.status else None
    return answer if told is None else replace(answer, call=f"grpc-status {told.code.value} {told.code.name}")


# Of connections that end without an answer, and of what no gateway would ever have heard of.
_MEANINGS: Final = {
    "no_port": "no listener has this port and address: the connection is refused",
    "wrong_protocol": "the port is there, and speaks another protocol",
    "unknown_sni": "no listener has this server name: TLS ends with the alert unrecognized_name",
    "no_certificate": "the server name is that of a listener that has no certificate, or lost its place to a conflict: "
    "the alert is unrecognized_name",
    "no_sni": "the client asks for no server name, and every listener of the port has one",
    "http_inside": "TLS ends here, and HTTP is to follow: ask with https://",
}


def _alone(entry: RouteEntry) -> BackendGroup:
    """Return the one choice of an entry that answers by itself."""
    choice = BackendChoice(name="", refusal=entry.refusal, respond=entry.respond, response=entry.response)
    return BackendGroup(index=-1, choices=(choice,), bounds=(1,), step=1)


def _outcome(
    choice: BackendChoice, weight: int, share: float, head: RequestHead | None, own: bytes, *, trusted: bool
) -> Outcome:
    cluster = choice.cluster
    if cluster is None:
        answer = _refused(choice, head, trusted=trusted)
        told = told_to(head, answer)
        return Outcome(name=choice.name, weight=weight, share=share, answer=told, response=choice.response)
    lines: tuple[str, ...] = ()
    if head is not None:
        added = own + (te_line(head) if cluster.protocol is AppProtocol.H2C else b"")
        lines = _lines(rewrite_request(head, added, choice.request))
    mirrors = tuple(f"{each.numerator}/{each.denominator} to {each.cluster.name}" for each in choice.mirrors)
    return Outcome(
        name=choice.name,
        weight=weight,
        share=share,
        cluster=cluster,
        head=lines,
        response=choice.response,
        mirrors=mirrors,
    )


def _refused(choice: BackendChoice, head: RequestHead | None, *, trusted: bool) -> Answer:
    if choice.respond is not None and head is not None:
        return _redirect(choice.respond, choice.response, head, trusted=trusted)
    refusal = choice.refusal or Refusal(REFUSALS["no_backends"], "no_backends")
    return Answer(
        status=refusal.status if head is not None else 0,
        reason=refusal.reason,
        meaning="the configuration says so: see the conditions of the route",
        detail=refusal.detail,
        lines=_lines(edited_lines(b"", choice.response)),
    )


def _redirect(respond: Respond, edit: HeadEdit | None, head: RequestHead, *, trusted: bool) -> Answer:
    where = location(respond, head.authority, head.target)
    if trusted and leads_back(head, where):
        return answer_for("redirect_loop")
    lines = _lines(edited_lines(b"location: %b\r\n" % where, edit))
    return Answer(status=respond.status, reason="redirect", meaning=ANSWERS["redirect"][1], lines=lines)


def _lines(raw: bytes) -> tuple[str, ...]:
    return tuple(line.decode("latin-1") for line in raw.split(b"\r\n") if line)


def is_stream(request: Request) -> bool:
    """Return whether *request* is a connection, or datagrams, of which the gateway knows no requests."""
    return request.kind is not Kind.HTTP
