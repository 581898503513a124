"""URLRewrite: another Host or path towards the backend (HTTPURLRewriteFilter). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gatewayproxy.fields import BackendObjectReference, Fields
from gatewayproxy.fields.edits import read_path_modifier
from gatewayproxy.fields.shapes import PRECISE_HOSTNAME
from gatewayproxy.model.headops import HeadOp, Host
from gatewayproxy.model.plan import Cluster, FilterChain

__all__ = ["Spec", "read"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What to rewrite."""

    ops: tuple[HeadOp, ...] = ()

    @property
    def references(self) -> tuple[BackendObjectReference, ...]:
        """None: the rule's backends get the rewritten request."""
        return ()

    def lower(self, clusters: Mapping[BackendObjectReference, Cluster]) -> FilterChain:
        """Return the edits of the request head."""
        return FilterChain(request=self.ops)


def read(fields: Fields) -> Spec:
    """Read `urlRewrite`."""
    hostname = fields.text("hostname", PRECISE_HOSTNAME, None)
    path = read_path_modifier(fields)
    ops: list[HeadOp] = []
    if hostname is not None:
        ops.append(Host(hostname.encode()))
    if path is not None:
        ops.append(path)
    return Spec(ops=tuple(ops))
