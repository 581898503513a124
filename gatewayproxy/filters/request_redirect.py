"""RequestRedirect: answer with a Location instead of forwarding (HTTPRequestRedirectFilter). Pure."""

from __future__ import annotations

from typing import Final

from gatewayproxy.fields import Fields
from gatewayproxy.fields.edits import LocalFilter, read_path_modifier
from gatewayproxy.fields.shapes import PORT, PRECISE_HOSTNAME
from gatewayproxy.model.headops import Redirect
from gatewayproxy.model.plan import FilterChain
from gatewayproxy.model.status import Reason

__all__ = ["read"]

_SCHEMES: Final = {"http": "http", "https": "https"}
_STATUSES: Final = (301, 302, 303, 307, 308)


def read(fields: Fields) -> LocalFilter:
    """Read `requestRedirect`."""
    status = fields.integer("statusCode", 100, 599, 302)
    if status not in _STATUSES:
        hint = "write 301, 302, 303, 307 or 308"
        fields.error("statusCode", f"{status} is not a redirect we send", hint, Reason.UNSUPPORTED_VALUE)
    redirect = Redirect(
        scheme=fields.choice("scheme", _SCHEMES, None),
        host=fields.text("hostname", PRECISE_HOSTNAME, None),
        port=fields.integer("port", *PORT, None),
        path=read_path_modifier(fields),
        status=status,
    )
    return LocalFilter(FilterChain(redirect=redirect))
