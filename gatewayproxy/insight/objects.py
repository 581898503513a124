"""Objects as Kubernetes would show them: the manifest as written, its namespace, and the computed status. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatewayproxy.model.status import ObjectStatus, StatusReport

__all__ = ["objects_of"]


def objects_of(report: StatusReport) -> list[dict[str, Any]]:
    """Return every object of *report*, in source order, as a tree for JSON or YAML.

    A status that was written down (an exported manifest has one) is shown only where we have none of our own to say.
    """
    return [_object(each) for each in report.objects]


def _object(each: ObjectStatus) -> dict[str, Any]:
    shown = dict(each.manifest)
    if each.status:
        shown["status"] = dict(each.status)
    metadata = shown.get("metadata")
    if each.key.namespace and isinstance(metadata, Mapping) and not metadata.get("namespace"):
        shown["metadata"] = {**metadata, "namespace": each.key.namespace}
    return shown
