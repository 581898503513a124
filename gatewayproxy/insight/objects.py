"""Objects as Kubernetes would show them: the manifest as written, with the computed status. Pure."""

from __future__ import annotations

from typing import Any

from gatewayproxy.model.status import StatusReport

__all__ = ["objects_of"]


def objects_of(report: StatusReport) -> list[dict[str, Any]]:
    """Return every object of *report* as a tree for JSON or YAML; kinds without status have none."""
    return [
        {**each.manifest, "status": dict(each.status)} if each.status else dict(each.manifest)
        for each in report.objects
    ]
