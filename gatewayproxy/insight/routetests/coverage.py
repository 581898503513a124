"""Which rules the tests of a configuration come to. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gatewayproxy.model.plan import Plan
from gatewayproxy.routing.table import RuleLabel

__all__ = ["Coverage", "RuleName", "coverage_of"]

RuleName = tuple[str, str, int]  # kind, "namespace/name", index


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """The rules that serve, and how many tests come to each; a rule that is on several listeners is one."""

    tests: dict[RuleName, int]
    names: dict[RuleName, str]  # of rules that have one

    @property
    def total(self) -> int:
        """Return how many rules there are."""
        return len(self.tests)

    @property
    def tested(self) -> int:
        """Return how many of them have a test."""
        return sum(1 for n in self.tests.values() if n)

    @property
    def untested(self) -> list[str]:
        """Return the names of the others: `HTTPRoute shop/cart rule 2 (checkout)`."""
        return [self.text(rule) for rule, n in self.tests.items() if not n]

    @property
    def percent(self) -> float:
        """Return the part of the rules that have a test; 100 where there are none."""
        return self.tested * 100 / self.total if self.total else 100.0

    def text(self, rule: RuleName) -> str:
        """Return `HTTPRoute shop/cart rule 2 (checkout)`."""
        kind, route, index = rule
        name = self.names.get(rule)
        return f"{kind} {route} rule {index}{f' ({name})' if name else ''}"


def coverage_of(plan: Plan, reached: Iterable[RuleLabel]) -> Coverage:
    """Return the coverage of the rules of *plan* by tests that came to those *reached*."""
    tests: dict[RuleName, int] = {}
    names: dict[RuleName, str] = {}
    for listener in plan.listeners:
        for route, _ in listener.attachments:
            for rule in route.rules:
                key = (route.key.kind, route.key.full_name, rule.index)
                tests[key] = 0
                if rule.name:
                    names[key] = rule.name
    for label in reached:
        tests[label.kind, label.route, label.rule] += 1
    return Coverage(tests=tests, names=names)
