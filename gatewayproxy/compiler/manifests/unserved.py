"""Parts of the API that exist and that we do not serve yet: their shape is checked, a warning names them. Pure.

A filter among them is another matter: it makes requests fail, it is never passed over (see `filters`).
"""

from __future__ import annotations

from typing import Final

from gatewayproxy.fields import Fields, Text
from gatewayproxy.fields.shapes import DURATION, HEADER_NAME

__all__ = ["not_served", "read_retry", "read_session_persistence"]

COOKIE_PATH: Final = Text("a path of at most 1024 characters", longest=1024)


def not_served(fields: Fields, name: str) -> None:
    """Warn that field *name* has no effect."""
    fields.warn(name, "is not implemented yet, ignored", "remove it, or do not rely on it")


def read_retry(rule: Fields) -> None:
    """Read HTTPRouteRule.retry (GEP-1731)."""
    fields = rule.child("retry")
    if fields is None:
        return
    fields.integer("attempts", 1, 2**63 - 1, None)
    fields.text("backoff", DURATION, None)
    fields.integers("codes", 400, 599, unique=True)
    not_served(rule, "retry")


def read_session_persistence(rule: Fields) -> None:
    """Read HTTPRouteRule.sessionPersistence (GEP-1619)."""
    fields = rule.child("sessionPersistence")
    if fields is None:
        return
    timeout = fields.text("absoluteTimeout", DURATION, None)
    kind = fields.choice("type", {"Cookie": "Cookie", "Header": "Header"}, "Cookie")
    cookie, header = fields.child("cookie"), fields.child("header")
    if header is not None:
        header.text("name", HEADER_NAME)
    if cookie is not None:
        cookie.text("name", HEADER_NAME, None)
        cookie.text("path", COOKIE_PATH, None)
        if cookie.choice("lifetimeType", {"Session": False, "Permanent": True}, False) and timeout is None:
            fields.error("absoluteTimeout", "is required for a permanent cookie", "add it, for example 24h")
    for name, part in (("cookie", cookie), ("header", header)):
        if part is not None and kind.lower() != name:
            fields.error(name, f"does not go with type {kind}", f"remove it, or write type: {name.title()}")
        if part is None and kind.lower() == name:
            fields.error(name, f"is required for type {kind}", f"add {name}")
    not_served(rule, "sessionPersistence")
