"""Status as data: conditions and reasons of the Gateway API, and the report of one compilation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from gatewayproxy.model.names import Origin, ResourceKey

__all__ = ["Condition", "ObjectStatus", "Problem", "Severity", "StatusReport"]


class Severity(Enum):
    """How bad a problem is: an ERROR fences its object, a WARNING does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something an operator should mend: where, what, and what to write instead."""

    origin: Origin
    severity: Severity
    key: ResourceKey | None  # None: the text is not an object
    field: str  # "spec.rules[0].matches[1].path.value", "" for the whole object
    message: str
    hint: str = ""


class Condition(NamedTuple):
    """One entry of `status.conditions`."""

    type: str
    status: bool
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStatus:
    """An object of ours with its computed status, as Kubernetes would show it."""

    key: ResourceKey
    origin: Origin
    manifest: Mapping[str, Any]  # apiVersion, kind, metadata, spec as written
    status: Mapping[str, Any]  # {} for kinds without one


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """Every object read, in source order, and every problem found."""

    objects: tuple[ObjectStatus, ...] = ()
    problems: tuple[Problem, ...] = ()
