"""Parts of the API that exist and that we do not serve yet: their shape is checked, a warning names them. Pure.

A filter among them is another matter: it makes requests fail, it is never passed over (see `filters`).
"""

from __future__ import annotations

from typing import Final

from gatewayproxy.compiler.manifests.selectors import read_selector
from gatewayproxy.fields import Fields, Text
from gatewayproxy.fields.shapes import DURATION, GROUP, HEADER_NAME, KIND, NAMESPACE, OBJECT_NAME, PORT

__all__ = ["not_served", "read_allowed_listeners", "read_gateway_tls", "read_retry", "read_session_persistence"]

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


def read_allowed_listeners(spec: Fields) -> None:
    """Read GatewaySpec.allowedListeners (ListenerSets, GEP-1713)."""
    fields = spec.child("allowedListeners")
    namespaces = fields.child("namespaces") if fields is not None else None
    if namespaces is None:
        return
    read_selector(namespaces)
    if namespaces.choice("from", {"None": False, "All": True, "Selector": True, "Same": True}, False):
        not_served(spec, "allowedListeners")


def read_gateway_tls(spec: Fields) -> bool:
    """Read GatewaySpec.tls: client certificates towards backends (GEP-3155) and of clients (GEP-91).

    Return whether clients must be validated: that is never passed over, `resolve` refuses the listeners instead.
    """
    fields = spec.child("tls")
    if fields is None:
        return False
    backend = fields.child("backend")
    reference = backend.child("clientCertificateRef") if backend is not None else None
    if reference is not None:
        _read_reference(reference, group="", kind="Secret")
        not_served(fields, "backend")
    frontend = fields.child("frontend")
    return frontend is not None and _read_frontend(frontend)


def _read_frontend(frontend: Fields) -> bool:
    found = [_read_validation(frontend.required_child("default"))]
    ports: list[int] = []
    for index, item in enumerate(frontend.items("perPort", most=64)):
        port = item.integer("port", *PORT)
        if port in ports:
            frontend.error_at("perPort", index, f"port {port} is listed twice", "remove one of the two")
        ports.append(port)
        found.append(_read_validation(item.required_child("tls")))
    return any(found)


def _read_validation(config: Fields) -> bool:
    fields = config.child("validation")
    if fields is None:
        return False
    fields.choice("mode", {"AllowValidOnly": True, "AllowInsecureFallback": False}, True)
    for item in fields.items("caCertificateRefs", least=1, most=16):
        _read_reference(item, group=None, kind=None)
    return True


def _read_reference(fields: Fields, *, group: str | None, kind: str | None) -> None:
    """Read a reference whose group and kind have defaults, or (None) are required."""
    fields.text("name", OBJECT_NAME)
    fields.text("namespace", NAMESPACE, None)
    if group is None or kind is None:
        fields.text("group", GROUP)
        fields.text("kind", KIND)
    else:
        fields.text("group", GROUP, group)
        fields.text("kind", KIND, kind)
