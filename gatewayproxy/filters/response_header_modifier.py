"""ResponseHeaderModifier: set, add and remove header fields of the response (HTTPHeaderFilter). Pure."""

from __future__ import annotations

from gatewayproxy.fields import Fields
from gatewayproxy.fields.edits import LocalFilter, read_header_modifier
from gatewayproxy.model.plan import FilterChain

__all__ = ["read"]


def read(fields: Fields) -> LocalFilter:
    """Read `responseHeaderModifier`."""
    return LocalFilter(FilterChain(response=read_header_modifier(fields)))
