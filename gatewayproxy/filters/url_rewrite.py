"""URLRewrite: another Host or path towards the backend (HTTPURLRewriteFilter). Pure."""

from __future__ import annotations

from gatewayproxy.fields import Fields
from gatewayproxy.fields.edits import LocalFilter, read_path_modifier
from gatewayproxy.fields.shapes import PRECISE_HOSTNAME
from gatewayproxy.model.headops import HeadOp, Host
from gatewayproxy.model.plan import FilterChain

__all__ = ["read"]


def read(fields: Fields) -> LocalFilter:
    """Read `urlRewrite`."""
    hostname = fields.text("hostname", PRECISE_HOSTNAME, None)
    path = read_path_modifier(fields)
    ops: list[HeadOp] = []
    if hostname is not None:
        ops.append(Host(hostname.encode()))
    if path is not None:
        ops.append(path)
    return LocalFilter(FilterChain(request=tuple(ops)))
