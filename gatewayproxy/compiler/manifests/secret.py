"""Secret: certificates and keys, inline; in file mode annotations may name files instead. Pure."""

from __future__ import annotations

from binascii import Error, a2b_base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.fields import ANY_TEXT, Fields

__all__ = ["CERT_FILE", "KEY_FILE", "Secret", "read", "read_base64"]

CERT_FILE: Final = "gatewayproxy.io/cert-file"
KEY_FILE: Final = "gatewayproxy.io/key-file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """Secret: data decoded, stringData on top of it."""

    meta: Meta
    type: str = "Opaque"
    data: Mapping[str, bytes] = field(default_factory=dict, repr=False)


def read(meta: Meta, root: Fields, version: str) -> Secret:
    """Read a Secret."""
    root.boolean("immutable", None)
    data = read_base64(root, "data")
    texts = root.text_map("stringData", secret=True)
    return Secret(
        meta=meta,
        type=root.text("type", ANY_TEXT, "Opaque"),
        data=data | {key: text.encode() for key, text in texts.items()},
    )


def read_base64(fields: Fields, name: str) -> dict[str, bytes]:
    """Return map *name*, its values decoded. Line breaks are allowed, since block scalars end in one."""
    out: dict[str, bytes] = {}
    for key, text in fields.text_map(name, secret=True).items():
        try:
            out[key] = a2b_base64("".join(text.split()).encode("ascii"), strict_mode=True)
        except (Error, UnicodeEncodeError):
            hint = "encode it (base64 -w0 FILE), or write the plain text under stringData"
            fields.error_of_key(name, key, "is not base64", hint)
    return out
