"""Objects are shown as written, with namespace and our status."""

from __future__ import annotations

from typing import Any

from gatewayproxy.insight.objects import objects_of
from gatewayproxy.model.names import Origin, ResourceKey
from gatewayproxy.model.status import ObjectStatus, StatusReport


def shown(key: ResourceKey, manifest: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    report = StatusReport(objects=(ObjectStatus(key=key, origin=Origin("a.yaml"), manifest=manifest, status=status),))
    return objects_of(report)[0]


def test_our_status_replaces_one_that_was_written() -> None:
    manifest = {"kind": "Gateway", "metadata": {"name": "gw", "namespace": "infra"}, "status": {"old": True}}
    found = shown(ResourceKey("Gateway", "infra", "gw"), manifest, {"new": True})
    assert found == {"kind": "Gateway", "metadata": {"name": "gw", "namespace": "infra"}, "status": {"new": True}}
    assert manifest["status"] == {"old": True}


def test_the_namespace_is_shown_where_it_was_left_out() -> None:
    found = shown(ResourceKey("Service", "default", "app"), {"kind": "Service", "metadata": {"name": "app"}}, {})
    assert found == {"kind": "Service", "metadata": {"name": "app", "namespace": "default"}}


def test_an_object_of_the_cluster_gets_no_namespace() -> None:
    manifest = {"kind": "GatewayClass", "metadata": {"name": "any"}}
    assert shown(ResourceKey("GatewayClass", "", "any"), manifest, {}) == manifest
