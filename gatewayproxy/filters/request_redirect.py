"""RequestRedirect: answer with a Location instead of forwarding (HTTPRequestRedirectFilter). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gatewayproxy.fields import BackendObjectReference, Fields
from gatewayproxy.fields.edits import read_path_modifier
from gatewayproxy.fields.shapes import PORT, PRECISE_HOSTNAME
from gatewayproxy.model.headops import Redirect
from gatewayproxy.model.plan import Cluster, FilterChain

__all__ = ["Spec", "read"]

_SCHEMES: Final = {"http": "http", "https": "https"}
_STATUSES: Final = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """The redirect, as written."""

    redirect: Redirect

    @property
    def references(self) -> tuple[BackendObjectReference, ...]:
        """None: no request reaches a backend."""
        return ()

    def lower(self, clusters: Mapping[BackendObjectReference, Cluster]) -> FilterChain:
        """Return the answer."""
        return FilterChain(redirect=self.redirect)


def read(fields: Fields) -> Spec:
    """Read `requestRedirect`."""
    status = fields.integer("statusCode", 301, 308, 302)
    if status not in _STATUSES:
        fields.error("statusCode", f"{status} is not a redirect we send", "write 301, 302, 303, 307 or 308")
    return Spec(
        redirect=Redirect(
            scheme=fields.choice("scheme", _SCHEMES, None),
            host=fields.text("hostname", PRECISE_HOSTNAME, None),
            port=fields.integer("port", *PORT, None),
            path=read_path_modifier(fields),
            status=status,
        )
    )
