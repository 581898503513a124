"""Stable codes of what a compilation finds by itself. `insight.lint` says what each means, and knows more of them.

A code is never given to another problem, and never changes: manifests name codes to silence them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from gatewayproxy.model import refusals
from gatewayproxy.model.status import Reason

__all__ = ["BY_REASON", "Code"]


class Code(StrEnum):
    """GW0: texts; GW1: which rule takes a request; GW2: TLS; GW3: references; GW4: rules; GW5: listeners, endpoints."""

    MALFORMED = "GW001"
    PASSED_OVER = "GW002"
    IGNORED = "GW003"
    DEPRECATED = "GW004"
    NAME = "GW005"
    DUPLICATE = "GW006"
    UNKNOWN_FIELD = "GW007"
    PATCH = "GW008"
    SHADOWED = "GW101"
    HOST_OUTSIDE = "GW105"
    HOST_CONFLICT = "GW106"
    LOST_REDIRECT = "GW108"
    UNCERTIFIED = "GW201"
    EXPIRED = "GW202"
    CERTIFICATE = "GW204"
    PLAIN_TEXT = "GW207"
    PARENT = "GW301"
    SECTION = "GW302"
    NOT_ALLOWED = "GW303"
    NO_HOSTNAME = "GW304"
    BACKEND = "GW305"
    NOT_PERMITTED = "GW306"
    TARGET = "GW308"
    POLICY_CONFLICT = "GW309"
    BACKEND_KIND = "GW310"
    AUTHORITY = "GW311"
    BACKEND_TLS = "GW312"
    NO_PARENTS = "GW313"
    DOUBLED_FIELD = "GW401"
    TIMEOUTS = "GW405"
    UNSUPPORTED = "GW406"
    NO_RULES = "GW407"
    SESSIONS = "GW408"
    PORT_CLASH = "GW501"
    LISTENER = "GW502"
    GATEWAY = "GW503"
    NO_ENDPOINTS = "GW505"
    LISTENER_TWICE = "GW507"


BY_REASON: Final[Mapping[str, Code]] = {  # of a condition that is False, or of a refusal
    Reason.BACKEND_NOT_FOUND: Code.BACKEND,
    Reason.CONFLICTED: Code.POLICY_CONFLICT,
    Reason.HOSTNAME_CONFLICT: Code.HOST_CONFLICT,
    Reason.INVALID_CA_CERTIFICATE_KIND: Code.AUTHORITY,
    Reason.INVALID_CA_CERTIFICATE_REF: Code.AUTHORITY,
    Reason.INVALID_CERTIFICATE_REF: Code.CERTIFICATE,
    Reason.INVALID_CLIENT_CERTIFICATE_REF: Code.CERTIFICATE,
    Reason.INVALID_KIND: Code.BACKEND_KIND,
    Reason.NO_MATCHING_LISTENER_HOSTNAME: Code.NO_HOSTNAME,
    Reason.NO_MATCHING_PARENT: Code.SECTION,
    Reason.NO_VALID_CA_CERTIFICATE: Code.AUTHORITY,
    Reason.NOT_ALLOWED: Code.NOT_ALLOWED,
    Reason.NOT_ALLOWED_BY_LISTENERS: Code.NOT_ALLOWED,
    Reason.PORT_UNAVAILABLE: Code.PORT_CLASH,
    Reason.PROTOCOL_CONFLICT: Code.PORT_CLASH,
    Reason.REF_NOT_PERMITTED: Code.NOT_PERMITTED,
    Reason.TARGET_NOT_FOUND: Code.TARGET,
    Reason.UNSUPPORTED_VALUE: Code.UNSUPPORTED,
    refusals.BACKEND_NOT_FOUND: Code.BACKEND,
    refusals.BACKEND_TLS_INVALID: Code.BACKEND_TLS,
    refusals.BACKEND_TLS_UNSUPPORTED: Code.BACKEND_TLS,
    refusals.INVALID_KIND: Code.BACKEND_KIND,
    refusals.NO_ENDPOINTS: Code.NO_ENDPOINTS,
    refusals.REF_NOT_PERMITTED: Code.NOT_PERMITTED,
    refusals.UNSUPPORTED_PROTOCOL: Code.BACKEND_KIND,
}
