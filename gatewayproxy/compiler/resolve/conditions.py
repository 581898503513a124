"""From findings to Kubernetes status: condition lists, route parents, and the problems a person reads. Pure.

`lastTransitionTime` is the time of the compilation as given (`CompileOptions.now`): a file has no memory of the
condition before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from gatewayproxy.model.names import Origin, ResourceKey
from gatewayproxy.model.status import Condition, Problem, Severity

__all__ = ["ConditionWriter", "Findings", "Tree", "listed"]

Tree = dict[str, Any]

_MAX_MESSAGE: Final = 32_768  # metav1.Condition.message


def listed(names: Sequence[str], most: int = 8) -> str:
    """Return *names* for a message, a readable number of them."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


class Findings:
    """Collects problems in the order they are found; *places* are of objects whose lines are no longer there."""

    def __init__(self, places: Mapping[ResourceKey, Origin] | None = None) -> None:
        self.problems: list[Problem] = []
        self._places = places or {}

    def warn(self, origin: Origin, key: ResourceKey, field: str, message: str, hint: str = "", code: str = "") -> None:
        """Note something that serves otherwise than a reader would expect; *code*: see Problem."""
        self._add(Severity.WARNING, origin, key, field, message, hint, code)

    def error(self, origin: Origin, key: ResourceKey, field: str, message: str, hint: str = "", code: str = "") -> None:
        """Note something that cannot serve."""
        self._add(Severity.ERROR, origin, key, field, message, hint, code)

    def _add(
        self, severity: Severity, origin: Origin, key: ResourceKey, field: str, message: str, hint: str, code: str
    ) -> None:
        at = self._places.get(key, origin)
        self.problems.append(
            Problem(origin=at, severity=severity, key=key, field=field, message=message, hint=hint, code=code)
        )


class ConditionWriter:
    """Turns Conditions into status entries of one compilation; equal entries are one shared dict."""

    def __init__(self, now: float) -> None:
        self._at = datetime.fromtimestamp(max(0, int(now)), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._shared: dict[tuple[Condition, int], Tree] = {}

    def write(self, conditions: Iterable[Condition], generation: int) -> list[Tree]:
        """Return `conditions` with observedGeneration = *generation*."""
        return [self._entry(condition, generation) for condition in conditions]

    def _entry(self, condition: Condition, generation: int) -> Tree:
        entry = self._shared.get((condition, generation))
        if entry is None:
            entry = self._shared[condition, generation] = {
                "type": condition.type,
                "status": "True" if condition.status else "False",
                "reason": str(condition.reason),
                "message": condition.message[:_MAX_MESSAGE],
                "lastTransitionTime": self._at,
                "observedGeneration": generation,
            }
        return entry
