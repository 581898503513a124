"""retry and sessionPersistence, as rules and XBackendTrafficPolicies have them (GEP-1731, GEP-1619). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gatewayproxy.fields import Fields, Text
from gatewayproxy.fields.edits import OWN_FIELDS
from gatewayproxy.fields.shapes import DURATION, HEADER_NAME, duration_s
from gatewayproxy.model.traffic import Retry

__all__ = ["SessionPersistence", "read_retry", "read_session_persistence"]

COOKIE_NAME: Final = Text("a cookie name such as basket", r"[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+", shortest=1, longest=256)
# Narrower than the CustomResourceDefinition: a ";" would begin another attribute, and clients ignore other paths.
COOKIE_PATH: Final = Text("a path such as /shop, without ;", r"(/[\x21-\x3a\x3c-\x7e]*)?", longest=1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPersistence:
    """SessionPersistence, defaults applied."""

    name: str = ""  # of the cookie or header; "" = a name of our choice, for cookies only
    header: bool = False
    path: str = "/"
    permanent: bool = False
    absolute_s: float = 0.0  # 0 = no limit


def read_retry(rule: Fields) -> Retry | None:
    """Read HTTPRouteRule.retry."""
    fields = rule.child("retry")
    if fields is None:
        return None
    backoff = fields.text("backoff", DURATION, None)
    defaults = Retry()
    return Retry(
        attempts=fields.integer("attempts", 1, 2**63 - 1, defaults.attempts),
        codes=tuple(sorted(fields.integers("codes", 400, 599, unique=True))),
        backoff_s=defaults.backoff_s if backoff is None else duration_s(backoff),
    )


def read_session_persistence(parent: Fields) -> SessionPersistence | None:
    """Read `sessionPersistence` of a rule or policy."""
    fields = parent.child("sessionPersistence")
    if fields is None:
        return None
    timeout = fields.text("absoluteTimeout", DURATION, None)
    kind = fields.choice("type", {"Cookie": "Cookie", "Header": "Header"}, "Cookie")
    cookie, header = fields.child("cookie"), fields.child("header")
    for name, part in (("cookie", cookie), ("header", header)):
        if part is not None and kind.lower() != name:
            fields.error(name, f"does not go with type {kind}", f"remove it, or write type: {name.title()}")
        if part is None and kind.lower() == name:
            fields.error(name, f"is required for type {kind}", f"add {name}")
    absolute_s = 0.0 if timeout is None else duration_s(timeout)
    if header is not None:
        _read_cookie(cookie)
        return SessionPersistence(name=_read_header_name(header), header=True, absolute_s=absolute_s)
    name, path, permanent = _read_cookie(cookie)
    if permanent and timeout is None:
        fields.error("absoluteTimeout", "is required for a permanent cookie", "add it, for example 24h")
    elif permanent and not absolute_s:
        fields.error("absoluteTimeout", "0s is no lifetime of a permanent cookie", "write a duration such as 24h")
    return SessionPersistence(name=name, path=path, permanent=permanent, absolute_s=absolute_s)


def _read_cookie(fields: Fields | None) -> tuple[str, str, bool]:
    """Return name, path and whether the cookie is permanent."""
    if fields is None:
        return "", "/", False
    permanent = fields.choice("lifetimeType", {"Session": False, "Permanent": True}, False)
    return fields.text("name", COOKIE_NAME, ""), fields.text("path", COOKIE_PATH, "/") or "/", permanent


def _read_header_name(fields: Fields) -> str:
    name = fields.text("name", HEADER_NAME)
    if name.lower() in OWN_FIELDS or name.lower() in ("cookie", "set-cookie"):
        fields.error("name", f"{name} has a meaning of its own", "choose another name, such as x-session")
    return name
