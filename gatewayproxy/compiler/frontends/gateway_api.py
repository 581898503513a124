"""Gateway API: typed resources to Plan and StatusReport. Pure.

The story: judge Gateways and their listeners, settle who binds where, resolve each route's rules, attach routes,
read plan and status off the drafts. Nothing here raises for content: what is wrong becomes a condition and a problem.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from gatewayproxy.compiler.manifests import Resources
from gatewayproxy.compiler.manifests.grpcroute import GRPCRoute
from gatewayproxy.compiler.manifests.httproute import HTTPRoute
from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.compiler.manifests.namespace import Namespace
from gatewayproxy.compiler.manifests.referencegrant import ReferenceGrant
from gatewayproxy.compiler.manifests.tcproute import TCPRoute
from gatewayproxy.compiler.manifests.tlsroute import TLSRoute
from gatewayproxy.compiler.manifests.udproute import UDPRoute
from gatewayproxy.compiler.resolve.attach import Namespaces
from gatewayproxy.compiler.resolve.backends import Backends
from gatewayproxy.compiler.resolve.conditions import Findings
from gatewayproxy.compiler.resolve.doubts import tell_doubts
from gatewayproxy.compiler.resolve.drafts import GatewayDraft, ListenerDraft
from gatewayproxy.compiler.resolve.gateways import Classes, draft_gateways
from gatewayproxy.compiler.resolve.grpc import resolve_grpc_route
from gatewayproxy.compiler.resolve.http import resolve_http_route
from gatewayproxy.compiler.resolve.l4 import StreamRoute, resolve_stream_route
from gatewayproxy.compiler.resolve.policies import PolicyDraft
from gatewayproxy.compiler.resolve.ports import claim_ports, drop_unbindable
from gatewayproxy.compiler.resolve.reach import gateways_by_backend
from gatewayproxy.compiler.resolve.references import Grants
from gatewayproxy.compiler.resolve.report import StatusWriter
from gatewayproxy.compiler.resolve.routes import PARENT_KINDS, Parents, RouteDraft
from gatewayproxy.compiler.resolve.secrets import Secrets
from gatewayproxy.compiler.resolve.traffic import TrafficDraft
from gatewayproxy.model.names import ResourceKey
from gatewayproxy.model.plan import Listener, Plan
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.model.status import Problem, Severity, StatusReport

__all__ = ["Resolved", "resolve"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What the manifests mean, and what to say about them."""

    plan: Plan
    status: StatusReport


def resolve(resources: Resources, options: CompileOptions, files: Mapping[str, bytes | None]) -> Resolved:
    """Return plan and status; *files* are the contents of the files that Secrets name."""
    findings = Findings({held.key: held.origin for held in resources.held})
    grants = Grants(resources.of(ReferenceGrant))
    secrets = Secrets(resources, files, options.now, findings)
    classes = Classes(resources, options.controller_name)
    namespaces = Namespaces({n.meta.name: n.meta.labels for n in resources.of(Namespace)})
    gateways = draft_gateways(resources, classes, namespaces, secrets, grants, options, findings)
    claim_ports(gateways, findings)
    for gateway in gateways:
        drop_unbindable(gateway, options.unbindable)
    backends = Backends(resources, grants, secrets, options.cluster_domain, findings)
    routes = list(_routes(resources, backends, findings))
    parents = _parents(resources, gateways, namespaces, findings)
    parents.attach_all(routes)
    tell_doubts(gateways, routes, findings)
    return Resolved(
        plan=Plan(listeners=tuple(_listeners(gateways)), withheld=tuple(_withheld(gateways))),
        status=_report(resources, classes, gateways, routes, backends, findings, options),
    )


