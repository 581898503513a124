"""Typed reads from a located tree, and the shapes that many kinds share. Pure."""

from __future__ import annotations

from gatewayproxy.fields.reading import ANY_TEXT, Fields, Located, Path, Reading, Text, close_match, path_text
from gatewayproxy.fields.shapes import BackendObjectReference, read_backend_object_reference

__all__ = [
    "ANY_TEXT", "BackendObjectReference", "Fields", "Located", "Path", "Reading", "Text", "close_match", "path_text",
    "read_backend_object_reference",
]  # fmt: skip
