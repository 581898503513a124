"""ExternalAuth: a server says which requests may pass (HTTPExternalAuthFilter, GEP-1494). Pure.

Its server must be known, or the requests of the rule are refused: the filter fails closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.fields import ANY_TEXT, BackendObjectReference, Fields, Text, read_backend_object_reference
from gatewayproxy.model.plan import Cluster, ExternalAuth, FilterChain
from gatewayproxy.model.protocols import AppProtocol
from gatewayproxy.model.refusals import AUTH_UNRESOLVED, refuse
from gatewayproxy.wire.target import odd_path

__all__ = ["Spec", "read"]

_PATH: Final = Text("a path prefix, percent-encoded", r"([-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+", longest=1024)
_MEMBERS: Final = {"HTTP": "http", "GRPC": "grpc"}  # protocol: its member of the union
_INT32: Final = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """Who is asked, and how."""

    backend: BackendObjectReference
    grpc: bool = False
    path: bytes = b""
    request_headers: tuple[bytes, ...] = ()
    response_headers: tuple[bytes, ...] = ()
    body_bytes: int = 0

    @property
    def references(self) -> tuple[BackendObjectReference, ...]:
        """The server."""
        return (self.backend,)

    def lower(self, clusters: Mapping[BackendObjectReference, Cluster]) -> FilterChain:
        """Return whom to ask; a refusal where the server did not resolve."""
        cluster = clusters.get(self.backend)
        if cluster is None:
            return FilterChain(refusal=refuse(AUTH_UNRESOLVED))
        namespace, _, name = cluster.name.partition("/")
        service, _, port = name.partition(":")
        auth = ExternalAuth(
            cluster=replace(cluster, protocol=AppProtocol.H2C) if self.grpc else cluster,
            grpc=self.grpc,
            authority=f"{service}.{namespace}:{port}".encode() if self.grpc else b"",
            path=self.path,
            request_headers=self.request_headers,
            response_headers=self.response_headers,
            body_bytes=self.body_bytes,
        )
        return FilterChain(auths=(auth,))


def read(fields: Fields) -> Spec:
    """Read `externalAuth`."""
    backend = read_backend_object_reference(fields.required_child("backendRef"))
    protocol = fields.choice("protocol", _MEMBERS)
    body = fields.child("forwardBody")
    body_bytes = body.integer("maxSize", 0, _INT32, 0) if body is not None else 0
    grpc = _member(fields, "grpc", protocol)
    http = _member(fields, "http", protocol)
    return Spec(
        backend=backend,
        grpc=protocol == "grpc",
        path=_read_path(http) if http is not None else b"",
        request_headers=_read_names(grpc or http, "allowedHeaders"),
        response_headers=_read_names(http, "allowedResponseHeaders"),
        body_bytes=body_bytes,
    )


def _member(fields: Fields, name: str, protocol: str) -> Fields | None:
    """Return the member *name* of the union, which must be there for its protocol and for no other."""
    part = fields.child(name)
    if part is None and protocol == name:
        fields.error(name, f"is required for protocol {protocol.upper()}", f"add {name}: {{}}")
    elif part is not None and protocol != name:
        fields.error(
            name, f"does not go with protocol {protocol.upper()}", f"remove it, or write protocol: {name.upper()}"
        )
    return part


def _read_names(part: Fields | None, name: str) -> tuple[bytes, ...]:
    names = part.texts(name, ANY_TEXT, most=64, unique=True) if part is not None else ()
    return tuple(dict.fromkeys(each.lower().encode() for each in names))


def _read_path(part: Fields) -> bytes:
    """Return what goes before a path: absolute, without a "/" at its end, and the same for every reader.

    HTTPAuthConfig.path: "implementations MUST sanitize this input before using it directly".
    """
    path = (part.text("path", _PATH, None) or "").strip("/").encode()
    if not path:
        return b""
    path = b"/" + path
    try:
        odd = odd_path(path)
    except RemoteProtocolError:
        odd = True
    if odd:
        part.error("path", "can be read in two ways", "write no dot segments, encoded letters or empty segments")
    return path
