"""Filters that the API defines and we do not serve yet: their shape is checked, requests that meet one fail. Pure."""

from __future__ import annotations

from gatewayproxy.fields import Fields
from gatewayproxy.fields.shapes import GROUP, KIND, OBJECT_NAME

__all__ = ["read_extension_ref"]


def read_extension_ref(fields: Fields) -> None:
    """Read a LocalObjectReference to a filter of somebody else's."""
    fields.text("group", GROUP)
    fields.text("kind", KIND)
    fields.text("name", OBJECT_NAME)
