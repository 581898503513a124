"""The request of a test as words for `gatewayproxy explain`, and back from a Request. Pure.

There is one grammar of requests, that of `insight.command_line`: a test says the same with fields.
"""

from __future__ import annotations

from typing import Any, Final

from gatewayproxy.compiler.manifests.routetest import VERSIONS, CaseRequest
from gatewayproxy.insight.requests import Kind, Request
from gatewayproxy.routing.table import Port, PortKind

__all__ = ["tree_of", "words_of"]

_VERSION_FLAGS: Final = {"": (), "1.0": ("--http1.0",), "1.1": ("--http1.1",), "2": ("--http2-prior-knowledge",)}
_VERSION_NAMES: Final = {short: name for name, short in VERSIONS.items()}
_USUAL: Final = {"http": 80, "https": 443}


def words_of(request: CaseRequest) -> tuple[str, ...]:
    """Return *request* as it stands behind `gatewayproxy explain CONFIG --`."""
    words = list(_VERSION_FLAGS[request.version])
    if request.method:
        words += ["-X", request.method]
    for header in request.headers:
        words += ["-H", f"{header.name}: {header.value}"]
    if request.address:
        address = f"[{request.address}]" if ":" in request.address else request.address
        words += ["--connect-to", f"::{address}:"]
    return (*words, request.url)


def tree_of(request: Request, port: Port) -> dict[str, Any]:
    """Return *request*, which comes to *port*, as the `request` of a test.

    What a test cannot say (a target without a host, say) is not there: whoever writes it down asks again.
    """
    host = request.authority.decode("latin-1")
    if request.kind is not Kind.HTTP:
        name = (request.server_name or b"").decode("latin-1")
        where = {"address": port.address} if port.address and request.kind is Kind.TLS else {}
        host = _bracketed(port.address) if request.kind is not Kind.TLS else name
        return {"url": f"{request.kind.value.lower()}://{host}:{port.port}", **where}
    scheme = "http" if port.kind is PortKind.HTTP else "https"
    bare = host if host.endswith("]") or ":" not in host.rpartition("]")[2] else host.rpartition(":")[0]
    number = "" if port.port == _USUAL[scheme] else f":{port.port}"
    method, version = request.method.decode("latin-1"), request.version
    tree: dict[str, Any] = {"url": f"{scheme}://{bare}{number}{request.target.decode('latin-1')}"}
    tree |= {"method": method} if method != "GET" else {}
    tree |= {"version": _VERSION_NAMES[version]} if version in ("1.0", "2") else {}
    tree |= {"address": port.address} if port.address else {}
    headers = [{"name": name.decode("latin-1"), "value": value.decode("latin-1")} for name, value in request.headers]
    return tree | ({"headers": headers} if headers else {})


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
