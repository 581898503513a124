"""What a rule does beside choosing a backend, in words: filters, timeouts, retries, sessions, consent. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from gatewayproxy.insight.decision import Decision
from gatewayproxy.insight.wording import decoded, retry_text
from gatewayproxy.model.headops import Add, HeadOp, Host, Path, Prefix, Redirect, Remove, Set
from gatewayproxy.model.plan import Backend, Cluster, FilterChain
from gatewayproxy.model.traffic import Cors, Session
from gatewayproxy.routing.table import Auth, RouteEntry

__all__ = ["cluster_text", "effects", "filter_steps"]


def filter_steps(decision: Decision) -> tuple[str, ...]:
    """Return the filters of the rule that takes the request, those of its backendRefs last; they need a plan."""
    rule = decision.rule
    if rule is None or decision.routed.reason:
        return ()
    own = [f"{_of(each)}: {step}" for each in rule.backends for step in _steps(each.filters)]
    return (*_steps(rule.filters), *own)


def effects(decision: Decision) -> list[tuple[str, str]]:
    """Return (what, how) of everything but filters that the rule adds to a request's way."""
    entry = decision.entry
    if entry is None or decision.routed.reason:
        return []
    found = [("auth", _auth(auth)) for auth in entry.auths]
    if entry.request_timeout_s or entry.backend_timeout_s:
        found.append(("timeouts", _timeouts(entry)))
    if entry.retry is not None:
        found.append(("retry", retry_text(entry.retry)))
    budgets = {each.cluster.retry_budget for each in decision.outcomes if each.cluster is not None}
    found += [
        ("budget", f"retries to {each.service} are at most {each.percent} % of {each.interval_s:g} s")
        for each in budgets
        if each is not None
    ]
    if entry.session is not None:
        found.append(("session", _session(entry.session)))
    if entry.grpc:
        found.append(("gRPC", "grpc-timeout counts, gRPC-Web is translated"))
    target = decision.routed.target
    if target is not None and target.validation is not None:
        asked = "is asked for, and not required" if target.validation.insecure_fallback else "is required"
        found.append(("client", f"a certificate {asked}"))
    return found


def cluster_text(cluster: Cluster) -> str:
    """Return where the requests of *cluster* go."""
    where = ", ".join(each.address for each in cluster.endpoints)
    if cluster.dns is not None:
        where = f"{cluster.dns.address} by DNS"
    tls = f", over TLS to {cluster.tls.server_name}" if cluster.tls is not None else ""
    return f"{where or 'no endpoints'}{tls}"


def _of(backend: Backend) -> str:
    return f"to {backend.name}"


def _steps(chain: FilterChain) -> Iterator[str]:
    if chain.cors is not None:
        yield _cors(chain.cors)
    for auth in chain.auths:
        yield f"ask {auth.cluster.name} for consent"
    yield from (_op("request", op) for op in chain.request)
    for mirror in chain.mirrors:
        yield f"mirror {mirror.numerator} of {mirror.denominator} to {mirror.cluster.name}"
    if chain.redirect is not None:
        yield _redirect(chain.redirect)
    yield from (_op("response", op) for op in chain.response)
    if chain.refusal is not None:
        yield f"refused: {chain.refusal.reason} {chain.refusal.detail}".rstrip()


def _op(what: str, op: HeadOp) -> str:
    match op:
        case Set(name, value):
            return f"{what} header {decoded(name)} becomes {decoded(value)}"
        case Add(name, value):
            return f"{what} header {decoded(name)} is added: {decoded(value)}"
        case Remove(name):
            return f"{what} header {decoded(name)} is removed"
        case Host(host):
            return f"host becomes {decoded(host)}"
        case Path(path):
            return f"path becomes {decoded(path)}"
        case Prefix(replacement):
            return f"the matched prefix becomes {decoded(replacement)}"
        case _:
            assert_never(op)


def _redirect(redirect: Redirect) -> str:
    parts = [("scheme", redirect.scheme), ("host", redirect.host), ("port", redirect.port)]
    told = [f"{name} {value}" for name, value in parts if value is not None]
    told += [_op("", redirect.path)] if redirect.path is not None else []
    return f"redirect {redirect.status}: {', '.join(told) or 'to where it came'}"


def _cors(cors: Cors) -> str:
    return f"CORS from {', '.join(map(decoded, cors.origins)) or 'nowhere'}{' with credentials' * cors.credentials}"


def _auth(auth: Auth) -> str:
    kind = "gRPC" if auth.server.grpc else "HTTP"
    return f"{auth.server.cluster.name} is asked first ({kind}): {cluster_text(auth.server.cluster)}"


def _timeouts(entry: RouteEntry) -> str:
    spans = [("request", entry.request_timeout_s), ("backend", entry.backend_timeout_s)]
    return ", ".join(f"{name} {span:g} s" for name, span in spans if span)


def _session(session: Session) -> str:
    return f"stays with one endpoint by {'header' if session.header else 'cookie'} {decoded(session.name)}"
