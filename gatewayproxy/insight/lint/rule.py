"""What a lint is: a code's title, severity, meaning and remedy, and the function that finds it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from gatewayproxy.insight.lint.config import Config
from gatewayproxy.model.names import ResourceKey
from gatewayproxy.model.status import Severity

__all__ = ["ERROR", "WARNING", "Find", "Finding", "Lint"]

ERROR, WARNING = Severity.ERROR, Severity.WARNING


class Finding(NamedTuple):
    """One place where a lint holds. File and line are looked up from *key* and *field*."""

    key: ResourceKey
    field: str  # "spec.rules[0].matches[1].path", "" for the whole object
    message: str  # what is wrong, beginning in lower case
    hint: str = ""  # what to write instead


Find = Callable[[Config], Iterable[Finding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lint:
    """A stable code. *find* None: the compilation finds it by itself (`model.codes`)."""

    title: str  # beginning in lower case, without a full stop
    meaning: str  # what happens to requests, and why it is told
    fix: str
    severity: Severity = WARNING
    find: Find | None = None
    on_object: bool = True  # False: it is of a text that holds no object, so that nothing can silence it
