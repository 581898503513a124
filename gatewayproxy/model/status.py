"""Status as data: conditions and reasons of the Gateway API, and the report of one compilation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, NamedTuple

from gatewayproxy.model.names import Origin, ResourceKey

__all__ = ["Condition", "Held", "ObjectStatus", "Problem", "Reason", "Severity", "StatusReport"]


class Severity(Enum):
    """How bad a problem is.

    ERROR: the text must change; the object, or the listener or rule in it, does not serve, or not as it is written.
    WARNING: the text may be right, but beside the other objects it does not do all it says (a missing Service, a parent
    that does not allow it).
    """

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something an operator should mend: where, what, and what to write instead."""

    origin: Origin
    severity: Severity
    key: ResourceKey | None  # None: the text does not say which object it is
    field: str  # "spec.rules[0].matches[1].path.value", "" for the whole object
    message: str
    hint: str = ""
    reason: Reason | None = None  # of Accepted=False, where the API has one for such a text
    code: str = ""  # stable name of what is wrong, see `codes` and `insight.lint`; "": none of its own


class Reason(StrEnum):
    """Reasons of conditions, as the Gateway API spells them; INVALID of a route is ours (its text is not a route)."""

    ACCEPTED = "Accepted"
    ADDRESS_NOT_ASSIGNED = "AddressNotAssigned"
    ADDRESS_NOT_USABLE = "AddressNotUsable"
    BACKEND_NOT_FOUND = "BackendNotFound"
    CONFIGURATION_CHANGED = "ConfigurationChanged"
    CONFLICTED = "Conflicted"
    HOSTNAME_CONFLICT = "HostnameConflict"
    INCOMPATIBLE_FILTERS = "IncompatibleFilters"
    INVALID = "Invalid"
    INVALID_CA_CERTIFICATE_KIND = "InvalidCACertificateKind"
    INVALID_CA_CERTIFICATE_REF = "InvalidCACertificateRef"
    INVALID_CERTIFICATE_REF = "InvalidCertificateRef"
    INVALID_CLIENT_CERTIFICATE_REF = "InvalidClientCertificateRef"
    INVALID_KIND = "InvalidKind"
    INVALID_PARAMETERS = "InvalidParameters"
    INVALID_ROUTE_KINDS = "InvalidRouteKinds"
    LISTENER_CONFLICT = "ListenerConflict"
    LISTENERS_NOT_RESOLVED = "ListenersNotResolved"
    LISTENERS_NOT_VALID = "ListenersNotValid"
    NO_CONFLICTS = "NoConflicts"
    NO_MATCHING_LISTENER_HOSTNAME = "NoMatchingListenerHostname"
    NO_MATCHING_PARENT = "NoMatchingParent"
    NO_VALID_CA_CERTIFICATE = "NoValidCACertificate"
    NOT_ALLOWED = "NotAllowed"
    NOT_ALLOWED_BY_LISTENERS = "NotAllowedByListeners"
    OVERLAPPING_CERTIFICATES = "OverlappingCertificates"
    OVERLAPPING_HOSTNAMES = "OverlappingHostnames"
    PARENT_NOT_ACCEPTED = "ParentNotAccepted"
    PARENT_NOT_PROGRAMMED = "ParentNotProgrammed"
    PORT_UNAVAILABLE = "PortUnavailable"
    PROGRAMMED = "Programmed"
    PROTOCOL_CONFLICT = "ProtocolConflict"
    REF_NOT_PERMITTED = "RefNotPermitted"
    RESOLVED_REFS = "ResolvedRefs"
    SUPPORTED_VERSION = "SupportedVersion"
    TARGET_NOT_FOUND = "TargetNotFound"
    UNSUPPORTED_ADDRESS = "UnsupportedAddress"
    UNSUPPORTED_PROTOCOL = "UnsupportedProtocol"
    UNSUPPORTED_VALUE = "UnsupportedValue"


class Condition(NamedTuple):
    """One entry of `status.conditions`."""

    type: str
    status: bool
    reason: str
    message: str = ""


class Held(NamedTuple):
    """An object whose text has errors, so that its last accepted version stays in force."""

    key: ResourceKey
    origin: Origin  # of the text with the errors
    generation: int  # the newest one that had the version in force as its text


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStatus:
    """An object of ours with its computed status, as Kubernetes would show it."""

    key: ResourceKey
    origin: Origin
    manifest: Mapping[str, Any]  # apiVersion, kind, metadata, spec as written
    status: Mapping[str, Any]  # {} for kinds without one


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """Every object in force, in source order, and every problem found."""

    objects: tuple[ObjectStatus, ...] = ()
    problems: tuple[Problem, ...] = ()
    held: tuple[Held, ...] = ()
