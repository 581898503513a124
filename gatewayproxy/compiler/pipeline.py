"""Texts to plan, status and routing table: the whole story of a compilation in five calls. Pure.

Reading is in two steps because manifests may name certificate files: `Compiler.wanted_files` says which, the caller
reads them, `Compiler.compile` gets their contents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from gatewayproxy.compiler.frontends import FRONTENDS
from gatewayproxy.compiler.lower import lower
from gatewayproxy.compiler.manifests import Resources
from gatewayproxy.compiler.manifests.accepted import Accepted, accepted_of, held_objects, hold, recalled
from gatewayproxy.compiler.manifests.reader import ReadFile, gather_files, read_source
from gatewayproxy.compiler.manifests.routetest import RouteTest
from gatewayproxy.compiler.manifests.secret import Secret
from gatewayproxy.compiler.patches import apply_patches
from gatewayproxy.compiler.resolve.secrets import wanted_files
from gatewayproxy.model.names import ResourceKey
from gatewayproxy.model.plan import Plan
from gatewayproxy.model.source import CompileOptions, HeldObject, Source
from gatewayproxy.model.status import StatusReport
from gatewayproxy.routing.table import RoutingTable

__all__ = ["Compiled", "Compiler"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """One compilation: what it means, what runs, what to say."""

    plan: Plan
    table: RoutingTable
    status: StatusReport
    tests: tuple[RouteTest, ...] = ()  # in source order


class Compiler:
    """Compiles again and again; a text that is there unchanged is not read twice.

    An object that has errors is compiled as it was when last accepted: in the compilation that `adopt` was last called
    for. Kept from one compilation to the next are the texts of the last call and the accepted objects, no more.
    """

    def __init__(self) -> None:
        self._read: dict[tuple[str, bytes], ReadFile] = {}
        self._files: list[ReadFile] = []  # of the last call, accepted versions in place
        self._accepted: dict[ResourceKey, Accepted] = {}

    @property
    def resources(self) -> Resources:
        """The objects of the last call, as they were read."""
        return gather_files(self._files)

    def adopt(self, generation: int) -> None:
        """Take what was compiled last as accepted: it serves, as *generation*."""
        self._accepted = accepted_of(self._files, generation)

    def held_objects(self) -> tuple[HeldObject, ...]:
        """Return the accepted versions that the last compilation took in the place of texts with errors."""
        return tuple(held_objects(self._files))

    def recall(self, sources: Sequence[Source], held: Iterable[HeldObject]) -> None:
        """Take *sources* for those of the last compilation and *held* for its `held_objects`: it was another's."""
        self._accepted = recalled(held)
        self._resources(sources)

    def wanted_files(self, sources: Sequence[Source]) -> frozenset[str]:
        """Return the paths that annotations of Secrets name, resolved against their manifest's folder."""
        return frozenset(wanted_files(self._resources(sources).of(Secret)))

    def compile(
        self, sources: Sequence[Source], options: CompileOptions, files: Mapping[str, bytes | None]
    ) -> Compiled:
        """Compile; never raises for content. A file of `wanted_files` that could not be read is None in *files*."""
        resources = self._resources(sources)
        resolved = FRONTENDS["gateway_api"](resources, options, files)
        table = lower(resolved.plan, options)
        return Compiled(plan=resolved.plan, table=table, status=resolved.status, tests=resources.of(RouteTest))

    def _resources(self, sources: Sequence[Source]) -> Resources:
        known, self._read = self._read, {}
        for source in sources:
            key = (source.file, blake2b(source.text, digest_size=16).digest())
            self._read[key] = known.get(key) or read_source(source)
        self._files = hold(apply_patches(self._read.values(), sources), self._accepted)
        return gather_files(self._files)
