"""Registry: per-worker state of clusters and endpoints, keyed by value, so that a reload keeps what did not change."""

from __future__ import annotations

__all__ = ["Registry"]


class Registry:
    """Clusters and their pools."""
