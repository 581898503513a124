"""Namespace: the labels that allowedRoutes selectors look at. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.fields import Fields

__all__ = ["Namespace", "read"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A Namespace: all we need is in its metadata."""

    meta: Meta


def read(meta: Meta, root: Fields, version: str) -> Namespace:
    """Read a Namespace."""
    root.ignore("spec")
    return Namespace(meta=meta)
