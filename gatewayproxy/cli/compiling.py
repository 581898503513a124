"""Compile a configuration for a command that asks its table, and point to `check` if something is wrong with it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gatewayproxy.errors import ConfigError
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.ops.sources import ReadSet, read_files

if TYPE_CHECKING:
    from gatewayproxy.insight.offline import Compiled

__all__ = ["Reader", "compiled"]

Reader = Callable[[argparse.Namespace, Sequence[str]], tuple[ReadSet, CompileOptions]]


def compiled(options: argparse.Namespace, config: str, read: Reader, *, may_be_empty: bool = False) -> Compiled:
    """Return what *config* comes to; raise ConfigError if that serves nothing, or say so where it *may_be_empty*."""
    from gatewayproxy.insight import check, offline

    found, compile_options = read(options, [config])
    done = offline.compiled(found.sources, compile_options, read_files)
    if check.has_errors((*found.problems, *done.status.problems)):
        sys.stderr.write(f"gatewayproxy: {config} has errors: see gatewayproxy check {config}\n")
    elif not done.table.ports and may_be_empty:
        sys.stderr.write(f"gatewayproxy: {config} serves nothing: see gatewayproxy check {config}\n")
    if not done.table.ports and not may_be_empty:
        raise ConfigError("nothing is served", where=config, hint=f"see gatewayproxy check {config}")
    return done
