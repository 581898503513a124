"""Shapes that many kinds share: names, hostnames, header lines, durations, references. Pure.

The expressions accept exactly what the CustomResourceDefinitions of the Gateway API accept; a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from re import compile as regex
from typing import Final

from gatewayproxy.fields.reading import Fields
from gatewayproxy.fields.text import Text
from gatewayproxy.model.codes import Code
from gatewayproxy.model.names import Origin

__all__ = [
    "DURATION", "EXPERIMENTAL_GROUP", "GATEWAY_GROUP", "GROUP", "HEADER_NAME", "HEADER_VALUE", "HOSTNAME",
    "HOSTNAME_PATTERN", "KIND", "LABEL", "NAMESPACE", "OBJECT_NAME", "OPTION", "PORT", "PRECISE_HOSTNAME",
    "SECTION_NAME", "SUBDOMAIN", "SUBDOMAIN_PATTERN",
    "BackendObjectReference", "duration_s", "read_backend_object_reference", "require_service_port",
]  # fmt: skip

GATEWAY_GROUP: Final = "gateway.networking.k8s.io"
EXPERIMENTAL_GROUP: Final = "gateway.networking.x-k8s.io"

_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN_PATTERN: Final = rf"{_LABEL}(\.{_LABEL})*"

HOSTNAME_PATTERN: Final = rf"(\*\.)?{SUBDOMAIN_PATTERN}"

LABEL: Final = Text(
    "lower-case letters, digits and inner hyphens, 63 at most", _LABEL, shortest=1, longest=63, code=Code.NAME
)
SUBDOMAIN: Final = Text(
    "lower-case letters, digits, '-' and '.', such as web or web.prod",
    SUBDOMAIN_PATTERN,
    shortest=1,
    longest=253,
    code=Code.NAME,
)
NAMESPACE: Final = LABEL
OBJECT_NAME: Final = Text("the name of an object", shortest=1, longest=253)
SECTION_NAME: Final = SUBDOMAIN
GROUP: Final = Text(
    'an API group such as apps.example.com, or "" for the core group', rf"({SUBDOMAIN_PATTERN})?", longest=253
)
KIND: Final = Text("a kind such as Service", r"[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?", shortest=1, longest=63)
HOSTNAME: Final = Text(
    "a lower-case DNS name such as app.example.com or *.example.com, without port",
    HOSTNAME_PATTERN,
    shortest=1,
    longest=253,
    code=Code.NAME,
)
PRECISE_HOSTNAME: Final = Text(
    "a lower-case DNS name such as app.example.com, without port or wildcard",
    SUBDOMAIN_PATTERN,
    shortest=1,
    longest=253,
    code=Code.NAME,
)
HEADER_NAME: Final = Text(
    "a header name such as x-version", r"[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+", shortest=1, longest=256
)
HEADER_VALUE: Final = Text(
    "visible ASCII, single spaces or tabs between words", r"[!-~]+([\t ][!-~]+)*", shortest=1, longest=4096
)
OPTION: Final = Text("a string of at most 4096 characters", longest=4096)  # of TLS options and annotations
DURATION: Final = Text("a duration such as 500ms, 10s or 1m30s", r"([0-9]{1,5}(h|m|s|ms)){1,4}")
PORT: Final = (1, 65_535)

_DURATION_PART: Final = regex(r"([0-9]+)(ms|h|m|s)")
_UNIT_MS: Final = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendObjectReference:
    """BackendObjectReference: a backend named by a route or by one of its filters."""

    name: str
    namespace: str | None  # None: that of the object the reference stands in
    group: str
    kind: str
    port: int | None  # always there for a Service
    at: Origin
    path: str  # "spec.rules[0].backendRefs[1]"


def read_backend_object_reference(fields: Fields) -> BackendObjectReference:
    """Read group, kind, name, namespace and port of *fields*."""
    ref = BackendObjectReference(
        name=fields.text("name", OBJECT_NAME),
        namespace=fields.text("namespace", NAMESPACE, None),
        group=fields.text("group", GROUP, ""),
        kind=fields.text("kind", KIND, "Service"),
        port=fields.integer("port", *PORT, None),
        at=fields.at,
        path=fields.path_text,
    )
    require_service_port(fields, ref.group, ref.kind)
    return ref


def require_service_port(fields: Fields, group: str, kind: str) -> None:
    """Note an error where a reference to a Service has no port (CEL: "Must have port for Service reference")."""
    if group == "" and kind == "Service" and not fields.has("port"):
        fields.error("port", "is required for a Service", "add the Service's port number")


def duration_s(text: str) -> float:
    """Return the seconds of a GEP-2257 duration that has passed `DURATION`."""
    return sum(int(n) * _UNIT_MS[unit] for n, unit in _DURATION_PART.findall(text)) / 1000
