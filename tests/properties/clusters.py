"""Gateways, ListenerSets and routes by chance, as plain values and as the manifests they stand for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

__all__ = ["TIERS", "Admission", "Child", "Parent", "Ref", "Spot", "children", "manifests", "parents"]

T = TypeVar("T")
TIERS = {"n1": "x", "n2": "y", "n-1": "x"}  # namespaces, and the label of each; "n-1/a" comes before "n1/a"
HOSTNAMES = ["a.test", "b.test", "a.b.test", "test", "*.test", "*.b.test", "*.a.b.test"]
PATHS = ["/", "/", "/a", "/a/", "/a/b", "/ab"]
DATES = [None, "2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "2026-01-02T00:00:00Z"]
_GROUP = "gateway.networking.k8s.io"


@dataclass(frozen=True)
class Admission:
    """Whom a listener or a Gateway lets in: All, None, Same, or by Selector the namespaces of a tier."""

    source: str
    tier: str = ""


@dataclass(frozen=True)
class Spot:
    """A listener; no kinds = those of its protocol."""

    name: str
    port: int
    protocol: str
    hostname: str
    routes: Admission
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Parent:
    """A Gateway, or (with *of*) a ListenerSet of that Gateway; *sets*: of which namespaces it takes ListenerSets."""

    namespace: str
    name: str
    created: str | None
    spots: tuple[Spot, ...]
    sets: Admission = Admission("None")
    of: Parent | None = None

    @property
    def kind(self) -> str:
        return "Gateway" if self.of is None else "ListenerSet"


@dataclass(frozen=True)
class Ref:
    """A parentRef."""

    parent: Parent
    section: str | None
    port: int | None


@dataclass(frozen=True)
class Child:
    """A route; each rule is one match, by prefix or (True) exact."""

    kind: str
    namespace: str
    name: str
    created: str | None
    refs: tuple[Ref, ...]
    hostnames: tuple[str, ...]
    rules: tuple[tuple[str, bool], ...]


def parents(chance: Random) -> list[Parent]:
    """Return a Gateway and some ListenerSets of it."""
    own = _spots(chance, "l", 6)
    gateway = Parent(_namespace(chance), "gw", chance.choice(DATES), own, _admission(chance, "None"))
    sets = [
        Parent(_namespace(chance), f"s{index}", chance.choice(DATES), _spots(chance, "lm"[index % 2], 3), of=gateway)
        for index in range(chance.randint(0, 3))
    ]
    return [gateway, *sets]


def children(chance: Random, among: Sequence[Parent]) -> list[Child]:
    """Return some routes, most of HTTP."""
    kinds = ["HTTPRoute"] * 6 + ["GRPCRoute", "TCPRoute"]
    return [_child(chance, chance.choice(kinds), f"r{index}", among) for index in range(chance.randint(2, 7))]


def manifests(among: Sequence[Parent], routes: Sequence[Child], chance: Random) -> bytes:
    """Return everything as one text, in any order."""
    trees = [*map(_parent_tree, among), *map(_child_tree, routes)]
    trees += [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"tier": tier}}}
        for name, tier in TIERS.items()
    ]
    chance.shuffle(trees)
    return "\n---\n".join(map(json.dumps, trees)).encode()


def _namespace(chance: Random) -> str:
    return chance.choice(["n1", *TIERS])


def _admission(chance: Random, narrow: str) -> Admission:
    source = chance.choice([narrow, "Same", "Selector", *["All"] * 7])
    return Admission(source, chance.choice("xy") if source == "Selector" else "")


def _spots(chance: Random, letter: str, most: int) -> tuple[Spot, ...]:
    found: dict[object, Spot] = {}
    for index in range(chance.randint(1, most)):
        protocol = chance.choice(["HTTP"] * 18 + ["TCP", "UDP"])
        hostname = chance.choice(["", "", *HOSTNAMES]) if protocol == "HTTP" else ""
        kinds = tuple(chance.sample(["HTTPRoute", "GRPCRoute", "TCPRoute"], chance.choice([0, 0, 0, 0, 0, 1, 2])))
        port = chance.choice([8001, 8001, 8001, 8001, 8002])
        spot = Spot(f"{letter}{index}", port, protocol, hostname, _admission(chance, "Same"), kinds)
        found.setdefault((port, protocol, hostname), spot)
    return tuple(found.values())


def _child(chance: Random, kind: str, name: str, among: Sequence[Parent]) -> Child:
    refs = tuple(_ref(chance, parent) for parent in chance.sample(among, min(len(among), chance.choice([1, 1, 2]))))
    hostnames = chance.sample(HOSTNAMES, chance.randint(0, 3)) if kind != "TCPRoute" else []
    rules = [(chance.choice(PATHS), chance.random() < 0.3) for _ in range(chance.randint(1, 3))]
    own = tuple(rules if kind == "HTTPRoute" else rules[:1])
    return Child(kind, _namespace(chance), name, chance.choice(DATES), refs, tuple(hostnames), own)


def _ref(chance: Random, parent: Parent) -> Ref:
    section = chance.choice([*[None] * 6, *(spot.name for spot in parent.spots), "none"])
    return Ref(parent, section, chance.choice([*[None] * 6, 8001, 8002]))


def _meta(namespace: str, name: str, created: str | None) -> dict[str, Any]:
    dated = {} if created is None else {"creationTimestamp": created}
    return {"namespace": namespace, "name": name, **dated}


def _namespaces_tree(admission: Admission) -> dict[str, Any]:
    chosen = {"selector": {"matchLabels": {"tier": admission.tier}}} if admission.source == "Selector" else {}
    return {"namespaces": {"from": admission.source, **chosen}}


def _parent_tree(parent: Parent) -> dict[str, Any]:
    spec: dict[str, Any] = {"listeners": list(_listener_trees(parent.spots))}
    if parent.of is None:
        addresses = [{"type": "IPAddress", "value": "127.0.0.1"}]
        spec |= {"gatewayClassName": "any", "addresses": addresses, "allowedListeners": _namespaces_tree(parent.sets)}
    else:
        spec["parentRef"] = {"name": parent.of.name, "namespace": parent.of.namespace}
    meta = _meta(parent.namespace, parent.name, parent.created)
    return {"apiVersion": f"{_GROUP}/v1", "kind": parent.kind, "metadata": meta, "spec": spec}


def _listener_trees(spots: Sequence[Spot]) -> Iterator[dict[str, Any]]:
    for spot in spots:
        allowed = _namespaces_tree(spot.routes)
        if spot.kinds:
            allowed["kinds"] = [{"kind": kind} for kind in spot.kinds]
        tree = {"name": spot.name, "port": spot.port, "protocol": spot.protocol, "allowedRoutes": allowed}
        yield {**tree, "hostname": spot.hostname} if spot.hostname else tree


def _child_tree(child: Child) -> dict[str, Any]:
    refs = [
        {"kind": ref.parent.kind, "namespace": ref.parent.namespace, "name": ref.parent.name}
        | ({"sectionName": ref.section} if ref.section else {})
        | ({"port": ref.port} if ref.port else {})
        for ref in child.refs
    ]
    spec: dict[str, Any] = {"parentRefs": refs, "rules": [_rule_tree(child, *each) for each in child.rules]}
    if child.hostnames:
        spec["hostnames"] = list(child.hostnames)
    meta = _meta(child.namespace, child.name, child.created)
    return {"apiVersion": f"{_GROUP}/v1", "kind": child.kind, "metadata": meta, "spec": spec}


def _rule_tree(child: Child, path: str, exact: bool) -> dict[str, Any]:
    if child.kind != "HTTPRoute":
        return {"backendRefs": [{"name": "none", "port": 80}]}
    redirect = {"type": "RequestRedirect", "requestRedirect": {"hostname": "elsewhere.test"}}
    match = {"path": {"type": "Exact" if exact else "PathPrefix", "value": path}}
    return {"matches": [match], "filters": [redirect]}
