"""Statuses that speak of each Gateway that reaches a backend: how many they name, and what goes on beyond."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from gatewayproxy.compiler.pipeline import Compiled, Compiler
from gatewayproxy.model.source import CompileOptions, Source

_API, _EXPERIMENTAL = "gateway.networking.k8s.io", "gateway.networking.x-k8s.io"
N_GATEWAYS = 40
VALIDATION = {"hostname": "a.example.com", "wellKnownCACertificates": "System"}


def manifest(group: str, version: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    api = f"{group}/{version}" if group else version
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}


def xbackend(hostname: str = "a.example.com") -> dict[str, Any]:
    spec = {"type": "ExternalHostname", "externalHostname": {"hostname": hostname}, "port": {"port": 443}}
    return manifest(_EXPERIMENTAL, "v1alpha1", "XBackend", "out", {**spec, "tls": {"mode": "ServerOnly"}})


def crowd() -> Iterator[dict[str, Any]]:
    """Yield Gateways, each with a route of its own to one Service and one XBackend."""
    refs = [{"name": "web", "port": 80}, {"group": _EXPERIMENTAL, "kind": "XBackend", "name": "out"}]
    for n in range(N_GATEWAYS):
        listeners = [{"name": "http", "port": 8000 + n, "protocol": "HTTP"}]
        yield manifest(_API, "v1", "Gateway", f"gw{n:02}", {"gatewayClassName": "any", "listeners": listeners})
        route = {"parentRefs": [{"name": f"gw{n:02}"}], "rules": [{"backendRefs": refs}]}
        yield manifest(_API, "v1", "HTTPRoute", f"r{n:02}", route)
    targets = [{"group": "", "kind": "Service", "name": "web"}]
    yield manifest(_API, "v1", "BackendTLSPolicy", "p", {"targetRefs": targets, "validation": VALIDATION})
    yield manifest("", "v1", "Service", "web", {"ports": [{"port": 80}]})


def compiled(*objects: dict[str, Any], **options: Any) -> Compiled:
    text = yaml.safe_dump_all(objects).encode()
    return Compiler().compile([Source("in.yaml", text)], CompileOptions(**options), {})


@pytest.mark.parametrize(
    ("kind", "among", "ref", "most"),
    [("BackendTLSPolicy", "ancestors", "ancestorRef", 16), ("XBackend", "parents", "parentRef", 32)],
)
def test_a_status_names_the_first_gateways_and_all_of_them_are_served(
    kind: str, among: str, ref: str, most: int
) -> None:
    found = compiled(*crowd(), xbackend())
    (status,) = (each.status for each in found.status.objects if each.key.kind == kind)
    assert [each[ref]["name"] for each in status[among]] == [f"gw{n:02}" for n in range(most)]
    clusters = [
        backend.cluster
        for each in found.plan.listeners
        for attachment in each.attachments
        for rule in attachment.route.rules
        for backend in rule.backends
    ]
    assert len(clusters) == 2 * N_GATEWAYS
    assert all(cluster is not None and cluster.tls is not None for cluster in clusters)


def test_a_host_in_the_domain_of_the_cluster_is_not_outside() -> None:
    found = compiled(*crowd(), xbackend("web.default.svc.corp.internal"), cluster_domain="corp.internal")
    (status,) = (each.status for each in found.status.objects if each.key.kind == "XBackend")
    (accepted, *_) = status["parents"][0]["conditions"]
    assert (accepted["status"], accepted["reason"]) == ("False", "Invalid")
    assert "corp.internal" in accepted["message"]
    route = found.plan.listeners[0].attachments[0].route
    assert route.rules[0].backends[1].refusal is not None
