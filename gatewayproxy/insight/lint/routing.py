"""GW1: rules, matches and hostnames that do not get the requests that their author sees in them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gatewayproxy.insight.lint.rule import Lint

__all__ = ["LINTS"]

LINTS: Final[Mapping[str, Lint]] = {
    "GW101": Lint(
        title="rule that never gets a request",
        meaning="Rules of higher precedence take every request that it matches.",
        fix="Remove the rule, merge the two, or tell their matches or hostnames apart.",
    ),
    "GW105": Lint(
        title="hostname outside the listeners",
        meaning="No listener that the route is attached to has the hostname. Requests for it never reach the route.",
        fix="Correct the hostname, or add a listener for it.",
    ),
    "GW106": Lint(
        title="hostname that a route of another kind has",
        meaning="A listener gives a hostname to HTTPRoutes or to GRPCRoutes: the older route has it.",
        fix="Give the two routes different hostnames, or one of them a listener of its own.",
    ),
    "GW108": Lint(
        title="redirect to https that leads nowhere, or back",
        meaning="No listener of the Gateway answers https for the host. Where a load balancer in front ends TLS, the "
        "request comes back to this rule for ever.",
        fix="Add an HTTPS listener for the host, or have the load balancer redirect and remove the rule.",
    ),
}
