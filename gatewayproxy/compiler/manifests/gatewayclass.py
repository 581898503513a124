"""GatewayClass: which controller serves the Gateways of a class. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.compiler.manifests.references import ObjectReference, read_object_reference
from gatewayproxy.fields import Fields, Text
from gatewayproxy.fields.shapes import SUBDOMAIN_PATTERN

__all__ = ["GatewayClass", "read"]

CONTROLLER: Final = Text(
    "a controller name such as example.com/controller",
    SUBDOMAIN_PATTERN + r"/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+",
    shortest=1,
    longest=253,
)
DESCRIPTION: Final = Text("a description of at most 64 characters", longest=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayClass:
    """GatewayClass.spec."""

    meta: Meta
    controller_name: str
    parameters_ref: ObjectReference | None = None


def read(meta: Meta, root: Fields, version: str) -> GatewayClass:
    """Read a GatewayClass."""
    spec = root.required_child("spec")
    spec.text("description", DESCRIPTION, None)
    parameters = spec.child("parametersRef")
    return GatewayClass(
        meta=meta,
        controller_name=spec.text("controllerName", CONTROLLER),
        parameters_ref=read_object_reference(parameters, namespaced=True) if parameters else None,
    )
