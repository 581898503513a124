"""Filters that the API defines and we do not serve yet: their shape is checked, requests that meet one fail. Pure."""

from __future__ import annotations

from typing import Final

from gatewayproxy.fields import ANY_TEXT, Fields, Text, read_backend_object_reference
from gatewayproxy.fields.shapes import GROUP, KIND, OBJECT_NAME

__all__ = ["read_extension_ref", "read_external_auth"]

AUTH_PATH: Final = Text(
    "a path prefix, percent-encoded", r"([-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+", longest=1024
)


def read_extension_ref(fields: Fields) -> None:
    """Read a LocalObjectReference to a filter of somebody else's."""
    fields.text("group", GROUP)
    fields.text("kind", KIND)
    fields.text("name", OBJECT_NAME)


def read_external_auth(fields: Fields) -> None:
    """Read an HTTPExternalAuthFilter (GEP-1494)."""
    read_backend_object_reference(fields.required_child("backendRef"))
    protocol = fields.choice("protocol", {"HTTP": "http", "GRPC": "grpc"})
    body = fields.child("forwardBody")
    if body is not None:
        body.integer("maxSize", 0, 2**31 - 1, None)
    for name in ("http", "grpc"):
        part = fields.child(name)
        if part is None and protocol == name:
            fields.error(name, f"is required for protocol {protocol.upper()}", f"add {name}: {{}}")
        if part is None:
            continue
        if protocol != name:
            fields.error(
                name, f"does not go with protocol {protocol.upper()}", f"remove it, or write protocol: {name.upper()}"
            )
        part.texts("allowedHeaders", ANY_TEXT, most=64, unique=True)
        if name == "http":
            part.texts("allowedResponseHeaders", ANY_TEXT, most=64, unique=True)
            part.text("path", AUTH_PATH, None)
