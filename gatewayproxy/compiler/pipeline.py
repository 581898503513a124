"""compile_sources(): texts to plan, status and routing table, in five calls. Pure.

Reading is in two steps because manifests may name certificate files: `wanted_files` says which, the caller reads
them, `compile_sources` gets their contents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gatewayproxy.model.plan import Plan
from gatewayproxy.model.source import CompileOptions, Source
from gatewayproxy.model.status import StatusReport
from gatewayproxy.routing.table import RoutingTable

__all__ = ["Compiled", "Compiler"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """One compilation: what it means, what runs, what to say."""

    plan: Plan
    table: RoutingTable
    status: StatusReport


class Compiler:
    """Compiles again and again; unchanged documents are not parsed twice (bounded cache by content digest)."""

    def wanted_files(self, sources: Sequence[Source]) -> frozenset[str]:
        """Return the paths that manifests name (gatewayproxy.io/cert-file ...), resolved against its folder."""
        raise NotImplementedError

    def compile(
        self, sources: Sequence[Source], options: CompileOptions, files: Mapping[str, bytes | None]
    ) -> Compiled:
        """Compile; never raises for content. A file of `wanted_files` that could not be read is None in *files*."""
        raise NotImplementedError
