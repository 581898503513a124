"""ConfigMap: text and bytes by name. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.compiler.manifests.secret import read_base64
from gatewayproxy.fields import Fields

__all__ = ["ConfigMap", "read"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigMap:
    """ConfigMap: data and binaryData together, as bytes."""

    meta: Meta
    data: Mapping[str, bytes]


def read(meta: Meta, root: Fields, version: str) -> ConfigMap:
    """Read a ConfigMap; a key may stand in only one of its two maps."""
    root.boolean("immutable", None)
    texts = root.text_map("data")
    binary = read_base64(root, "binaryData")
    for key in texts.keys() & binary.keys():
        root.error_of_key("binaryData", key, "stands in data as well", "remove one of the two")
    return ConfigMap(meta=meta, data={key: text.encode() for key, text in texts.items()} | binary)
