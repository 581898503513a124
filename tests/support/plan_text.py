"""A Plan as indented text, for goldens: complete in what it means, silent about defaults."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gatewayproxy.model.plan import (
    Attachment,
    Backend,
    BackendTls,
    Cluster,
    ExternalAuth,
    FilterChain,
    GRPCMatch,
    HeaderTest,
    Listener,
    Match,
    Plan,
    QueryTest,
    Refusal,
    Rule,
)

__all__ = ["plan_text"]


def plan_text(plan: Plan) -> str:
    """Return *plan* as text."""
    lines = [line for listener in plan.listeners for line in _listener(listener)]
    lines += [f"withheld {line}" for listener in plan.withheld for line in _listener(listener)]
    return "".join(f"{line}\n" for line in lines)


def _listener(listener: Listener) -> Iterator[str]:
    addresses = ", ".join(address or "*" for address in listener.addresses)
    bound = "" if listener.bind_port == listener.port else f" bound to {listener.bind_port}"
    hostname = f" {listener.hostname}" if listener.hostname else ""
    yield f"listener {listener.key} {listener.protocol.value} {addresses} port {listener.port}{bound}{hostname}"
    if listener.client_validation is not None:
        yield f"  clients {listener.client_validation.scope}"
    if isinstance(listener.backend_certificate, Refusal):
        yield f"  to backends over TLS: {_refusal(listener.backend_certificate)}"
    elif listener.backend_certificate is not None:
        yield f"  to backends over TLS: certificate {', '.join(listener.backend_certificate.names)}"
    for certificate in listener.certificates:
        yield f"  certificate {', '.join(certificate.names)}"
    for attachment in listener.attachments:
        yield from (f"  {line}" for line in _attachment(attachment))


def _attachment(attachment: Attachment) -> Iterator[str]:
    route, hostnames = attachment
    met = ", ".join(
        effective or "*" if effective == own else f"{effective} of {own or '*'}" for effective, own in hostnames
    )
    yield f"{route.key} at {met}"
    for rule in route.rules:
        yield from (f"  {line}" for line in _rule(rule))


def _rule(rule: Rule) -> Iterator[str]:
    yield f"rule {rule.index} {rule.name}".rstrip()
    lines: list[str] = [f"match {_match(match)}" for match in rule.matches]
    lines += _chain(rule.filters)
    if rule.request_timeout_s or rule.backend_timeout_s:
        lines.append(f"timeouts request {rule.request_timeout_s} s, backend {rule.backend_timeout_s} s")
    if rule.retry is not None:
        lines.append(str(rule.retry))
    if rule.session is not None:
        lines.append(str(rule.session))
    if rule.refusal is not None:
        lines.append(_refusal(rule.refusal))
    for backend in rule.backends:
        lines += _backend(backend)
    yield from (f"  {line}" for line in lines)


def _match(match: Match | GRPCMatch) -> str:
    if isinstance(match, GRPCMatch):
        how = "~" if match.regex else ""
        names = f"call {how}{match.service.decode() or '*'}/{how}{match.method.decode() or '*'}"
        return " ".join([names, *_tests("header", match.headers)])
    parts = [match.path_kind.value, match.path.decode()]
    parts += [match.method.decode()] if match.method else []
    return " ".join([*parts, *_tests("header", match.headers), *_tests("query", match.query)])


def _tests(what: str, tests: Iterable[HeaderTest | QueryTest]) -> list[str]:
    return [f"{what} {name.decode()}{'~' if regex else '='}{value.decode()}" for name, value, regex in tests]


def _chain(chain: FilterChain) -> Iterator[str]:
    yield from (f"request {op}" for op in chain.request)
    yield from (f"response {op}" for op in chain.response)
    yield from (line for auth in chain.auths for line in _auth(auth))
    yield from (f"mirror {m.numerator}/{m.denominator} to {_cluster(m.cluster)}" for m in chain.mirrors)
    if chain.redirect is not None:
        yield str(chain.redirect)
    if chain.cors is not None:
        yield str(chain.cors)
    if chain.refusal is not None:
        yield f"filters {_refusal(chain.refusal)}"


def _auth(auth: ExternalAuth) -> Iterator[str]:
    url = (auth.authority + auth.path).decode()
    yield f"authorized by {'gRPC' if auth.grpc else 'HTTP'} {url + ' ' if url else ''}{_cluster(auth.cluster)}"
    yield from (f"  before, request {op}" for op in auth.before)
    for what, names in (("sees", auth.request_headers), ("sets", auth.response_headers)):
        if names:
            yield f"  {what} {', '.join(name.decode() for name in names)}"
    if auth.body_bytes:
        yield f"  sees bodies of {auth.body_bytes} bytes at most"


def _backend(backend: Backend) -> Iterator[str]:
    what = _refusal(backend.refusal) if backend.refusal is not None else ""
    what = _cluster(backend.cluster) if backend.cluster is not None else what
    yield f"backend {backend.name} weight {backend.weight}: {what}"
    yield from (f"  {line}" for line in _chain(backend.filters))


def _cluster(cluster: Cluster) -> str:
    found = [f"{e.host} port {e.port}" for e in cluster.endpoints]
    found += [f"DNS {cluster.dns.host} port {cluster.dns.port}"] if cluster.dns is not None else []
    budget = f", {cluster.retry_budget}" if cluster.retry_budget is not None else ""
    return f"{cluster.protocol.value}{_tls(cluster.tls)} {', '.join(found)}{budget}"


def _tls(tls: BackendTls | None) -> str:
    if tls is None:
        return ""
    trust = "System" if tls.trust is None else f"{tls.trust.pem.count(b'BEGIN')} authorities"
    own = "" if tls.certificate is None else f", presenting {', '.join(tls.certificate.names)}"
    return f" (TLS to {tls.server_name} as {', '.join((*tls.names, *tls.uris))} by {trust}{own})"


def _refusal(refusal: Refusal) -> str:
    return f"refuse {refusal.status} {refusal.reason}"
