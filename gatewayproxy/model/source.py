"""What a compilation starts from: texts, objects held from earlier ones, and the operator's options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from gatewayproxy.model.names import BindKey

__all__ = ["MAX_SOURCE_BYTES", "CompileOptions", "HeldObject", "Source"]

MAX_SOURCE_BYTES: Final = 32 << 20  # one text; a larger one is a Problem, and not read


class Source(NamedTuple):
    """One text (a file), as bytes: decoding is part of reading it."""

    file: str  # as the operator named it; paths inside are relative to its folder
    text: bytes


class HeldObject(NamedTuple):
    """The accepted version of an object whose text has errors now, as plain data."""

    file: str  # where it was written when it was accepted
    line: int
    generation: int  # the newest one that had it as its text
    manifest: Mapping[str, Any]  # with Patches applied


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileOptions:
    """Command-line choices that change what manifests mean."""

    controller_name: str = "gatewayproxy.io/controller"
    cluster_domain: str = "cluster.local"
    port_map: Mapping[int, int] = field(default_factory=dict)  # listener port -> bind port
    address_pool: tuple[str, ...] = ()  # IP literals to choose from where a Gateway leaves its address to us
    now: float = 0.0  # Unix seconds, for certificate dates; 0 = do not judge them
    generation: int = 1
    unbindable: Mapping[BindKey, str] = field(default_factory=dict)  # what cannot be bound -> the system's word
