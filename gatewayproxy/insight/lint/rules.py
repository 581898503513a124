"""GW4: what rules do with their requests: filters, weights, patterns, timeouts, sessions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gatewayproxy.insight.lint.rule import ERROR, Lint

__all__ = ["LINTS"]

LINTS: Final[Mapping[str, Lint]] = {
    "GW401": Lint(
        title="header that the gateway writes itself is added again",
        meaning="The backend sees two values of a field such as X-Forwarded-Proto, and may believe either.",
        fix="Write set in place of add, or leave it to the gateway.",
    ),
    "GW405": Lint(
        title="timeouts that contradict each other",
        meaning="backendRequest is longer than request, which ends the request first. The object does not serve.",
        fix="Make backendRequest shorter, or request longer.",
        severity=ERROR,
    ),
    "GW406": Lint(
        title="rule that cannot be honoured",
        meaning="A pattern is no regular expression (RE2), or a filter is not supported. Requests of the rule fail.",
        fix="Correct the pattern, or remove the filter.",
        severity=ERROR,
    ),
    "GW407": Lint(
        title="route without rules",
        meaning="A GRPCRoute has no default rule. Nothing is routed.",
        fix="Add rules with backendRefs.",
    ),
    "GW408": Lint(
        title="session persistence that reaches further than its policy",
        meaning="A policy gives one Service persistent sessions; a rule has others beside it, and they get them too.",
        fix="Target the other Services as well, or write sessionPersistence in the rule.",
    ),
}
