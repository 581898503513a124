"""What becomes of a request, as facts: (what, how) pairs, equal iff the gateway does the same. Pure.

Names of rules are no part of it: a rule that moved does what it did. Nor is the order of backends of a rule, but for
their shares. Facts are for people: two lists are told apart by what differs in them (`changes`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from gatewayproxy.insight.outcomes import answer_for, is_stream
from gatewayproxy.insight.ports import HTTP_INSIDE, UNMET, Routed
from gatewayproxy.insight.requests import Kind, Request
from gatewayproxy.insight.wording import certificate_text, decoded, retry_text
from gatewayproxy.model.headops import HeadEdit, Respond
from gatewayproxy.model.plan import BackendTls, Cluster, Refusal
from gatewayproxy.model.protocols import AppProtocol
from gatewayproxy.model.traffic import Cors, Session
from gatewayproxy.routing.dispatch import PREFLIGHT
from gatewayproxy.routing.server_names import certificates_for
from gatewayproxy.routing.table import Auth, BackendChoice, RouteEntry, SniAction

__all__ = ["NOTHING", "Changed", "Fact", "Outcome", "changes", "outcome_of", "outcome_of_entry"]


class Fact(NamedTuple):
    """One thing that is so: ("backend shop/api:80", "9 of 10 requests")."""

    what: str
    how: str


class Outcome(NamedTuple):
    """What becomes of a request; *brief*: in a few words, for "from ... to ..."."""

    brief: str
    facts: tuple[Fact, ...]


class Changed(NamedTuple):
    """A fact that is not what it was; "": there was, or is, none."""

    what: str
    old: str
    new: str


NOTHING: Final = Outcome("no listener", (Fact("answer", "the connection is refused: nothing listens"),))
_NOT_FOUND: Final = ("no_rule", "no_route")  # to a client, one 404


def changes(old: Outcome, new: Outcome) -> tuple[Changed, ...]:
    """Return the facts that differ, in the order of the new ones, those that are gone last."""
    before, after = dict(old.facts), dict(new.facts)
    kept = [Changed(what, before.get(what, ""), how) for what, how in after.items() if before.get(what) != how]
    return (*kept, *(Changed(what, how, "") for what, how in before.items() if what not in after))


def outcome_of(routed: Routed, request: Request) -> Outcome:
    """Return what becomes of *request*, which was routed so; of one of Kind TLS, what its ClientHello meets."""
    facts = list(_handshake(routed, request)) if request.kind is Kind.TLS else []
    target = routed.target
    if target is not None and target.action is not SniAction.HTTP and request.kind is Kind.HTTP:
        facts.append(Fact("TLS", _ACTIONS[target.action]))
    entry = routed.entry
    if entry is not None and not routed.reason:
        whole = outcome_of_entry(entry)
        return Outcome(whole.brief, (*facts, *whole.facts)) if facts else whole
    if entry is not None and routed.reason == PREFLIGHT and entry.cors is not None:
        return Outcome("CORS preflight", (Fact("answer", "CORS preflight"), Fact("CORS", _cors(entry.cors))))
    if routed.reason == HTTP_INSIDE:
        return Outcome("TLS ends here", (*facts, Fact("inside", "HTTP")))
    told = _answer(routed, request)
    return Outcome(told, (*facts, Fact("answer", told)))


def _answer(routed: Routed, request: Request) -> str:
    if routed.reason in ("no_port", "wrong_protocol"):
        return "connection refused" if routed.reason == "no_port" else "wrong protocol"
    stream = is_stream(request) or routed.reason in UNMET
    answer = answer_for(routed.reason, stream=stream)
    if not answer.status:
        return f"connection closed ({routed.reason})"
    return "404" if routed.reason in _NOT_FOUND else f"{answer.status} {routed.reason}"


def _handshake(routed: Routed, request: Request) -> Iterator[Fact]:
    """Yield what the client of a ClientHello is shown, and asked for."""
    target = routed.target
    if target is None:
        return
    yield Fact("TLS", _ACTIONS[target.action])
    for certificate in certificates_for(target.certificates, request.server_name):
        yield Fact(f"certificate {certificate.digest[:12]}", certificate_text(certificate))
    if target.validation is not None:
        asked = "asked for, and not required" if target.validation.insecure_fallback else "required"
        yield Fact("client certificate", f"{asked}, by authorities {target.validation.trust.digest[:12]}")


_ACTIONS: Final = {
    SniAction.HTTP: "ends here, with HTTP inside",
    SniAction.STREAM: "ends here, with a stream inside",
    SniAction.PASSTHROUGH: "passed through",
    SniAction.REFUSE: "refused: its listener cannot serve",
}


# --- entries


def outcome_of_entry(entry: RouteEntry) -> Outcome:
    """Return what *entry* does with a request."""
    return Outcome(_brief(entry), tuple(_told_apart(_entry_facts(entry))))


def _told_apart(facts: Iterator[Fact]) -> Iterator[Fact]:
    """Yield *facts*, numbering those of one name: a backend may be there twice."""
    seen: dict[str, int] = {}
    for what, how in facts:
        seen[what] = seen.get(what, 0) + 1
        yield Fact(what if seen[what] == 1 else f"{what} ({seen[what]})", how)


def _brief(entry: RouteEntry) -> str:
    if entry.refusal is not None:
        return f"{entry.refusal.status} {entry.refusal.reason}"
    if entry.respond is not None:
        return _respond(entry.respond)
    shares = _shares(entry)
    if len(shares) == 1:
        return _choice_brief(shares[0][0])
    total = sum(weight for _, weight in shares)
    return ", ".join(f"{weight * 100 / total:.3g} % {_choice_brief(choice)}" for choice, weight in shares)


def _choice_brief(choice: BackendChoice) -> str:
    if choice.refusal is not None:
        return f"{choice.refusal.status} {choice.refusal.reason}"
    return choice.name if choice.respond is None else _respond(choice.respond)


def _shares(entry: RouteEntry) -> list[tuple[BackendChoice, int]]:
    """Return the choices with their weights, by name."""
    if entry.group is None:
        return []
    bounds = entry.group.bounds
    weights = [high - low for low, high in zip((0, *bounds), bounds, strict=False)]
    pairs = zip(entry.group.choices, weights, strict=True)
    return sorted(pairs, key=lambda each: each[0].name)


def _entry_facts(entry: RouteEntry) -> Iterator[Fact]:
    if entry.refusal is not None:
        yield Fact("answer", _refusal(entry.refusal))
    if entry.respond is not None:
        yield Fact("answer", _respond(entry.respond))
        yield from _edits("answer's fields", [("", entry.response)])
    shares = _shares(entry)
    total = sum(weight for _, weight in shares)
    for choice, weight in shares:
        yield from _choice_facts(choice, f"{weight} of {total} requests" if total > 1 else "every request")
    for choice in entry.resting:
        yield from _choice_facts(choice, "sessions that were there before")
    chosen = [*(choice for choice, _ in shares), *entry.resting]
    yield from _edits("request", [(each.name, each.request) for each in chosen])
    yield from _edits("response", [(each.name, each.response) for each in chosen])
    for choice in chosen:
        yield from _mirrors(choice)
    yield from _way(entry)


def _choice_facts(choice: BackendChoice, share: str) -> Iterator[Fact]:
    yield Fact(f"backend {choice.name}", share)
    if choice.refusal is not None:
        yield Fact(f"answer for {choice.name}", _refusal(choice.refusal))
    if choice.respond is not None:
        yield Fact(f"answer for {choice.name}", _respond(choice.respond))
    if choice.cluster is not None:
        yield from _cluster(choice.cluster)


def _cluster(cluster: Cluster) -> Iterator[Fact]:
    name, dns, budget = cluster.name, cluster.dns, cluster.retry_budget
    where = ", ".join(sorted(each.address for each in cluster.endpoints)) if dns is None else f"{dns.address} by DNS"
    yield Fact(f"endpoints of {name}", where or "none")
    if cluster.protocol is not AppProtocol.HTTP:
        yield Fact(f"protocol of {name}", cluster.protocol.value)
    if cluster.tls is not None:
        yield Fact(f"TLS to {name}", _tls(cluster.tls))
    if budget is not None:
        share = f"{budget.percent} % in {budget.interval_s:g} s, or {budget.least} in {budget.least_interval_s:g} s"
        yield Fact(f"retry budget of {budget.service}", share)


def _tls(tls: BackendTls) -> str:
    trust = "the system's authorities" if tls.trust is None else f"authorities {tls.trust.digest[:12]}"
    own = "" if tls.certificate is None else f", presenting {tls.certificate.digest[:12]}"
    whose = " of the Gateway" if tls.of_gateway else ""
    return f"asks for {tls.server_name}, believes {', '.join((*tls.names, *tls.uris))} by {trust}{own}{whose}"


def _mirrors(choice: BackendChoice) -> Iterator[Fact]:
    for mirror in choice.mirrors:
        name = mirror.cluster.name
        yield Fact(f"mirror of {choice.name} to {name}", f"{mirror.numerator} of {mirror.denominator}")
        yield from _cluster(mirror.cluster)
        yield from _edits("mirrored request", [(name, mirror.request)])


def _way(entry: RouteEntry) -> Iterator[Fact]:
    """Yield what the rule adds to the way of a request."""
    for auth in entry.auths:
        yield from _auth(auth)
    if entry.request_timeout_s:
        yield Fact("request timeout", f"{entry.request_timeout_s:g} s")
    if entry.backend_timeout_s:
        yield Fact("backend timeout", f"{entry.backend_timeout_s:g} s")
    if entry.cors is not None:
        yield Fact("CORS", _cors(entry.cors))
    if entry.retry is not None:
        yield Fact("retry", retry_text(entry.retry))
    if entry.session is not None:
        yield Fact("sessions", _session(entry.session))
    if entry.grpc:
        yield Fact("gRPC", "grpc-timeout counts, gRPC-Web is translated")


def _auth(auth: Auth) -> Iterator[Fact]:
    server = auth.server
    name = server.cluster.name
    asked = f"{decoded(server.authority)}{decoded(server.path)}" or "as the request"
    sees, sets = _names(server.request_headers), _names(server.response_headers)
    body = f", bodies of {server.body_bytes} bytes at most" if server.body_bytes else ""
    kind = "gRPC" if server.grpc else "HTTP"
    yield Fact(f"authorization by {name}", f"{kind}, asked {asked}, sees {sees}{body}, sets {sets}")
    yield from _cluster(server.cluster)
    yield from _edits("request for authorization", [("", auth.before)])


def _names(names: Sequence[bytes]) -> str:
    return " ".join(map(decoded, names)) or "-"


def _edits(title: str, edits: Sequence[tuple[str, HeadEdit | None]]) -> Iterator[Fact]:
    """Yield the edits of a head, once where all backends have the same."""
    shared = len({_edit(edit) for _, edit in edits}) == 1
    for name, edit in edits[:1] if shared else edits:
        if edit is not None:
            yield Fact(title if shared or not name else f"{title}, {name}", _edit(edit))


def _edit(edit: HeadEdit | None) -> str:
    if edit is None:
        return ""
    told = [f"host becomes {decoded(edit.host)}"] if edit.host is not None else []
    told += [_path(edit.path, edit.prefix)] if edit.path is not None or edit.prefix is not None else []
    told += [f"without {decoded(name)}" for name in sorted(edit.cut)]
    told += [f"with {decoded(line)}" for line in edit.append.split(b"\r\n")[:-1]]
    return "; ".join(told)


def _path(path: bytes | None, prefix: tuple[int, bytes] | None) -> str:
    if path is not None:
        return f"path becomes {decoded(path)}"
    if prefix is not None and not prefix[0]:
        return f"{decoded(prefix[1])} is put before the path"
    if prefix is not None:
        return f"first {prefix[0]} bytes of the path become {decoded(prefix[1]) or '/'}"
    return ""


def _respond(respond: Respond) -> str:
    host = "<host>" if respond.host is None else decoded(respond.host)
    path = f", {_path(respond.path, respond.prefix)}" if respond.path is not None or respond.prefix else ""
    return f"{respond.status} to {decoded(respond.scheme)}://{host}{decoded(respond.port)}{path}"


def _refusal(refusal: Refusal) -> str:
    return f"{refusal.status} {refusal.reason} {refusal.detail}".rstrip()


def _cors(cors: Cors) -> str:
    credentials = " with credentials" if cors.credentials else ""
    lists = (("methods", cors.methods), ("headers", cors.headers), ("exposed", cors.expose))
    told = "".join(f", {title} {_names(names)}" for title, names in lists if names)
    return f"from {_names(cors.origins)}{credentials}{told}, for {cors.max_age_s} s"


def _session(session: Session) -> str:
    kind = "header" if session.header else "permanent cookie" if session.permanent else "cookie"
    ends = f", at most {session.absolute_s:g} s" if session.absolute_s else ""
    return f"of {session.rule} by {kind} {decoded(session.name)} for {decoded(session.path)}{ends}"