def _routes(resources: Resources, backends: Backends, findings: Findings) -> Iterator[RouteDraft]:
    """Yield a draft of every route, oldest first, then by namespace/name."""
    calls: tuple[HTTPRoute | GRPCRoute, ...] = (*resources.of(HTTPRoute), *resources.of(GRPCRoute))
    for route in sorted(calls, key=lambda route: route.meta.age):  # of equals, the HTTPRoute comes first
        if isinstance(route, HTTPRoute):
            yield resolve_http_route(route, backends, findings)
        else:
            yield resolve_grpc_route(route, backends, findings)
    streams: list[StreamRoute] = [*resources.of(TCPRoute), *resources.of(TLSRoute), *resources.of(UDPRoute)]
    for stream in sorted(streams, key=lambda route: route.meta.age):
        yield resolve_stream_route(stream, backends, findings)


def _parents(resources: Resources, gateways: list[GatewayDraft], namespaces: Namespaces, findings: Findings) -> Parents:
    broken = {meta.key for meta in resources.fenced}
    known = {meta.key: meta.key not in broken for meta in resources.metas if meta.key.kind in PARENT_KINDS}
    return Parents(gateways, known, namespaces, findings)


def _listeners(gateways: Iterable[GatewayDraft]) -> Iterator[Listener]:
    for gateway in gateways:
        for draft in gateway.serving():
            yield _listener(gateway, draft)


def _withheld(gateways: Iterable[GatewayDraft]) -> Iterator[Listener]:
    for gateway in gateways:
        for draft in gateway.withheld():
            certificates = draft.certificates if draft.accepted.status else ()
            yield replace(_listener(gateway, draft), attachments=(), certificates=certificates)


def _listener(gateway: GatewayDraft, draft: ListenerDraft) -> Listener:
    assert draft.protocol is not None, "a listener without a supported protocol does not serve"
    return Listener(
        key=draft.key,
        protocol=draft.protocol,
        port=draft.spec.port,
        bind_port=draft.bind_port,
        addresses=gateway.usable,
        hostname=draft.hostname,
        tls_mode=draft.tls_mode,
        certificates=draft.certificates,
        client_validation=draft.client_validation,
        backend_certificate=gateway.client_certificate,
        attachments=tuple(draft.attachments),
    )


def _report(
    resources: Resources, classes: Classes, gateways: list[GatewayDraft], routes: list[RouteDraft], backends: Backends,
    findings: Findings, options: CompileOptions,
) -> StatusReport:  # fmt: skip
    writer = StatusWriter(options.controller_name, options.now)
    for gateway_class in classes.ours():
        writer.add_class(gateway_class, classes.verdict(gateway_class))
    for gateway in gateways:
        writer.add_gateway(gateway)
    for route in routes:
        writer.add_route(route)
    policies: tuple[PolicyDraft | TrafficDraft, ...] = (*backends.policies.drafts, *backends.traffic.drafts)
    reach = gateways_by_backend(gateways, routes, backends, passed_through=False) if policies else {}
    for policy in policies:
        writer.add_policy(policy, reach)
    drafts = backends.drafts
    reach = gateways_by_backend(gateways, routes, backends, passed_through=True) if drafts else {}
    for draft in drafts:
        writer.add_backend(draft, reach)
    ours = frozenset(parent.spec.meta.key for gateway in gateways for parent in gateway.parents)
    for meta, flaws in _flaws(resources):
        if meta.key.kind != "Gateway" or classes.owns(_class_name(meta)):
            writer.add_fenced(meta, flaws, ours)
    problems = sorted((*resources.problems, *findings.problems), key=lambda problem: problem.origin)
    return StatusReport(objects=writer.objects(resources.metas), problems=tuple(problems), held=resources.held)


def _flaws(resources: Resources) -> Iterator[tuple[Meta, list[Problem]]]:
    """Yield every object whose text has errors, with them."""
    found: dict[ResourceKey, list[Problem]] = {meta.key: [] for meta in resources.fenced}
    for problem in resources.problems:
        if problem.severity is Severity.ERROR and problem.key is not None and problem.key in found:
            found[problem.key].append(problem)
    yield from ((meta, found[meta.key]) for meta in resources.fenced)


def _class_name(meta: Meta) -> str:
    """Return the class of a Gateway that could not be read."""
    spec = meta.manifest.get("spec")
    name = spec.get("gatewayClassName") if isinstance(spec, Mapping) else None
    return name if isinstance(name, str) else ""
