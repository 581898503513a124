"""Everything the manifests declare, typed, by kind and key. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar, cast

from gatewayproxy.compiler.manifests.backendtlspolicy import BackendTLSPolicy
from gatewayproxy.compiler.manifests.configmap import ConfigMap
from gatewayproxy.compiler.manifests.endpointslice import EndpointSlice
from gatewayproxy.compiler.manifests.gateway import Gateway
from gatewayproxy.compiler.manifests.gatewayclass import GatewayClass
from gatewayproxy.compiler.manifests.httproute import HTTPRoute
from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.compiler.manifests.namespace import Namespace
from gatewayproxy.compiler.manifests.patch import Patch
from gatewayproxy.compiler.manifests.referencegrant import ReferenceGrant
from gatewayproxy.compiler.manifests.secret import Secret
from gatewayproxy.compiler.manifests.service import Service
from gatewayproxy.compiler.manifests.tcproute import TCPRoute
from gatewayproxy.compiler.manifests.tlsroute import TLSRoute
from gatewayproxy.model.names import ResourceKey
from gatewayproxy.model.status import Held, Problem, Severity

__all__ = ["ReadObject", "Resource", "Resources", "gather"]

Resource = (
    GatewayClass
    | Gateway
    | HTTPRoute
    | TCPRoute
    | TLSRoute
    | ReferenceGrant
    | BackendTLSPolicy
    | Service
    | EndpointSlice
    | Secret
    | ConfigMap
    | Namespace
    | Patch
)
T = TypeVar("T", bound=Resource)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadObject:
    """One object of a text: *resource* None = it is fenced (has errors), *meta* None = nobody can tell which."""

    meta: Meta | None
    resource: Resource | None
    problems: tuple[Problem, ...] = ()
    meant: ResourceKey | None = None  # passed over, though probably this one with a slip in kind or apiVersion
    held: Held | None = None  # the text has errors; *meta* and *resource* are the version in force


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """All objects by kind, each in source order; no two have the same key."""

    gateway_classes: tuple[GatewayClass, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    http_routes: tuple[HTTPRoute, ...] = ()
    tcp_routes: tuple[TCPRoute, ...] = ()
    tls_routes: tuple[TLSRoute, ...] = ()
    reference_grants: tuple[ReferenceGrant, ...] = ()
    backend_tls_policies: tuple[BackendTLSPolicy, ...] = ()
    services: tuple[Service, ...] = ()
    endpoint_slices: tuple[EndpointSlice, ...] = ()
    secrets: tuple[Secret, ...] = ()
    config_maps: tuple[ConfigMap, ...] = ()
    namespaces: tuple[Namespace, ...] = ()
    fenced: tuple[Meta, ...] = ()  # have errors: shown, never served
    metas: tuple[Meta, ...] = ()  # of every object, the fenced ones too, in source order
    held: tuple[Held, ...] = ()  # served as they were accepted, not as they are written
    problems: tuple[Problem, ...] = ()


def gather(read: Iterable[ReadObject], problems: Iterable[Problem] = ()) -> Resources:
    """Return *read* as Resources. Of two objects with one key the first counts, the later one is an error."""
    seen: dict[ResourceKey, Meta] = {}
    by_type: defaultdict[type, list[Resource]] = defaultdict(list)
    fenced: list[Meta] = []
    held: list[Held] = []
    found = list(problems)
    for item in read:
        found.extend(item.problems)
        if item.meta is None:
            continue
        first = seen.setdefault(item.meta.key, item.meta)
        if first is not item.meta:
            found.append(_duplicate(item.meta, first))
        elif item.resource is None:
            fenced.append(item.meta)
        else:
            by_type[type(item.resource)].append(item.resource)
            held.extend((item.held,) if item.held is not None else ())

    def every(kind: type[T]) -> tuple[T, ...]:
        return tuple(cast("list[T]", by_type[kind]))

    return Resources(
        gateway_classes=every(GatewayClass),
        gateways=every(Gateway),
        http_routes=every(HTTPRoute),
        tcp_routes=every(TCPRoute),
        tls_routes=every(TLSRoute),
        reference_grants=every(ReferenceGrant),
        backend_tls_policies=every(BackendTLSPolicy),
        services=every(Service),
        endpoint_slices=every(EndpointSlice),
        secrets=every(Secret),
        config_maps=every(ConfigMap),
        namespaces=every(Namespace),
        fenced=tuple(fenced),
        metas=tuple(seen.values()),
        held=tuple(held),
        problems=tuple(found),
    )


def _duplicate(meta: Meta, first: Meta) -> Problem:
    return Problem(
        origin=meta.origin,
        severity=Severity.ERROR,
        key=meta.key,
        field="metadata.name",
        message=f"{meta.key} is already declared at {first.origin}; that one counts",
        hint="remove one of the two, or give them different names",
    )
