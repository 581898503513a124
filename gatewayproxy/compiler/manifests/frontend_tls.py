"""GatewaySpec.tls.frontend: which clients a Gateway lets in, by their certificates (GEP-91). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gatewayproxy.compiler.manifests.references import ObjectReference, read_object_reference
from gatewayproxy.fields import Fields
from gatewayproxy.fields.shapes import PORT

__all__ = ["FrontendTls", "FrontendValidation", "read_frontend_tls"]

_FALLS_BACK: Final = {"AllowValidOnly": False, "AllowInsecureFallback": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendValidation:
    """FrontendTLSValidation."""

    ca_refs: tuple[ObjectReference, ...]
    insecure_fallback: bool = False  # mode AllowInsecureFallback
    path: str  # "spec.tls.frontend.default.validation"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendTls:
    """FrontendTLSConfig; None = clients are not asked for certificates."""

    default: FrontendValidation | None = None
    per_port: Mapping[int, FrontendValidation | None] = field(default_factory=dict)

    def validation(self, port: int) -> FrontendValidation | None:
        """Return what holds for listeners on *port*: its own configuration replaces the default as a whole."""
        return self.per_port.get(port, self.default)

    @property
    def insecure_fallback(self) -> bool:
        """Tell whether any of it lets clients in whose certificates are not valid."""
        return any(each is not None and each.insecure_fallback for each in (self.default, *self.per_port.values()))


def read_frontend_tls(fields: Fields) -> FrontendTls:
    """Read spec.tls.frontend; ports are listed once."""
    default = _read_validation(fields.required_child("default"))
    per_port: dict[int, FrontendValidation | None] = {}
    for index, item in enumerate(fields.items("perPort", most=64)):
        port = item.integer("port", *PORT)
        if port in per_port:
            fields.error_at("perPort", index, f"port {port} is listed twice", "remove one of the two")
        per_port[port] = _read_validation(item.required_child("tls"))
    return FrontendTls(default=default, per_port=per_port)


def _read_validation(config: Fields) -> FrontendValidation | None:
    fields = config.child("validation")
    if fields is None:
        return None
    return FrontendValidation(
        ca_refs=tuple(
            read_object_reference(item, namespaced=True) for item in fields.items("caCertificateRefs", least=1, most=16)
        ),
        insecure_fallback=fields.choice("mode", _FALLS_BACK, False),
        path=fields.path_text,
    )
