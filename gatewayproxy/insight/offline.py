"""Compile manifests for tools: the one door through which tools reach the compiler. Pure.

Reading files is the caller's part, so that this stays testable with values: *read* gets the paths that manifests name
(certificates, keys) and returns their contents, None for one that cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from gatewayproxy.compiler.manifests import Resources
from gatewayproxy.compiler.pipeline import Compiled, Compiler
from gatewayproxy.model.source import CompileOptions, HeldObject, Source
from gatewayproxy.model.status import StatusReport

__all__ = ["Compiled", "Read", "compiled", "examined", "report", "restored"]

Read = Callable[[frozenset[str]], Mapping[str, bytes | None]]


def compiled(sources: Sequence[Source], options: CompileOptions, read: Read) -> Compiled:
    """Return plan, table and status of *sources*; never raises for their content."""
    compiler = Compiler()
    return compiler.compile(sources, options, read(compiler.wanted_files(sources)))


def examined(sources: Sequence[Source], options: CompileOptions, read: Read) -> tuple[Compiled, Resources]:
    """Return what *sources* mean, and the objects in them as they were read."""
    compiler = Compiler()
    done = compiler.compile(sources, options, read(compiler.wanted_files(sources)))
    return done, compiler.resources


def report(sources: Sequence[Source], options: CompileOptions, read: Read) -> StatusReport:
    """Return the status and the problems of *sources*; never raises for their content."""
    return compiled(sources, options, read).status


def restored(sources: Sequence[Source], held: Iterable[HeldObject], options: CompileOptions, read: Read) -> Compiled:
    """Return what *sources* came to while *held*, accepted before, stood in for objects with errors."""
    compiler = Compiler()
    compiler.recall(sources, held)
    return compiler.compile(sources, options, read(compiler.wanted_files(sources)))
