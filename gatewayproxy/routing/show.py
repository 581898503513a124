"""Print a table as indented text: for goldens, tools and the digest. Pure.

The text is complete and stable: two tables print alike iff they route alike (generations aside), in any process.
A layer or an entry is printed once and referred to by number, so the text grows with the table, not with its sharing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import TypeVar

from gatewayproxy.model.headops import HeadEdit, Respond
from gatewayproxy.model.plan import BackendTls, Cluster, HeaderTest, QueryTest, Refusal
from gatewayproxy.model.traffic import RetryBudget
from gatewayproxy.routing.match import NameIndex
from gatewayproxy.routing.table import (
    Auth,
    BackendChoice,
    Candidate,
    PathIndex,
    Port,
    RouteEntry,
    RoutingTable,
    SniTarget,
    VirtualHost,
)

__all__ = ["digest", "show"]

T = TypeVar("T")


def show(table: RoutingTable) -> str:
    """Return *table* as text."""
    return "".join(f"{line}\n" for line in _Printer().table(table.ports))


def digest(ports: Sequence[Port]) -> str:
    """Return 32 hex digits over the content of *ports*."""
    text = "\n".join(_Printer().table(ports))
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class _Printer:
    """Numbers the layers and remembers what has been printed."""

    def __init__(self) -> None:
        self._layers: dict[PathIndex, int] = {}
        self._entries: dict[RouteEntry, None] = {}

    def table(self, ports: Sequence[Port]) -> Iterator[str]:
        for port in ports:
            yield from self._port(port)
        for entry in self._entries:
            yield from _entry(entry)

    def _port(self, port: Port) -> Iterator[str]:
        yield f"port {port.kind.value} {port.bound} as {port.port}"
        for label in port.listeners:
            yield f"  listener {label.index} {label.name}"
        if port.http is not None:
            for name, host in _named(port.http):
                yield from self._host(name, host)
        if port.sni is not None:
            for name, target in _named(port.sni):
                yield from self._server_name(name, target)
        if port.tcp is not None:
            yield f"  tcp -> {self._ref(port.tcp)}"
        if port.udp is not None:
            yield f"  udp -> {self._ref(port.udp)}"

    def _host(self, name: str, host: VirtualHost) -> Iterator[str]:
        yield f"  host {name} of {host.listener.name}"
        for layer in host.layers:
            number = self._layers.get(layer)
            if number is not None:
                yield f"    layer {number}"
                continue
            number = self._layers[layer] = len(self._layers)
            yield f"    layer {number}, depth {layer.depth}"
            yield from self._layer(layer)

    def _layer(self, layer: PathIndex) -> Iterator[str]:
        for path, candidates in sorted(layer.exact.items()):
            yield from self._candidates(f"= {_text(path)}", candidates)
        for candidate in layer.regexes:
            yield from self._candidates(f"~ {_tested(candidate)}", (candidate,))
        for path, candidates in sorted(layer.prefix.items(), reverse=True):
            yield from self._candidates(f"^ {_text(path)}/", candidates)

    def _candidates(self, path: str, candidates: Sequence[Candidate]) -> Iterator[str]:
        for each in candidates:
            method = f" {_text(each.method)}" if each.method is not None else ""
            tests = _tests("header", each.headers) + _tests("query", each.query)
            yield f"      {path}{method}{tests} -> {self._ref(each.entry)}"

    def _server_name(self, name: str, target: SniTarget) -> Iterator[str]:
        yield f"  server name {name} of {target.listener.name}: {target.action.value}"
        for certificate in target.certificates:
            yield f"    certificate {certificate.digest}"
        if target.validation is not None:
            yield f"    clients of {target.validation.scope}"
        if target.entry is not None:
            yield f"    -> {self._ref(target.entry)}"

    def _ref(self, entry: RouteEntry) -> str:
        self._entries.setdefault(entry)
        return f"entry {entry.index}"


def _named(index: NameIndex[T]) -> Iterator[tuple[str, T]]:
    for name, target in sorted(index.exact.items()):
        yield _text(name), target
    for suffix, target in sorted(index.wildcard.items()):
        yield f"*{_text(suffix)}", target
    if index.default is not None:
        yield "(any)", index.default


def _entry(entry: RouteEntry) -> Iterator[str]:
    label = entry.label
    yield f"entry {entry.index}: {label.route_text} rule {label.rule_text} on {label.listener}"
    if entry.request_timeout_s or entry.backend_timeout_s:
        yield f"  timeouts: request {entry.request_timeout_s:g} s, backend {entry.backend_timeout_s:g} s"
    yield from _traffic(entry)
    if entry.refusal is not None:
        yield f"  {_refusal(entry.refusal)}"
    if entry.respond is not None:
        yield f"  {_respond(entry.respond)}"
    yield from _edit("response", entry.response, "  ")
    if entry.group is not None:
        bounds = entry.group.bounds
        yield f"  group {entry.group.index}, step {entry.group.step}"
        for choice, low, high in zip(entry.group.choices, (0, *bounds), bounds, strict=False):
            yield from _choice(choice, high - low)
        for choice in entry.resting:
            yield from _choice(choice, 0)


def _traffic(entry: RouteEntry) -> Iterator[str]:
    """Yield what the rule asks for beyond one try at one endpoint."""
    cors, retry, session = entry.cors, entry.retry, entry.session
    for auth in entry.auths:
        yield from _auth(auth)
    if cors is not None:
        credentials = " with credentials" if cors.credentials else ""
        yield f"  cors from {_list(cors.origins)}{credentials}, max age {cors.max_age_s} s"
        for title, names in (("methods", cors.methods), ("headers", cors.headers), ("exposed", cors.expose)):
            if names:
                yield f"    {title} {_list(names)}"
    if retry is not None:
        codes = f", after {', '.join(map(str, retry.codes))}" if retry.codes else ""
        yield f"  retry {retry.attempts} times, {retry.backoff_s:g} s apart{codes}"
    if session is not None:
        where = f"header {_text(session.name)}"
        if not session.header:
            kind = "permanent cookie" if session.permanent else "cookie"
            where = f"{kind} {_text(session.name)} for {_text(session.path)}"
        ends = f", at most {session.absolute_s:g} s" if session.absolute_s else ""
        yield f"  sessions of {session.rule} by {where}{ends}"


def _auth(auth: Auth) -> Iterator[str]:
    server = auth.server
    yield f"  authorized by {'gRPC' if server.grpc else 'HTTP'} {_cluster(server.cluster)}"
    yield from _edit("before, request", auth.before, "    ")
    if server.authority or server.path:
        yield f"    asked as {_text(server.authority)}{_text(server.path)}"
    if server.request_headers:
        yield f"    sees {_list(server.request_headers)}"
    if server.response_headers:
        yield f"    sets {_list(server.response_headers)}"
    if server.body_bytes:
        yield f"    sees bodies of {server.body_bytes} bytes at most"


def _list(items: Sequence[bytes]) -> str:
    return ", ".join(_text(each) for each in items) or "nowhere"


def _choice(choice: BackendChoice, weight: int) -> Iterator[str]:
    yield f"    {weight} x {choice.name}"
    if choice.cluster is not None:
        yield f"      {_cluster(choice.cluster)}"
    if choice.refusal is not None:
        yield f"      {_refusal(choice.refusal)}"
    if choice.respond is not None:
        yield f"      {_respond(choice.respond)}"
    yield from _edit("request", choice.request, "      ")
    yield from _edit("response", choice.response, "      ")
    for mirror in choice.mirrors:
        yield f"      mirror {mirror.numerator}/{mirror.denominator} to {_cluster(mirror.cluster)}"
        yield from _edit("request", mirror.request, "        ")


def _edit(title: str, edit: HeadEdit | None, indent: str) -> Iterator[str]:
    if edit is None:
        return
    if edit.host is not None:
        yield f"{indent}{title} host {_text(edit.host)}"
    if edit.path is not None or edit.prefix is not None:
        yield f"{indent}{title} {_path(edit.path, edit.prefix)}"
    for name in sorted(edit.cut):
        yield f"{indent}{title} cut {_text(name)}"
    for line in edit.append.split(b"\r\n")[:-1]:
        yield f"{indent}{title} append {_text(line)}"


def _path(path: bytes | None, prefix: tuple[int, bytes] | None) -> str:
    if path is not None:
        return f"path {_text(path)}"
    if prefix is not None:
        return f"path, {prefix[0]} bytes of it now {_text(prefix[1]) or 'gone'}"
    return "path as it came"


def _respond(respond: Respond) -> str:
    host = "(host)" if respond.host is None else _text(respond.host)
    where = f"{_text(respond.scheme)}://{host}{_text(respond.port)}"
    return f"redirect {respond.status} to {where}, {_path(respond.path, respond.prefix)}"


def _refusal(refusal: Refusal) -> str:
    return f"refuse {refusal.status} {refusal.reason} {refusal.detail}".rstrip()


def _cluster(cluster: Cluster) -> str:
    where = ", ".join(each.address for each in cluster.endpoints)
    if cluster.dns is not None:
        where = f"dns {cluster.dns.address}"
    tls = "" if cluster.tls is None else f" over {_tls(cluster.tls)}"
    return f"cluster {cluster.name} {cluster.protocol.value}{tls}: {where}{_budget(cluster.retry_budget)}"


def _budget(budget: RetryBudget | None) -> str:
    if budget is None:
        return ""
    share = f"{budget.percent} % in {budget.interval_s:g} s, or {budget.least} in {budget.least_interval_s:g} s"
    return f"; retries to {budget.service} {share}"


def _tls(tls: BackendTls) -> str:
    trust = "the system's authorities" if tls.trust is None else f"authorities {tls.trust.digest}"
    own = "" if tls.certificate is None else f", presenting {tls.certificate.digest}"
    return f"TLS to {tls.server_name} as {', '.join((*tls.names, *tls.uris))} by {trust}{own}"


def _tests(title: str, tests: Sequence[HeaderTest | QueryTest]) -> str:
    return "".join(f" {title} {_text(name)} {'~' if regex else '='} {_text(value)}" for name, value, regex in tests)


def _tested(candidate: Candidate) -> str:
    """Return what the path of one of `PathIndex.regexes` is tested by."""
    if candidate.call is None:
        return _text(candidate.regex or b"")
    service, method, regex = candidate.call
    return f"call {'~' if regex else '='} {_text(service) or '*'} {_text(method) or '*'}"


def _text(raw: bytes) -> str:
    """Return *raw* on one line, unambiguously: printable ASCII as it is, the rest (and backslash) escaped."""
    if raw.isascii() and b"\\" not in raw:
        text = raw.decode("ascii")
        if text.isprintable():
            return text
    return repr(raw)[2:-1]
