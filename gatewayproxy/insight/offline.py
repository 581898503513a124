"""Compile manifests for tools: the one door through which tools reach the compiler. Pure.

Reading files is the caller's part, so that this stays testable with values: *read* gets the paths that manifests name
(certificates, keys) and returns their contents, None for one that cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gatewayproxy.compiler.pipeline import Compiled, Compiler
from gatewayproxy.model.source import CompileOptions, Source
from gatewayproxy.model.status import StatusReport

__all__ = ["Read", "compiled", "report"]

Read = Callable[[frozenset[str]], Mapping[str, bytes | None]]


def compiled(sources: Sequence[Source], options: CompileOptions, read: Read) -> Compiled:
    """Return plan, table and status of *sources*; never raises for their content."""
    compiler = Compiler()
    return compiler.compile(sources, options, read(compiler.wanted_files(sources)))


def report(sources: Sequence[Source], options: CompileOptions, read: Read) -> StatusReport:
    """Return the status and the problems of *sources*; never raises for their content."""
    return compiled(sources, options, read).status
