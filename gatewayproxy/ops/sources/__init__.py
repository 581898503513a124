"""Where documents come from. `SOURCES` is the whole registry: how to read, by name."""

from __future__ import annotations

from typing import Final

from gatewayproxy.ops.sources.directory import ReadSet, read_files, read_paths

__all__ = ["SOURCES", "ReadSet", "read_files", "read_paths"]

SOURCES: Final = {"directory": read_paths}
