"""Typed reads from a located tree, and the shapes that many kinds share. Pure."""

from __future__ import annotations

from gatewayproxy.fields.reading import Fields, Located, Reading
from gatewayproxy.fields.shapes import BackendObjectReference, read_backend_object_reference
from gatewayproxy.fields.text import ANY_TEXT, Text
from gatewayproxy.fields.words import Path, close_match, path_text

__all__ = [
    "ANY_TEXT", "BackendObjectReference", "Fields", "Located", "Path", "Reading", "Text", "close_match", "path_text",
    "read_backend_object_reference",
]  # fmt: skip
