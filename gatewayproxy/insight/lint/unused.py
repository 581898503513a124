"""What is written and that nothing uses: certificates, grants, listeners. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from gatewayproxy.compiler.manifests.referencegrant import GrantFrom, GrantTo, ReferenceGrant
from gatewayproxy.compiler.manifests.secret import Secret
from gatewayproxy.insight.lint.config import Config, mappings
from gatewayproxy.insight.lint.rule import Finding, Lint
from gatewayproxy.insight.lint.walk import (
    Reference,
    listener_fields,
    parent_of,
    references,
    routes,
    secret_references,
)
from gatewayproxy.model.codes import Code
from gatewayproxy.model.names import ResourceKey
from gatewayproxy.model.protocols import Protocol

__all__ = ["LINTS"]

_TLS: Final = "kubernetes.io/tls"
_STREAMS: Final = (Protocol.TCP, Protocol.TLS, Protocol.UDP)
# Codes of routes that are on no listener: what is wrong with them is told of them.
_UNATTACHED: Final = frozenset((
    Code.SECTION, Code.NOT_ALLOWED, Code.NO_HOSTNAME, Code.HOST_CONFLICT, Code.HOST_OUTSIDE, Code.UNSUPPORTED,
    Code.NO_RULES,
))  # fmt: skip


def unused_secrets(config: Config) -> Iterator[Finding]:
    """Yield Secrets of type kubernetes.io/tls that nothing names."""
    named = {(ref.namespace or key.namespace, ref.name) for key, ref in secret_references(config)}
    if any(key.kind in ("Gateway", "ListenerSet") for key in _fenced(config)):
        return  # which Secrets those name is not known
    for secret in config.resources.of(Secret):
        if secret.type == _TLS and (secret.meta.namespace, secret.meta.name) not in named:
            message = "no listener, Gateway or XBackend names this certificate"
            hint = "name it in tls.certificateRefs of a listener, or remove it"
            yield Finding(secret.meta.key, "", message, hint)


def unused_grants(config: Config) -> Iterator[Finding]:
    """Yield ReferenceGrants, or entries of them, without a reference that needs them."""
    crossing = [each for each in references(config) if each.namespace != each.to_namespace]
    asked = {*crossing, *(each._replace(to_name="") for each in crossing)}  # "": some object of the kind
    unread = {(key.kind, key.namespace) for key in _fenced(config)}
    for grant in config.resources.of(ReferenceGrant):
        if any((source.kind, source.namespace) in unread for source in grant.from_):
            continue  # what objects with errors refer to is not known
        own = grant.meta.namespace
        needed = [
            (source, to) for source in grant.from_ for to in grant.to
            if Reference(*source, to.group, to.kind, own, to.name or "") in asked
        ]  # fmt: skip
        if needed:
            yield from _unused_entries(grant, needed, crossing)
        else:
            message = f"nothing needs it: no {_whom(grant)} refers to {_what(grant)}"
            hint = "remove it, or correct from and to: both are exact in group, kind and namespace"
            hint = next(filter(None, (_meant(grant, source, crossing) for source in grant.from_)), hint)
            yield Finding(grant.meta.key, "", message, hint)


def _unused_entries(
    grant: ReferenceGrant, needed: Sequence[tuple[GrantFrom, GrantTo]], crossing: Sequence[Reference]
) -> Iterator[Finding]:
    sources, targets = {source for source, _ in needed}, {to for _, to in needed}
    hint = "remove the entry, or correct it"
    for index, source in enumerate(grant.from_):
        if source not in sources:
            message = f"no {source.kind} of namespace {source.namespace} refers to what the grant permits"
            yield Finding(grant.meta.key, f"spec.from[{index}]", message, _meant(grant, source, crossing) or hint)
    for index, to in enumerate(grant.to):
        if to not in targets:
            what = f"{to.kind} {to.name}" if to.name else f"any {to.kind} of this namespace"
            yield Finding(
                grant.meta.key, f"spec.to[{index}]", f"nobody whom the grant permits to refers to {what}", hint
            )


def _meant(grant: ReferenceGrant, source: GrantFrom, crossing: Sequence[Reference]) -> str:
    """Return which namespace an entry is for that names one without a reference, "" where none comes to mind."""
    own = grant.meta.namespace
    permitted = {(each.kind, each.namespace) for each in grant.from_}
    others = (
        each.namespace for each in crossing
        if (each.group, each.kind, each.to_namespace) == (source.group, source.kind, own)
        and (each.kind, each.namespace) not in permitted
        and any((to.group, to.kind) == (each.to_group, each.to_kind) for to in grant.to)
    )  # fmt: skip
    namespace = next(others, "")
    return f"write namespace: {namespace}? its {source.kind}s refer to {_what(grant)}" if namespace else ""


def _whom(grant: ReferenceGrant) -> str:
    return " or ".join(f"{source.kind} of namespace {source.namespace}" for source in grant.from_)


def _what(grant: ReferenceGrant) -> str:
    names = (f"{to.kind} {grant.meta.namespace}/{to.name or '*'}" for to in grant.to)
    return " or ".join(names)


def _fenced(config: Config) -> Collection[ResourceKey]:
    return {meta.key for meta in config.resources.fenced}


def idle_listeners(config: Config) -> Iterator[Finding]:
    """Yield listeners that serve and have no route, where no route tried in vain."""
    fields = listener_fields(config)
    awaited = set(_sought_in_vain(config))
    strays = any(problem.code == Code.PARENT for problem in config.status.problems)
    busy = {parent_of(listener.key) for listener in config.plan.listeners if listener.attachments}
    for listener in config.plan.listeners:
        parent = parent_of(listener.key)
        field = fields.get((parent, listener.key.name))
        if listener.attachments or field is None or parent in awaited:
            continue
        if strays and parent not in busy:  # a route that names no Gateway there is may have meant this one
            continue
        what = "connections end at once" if listener.protocol in _STREAMS else "every request gets 404"
        message = f"listener {listener.key.name} has no routes: {what}"
        yield Finding(parent, field, message, "attach a route (parentRefs), or remove the listener")


def _sought_in_vain(config: Config) -> Iterator[ResourceKey]:
    """Yield the parents of routes that have a problem with them, or errors."""
    lost = {problem.key for problem in config.status.problems if problem.code in _UNATTACHED}
    for route in routes(config):
        if route.meta.key in lost:
            for ref in route.parent_refs:
                yield ResourceKey(ref.kind, ref.namespace or route.meta.namespace, ref.name)
    for meta in config.resources.fenced:
        spec = meta.manifest.get("spec")
        for written in mappings(spec.get("parentRefs") if isinstance(spec, Mapping) else None):
            kind, namespace, name = (written.get(field) for field in ("kind", "namespace", "name"))
            yield ResourceKey(str(kind or "Gateway"), str(namespace or meta.namespace), str(name))


LINTS: Final[Mapping[str, Lint]] = {
    "GW205": Lint(
        title="certificate that nothing uses",
        meaning="A Secret of type kubernetes.io/tls is named by no listener, Gateway or XBackend. It is not served; "
        "a listener that was to serve it has another, or its name is written otherwise there.",
        fix="Name it in certificateRefs, or remove it: a private key that nobody needs only waits to be lost.",
        find=unused_secrets,
    ),
    "GW307": Lint(
        title="grant that nobody uses",
        meaning="No object of the kind and namespace in `from` refers to one in `to`. Either it is left over, or it "
        "was meant for a reference that it does not permit.",
        fix="Remove it, or correct kind and namespace: HTTPRoute, GRPCRoute and TCPRoute each need an entry.",
        find=unused_grants,
    ),
    "GW504": Lint(
        title="listener without routes",
        meaning="It binds its port and answers every request with 404, or ends every connection.",
        fix="Attach a route to it, or remove it. A listener that only holds a certificate for later is one to silence.",
        find=idle_listeners,
    ),
}
