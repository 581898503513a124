"""Parts of the API that exist and that we do not serve yet: their shape is checked, a warning names them. Pure.

A filter among them is another matter: it makes requests fail, it is never passed over (see `filters`).
"""

from __future__ import annotations

from gatewayproxy.fields import Fields

__all__ = ["not_served"]


def not_served(fields: Fields, name: str) -> None:
    """Warn that field *name* has no effect."""
    fields.warn(name, "is not implemented yet, ignored", "remove it, or do not rely on it")
