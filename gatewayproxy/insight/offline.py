"""Compile manifests for tools: the one door through which `check` and `get` reach the compiler. Pure.

Reading files is the caller's part, so that this stays testable with values: *read* gets the paths that manifests name
(certificates, keys) and returns their contents, None for one that cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gatewayproxy.compiler.pipeline import Compiler
from gatewayproxy.model.source import CompileOptions, Source
from gatewayproxy.model.status import StatusReport

__all__ = ["Read", "report"]

Read = Callable[[frozenset[str]], Mapping[str, bytes | None]]


def report(sources: Sequence[Source], options: CompileOptions, read: Read) -> StatusReport:
    """Return the status and the problems of *sources*; never raises for their content."""
    compiler = Compiler()
    return compiler.compile(sources, options, read(compiler.wanted_files(sources))).status
