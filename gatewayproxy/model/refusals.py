"""Reason codes of the answers that configuration decides: why a backendRef, a filter or a rule refuses requests.

The codes are stable: access log and metrics show them. Codes of run-time failures (`connect_failed`,
`upstream_timeout` ...) belong to the data plane.
"""

from __future__ import annotations

from typing import Final

from gatewayproxy.model.plan import Refusal

__all__ = [
    "AUTH_UNRESOLVED", "BACKEND_NOT_FOUND", "BACKEND_TLS_INVALID", "BACKEND_TLS_UNSUPPORTED", "FILTER_UNSUPPORTED",
    "INVALID_KIND", "NO_BACKENDS", "NO_ENDPOINTS", "REFUSALS", "REF_NOT_PERMITTED", "UNSUPPORTED_PROTOCOL", "refuse",
]  # fmt: skip

AUTH_UNRESOLVED: Final = "auth_unresolved"
BACKEND_NOT_FOUND: Final = "backend_not_found"
BACKEND_TLS_INVALID: Final = "backend_tls_invalid"
BACKEND_TLS_UNSUPPORTED: Final = "backend_tls_unsupported"
REF_NOT_PERMITTED: Final = "ref_not_permitted"
INVALID_KIND: Final = "invalid_kind"
UNSUPPORTED_PROTOCOL: Final = "unsupported_protocol"
NO_ENDPOINTS: Final = "no_endpoints"
NO_BACKENDS: Final = "no_backends"
FILTER_UNSUPPORTED: Final = "filter_unsupported"

# HTTPRouteRule.backendRefs: an invalid reference answers 500, a Service without ready endpoints 503 (SHOULD).
REFUSALS: Final[dict[str, int]] = {
    AUTH_UNRESOLVED: 500,
    BACKEND_NOT_FOUND: 500,
    BACKEND_TLS_INVALID: 500,
    BACKEND_TLS_UNSUPPORTED: 500,
    REF_NOT_PERMITTED: 500,
    INVALID_KIND: 500,
    UNSUPPORTED_PROTOCOL: 500,
    NO_ENDPOINTS: 503,
    NO_BACKENDS: 500,
    FILTER_UNSUPPORTED: 500,
}


def refuse(reason: str, detail: str = "") -> Refusal:
    """Return the refusal for a code of REFUSALS."""
    return Refusal(REFUSALS[reason], reason, detail)
